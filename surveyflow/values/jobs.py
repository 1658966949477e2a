"""Jobs, their results, and the Protocols of what carries them out.

An executor carries a job to a worker and its result back. It does not know what the job's order means.
"""

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


class Order(Protocol):
    """What a worker is asked to do.

    Orders are small frozen dataclasses that can be pickled. They name files and models; they never hold pixels, models or
    catalogs.
    """

    @property
    def verb(self) -> str:
        """One word for this kind of work, ``unit`` for example. Logs and Dask's dashboard use it."""
        ...


@dataclass(frozen=True, slots=True)
class Job:
    """What an executor carries to a worker: an order, and what decides where and when it is done.

    Parameters
    ----------
    name
        What it is called.
    order
        What the worker is to do.
    model_group
        Field and instrument whose models it needs, ``EGS/F814W``; empty if it needs none.
    n_sources
        Number of its sources: its share of the work.
    """

    name: str
    order: Order
    model_group: str = ""
    n_sources: int = 1

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a job must have a name")
        if self.n_sources < 0:
            raise ValueError(f"the job {self.name} cannot have {self.n_sources} sources")

    @property
    def verb(self) -> str:
        """The order's verb."""
        return self.order.verb


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

    def do(self, job: Job) -> Any:
        """Do a job, and return a small value that can be pickled.

        Raises
        ------
        TypeError
            If the job's order is not one of this worker's.
        """
        ...

    def close(self) -> None:
        """Let go of whatever is kept between jobs."""
        ...


class Executor(Protocol):
    """Runs jobs somewhere: in this process, or on a cluster."""

    @property
    def dashboard(self) -> str | None:
        """Address of the page that shows what runs where; None where there is none."""
        ...

    def run(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
        """Yield a result for each job, as they end."""
        ...

    def close(self) -> None:
        """Let go of the workers that this executor has made."""
        ...
