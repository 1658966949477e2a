"""The attempts that were submitted to Dask and have not ended."""

from __future__ import annotations

import queue
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from uuid import uuid4

from distributed import Client, Future, get_worker
from distributed.scheduler import KilledWorker, NoValidWorkerError, NoWorkerError

from surveyflow.execution.heartbeat import end_process
from surveyflow.execution.jobs import JobOutcome, WorkerSpec, describe, do_job
from surveyflow.execution.memory_kills import MEMORY
from surveyflow.execution.retries import Attempt
from surveyflow.execution.routing import model_groups_in, resource
from surveyflow.values.jobs import Job


@dataclass(frozen=True, slots=True)
class WorkerDeaths:
    """The end of an attempt whose workers died.

    Parameters
    ----------
    count
        Number of workers that died since the attempt was submitted.
    last_worker
        Address of the last one.
    name
        Its name.
    """

    count: int
    last_worker: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class NoLargerWorker:
    """The end of an attempt for which no worker with enough memory appeared in time."""


class Submissions:
    """Attempts that were submitted and have not ended.

    Parameters
    ----------
    client
        A connected client.
    spec
        How workers are made.
    pinned
        Whether a job goes only to workers that are pinned to its model group.
    """

    def __init__(self, client: Client, spec: WorkerSpec, *, pinned: bool = False) -> None:
        self._client = client
        self._spec = spec
        self._pinned = pinned
        self._counts: Counter[str] = Counter()
        self._groups: Counter[str] = Counter()
        self._pending: dict[str, tuple[Future, Attempt]] = {}
        self._ended: queue.SimpleQueue[str] = queue.SimpleQueue()

    def __len__(self) -> int:
        return len(self._pending)

    @property
    def model_groups(self) -> set[str]:
        """The model groups of all submitted attempts."""
        return {group for group, number in self._groups.items() if number}

    @property
    def counts(self) -> Mapping[str, int]:
        """Number of submitted attempts of each model group, without those that wait for a worker with more memory than others."""
        return self._counts

    @property
    def alone(self) -> set[str]:
        """The model groups of the submitted attempts beside which nothing else may run."""
        return {attempt.job.model_group for _, attempt in self._pending.values() if attempt.alone}

    def jobs(self) -> Iterator[Job]:
        """The jobs of the submitted attempts."""
        return (attempt.job for _, attempt in self._pending.values())

    def submit(self, attempt: Attempt) -> None:
        """Submit an attempt; Dask chooses among the workers that may do it."""
        job, key = attempt.job, f"{attempt.job.order.verb}-{uuid4().hex}"
        needs = {resource(job.model_group): 1} if self._pinned and job.model_group else {}
        needs |= {MEMORY: attempt.more_than_mib + 1} if attempt.more_than_mib else {}
        future = self._client.submit(_do_here, self._spec, job, self._pinned, key=key, pure=False, resources=needs or None)
        self._pending[key] = future, attempt
        self._count(attempt, 1)
        future.add_done_callback(_put_key(self._ended))

    def next_ended(self, timeout_s: float) -> tuple[Attempt, JobOutcome | WorkerDeaths | NoLargerWorker] | None:
        """Wait until an attempt ends; None if none does in time, or one was taken back meanwhile."""
        try:
            key = self._ended.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if key not in self._pending:
            return None
        future, attempt = self._remove(key)
        try:
            return attempt, _fetch(future, larger=attempt.more_than_mib > 0)
        finally:
            future.release()

    def take_back(self, model_groups: Collection[str]) -> list[Attempt]:
        """Take back the attempts of some model groups that no worker has been given."""
        try:
            at_workers = {key for keys in self._client.processing().values() for key in keys}
        except OSError:  # the scheduler does not answer; it is asked again
            return []
        theirs = [(key, future) for key, (future, attempt) in self._pending.items() if attempt.job.model_group in model_groups]
        taken = [self._remove(key) for key, future in theirs if key not in at_workers and not future.done()]
        for future, _ in taken:
            future.release()
        return [attempt for _, attempt in taken]

    def cancel(self) -> list[Attempt]:
        """Cancel all attempts that have not started; those that have started run to their end, and their results are dropped."""
        attempts = [attempt for _, attempt in self._pending.values()]
        for future, _ in self._pending.values():
            future.release()
        self._pending.clear()
        self._counts.clear()
        self._groups.clear()
        return attempts

    def _remove(self, key: str) -> tuple[Future, Attempt]:
        future, attempt = self._pending.pop(key)
        self._count(attempt, -1)
        return future, attempt

    def _count(self, attempt: Attempt, number: int) -> None:
        self._groups[attempt.job.model_group] += number
        if not attempt.more_than_mib:  # it may wait in vain, and must keep no worker from other jobs
            self._counts[attempt.job.model_group] += number


def _do_here(spec: WorkerSpec, job: Job, pinned: bool) -> JobOutcome:
    """Do a job in this worker process, and end the process if it must be restarted."""
    outcome = do_job(spec, job, model_groups_in(get_worker().state.total_resources) if pinned else None)
    if outcome.needs_restart:
        end_process(f"{job.name}: {outcome.error}")
    return outcome


def _put_key(ended: queue.SimpleQueue[str]) -> Callable[[Future], None]:
    return lambda future: ended.put(future.key)


def _fetch(future: Future, *, larger: bool) -> JobOutcome | WorkerDeaths | NoLargerWorker:
    """Read the outcome of an attempt that ended. Jobs never raise, so an exception comes from Dask."""
    try:
        outcome: JobOutcome = future.result()
    except KilledWorker as death:
        return WorkerDeaths(death.allowed_failures + 1, death.last_worker.address, str(death.last_worker.name))
    except (NoValidWorkerError, NoWorkerError) as error:
        if larger:
            return NoLargerWorker()
        return JobOutcome(error=f"the cluster could not run it: {describe(error)}", fatal=True)
    except Exception as error:  # noqa: BLE001 - a failure is recorded here, whatever it is
        return JobOutcome(error=f"the cluster could not run it: {describe(error)}", fatal=True)
    return outcome
