"""An executor that runs jobs on a Dask cluster and yields their results as they come.

The memory that driver and scheduler need depends on the number of submitted jobs, not on the number of all jobs: Dask holds at
most a few jobs a worker, and forgets each as soon as its result has arrived.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path

from distributed import Client

from surveyflow.execution.available_workers import REFRESH_S, AvailableWorkers, largest_memory_mib, pinned_by_worker
from surveyflow.execution.cluster import Cluster
from surveyflow.execution.jobs import JobOutcome, WorkerSpec, listed
from surveyflow.execution.limits import ClusterProfile
from surveyflow.execution.memory_kills import MemoryKill, memory_kill
from surveyflow.execution.retries import Attempt, Attempts
from surveyflow.execution.routing import Route, Routing, choose, declared, demand, follow
from surveyflow.execution.submissions import NoLargerWorker, Submissions, WorkerDeaths
from surveyflow.execution.worker_logs import why_ended
from surveyflow.values import remedies
from surveyflow.values.jobs import Job, JobResult, MissingWorkers

logger = logging.getLogger(__name__)

PATIENCE_S = 5.0
"""How long workers may be missing before it is reported, seconds: one that restarts is back by then."""

_DEFAULTS = ClusterProfile()


class DaskExecutor:
    """Runs jobs on the workers of a Dask cluster.

    A job whose worker dies is run again on another. When ``max_deaths`` workers have died with it, and the last of them ran
    nothing else, the job fails with that reason and the other jobs continue.

    Parameters
    ----------
    cluster
        Where to run; it stays open.
    factory, settings
        As for `surveyflow.sites.serial.profile.SerialExecutor`. Each worker process makes its own worker object, once.
    limits
        How jobs are routed, how many each worker holds, and when something is given up.
    on_message
        Called with sentences for an operator: how jobs are routed and why, and which workers are missing.
    """

    def __init__(
        self,
        cluster: Cluster,
        factory: str,
        settings: Hashable,
        limits: ClusterProfile = _DEFAULTS,
        *,
        on_message: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._cluster = cluster
        self._spec = WorkerSpec(factory, settings, limits.unit_silence_s)
        self._limits = limits
        self._on_message = on_message

    def run(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
        """Yield a result for each job as it ends; a fatal one is the last.

        Jobs start in the order given, as far as there are workers that may do them. Leaving the iteration early cancels those
        that have not started.
        """
        route = self._route(jobs)
        submissions = Submissions(self._cluster.client, self._spec, pinned=route.pinned)
        workers = AvailableWorkers(partial(pinned_by_worker, self._cluster.client), pinned=route.pinned)
        attempts = Attempts(jobs, self._limits.max_deaths)
        deaths = Deaths(self._cluster.logs, self._cluster.memory_wait_s, workers.now)
        run = _Run(self._cluster.client, attempts, submissions, workers, self._limits, deaths, self._report)
        try:
            for result in run.results():
                yield result
                if result.fatal:
                    return
        finally:
            submissions.cancel()

    @property
    def dashboard(self) -> str | None:
        """Address of Dask's dashboard; None if the cluster has none."""
        try:
            return str(self._cluster.client.dashboard_link or "") or None
        except KeyError:  # raised by Dask for a cluster without a dashboard
            return None

    def close(self) -> None:
        """Do nothing: whoever opened the cluster closes it."""

    def _route(self, jobs: Sequence[Job]) -> Route:
        """Decide where jobs go and, if this process started the workers, pin them to the models that this takes."""
        work = demand(jobs)
        if not work:
            return Route(Routing.ANY, "no job needs a model")
        workers = self._cluster.local_workers
        if workers is None:
            route = follow(self._limits.routing, pinned_by_worker(self._cluster.client))
        else:
            route = choose(self._limits.routing, work, workers.count, on_gpu=workers.on_gpu)
            workers.pin(route.pinned_models)
        self._report(str(route))
        return route

    def _report(self, message: str) -> None:
        logger.info("cluster: %s", message)
        self._on_message(message)


