"""What is on its way to the cluster's workers, and how it came back."""

from __future__ import annotations

import queue
from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

from distributed import Client, Future
from distributed.scheduler import KilledWorker

from surveyflow.flow.attempts import Attempt
from surveyflow.flow.jobs import Outcome, WorkerSpec, describe, do_job


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
    """

    def __init__(self, client: Client, spec: WorkerSpec) -> None:
        self._client = client
        self._spec = spec
        self._in_flight: dict[str, tuple[Future, Attempt]] = {}
        self._ended: queue.SimpleQueue[str] = queue.SimpleQueue()

    def __len__(self) -> int:
        return len(self._in_flight)

    def start(self, attempt: Attempt) -> None:
        """Submit an attempt; Dask chooses the worker."""
        key = f"{attempt.job.verb}-{uuid4().hex}"
        future = self._client.submit(do_job, self._spec, attempt.job, key=key, pure=False)
        self._in_flight[key] = future, attempt
        future.add_done_callback(_put_key(self._ended))

    def land(self, timeout_s: float) -> tuple[Attempt, Outcome | Deaths] | None:
        """Wait for an attempt to come back; None when none does in time."""
        try:
            key = self._ended.get(timeout=timeout_s)
        except queue.Empty:
            return None
        future, attempt = self._in_flight.pop(key)
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
        return attempts


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
