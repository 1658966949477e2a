"""What happens to a job on the worker that does it.

This is all that runs inside a worker process before the caller's own code: find the worker object, let it do the job, and
turn whatever comes of it into a small value that always survives the way back. It knows nothing of Dask.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import socket
import threading
import traceback
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from surveyflow.errors import ClusterError, DeviceMemoryError, OutputError, SurveyflowError
from surveyflow.execution.watchdog import watched
from surveyflow.values.jobs import Job, JobResult, Worker

logger = logging.getLogger(__name__)

MOST_WORKERS = 2
"""Two runs may share a cluster; the models of a third would only fill its memory."""

JOBS_AT_A_TIME = 2
"""Jobs that a process does at a time: one computes while another reads or writes."""

_WORKERS: dict[WorkerSpec, Worker] = {}
_BUSY: Counter[WorkerSpec] = Counter()
_CHANGING = threading.Lock()
_PLACES = threading.BoundedSemaphore(JOBS_AT_A_TIME)


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """How a process makes its worker object, as text that any machine understands.

    Parameters
    ----------
    factory
        ``package.module:callable``.
    context
        The callable's only argument, as JSON.
    silence_s
        A job that shows no sign of life for so long, seconds, ends its process; never if None.
    """

    factory: str
    context: str
    silence_s: float | None = None

    @classmethod
    def of(cls, factory: str, context: Mapping[str, Any], silence_s: float | None = None) -> WorkerSpec:
        """Check and freeze a factory and its context.

        Raises
        ------
        ValueError
            When ``factory`` does not look like ``package.module:callable``.
        TypeError
            When ``context`` holds something other than JSON's plain values.
        """
        module, colon, name = factory.partition(":")
        if not (module and colon and name.isidentifier()):
            raise ValueError(f"a worker factory is named 'package.module:callable', not {factory!r}")
        return cls(factory, json.dumps(context, sort_keys=True), silence_s)

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
            worker: Worker = factory(json.loads(self.context))
        except Exception as error:
            raise ClusterError(f"{self.factory} could not make a worker on {_here()}: {describe(error)}") from error
        return worker


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job, on its way back from the worker.

    Parameters
    ----------
    value
        What the worker returned, pickled; None after a failure.
    error
        What went wrong; None after success.
    fatal
        Whether no other job would fare better.
    spent
        Whether this process can do no more, but another may do even this job.
    """

    value: bytes | None = None
    error: str | None = None
    fatal: bool = False
    spent: bool = False

    def result(self, job: Job) -> JobResult:
        """Say it of ``job``."""
        value = None if self.value is None else pickle.loads(self.value)  # noqa: S301 - made by do_job, within the same run
        return JobResult(job, value, self.error, self.fatal)


def do_job(spec: WorkerSpec, job: Job, held: Collection[str] | None = None) -> Outcome:
    """Do one job with this process's worker, which is made on first use.

    Never raises: an exception may not survive pickling, so it is put in words here. Of several jobs of a process, two are done
    at a time.

    Parameters
    ----------
    spec
        How the worker is made.
    job
        What to do.
    held
        The places whose models this process may load; any, if None.
    """
    with _PLACES:
        try:
            _check_held(job, held)
            with watched(job.name, spec.silence_s), _at_work(spec) as worker:
                return Outcome(value=pickle.dumps(worker.do(job)))
        except Exception as error:
            logger.info("job=%s verb=%s failed", job.name, job.verb, exc_info=True)
            return Outcome(
                error=describe(error),
                fatal=isinstance(error, (OutputError, ClusterError)),
                spent=isinstance(error, DeviceMemoryError),
            )


def _check_held(job: Job, held: Collection[str] | None) -> None:
    if held is not None and job.place and job.place not in held:
        raise ClusterError(
            f"{_here()} was asked for the models of {job.place}, but holds {listed(held)} only. "
            'Start it with these models, or set routing = "any" in the profile.'
        )


def listed(names: Collection[str]) -> str:
    """Name things in a line, sorted; ``none`` where there are none."""
    return ", ".join(sorted(names)) or "none"


def forget_workers() -> None:
    """Close this process's workers, and so let go of their models and open mosaics."""
    with _CHANGING:
        while _WORKERS:
            _WORKERS.popitem()[1].close()


def describe(error: BaseException) -> str:
    """Put an exception in one line: type, message and, where it is none of ours, the place that raised it."""
    message = " ".join(str(error).split())
    line = f"{type(error).__name__}: {message}" if message else type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SurveyflowError) or not frames:
        return line
    return f"{line} ({Path(frames[-1].filename).name}:{frames[-1].lineno}, in {frames[-1].name})"


@contextmanager
def _at_work(spec: WorkerSpec) -> Iterator[Worker]:
    """The worker of this process, made on first use; the idle one that is unused for longest gives way."""
    with _CHANGING:
        worker = _WORKERS.pop(spec, None) or spec.make()
        _WORKERS[spec] = worker
        _BUSY[spec] += 1
        _retire()
    try:
        yield worker
    finally:
        with _CHANGING:
            _BUSY[spec] -= 1


def _retire() -> None:
    idle = [spec for spec in _WORKERS if not _BUSY[spec]]
    for spec in idle[: max(0, len(_WORKERS) - MOST_WORKERS)]:
        _WORKERS.pop(spec).close()
        del _BUSY[spec]


def _here() -> str:
    return f"{socket.gethostname()} (process {os.getpid()})"
