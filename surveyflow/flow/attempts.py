"""Which job goes next, and when one is given up.

A dead worker takes down every job it held, and nobody can tell which of them killed it. So a job that was on dying workers
more than once too often is kept back until nothing else runs and then tried alone: only a death that is its own condemns it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

from surveyflow.types import Job


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
        What to do; taken one by one, as places become free.
    max_deaths
        Workers that may die with a job before it is given up, at least 2: the last of them with that job alone.
    """

    def __init__(self, jobs: Iterable[Job], max_deaths: int) -> None:
        if max_deaths < 2:
            raise ValueError(f"max_deaths must be at least 2, not {max_deaths}")
        self._fresh = iter(jobs)
        self._again: deque[Attempt] = deque()
        self._suspects: deque[Attempt] = deque()
        self._max_deaths = max_deaths

    def next(self, n_in_flight: int) -> Attempt | None:
        """Choose what to submit while ``n_in_flight`` attempts run; None where there is nothing, or nothing yet."""
        if self._again:
            return self._again.popleft()
        for job in self._fresh:
            return Attempt(job)
        if self._suspects and not n_in_flight:
            return replace(self._suspects.popleft(), alone=True)
        return None

    def survive(self, attempt: Attempt, n_deaths: int) -> bool:
        """Record that ``n_deaths`` workers died with this attempt; False when its job is to be given up."""
        worn = Attempt(attempt.job, attempt.deaths + n_deaths)
        if attempt.alone and worn.deaths >= self._max_deaths:
            return False
        queue = self._again if worn.deaths < self._max_deaths - 1 else self._suspects
        queue.append(worn)
        return True
