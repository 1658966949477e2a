"""Jobs and their results, the settings of their work, and the Protocols of workers and executors.

An executor carries a job to a worker and its result back. It does not know what the job's order means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from surveyflow.values.codes import EngineName, Precision


class MissingWorkers(str):
    """A sentence that says which workers are missing, and how long they are waited for."""


@dataclass(frozen=True, slots=True)
class SamplingSettings:
    """The settings of each galaxy's draws.

    Parameters
    ----------
    n_draws
        Number of Monte Carlo dropout draws for each source, 1 to 65535 (a histogram bin counts in 16 bits).
    seed
        Seed of the draws, 0 to 2**32 - 1.
    keep_draws
        Whether every draw of p_pm is written, too.
    """

    n_draws: int
    seed: int
    keep_draws: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.n_draws <= 65_535:
            raise ValueError(f"draws must lie between 1 and 65535, not {self.n_draws}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must lie between 0 and 2**32 - 1, not {self.seed}")


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """The engine and precision that compute the models.

    Parameters
    ----------
    name
        The engine. Engines agree within 1e-5, so the choice does not change a unit's key.
    precision
        Precision of the trunk. It changes the key.
    """

    name: EngineName = EngineName.AUTO
    precision: Precision = Precision.FLOAT32


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
        The digests from which the key was made, by name, so that a later plan can say what changed.
    n_rows
        Number of rows in the unit's file.
    status_counts
        Number of rows by status.
    digest
        SHA-256 of the unit's Parquet file.
    seconds
        Wall time of the work.
    worker
        Host and process of the worker.
    draws_digest
        SHA-256 of the Parquet file of its draws; None unless they are kept.
    engine
        Name of the engine that computed it; empty if no model was needed, or if an earlier version wrote the receipt.
    framework
        The framework that computed it, with its version and device, such as ``jax 0.7.2 on cpu``; empty without one.
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
    framework: str = ""


class Order(Protocol):
    """The work that a job asks of a worker.

    Orders are small frozen dataclasses that can be pickled. They name files and models; they never hold pixels, models or
    catalogs.
    """

    @property
    def verb(self) -> str:
        """One word for this kind of work, ``unit`` for example. Logs and Dask's dashboard use it."""
        ...


@runtime_checkable
class Task(Order, Protocol):
    """An order that needs no worker in particular: it carries itself out, in any process that sees the output folder.

    It may be carried out twice, if a worker is lost and found again, and leaves the same files then.
    """

    def carry_out(self) -> Any:
        """Do the work, and return a small value that can be pickled."""
        ...


Doing = Callable[[Sequence[Task]], list[Any]]
"""A function that has tasks carried out, and returns their results in the order of the tasks."""


def in_this_process(tasks: Sequence[Task]) -> list[Any]:
    """Carry out tasks one after the other, in this process.

    Parameters
    ----------
    tasks
        The tasks.
    """
    return [task.carry_out() for task in tasks]


@dataclass(frozen=True, slots=True)
class Job:
    """A job for a worker: an order, and what decides where and when it is done.

    Parameters
    ----------
    name
        Name of the job.
    order
        What the worker is to do.
    model_group
        Field and instrument whose models it needs, ``EGS/F814W``; empty if it needs none.
    n_sources
        Number of its sources, a measure of the work.
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


@dataclass(frozen=True, slots=True)
class JobResult:
    """The result of a job, or its error.

    Parameters
    ----------
    job
        The job.
    value
        What the worker returned; None after a failure.
    error
        What went wrong, in words; None after success.
    fatal
        Whether the error (such as a full disk) stops the run, not only this job.
    """

    job: Job
    value: Any = None
    error: str | None = None
    fatal: bool = False


class Worker(Protocol):
    """A worker that does jobs, and keeps models and open mosaics from one to the next.

    Two threads may call it at a time, so that one job reads or writes while another computes; the worker ensures that no two
    jobs compute at the same time.
    """

    def do(self, job: Job) -> Any:
        """Do a job, and return a small value that can be pickled.

        Raises
        ------
        TypeError
            If the worker does not know the job's order.
        """
        ...

    def close(self) -> None:
        """Release what is kept between jobs."""
        ...


class Executor(Protocol):
    """An executor that runs jobs in this process or on a cluster."""

    @property
    def dashboard(self) -> str | None:
        """Address of the page that shows what runs where; None if there is none."""
        ...

    def run(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
        """Yield a result for each job, as they end."""
        ...

    def close(self) -> None:
        """Release the workers that this executor has made."""
        ...
