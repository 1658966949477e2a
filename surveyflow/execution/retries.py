"""Which job goes next, and when one is given up.

A dead worker takes down every job it held, and nobody can tell which of them killed it. So a job that was on dying workers
more than once too often is kept back until nothing else runs and then tried alone: only a death that is its own condemns it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from surveyflow.values.jobs import Job


@dataclass(frozen=True, slots=True)
class Attempt:
    """A job on its way to a worker.

    Parameters
    ----------
    job
        The job.
    deaths
        Workers that died holding it.
    alone
        Whether nothing else runs anywhere meanwhile.
    """

    job: Job
    deaths: int = 0
    alone: bool = False


class Attempts:
    """The jobs still to be done, in the caller's order.

    Parameters
    ----------
    jobs
        What to do.
    max_deaths
        Workers that may die with a job before it is given up, at least 2: the last of them with that job alone.
    """

    def __init__(self, jobs: Iterable[Job], max_deaths: int) -> None:
        if max_deaths < 2:
            raise ValueError(f"max_deaths must be at least 2, not {max_deaths}")
        self._fresh: dict[str, deque[tuple[int, Job]]] = {}
        for number, job in enumerate(jobs):
            self._fresh.setdefault(job.place, deque()).append((number, job))
        self._again: list[Attempt] = []
        self._suspects: list[Attempt] = []
        self._max_deaths = max_deaths

    def __bool__(self) -> bool:
        return bool(self._fresh or self._again or self._suspects)

    @property
    def places(self) -> set[str]:
        """The places of the jobs that wait."""
        return {*self._fresh, *(attempt.job.place for attempt in self._again + self._suspects)}

    def waiting(self) -> Iterator[Job]:
        """Jobs that wait, in no order to rely on."""
        yield from (attempt.job for attempt in self._again + self._suspects)
        yield from (job for jobs in self._fresh.values() for _, job in jobs)

    def next(self, n_in_flight: int, has_room: Callable[[str], bool] = lambda _: True) -> Attempt | None:
        """Choose what to submit; None where there is nothing, or nothing yet.

        Parameters
        ----------
        n_in_flight
            Attempts that run.
        has_room
            Whether a worker for a place's jobs is free.
        """
        if again := _first(self._again, has_room):
            return again
        if open_places := [place for place in self._fresh if has_room(place)]:
            return Attempt(self._pop_fresh(min(open_places, key=lambda place: self._fresh[place][0][0])))
        if not n_in_flight and (suspect := _first(self._suspects, has_room)):
            return replace(suspect, alone=True)
        return None

    def survive(self, attempt: Attempt, n_deaths: int) -> bool:
        """Record that ``n_deaths`` workers died with this attempt; False when its job is to be given up."""
        worn = Attempt(attempt.job, attempt.deaths + n_deaths)
        if attempt.alone and worn.deaths >= self._max_deaths:
            return False
        queue = self._again if worn.deaths < self._max_deaths - 1 else self._suspects
        queue.append(worn)
        return True

    def _pop_fresh(self, place: str) -> Job:
        _, job = self._fresh[place].popleft()
        if not self._fresh[place]:
            del self._fresh[place]
        return job


def _first(attempts: list[Attempt], has_room: Callable[[str], bool]) -> Attempt | None:
    """Take out the first attempt for which there is room."""
    for number, attempt in enumerate(attempts):
        if has_room(attempt.job.place):
            return attempts.pop(number)
    return None
