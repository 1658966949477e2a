"""Doing one job inside a worker process.

This is all that runs in a worker process before the caller's own code: it finds the worker object, has it do the job, and turns
the result or the error into a small value that can always be sent back. It does not use Dask.
"""

from __future__ import annotations

import logging
import os
import pickle
import socket
import threading
import traceback
from collections import Counter
from collections.abc import Collection, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, is_dataclass
from importlib import import_module
from pathlib import Path

from surveyflow.errors import ClusterError, DeviceMemoryError, OutputError, SurveyflowError
from surveyflow.execution.heartbeat import watched
from surveyflow.values.jobs import Job, JobResult, Worker

logger = logging.getLogger(__name__)

MOST_WORKERS = 2
"""Worker objects that a process keeps: two runs may share a cluster; the models of a third would only fill its memory."""

JOBS_AT_A_TIME = 2
"""Jobs that a process does at the same time: one computes while another reads or writes."""

_WORKERS: dict[WorkerSpec, Worker] = {}
_N_JOBS: Counter[WorkerSpec] = Counter()
_LOCK = threading.Lock()
_SLOTS = threading.BoundedSemaphore(JOBS_AT_A_TIME)


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """How a process makes its worker object.

    Parameters
    ----------
    factory
        ``package.module:callable``.
    settings
        The callable's only argument: a frozen dataclass. A process makes one worker for all jobs with equal settings.
    silence_s
        If a job makes no progress for so long, seconds, its process ends; no limit if None.

    Raises
    ------
    ValueError
        If ``factory`` does not look like ``package.module:callable``.
    TypeError
        If ``settings`` is not a frozen dataclass, or holds a value that can change.
    """

    factory: str
    settings: Hashable
    silence_s: float | None = None

    def __post_init__(self) -> None:
        module, colon, name = self.factory.partition(":")
        if not (module and colon and name.isidentifier()):
            raise ValueError(f"a worker factory is named 'package.module:callable', not {self.factory!r}")
        if not is_dataclass(self.settings) or isinstance(self.settings, type):
            raise TypeError(f"a worker's settings are a frozen dataclass, not {self.settings!r}")
        hash(self.settings)  # raises TypeError

    def make(self) -> Worker:
        """Import the factory and call it.

        Raises
        ------
        ClusterError
            When it cannot be imported, or fails.
        """
        module, _, name = self.factory.partition(":")
        try:
            factory = getattr(import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise ClusterError(
                f"{self.factory} cannot be imported on {_here()}: {error}. "
                "Give the workers the environment in which the run was started."
            ) from error
        try:
            worker: Worker = factory(self.settings)
        except Exception as error:
            raise ClusterError(f"{self.factory} could not make a worker on {_here()}: {describe(error)}") from error
        return worker


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """The result or the error of a job, as the worker sends it back.

    Parameters
    ----------
    value
        What the worker returned, pickled; None after a failure.
    error
        What went wrong; None after success.
    fatal
        Whether every other job would fail, too.
    needs_restart
        Whether this process must be restarted; the job itself may succeed in another.
    """

    value: bytes | None = None
    error: str | None = None
    fatal: bool = False
    needs_restart: bool = False

    def result(self, job: Job) -> JobResult:
        """The result of ``job``, with its value unpickled."""
        value = None if self.value is None else pickle.loads(self.value)  # noqa: S301 - made by do_job, within the same run
        return JobResult(job, value, self.error, self.fatal)


def do_job(spec: WorkerSpec, job: Job, pinned_to: Collection[str] | None = None) -> JobOutcome:
    """Do one job with this process's worker, which is made on first use.

    It never raises: some exceptions cannot be pickled, so each is turned into a sentence here. A process does two jobs at the
    same time; further ones wait.

    Parameters
    ----------
    spec
        How the worker is made.
    job
        What to do.
    pinned_to
        The model groups whose models this process may load; any, if None.
    """
    with _SLOTS:
        try:
            _check_pinned(job, pinned_to)
            with watched(job.name, spec.silence_s), _worker_in_use(spec) as worker:
                return JobOutcome(value=pickle.dumps(worker.do(job)))
        except Exception as error:
            logger.info("job=%s verb=%s failed", job.name, job.order.verb, exc_info=True)
            return JobOutcome(
                error=describe(error),
                fatal=isinstance(error, (OutputError, ClusterError)),
                needs_restart=isinstance(error, DeviceMemoryError),
            )


def _check_pinned(job: Job, pinned_to: Collection[str] | None) -> None:
    if pinned_to is not None and job.model_group and job.model_group not in pinned_to:
        raise ClusterError(
            f"{_here()} was asked for the models of {job.model_group}, but holds {listed(pinned_to)} only. "
            'Start it with these models, or set routing = "any" in the profile.'
        )


def listed(names: Collection[str]) -> str:
    """The names, sorted and separated by commas; ``none`` without any."""
    return ", ".join(sorted(names)) or "none"


def close_workers() -> None:
    """Close this process's workers, and with them their models and open mosaics."""
    with _LOCK:
        while _WORKERS:
            _WORKERS.popitem()[1].close()


def describe(error: BaseException) -> str:
    """Describe an exception in one line: its type, its message and, unless it is surveyflow's own, the line that raised it."""
    message = " ".join(str(error).split())
    line = f"{type(error).__name__}: {message}" if message else type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SurveyflowError) or not frames:
        return line
    return f"{line} ({Path(frames[-1].filename).name}:{frames[-1].lineno}, in {frames[-1].name})"


@contextmanager
def _worker_in_use(spec: WorkerSpec) -> Iterator[Worker]:
    """The worker of this process, made on first use; if there are too many, the one that was idle for longest is closed."""
    with _LOCK:
        worker = _WORKERS.pop(spec, None) or spec.make()
        _WORKERS[spec] = worker
        _N_JOBS[spec] += 1
        _close_idle()
    try:
        yield worker
    finally:
        with _LOCK:
            _N_JOBS[spec] -= 1


def _close_idle() -> None:
    idle = [spec for spec in _WORKERS if not _N_JOBS[spec]]
    for spec in idle[: max(0, len(_WORKERS) - MOST_WORKERS)]:
        _WORKERS.pop(spec).close()
        del _N_JOBS[spec]


def _here() -> str:
    return f"{socket.gethostname()} (process {os.getpid()})"