@dataclass(frozen=True, slots=True)
class _Run:
    """One pass over a list of jobs."""

    client: Client
    attempts: Attempts
    submissions: Submissions
    workers: AvailableWorkers
    limits: ClusterProfile
    deaths: Deaths
    report: Callable[[str], None]
    reported_missing: set[str] = field(default_factory=set)

    def results(self) -> Iterator[JobResult]:
        """Yield results as they come, until no job is left."""
        while self._submit():
            self._take_back()
            yield from self._check_workers()
            ended = self.submissions.next_ended(REFRESH_S)
            if ended is not None:
                yield from self._ended(*ended)
            yield from self._judge_deaths()

    def _ended(self, attempt: Attempt, outcome: JobOutcome | WorkerDeaths | NoLargerWorker) -> Iterator[JobResult]:
        if isinstance(outcome, WorkerDeaths):
            total = attempt.deaths + outcome.count
            logger.warning("job=%s worker=%s deaths=%d the worker died", attempt.job.name, outcome.last_worker, total)
            self.deaths.add(attempt, outcome)
        elif isinstance(outcome, NoLargerWorker):
            yield JobResult(attempt.job, error=self._why_too_large(attempt))
        else:
            yield outcome.result(attempt.job)

    def _submit(self) -> bool:
        """Submit attempts while workers have room; False when all jobs have ended."""
        while attempt := self.attempts.next(self._with_room(), self._is_undisturbed):
            self.submissions.submit(attempt)
        return len(self.submissions) > 0 or bool(self.attempts) or bool(self.deaths)

    def _with_room(self) -> set[str]:
        """The model groups for whose waiting jobs a worker has room, and that disturb no job that runs alone."""
        waiting, alone = self.attempts.model_groups, self.submissions.alone
        with_room = self.workers.with_room(waiting, self.submissions.counts, self.limits.jobs_per_worker)
        return {group for group in with_room if not any(self.workers.shared(group, other) for other in alone)}

    def _is_undisturbed(self, attempt: Attempt) -> bool:
        """Whether nothing runs on any worker that may do an attempt's job, and there is one with enough memory."""
        if any(self.workers.shared(attempt.job.model_group, other) for other in self.submissions.model_groups):
            return False
        return not attempt.more_than_mib or largest_memory_mib(self.client) > attempt.more_than_mib

    def _take_back(self) -> None:
        """Take back what was submitted for workers that are gone: alone or not, it must delay nothing else."""
        if lost := {group for group in self.submissions.model_groups if not self.workers.count(group)}:
            for attempt in self.submissions.take_back(lost):
                self.attempts.put_back(attempt)

    def _check_workers(self) -> Iterator[JobResult]:
        """Report which workers are missing, and give up the run if they have been missing for too long."""
        needed = self.attempts.model_groups | self.submissions.model_groups
        absent_s = {group: seconds for group in needed if (seconds := self.workers.absent_s(group)) > 0}
        missing = {group for group, seconds in absent_s.items() if seconds > PATIENCE_S}
        if missing - self.reported_missing:
            self.report(MissingWorkers(f"waiting up to {self.limits.worker_wait_s:g} s: {self._what_is_missing(missing)}"))
        self.reported_missing.clear()
        self.reported_missing.update(missing)
        lost = {group for group, seconds in absent_s.items() if seconds > self.limits.worker_wait_s}
        if lost:
            yield JobResult(self._job_of(min(lost)), error=self._why_given_up(lost), fatal=True)

    def _why_given_up(self, model_groups: Collection[str]) -> str:
        after = f"after {self.limits.worker_wait_s:g} s (worker_wait_s in the profile)"
        if not self.workers.count():
            return f"{self._what_is_missing(model_groups)} {after}; see the workers' logs for why they ended"
        return (
            f"{self._what_is_missing(model_groups)} {after}. Start workers that hold them: name them in models of a pool of the "
            f"profile, or start one by hand, `{remedies.start_worker('SCHEDULER', declared([min(model_groups)]))}`; "
            'or let every worker do every unit: routing = "any" in the profile.'
        )

    def _what_is_missing(self, model_groups: Collection[str]) -> str:
        """Compare the models that jobs need with those that workers are pinned to, in words."""
        if not self.workers.count():
            return "no worker is there"
        present = [f"{group} ({number})" for group, number in self.workers.by_model_group.items()]
        return (
            f"no worker holds the models of {listed(model_groups)}; those running ({self.workers.count()}) hold {listed(present)}"
        )

    def _job_of(self, model_group: str) -> Job:
        """A job that waits for a worker."""
        return next(job for job in chain(self.attempts.waiting(), self.submissions.jobs()) if job.model_group == model_group)

    def _judge_deaths(self) -> Iterator[JobResult]:
        """Queue attempts whose workers died once more, or yield the failures of their jobs."""
        for attempt, deaths, kill in self.deaths.explained():
            if kill is None:
                yield from self._retry_or_give_up(attempt, deaths)
            elif not kill.was_largest:
                self.report(
                    f"{attempt.job.name} waits for a worker with more than {kill.memory_mib:,} MiB: one was out of memory"
                )
                self.attempts.put_back(replace(attempt, more_than_mib=kill.memory_mib))
            elif not attempt.alone:
                self.attempts.suspect(replace(attempt, more_than_mib=kill.memory_mib - 1))
            else:
                yield JobResult(attempt.job, error=_why_hopeless(kill))

    def _retry_or_give_up(self, attempt: Attempt, deaths: WorkerDeaths) -> Iterator[JobResult]:
        """Queue an attempt once more, or yield the failure of its job."""
        if not self.attempts.retry(attempt, deaths.count):
            total, reason = attempt.deaths + deaths.count, self.deaths.last_words(deaths)
            what = f"{total} workers died with it, the last at {deaths.last_worker}: killed, out of memory or crashed"
            yield JobResult(attempt.job, error=f"{what}; it wrote: {reason}" if reason else what)

    def _why_too_large(self, attempt: Attempt) -> str:
        return (
            f"a worker with {attempt.more_than_mib:,} MiB was killed with it, since it was out of memory, and no larger one came "
            f"within {self.limits.worker_wait_s:g} s (worker_wait_s in the profile). Run again when larger jobs can start, or "
            "state a smaller core_size in [tiling] of the workflow."
        )


