"""How jobs are run on a Dask cluster, and their results handed out as they come.

Jobs in flight, not jobs in all, decide how much memory the driver and the scheduler need: Dask holds at most a few jobs a
worker, and forgets each as soon as its result is here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surveyflow.flow.attempts import Attempt, Attempts
from surveyflow.flow.connections import Cluster
from surveyflow.flow.flights import Deaths, Flights
from surveyflow.flow.jobs import WorkerSpec
from surveyflow.flow.worker_logs import last_words
from surveyflow.types import Job, JobResult

logger = logging.getLogger(__name__)

_LOOK_AGAIN_S = 1.0


class DaskExecutor:
    """Runs jobs on the workers of a Dask cluster.

    A job whose worker dies is run again on another. When ``max_deaths`` workers died with it, the last of them with nothing
    else running, its result says so and the rest goes on.

    Parameters
    ----------
    cluster
        Where to run; it stays open.
    factory, context
        As for `surveyflow.flow.serial.SerialExecutor`. Each worker process makes its own worker object, once.
    jobs_per_worker
        How many jobs each worker holds at a time: one that runs and those ready to follow.
    max_deaths
        Workers that may die with a job before it is given up, at least 2.
    worker_wait_s
        How long to go on without a single worker before the run is given up, seconds.
    """

    def __init__(
        self,
        cluster: Cluster,
        factory: str,
        context: Mapping[str, Any],
        *,
        jobs_per_worker: int = 2,
        max_deaths: int = 3,
        worker_wait_s: float = 300.0,
    ) -> None:
        self._cluster = cluster
        self._spec = WorkerSpec.of(factory, context)
        self._jobs_per_worker = jobs_per_worker
        self._max_deaths = max_deaths
        self._worker_wait_s = worker_wait_s

    def run(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
        """Yield a result for each job as it ends; a fatal one is the last.

        Jobs start in the order given. Leaving the iteration early takes back those that have not started.
        """
        flights = Flights(self._cluster.client, self._spec)
        crew = _Crew(self._cluster, self._worker_wait_s)
        run = _Run(Attempts(jobs, self._max_deaths), flights, crew, self._jobs_per_worker, self._cluster.logs)
        try:
            for result in run.results():
                yield result
                if result.fatal:
                    return
        finally:
            flights.recall()

    @property
    def dashboard(self) -> str | None:
        """Address of Dask's dashboard; None where the cluster has none."""
        try:
            return str(self._cluster.client.dashboard_link or "") or None
        except KeyError:  # Dask's way of saying so
            return None

    def close(self) -> None:
        """Do nothing: the cluster belongs to whoever opened it."""


@dataclass(frozen=True, slots=True)
class _Run:
    """One pass over a list of jobs."""

    attempts: Attempts
    flights: Flights
    crew: _Crew
    jobs_per_worker: int
    logs: Path | None

    def results(self) -> Iterator[JobResult]:
        """Yield results as they come, until nothing is left to do."""
        while self._fill():
            landed = self.flights.land(_LOOK_AGAIN_S)
            if landed is None:
                yield from self._complaints()
            elif isinstance(landed[1], Deaths):
                yield from self._bury(landed[0], landed[1])
            else:
                yield landed[1].result(landed[0].job)

    def _fill(self) -> bool:
        """Submit while there is room; False when all is done."""
        room = self.jobs_per_worker * max(1, self.crew.size())
        while len(self.flights) < room and (attempt := self.attempts.next(len(self.flights))):
            self.flights.start(attempt)
        return len(self.flights) > 0

    def _complaints(self) -> Iterator[JobResult]:
        """Give the run up when it has had no worker for too long."""
        if self.crew.is_lost():
            error = f"no worker was there for {self.crew.wait_s:g} s; see the workers' logs for why they ended"
            yield JobResult(self.flights.recall()[0].job, error=error, fatal=True)

    def _bury(self, attempt: Attempt, deaths: Deaths) -> Iterator[JobResult]:
        """Put an attempt whose worker died back in line, or give its job up."""
        total = attempt.deaths + deaths.count
        logger.warning("job=%s worker=%s deaths=%d the worker died", attempt.job.name, deaths.last_worker, total)
        if not self.attempts.survive(attempt, deaths.count):
            words = last_words(self.logs, deaths.last_worker) if self.logs else ""
            what = f"{total} workers died with it, the last at {deaths.last_worker}: killed, out of memory or crashed"
            yield JobResult(attempt.job, error=f"{what}; it wrote: {words}" if words else what)


class _Crew:
    """How many workers there are, and since when there are none.

    Asked at every job, so the scheduler's answer is kept for a second.
    """

    def __init__(self, cluster: Cluster, wait_s: float) -> None:
        self._cluster = cluster
        self.wait_s = wait_s
        self._size = 0
        self._asked_at = self._seen_at = float("-inf")

    def size(self) -> int:
        """Count the workers, as of a second ago at most."""
        now = time.monotonic()
        if now - self._asked_at > _LOOK_AGAIN_S:
            self._size = self._count()
            self._seen_at = now if self._size or self._asked_at < 0 else self._seen_at
            self._asked_at = now
        return self._size

    def is_lost(self) -> bool:
        """Tell whether there has been no worker for as long as we wait for one."""
        return self.size() == 0 and time.monotonic() - self._seen_at > self.wait_s

    def _count(self) -> int:
        try:
            return len(self._cluster.client.nthreads())
        except OSError:  # the scheduler is out of reach; if it stays so, Dask cancels what is in flight
            return 0
