"""The order in which jobs are submitted, and the number of times one is tried again after its worker died.

A worker that dies takes all of its jobs with it, and nothing says which of them was the cause. So a job that has been on nearly
``max_deaths`` dead workers is kept back until nothing else runs on the workers that may do it, and then tried alone: only if its
worker dies again is it given up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from surveyflow.values.jobs import Job


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a job.

    Parameters
    ----------
    job
        The job.
    deaths
        Number of workers that died in earlier attempts.
    alone
        Whether nothing else runs meanwhile on the workers that may do the job.
    more_than_mib
        Only a worker that declares more memory than this, MiB, may do the job; any if 0.
    """

    job: Job
    deaths: int = 0
    alone: bool = False
    more_than_mib: int = 0


class Attempts:
    """The jobs still to be done, in the caller's order.

    Parameters
    ----------
    jobs
        What to do. Only the numbers of jobs that have not begun are held, so they may be made when they are asked for.
    max_deaths
        Number of workers that may die with a job before it is given up, at least 2; the last of them ran that job alone.
    """

    def __init__(self, jobs: Sequence[Job], max_deaths: int) -> None:
        if max_deaths < 2:
            raise ValueError(f"max_deaths must be at least 2, not {max_deaths}")
        self._jobs = jobs
        self._new: dict[str, deque[int]] = {}
        for number, job in enumerate(jobs):
            self._new.setdefault(job.model_group, deque()).append(number)
        self._retries: list[Attempt] = []
        self._to_run_alone: list[Attempt] = []
        self._max_deaths = max_deaths

    def __bool__(self) -> bool:
        return bool(self._new or self._retries or self._to_run_alone)

    @property
    def model_groups(self) -> set[str]:
        """The model groups of the jobs that wait."""
        return {*self._new, *(attempt.job.model_group for attempt in self._retries + self._to_run_alone)}

    def waiting(self) -> Iterator[Job]:
        """Yield the jobs that wait, in arbitrary order."""
        yield from (attempt.job for attempt in self._retries + self._to_run_alone)
        yield from (self._jobs[number] for numbers in self._new.values() for number in numbers)

    def next(self, with_room: Collection[str], undisturbed: Callable[[Attempt], bool]) -> Attempt | None:
        """Choose what to submit next; None if nothing is left, or nothing can be submitted yet.

        Parameters
        ----------
        with_room
            The model groups for whose jobs a worker is free.
        undisturbed
            Whether an attempt can run alone: nothing runs on any worker that may do its model group's jobs.
        """
        if attempt := _first(self._retries, lambda attempt: attempt.job.model_group in with_room):
            return attempt
        if ready := self._new.keys() & with_room:
            return Attempt(self._pop_new(min(ready, key=lambda group: self._new[group][0])))
        if attempt := _first(self._to_run_alone, lambda each: each.job.model_group in with_room and undisturbed(each)):
            return replace(attempt, alone=True)
        return None

    def put_back(self, attempt: Attempt) -> None:
        """Queue an attempt again that never began."""
        queue = self._retries if attempt.deaths < self._max_deaths - 1 else self._to_run_alone
        queue.append(replace(attempt, alone=False))

    def retry(self, attempt: Attempt, n_deaths: int) -> bool:
        """Queue an attempt again after ``n_deaths`` workers died with it; False if its job is to be given up."""
        again = replace(attempt, deaths=attempt.deaths + n_deaths)
        if attempt.alone and again.deaths >= self._max_deaths:
            return False
        self.put_back(again)
        return True

    def suspect(self, attempt: Attempt) -> None:
        """Queue an attempt again that is to run alone."""
        self._to_run_alone.append(replace(attempt, alone=False))

    def _pop_new(self, model_group: str) -> Job:
        number = self._new[model_group].popleft()
        if not self._new[model_group]:
            del self._new[model_group]
        return self._jobs[number]


def _first(attempts: list[Attempt], ready: Callable[[Attempt], bool]) -> Attempt | None:
    """Take out the first attempt that is ready."""
    for number, attempt in enumerate(attempts):
        if ready(attempt):
            return attempts.pop(number)
    return None
