"""Jobs, their results, and the Protocols of what carries them out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that a unit's rows are on disk.

    Parameters
    ----------
    key
        The unit's key: SHA-256 over everything that can change its rows.
    name
        ``EGS/F814W/y000x001``.
    parts
        The digests that the key was made of, by name, so that a later plan can say what changed.
    n_rows
        Rows in the unit's file.
    status_counts
        Rows by status.
    digest
        SHA-256 of the unit's Parquet file.
    seconds
        Wall time of the work.
    worker
        Host and process that did it.
    draws_digest
        SHA-256 of the Parquet file of its draws; None unless they are kept.
    engine
        Name of the engine that computed it; empty if no model was needed, or if an earlier version wrote the receipt.
    """

    key: str
    name: str
    parts: Mapping[str, str]
    n_rows: int
    status_counts: Mapping[str, int]
    digest: str
    seconds: float
    worker: str
    draws_digest: str | None = None
    engine: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """What an executor carries to a worker: a verb of the worker and a small payload. Never pixels, models or catalogs.

    Parameters
    ----------
    name
        What it is called.
    verb, payload
        What the worker is to do, and with what: JSON's plain values.
    model_group
        Field and instrument whose models it needs, ``EGS/F814W``; empty if it needs none.
    n_sources
        Number of its sources: its share of the work.
    """

    name: str
    verb: str
    payload: Mapping[str, Any]
    model_group: str = ""
    n_sources: int = 1


@dataclass(frozen=True, slots=True)
class JobResult:
    """How a job ended.

    Parameters
    ----------
    job
        The job.
    value
        What the worker returned; None after a failure.
    error
        What went wrong, in words; None after success.
    fatal
        Whether the error stops the whole run (a full disk), not only this job.
    """

    job: Job
    value: Any = None
    error: str | None = None
    fatal: bool = False


class Worker(Protocol):
    """Does jobs, and keeps models and open mosaics between them.

    Two threads may ask at a time, so that one job reads or writes while another computes; the worker sees to it that no two
    compute.
    """

    def do(self, job: Job) -> Any: ...

    def close(self) -> None: ...


class Executor(Protocol):
    """Runs jobs somewhere: in this process, or on a cluster."""

    @property
    def dashboard(self) -> str | None:
        """Address of the page that shows what runs where; None where there is none."""
        ...

    def run(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
        """Yield a result for each job, as they end."""
        ...

    def close(self) -> None: ...
