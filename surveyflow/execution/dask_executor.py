"""How jobs are run on a Dask cluster, and their results handed out as they come.

Jobs in flight, not jobs in all, decide how much memory the driver and the scheduler need: Dask holds at most a few jobs a
worker, and forgets each as soon as its result is here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from surveyflow.execution.available_workers import LOOK_AGAIN_S, Crew, held_by_worker
from surveyflow.execution.cluster import Cluster
from surveyflow.execution.jobs import WorkerSpec, listed
from surveyflow.execution.limits import ClusterProfile
from surveyflow.execution.retries import Attempt, Attempts
from surveyflow.execution.routing import Route, Routing, choose, declared, demand, follow
from surveyflow.execution.submissions import Deaths, Flights
from surveyflow.execution.worker_logs import last_words
from surveyflow.values.jobs import Job, JobResult

logger = logging.getLogger(__name__)

PATIENCE_S = 5.0
"""A worker that starts anew is back by then, and not worth a word."""

_DEFAULTS = ClusterProfile()


class DaskExecutor:
    """Runs jobs on the workers of a Dask cluster.

    A job whose worker dies is run again on another. When ``max_deaths`` workers died with it, the last of them with nothing
    else running, its result says so and the rest goes on.

    Parameters
    ----------
    cluster
        Where to run; it stays open.
    factory, context
        As for `surveyflow.execution.serial.SerialExecutor`. Each worker process makes its own worker object, once.
    limits
        How jobs are routed, how many each worker holds, and when something is given up.
    tell
        Called with what an operator should know, in words: how jobs are routed and why, and which workers are waited for.
    """

    def __init__(
        self,
        cluster: Cluster,
        factory: str,
        context: Mapping[str, Any],
        limits: ClusterProfile = _DEFAULTS,
        *,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._cluster = cluster
        self._spec = WorkerSpec.of(factory, context, limits.unit_silence_s)
        self._limits = limits
        self._tell = tell

    def run(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
        """Yield a result for each job as it ends; a fatal one is the last.

        Jobs start in the order given, as far as there are workers that may do them. Leaving the iteration early takes back
        those that have not started.
        """
        route = self._route(jobs)
        flights = Flights(self._cluster.client, self._spec, pinned=route.pinned)
        crew = Crew(partial(held_by_worker, self._cluster.client), pinned=route.pinned)
        run = _Run(Attempts(jobs, self._limits.max_deaths), flights, crew, self._limits, self._cluster.logs, self._say)
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

    def _route(self, jobs: Sequence[Job]) -> Route:
        """Decide where jobs go and, where the workers are our own, have them hold what they need for it."""
        work = demand(jobs)
        if not work:
            return Route(Routing.ANY, "no job needs a model")
        workers = self._cluster.own_workers
        if workers is None:
            route = follow(self._limits.routing, held_by_worker(self._cluster.client))
        else:
            route = choose(self._limits.routing, work, workers.count, on_gpu=workers.on_gpu)
            workers.assign(route.holdings)
        self._say(str(route))
        return route

    def _say(self, message: str) -> None:
        logger.info("cluster: %s", message)
        self._tell(message)


@dataclass(frozen=True, slots=True)
class _Run:
    """One pass over a list of jobs."""

    attempts: Attempts
    flights: Flights
    crew: Crew
    limits: ClusterProfile
    logs: Path | None
    say: Callable[[str], None]
    missed: set[str] = field(default_factory=set)

    def results(self) -> Iterator[JobResult]:
        """Yield results as they come, until nothing is left to do."""
        while self._fill():
            yield from self._complaints()
            landed = self.flights.land(LOOK_AGAIN_S)
            if landed is None:
                continue
            if isinstance(landed[1], Deaths):
                yield from self._bury(landed[0], landed[1])
            else:
                yield landed[1].result(landed[0].job)

    def _fill(self) -> bool:
        """Submit while there is room; False when all is done."""
        while not self.flights.wants_to_be_alone and (attempt := self.attempts.next(len(self.flights), self._has_room)):
            self.flights.start(attempt)
        return len(self.flights) > 0 or bool(self.attempts)

    def _has_room(self, place: str) -> bool:
        """Whether a worker that may do a place's jobs holds fewer than it should."""
        most = self.limits.jobs_per_worker
        return len(self.flights) < most * self.crew.size() and self.flights.count(place) < most * self.crew.size(place)

    def _complaints(self) -> Iterator[JobResult]:
        """Say which workers are missing, and give the run up when they have been for too long."""
        needed = self.attempts.places | self.flights.places
        waited = {place: seconds for place in needed if (seconds := self.crew.waited_s(place)) > 0}
        late = {place for place, seconds in waited.items() if seconds > PATIENCE_S}
        if late - self.missed:
            self.say(f"waiting up to {self.limits.worker_wait_s:g} s: {self._what_is_missing(late)}")
        self.missed.clear()
        self.missed.update(late)
        lost = {place for place, seconds in waited.items() if seconds > self.limits.worker_wait_s}
        if lost:
            yield JobResult(self._job_of(min(lost)), error=self._why_given_up(lost), fatal=True)

    def _why_given_up(self, places: Collection[str]) -> str:
        after = f"after {self.limits.worker_wait_s:g} s (worker_wait_s in the profile)"
        if not self.crew.size():
            return f"{self._what_is_missing(places)} {after}; see the workers' logs for why they ended"
        return (
            f"{self._what_is_missing(places)} {after}. Start workers that hold them: name them in models of a pool of the "
            f"profile, or use dask worker --resources {declared([min(places)])}; "
            'or let every worker do every unit: routing = "any" in the profile.'
        )

    def _what_is_missing(self, places: Collection[str]) -> str:
        """Compare demand and offer, in words."""
        if not self.crew.size():
            return "no worker is there"
        offer = [f"{place} ({n_workers})" for place, n_workers in self.crew.offer.items()]
        return f"no worker holds the models of {listed(places)}; those there ({self.crew.size()}) hold {listed(offer)}"

    def _job_of(self, place: str) -> Job:
        """A job that waits for a worker."""
        return next(job for job in chain(self.attempts.waiting(), self.flights.jobs()) if job.place == place)

    def _bury(self, attempt: Attempt, deaths: Deaths) -> Iterator[JobResult]:
        """Put an attempt whose worker died back in line, or give its job up."""
        total = attempt.deaths + deaths.count
        logger.warning("job=%s worker=%s deaths=%d the worker died", attempt.job.name, deaths.last_worker, total)
        if not self.attempts.survive(attempt, deaths.count):
            words = last_words(self.logs, deaths.last_worker) if self.logs else ""
            what = f"{total} workers died with it, the last at {deaths.last_worker}: killed, out of memory or crashed"
            yield JobResult(attempt.job, error=f"{what}; it wrote: {words}" if words else what)
