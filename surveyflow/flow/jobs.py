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
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from surveyflow.errors import ClusterError, OutputError, SurveyflowError
from surveyflow.types import Job, JobResult, Worker

logger = logging.getLogger(__name__)

MOST_WORKERS = 2
"""Two runs may share a cluster; the models of a third would only fill its memory."""

_WORKERS: dict[WorkerSpec, Worker] = {}
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """How a process makes its worker object, as text that any machine understands.

    Parameters
    ----------
    factory
        ``package.module:callable``.
    context
        The callable's only argument, as JSON.
    """

    factory: str
    context: str

    @classmethod
    def of(cls, factory: str, context: Mapping[str, Any]) -> WorkerSpec:
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
        return cls(factory, json.dumps(context, sort_keys=True))

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
    """

    value: bytes | None = None
    error: str | None = None
    fatal: bool = False

    def result(self, job: Job) -> JobResult:
        """Say it of ``job``."""
        value = None if self.value is None else pickle.loads(self.value)  # noqa: S301 - made by do_job, within the same run
        return JobResult(job, value, self.error, self.fatal)


def do_job(spec: WorkerSpec, job: Job) -> Outcome:
    """Do one job with this process's worker, which is made on first use.

    Never raises: an exception may not survive pickling, so it is put in words here. Jobs of one process wait for each other,
    because a worker does one at a time.
    """
    with _ONE_AT_A_TIME:
        try:
            return Outcome(value=pickle.dumps(_worker(spec).do(job)))
        except Exception as error:
            logger.info("job=%s verb=%s failed", job.name, job.verb, exc_info=True)
            return Outcome(error=describe(error), fatal=isinstance(error, (OutputError, ClusterError)))


def forget_workers() -> None:
    """Close this process's workers, and so let go of their models and open mosaics."""
    with _ONE_AT_A_TIME:
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


def _worker(spec: WorkerSpec) -> Worker:
    """The worker of this process, made on first use; the one unused for longest gives way."""
    worker = _WORKERS.pop(spec, None) or spec.make()
    _WORKERS[spec] = worker
    if len(_WORKERS) > MOST_WORKERS:
        _WORKERS.pop(next(iter(_WORKERS))).close()
    return worker


def _here() -> str:
    return f"{socket.gethostname()} (process {os.getpid()})"
