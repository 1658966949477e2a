"""What is on its way to the cluster's workers, and how it came back."""

from __future__ import annotations

import queue
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from uuid import uuid4

from distributed import Client, Future, get_worker
from distributed.scheduler import KilledWorker

from surveyflow.execution.jobs import Outcome, WorkerSpec, describe, do_job
from surveyflow.execution.retries import Attempt
from surveyflow.execution.routing import places_in, resource
from surveyflow.execution.watchdog import end_process
from surveyflow.values.jobs import Job


@dataclass(frozen=True, slots=True)
class Deaths:
    """An attempt did not come back, because its workers died.

    Parameters
    ----------
    count
        Workers that died since the attempt was submitted.
    last_worker
        Address of the last one.
    """

    count: int
    last_worker: str


class Flights:
    """Attempts that were submitted and have not come back.

    Parameters
    ----------
    client
        A connected client.
    spec
        How workers are made.
    pinned
        Whether a job goes only to workers that hold its place's models.
    """

    def __init__(self, client: Client, spec: WorkerSpec, *, pinned: bool = False) -> None:
        self._client = client
        self._spec = spec
        self._pinned = pinned
        self._by_place: Counter[str] = Counter()
        self._in_flight: dict[str, tuple[Future, Attempt]] = {}
        self._ended: queue.SimpleQueue[str] = queue.SimpleQueue()

    def __len__(self) -> int:
        return len(self._in_flight)

    @property
    def places(self) -> set[str]:
        """The places of all attempts in flight."""
        return {place for place, number in self._by_place.items() if number}

    @property
    def wants_to_be_alone(self) -> bool:
        """Whether the attempt in flight must have no company."""
        return any(attempt.alone for _, attempt in self._in_flight.values())

    def jobs(self) -> Iterator[Job]:
        """Jobs in flight."""
        return (attempt.job for _, attempt in self._in_flight.values())

    def count(self, place: str) -> int:
        """Count the attempts of a place."""
        return self._by_place[place]

    def start(self, attempt: Attempt) -> None:
        """Submit an attempt; Dask chooses among the workers that may do it."""
        job, key = attempt.job, f"{attempt.job.verb}-{uuid4().hex}"
        needs = {resource(job.place): 1} if self._pinned and job.place else None
        future = self._client.submit(_do_here, self._spec, job, self._pinned, key=key, pure=False, resources=needs)
        self._in_flight[key] = future, attempt
        self._by_place[job.place] += 1
        future.add_done_callback(_put_key(self._ended))

    def land(self, timeout_s: float) -> tuple[Attempt, Outcome | Deaths] | None:
        """Wait for an attempt to come back; None when none does in time."""
        try:
            key = self._ended.get(timeout=timeout_s)
        except queue.Empty:
            return None
        future, attempt = self._in_flight.pop(key)
        self._by_place[attempt.job.place] -= 1
        try:
            return attempt, _fetch(future)
        finally:
            future.release()

    def recall(self) -> list[Attempt]:
        """Take back whatever has not come back; what a worker has begun, it finishes for nobody."""
        attempts = [attempt for _, attempt in self._in_flight.values()]
        for future, _ in self._in_flight.values():
            future.release()
        self._in_flight.clear()
        self._by_place.clear()
        return attempts


def _do_here(spec: WorkerSpec, job: Job, pinned: bool) -> Outcome:
    """Do a job on the worker that this runs on; a process that is spent ends, and its worker starts anew."""
    outcome = do_job(spec, job, places_in(get_worker().state.total_resources) if pinned else None)
    if outcome.spent:
        end_process(f"{job.name}: {outcome.error}")
    return outcome


def _put_key(ended: queue.SimpleQueue[str]) -> Callable[[Future], None]:
    return lambda future: ended.put(future.key)


def _fetch(future: Future) -> Outcome | Deaths:
    """Read the outcome of an attempt that ended. Jobs never raise, so any other exception is the cluster's own trouble."""
    try:
        outcome: Outcome = future.result()
    except KilledWorker as death:
        return Deaths(death.allowed_failures + 1, death.last_worker.address)
    except Exception as error:  # noqa: BLE001 - a failure is recorded here, whatever it is
        return Outcome(error=f"the cluster could not run it: {describe(error)}", fatal=True)
    return outcome
