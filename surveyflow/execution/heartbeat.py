"""The heartbeat of a worker, a file in the output folder that says what it is doing; and the watchdog of its jobs.

The watchdog ends the process of a job that no longer makes progress. A job reports its progress by `report_progress`, from the
thread that does it. The watchdog is another thread of the same process: when a job stops, it writes where every thread is and
ends the process, and the process's jobs go elsewhere. If the whole process hangs, and its watchdog with it, Dask's scheduler
misses its heartbeat and ends it from outside.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import psutil

from surveyflow.execution.gpus import gpu_use
from surveyflow.execution.worker_logs import POOL_VARIABLE, REASON_PREFIX
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
            logger.warning("job=%s verb=%s seconds=%.2f failed: %s", job.name, job.order.verb, time.time() - start, error)
            raise
        else:
            self._count(done=1)
            logger.info("job=%s verb=%s seconds=%.2f done", job.name, job.order.verb, time.time() - start)
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


LOOK_EVERY_S = 0.5
"""Seconds between two looks at the jobs of a process."""
EXIT_CODE = 70
"""Exit code of a process that ends itself."""


@dataclass(slots=True)
class _WatchedJob:
    """The job of a thread: the time of its last progress, and how long it may make none; no time while it waits for a lock."""

    name: str
    silence_s: float
    progress_at: float | None


_WATCHED: dict[int, _WatchedJob] = {}
_STARTING = threading.Lock()
_watchdog: threading.Thread | None = None


@contextmanager
def watched(name: str, silence_s: float | None) -> Iterator[None]:
    """Watch the job of the calling thread while the block lasts.

    Parameters
    ----------
    name
        The job's name.
    silence_s
        The process ends if the job reports no progress for so long, seconds; no limit if None.
    """
    if silence_s is None:
        yield
        return
    _WATCHED[threading.get_ident()] = _WatchedJob(name, silence_s, time.monotonic())
    _start_watchdog()
    try:
        yield
    finally:
        _WATCHED.pop(threading.get_ident(), None)


def report_progress() -> None:
    """Report that the job of the calling thread makes progress; without effect if it is not watched."""
    if job := _WATCHED.get(threading.get_ident()):
        job.progress_at = time.monotonic()


@contextmanager
def locked(lock: threading.Lock) -> Iterator[None]:
    """Hold a lock while the block lasts; the time spent waiting for it doesn't count."""
    job = _WATCHED.get(threading.get_ident())
    if job:
        job.progress_at = None
    with lock:
        report_progress()
        yield


def end_process(reason: str) -> NoReturn:
    """Write where every thread is and why this process ends, and end it at once; whoever started it starts another."""
    logger.critical("process=%d ends: %s", os.getpid(), reason)
    faulthandler.dump_traceback(all_threads=True)
    sys.stderr.write(f"{REASON_PREFIX} {reason}\n")
    sys.stderr.flush()
    os._exit(EXIT_CODE)


def _start_watchdog() -> None:
    global _watchdog  # noqa: PLW0603 - one a process
    with _STARTING:
        if _watchdog is None:
            _watchdog = threading.Thread(target=_watch, name="surveyflow-watchdog", daemon=True)
            _watchdog.start()


def _watch() -> None:
    while True:
        for thread, job in list(_WATCHED.items()):
            if job.progress_at is not None and time.monotonic() - job.progress_at > job.silence_s:
                end_process(f"{job.name} has shown no sign of life for {job.silence_s:g} s, {_line_of(thread)}")
        time.sleep(LOOK_EVERY_S)


def _line_of(thread: int) -> str:
    frame = sys._current_frames().get(thread)  # noqa: SLF001 - documented, and there is no other way
    if frame is None:
        return "and is gone"
    return f"in {frame.f_code.co_name} ({Path(frame.f_code.co_filename).name}:{frame.f_lineno})"
