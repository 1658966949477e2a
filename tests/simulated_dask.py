"""A Dask cluster whose time, workers and losses a test decides; it places and steals tasks as Dask's scheduler does."""

from __future__ import annotations

import queue
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from types import SimpleNamespace

import pytest
from distributed.scheduler import KilledWorker

from fakes import FakeSettings
from surveyflow.execution import dask_executor, submissions
from surveyflow.execution.available_workers import AvailableWorkers
from surveyflow.execution.cluster import Cluster
from surveyflow.execution.dask_executor import DaskExecutor
from surveyflow.execution.jobs import JOBS_AT_A_TIME, JobOutcome
from surveyflow.execution.limits import ClusterProfile
from surveyflow.execution.routing import Routing, model_groups_in, resource
from surveyflow.values.jobs import Job

IDLE_LIMIT_S = 3.0
"""Longest time for which a worker may be free beside work that it may do: the driver asks for the workers once a second."""
ENDLESS_S = 10_000.0
"""Simulated time after which a run counts as stuck."""


@dataclass(frozen=True, slots=True)
class Change:
    """A worker that holds the models of some groups joins, or the oldest such worker is lost."""

    time: float
    joins: bool
    held: frozenset[str]


class IdleWorkerError(AssertionError):
    """A worker was free for too long beside work that it may do."""


@dataclass(eq=False)
class SimulatedWorker:
    address: str
    held: frozenset[str]
    tasks: list[SimulatedTask] = field(default_factory=list)
    starved_since: float | None = None

    @property
    def begun(self) -> list[SimulatedTask]:
        return [task for task in self.tasks if task.ends_at is not None]


@dataclass(eq=False)
class SimulatedTask:
    """A submitted job, and its future."""

    key: str
    job: Job
    needs: frozenset[str]
    cluster: SimulatedDask
    ends_at: float | None = None
    death: KilledWorker | None = None
    on_end: list = field(default_factory=list)
    has_ended: bool = False

    def add_done_callback(self, callback):
        self.on_end.append(callback)

    def done(self):
        return self.has_ended

    def result(self):
        if self.death:
            raise self.death
        return JobOutcome()

    def release(self):
        self.cluster.forget(self)

    def end(self, death=None):
        self.death, self.has_ended = death, True
        for callback in self.on_end:
            callback(self)


class SimulatedDask:
    """The client, the scheduler and the workers.

    Parameters
    ----------
    changes
        When workers join and are lost.
    pinned
        Whether the driver sends jobs only to workers that hold their models.
    """

    def __init__(self, changes: Sequence[Change], *, pinned: bool = True) -> None:
        self.now = 0.0
        self.scheduler = self
        self._pinned = pinned
        self._changes = sorted(changes, key=lambda change: change.time)
        self._numbers = count()
        self._workers: list[SimulatedWorker] = []
        self._unplaced: list[SimulatedTask] = []
        self._ended: list[str] = []
        self._unfinished: dict[str, Job] = {}

    def run(self, jobs, **limits):
        """The results of a run of these jobs, each of which takes as long as its order says."""
        self._unfinished = {job.name: job for job in jobs}
        limits = ClusterProfile(routing=Routing.PINNED if self._pinned else Routing.ANY, worker_wait_s=ENDLESS_S, **limits)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(submissions, "queue", SimpleNamespace(SimpleQueue=lambda: self, Empty=queue.Empty))
            patch.setattr(dask_executor, "AvailableWorkers", partial(AvailableWorkers, clock=lambda: self.now))
            self._advance(0.0)
            return list(DaskExecutor(self.cluster, "fakes:make_fake_worker", FakeSettings(), limits).run(jobs))

    @property
    def cluster(self):
        """The connection that the driver has."""
        return Cluster(self)

    # What the driver calls

    def sync(self, function, **arguments):
        return function(**arguments)

    def identity(self, n_workers):
        workers = {
            each.address: {"resources": {resource(group): 2.0 for group in each.held}, "status": "running"}
            for each in self._workers
        }
        return {"workers": workers}

    def processing(self):
        return {worker.address: [task.key for task in worker.tasks] for worker in self._workers}

    def submit(self, function, spec, job, pinned, *, key, pure, resources):
        task = SimulatedTask(key, job, model_groups_in(resources or {}), self)
        self._place(task)
        return task

    def put(self, key):
        self._ended.append(key)

    def get(self, timeout):
        until = self.now + timeout
        self._watch()
        while not self._ended and self.now < until:
            self._advance(min(self._next_time(), until))
            self._watch()
        if not self._ended:
            raise queue.Empty
        return self._ended.pop(0)

    def forget(self, task):
        for tasks in [self._unplaced, *(worker.tasks for worker in self._workers)]:
            if task in tasks:
                tasks.remove(task)

    # What happens meanwhile

    def _next_time(self):
        ends = [task.ends_at for worker in self._workers for task in worker.begun]
        return min([*ends, *(change.time for change in self._changes[:1])], default=float("inf"))

    def _advance(self, time):
        assert time < ENDLESS_S, "the run is stuck"
        self.now = time
        while self._changes and self._changes[0].time <= time:
            self._apply(self._changes.pop(0))
        for worker in self._workers:
            for task in [each for each in worker.begun if each.ends_at <= time]:
                worker.tasks.remove(task)
                self._unfinished.pop(task.job.name, None)
                task.end()
        self._steal()
        self._begin()

    def _apply(self, change):
        if change.joins:
            self._workers.append(SimulatedWorker(f"sim://{next(self._numbers)}", change.held))
            unplaced, self._unplaced = self._unplaced, []
            for task in unplaced:
                self._place(task)
        elif lost := next((each for each in self._workers if each.held == change.held), None):
            self._workers.remove(lost)
            for task in lost.tasks:
                task.end(KilledWorker(task.key, SimpleNamespace(address=lost.address, name=lost.address), 0))

    def _place(self, task):
        """Give a task to the worker with the fewest; without a worker for it, it waits for the first that comes."""
        able = [worker for worker in self._workers if task.needs <= worker.held]
        (min(able, key=lambda worker: len(worker.tasks)).tasks if able else self._unplaced).append(task)
        self._begin()

    def _steal(self):
        for thief in self._workers:
            queued = [
                (worker, task)
                for worker in self._workers
                for task in worker.tasks
                if task.ends_at is None and task.needs <= thief.held and len(worker.tasks) > JOBS_AT_A_TIME
            ]
            if not thief.tasks and queued:
                victim, task = queued[0]
                victim.tasks.remove(task)
                thief.tasks.append(task)

    def _begin(self):
        for worker in self._workers:
            waiting = [task for task in worker.tasks if task.ends_at is None]
            for task in waiting[: JOBS_AT_A_TIME - len(worker.begun)]:
                task.ends_at = self.now + task.job.order.seconds

    def _watch(self):
        """Raise if a worker has been free for too long beside work that it may do."""
        begun = {task.job.name for worker in self._workers for task in worker.begun}
        waiting = [job for name, job in self._unfinished.items() if name not in begun]
        for worker in self._workers:
            work = [job.name for job in waiting if not self._pinned or not job.model_group or job.model_group in worker.held]
            if worker.tasks or not work:
                worker.starved_since = None
            elif worker.starved_since is None:
                worker.starved_since = self.now
            elif self.now - worker.starved_since > IDLE_LIMIT_S:
                raise IdleWorkerError(f"{worker.address} ({sorted(worker.held)}) is free at {self.now:g} s beside {work}")
