"""The heartbeat of a worker: a file in the output folder that says what it is doing, and its log."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from surveyflow.execution.gpus import gpu_use
from surveyflow.execution.worker_logs import POOL_VARIABLE
from surveyflow.output.heartbeats import INTERVAL_S, Heartbeat, heartbeat_path, worker_log_path, write_heartbeat
from surveyflow.output.run_folders import JsonLog
from surveyflow.values.jobs import Job

logger = logging.getLogger(__name__)


class HeartbeatWriter:
    """Writes a worker's heartbeat every few seconds and logs each of its jobs, until it is stopped; jobs may overlap.

    Parameters
    ----------
    root
        The output folder.
    interval_s
        Seconds between heartbeats.
    """

    def __init__(self, root: Path, interval_s: float = INTERVAL_S) -> None:
        self.worker = f"{socket.gethostname()}-{os.getpid()}"
        self._root = root
        self._interval_s = interval_s
        self._started = time.time()
        self._jobs: dict[int, tuple[str, float]] = {}
        self._done = self._failed = 0
        self._count_lock = threading.Lock()
        self._stopped = threading.Event()
        self._process = psutil.Process()
        self._thread = threading.Thread(target=self._write_until_stopped, name="heartbeat", daemon=True)
        self._log = JsonLog(self._log_path())
        logger.info("worker=%s pool=%s begins", self.worker, _pool())
        self._thread.start()

    @contextmanager
    def during(self, job: Job) -> Iterator[None]:
        """Name ``job`` in the heartbeat while the block lasts, and log how it ended."""
        start = time.time()
        self._jobs[id(job)] = (job.name, start)
        try:
            yield
        except BaseException as error:
            self._count(failed=1)
            logger.warning("job=%s verb=%s seconds=%.2f failed: %s", job.name, job.verb, time.time() - start, error)
            raise
        else:
            self._count(done=1)
            logger.info("job=%s verb=%s seconds=%.2f done", job.name, job.verb, time.time() - start)
        finally:
            del self._jobs[id(job)]

    def stop(self) -> None:
        """Stop writing and remove the heartbeat; the log stays."""
        self._stopped.set()
        self._thread.join()
        with suppress(OSError):
            heartbeat_path(self._root, self.worker).unlink()
        logger.info("worker=%s ends", self.worker)
        self._log.close()

    def _log_path(self) -> Path:
        path = worker_log_path(self._root, self.worker)
        with suppress(OSError):  # without the folder there is no log: a plan does not make the output folder
            path.parent.mkdir(exist_ok=True)
        return path

    def _count(self, *, done: int = 0, failed: int = 0) -> None:
        with self._count_lock:
            self._done += done
            self._failed += failed

    def _write_until_stopped(self) -> None:
        while True:
            with suppress(OSError):  # a full disk is reported when results are written
                write_heartbeat(self._root, self._current())
            if self._stopped.wait(self._interval_s):
                return

    def _current(self) -> Heartbeat:
        job, since = min(self._jobs.copy().values(), key=lambda entry: entry[1], default=("", None))
        return Heartbeat(
            worker=self.worker,
            pool=_pool(),
            time=time.time(),
            started=self._started,
            job=job,
            job_since=since,
            done=self._done,
            failed=self._failed,
            memory_mb=round(self._process.memory_info().rss / 1e6, 1),
            gpus=gpu_use(),
        )


def _pool() -> str:
    return os.environ.get(POOL_VARIABLE, "local")