def _why_hopeless(kill: MemoryKill) -> str:
    return (
        f"alone in a worker with {kill.memory_mib:,} MiB, the most that {kill.script} asks for, it was out of memory. Raise "
        "memory_max of its pool in the profile, or state a smaller core_size in [tiling] of the workflow."
    )


@dataclass(slots=True)
class Deaths:
    """Deaths of workers whose reason may yet be found.

    Parameters
    ----------
    logs
        Folder of the workers' logs; None if this machine cannot read them.
    wait_s
        How long a reason may take to appear there, seconds; 0 if none will.
    now
        Seconds, monotonic.
    """

    logs: Path | None
    wait_s: float
    now: Callable[[], float]
    _waiting: list[tuple[float, Attempt, WorkerDeaths]] = field(default_factory=list)
    _looked_at: float = float("-inf")

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, attempt: Attempt, deaths: WorkerDeaths) -> None:
        """Note a death."""
        self._waiting.append((self.now(), attempt, deaths))

    def explained(self) -> Iterator[tuple[Attempt, WorkerDeaths, MemoryKill | None]]:
        """Take out those whose reason is known, or has not appeared in time: then it is None. Files are read once a second."""
        if not self._waiting or (self.wait_s and self.now() - self._looked_at < REFRESH_S):
            return
        waiting, self._waiting, self._looked_at = self._waiting, [], self.now()
        for died_at, attempt, deaths in waiting:
            kill = memory_kill(self.logs, deaths.name) if self.logs and self.wait_s else None
            if kill or self.now() - died_at >= self.wait_s:
                yield attempt, deaths, kill
            else:
                self._waiting.append((died_at, attempt, deaths))

    def last_words(self, deaths: WorkerDeaths) -> str:
        """What the last worker wrote; empty without a log."""
        return why_ended(self.logs, deaths.last_worker) if self.logs else ""
