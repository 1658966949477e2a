"""A watchdog that ends the process of a job that no longer makes progress.

A job reports its progress by `report_progress`, from the thread that does it. The watchdog is another thread of the same process:
when a job stops, it writes where every thread is and ends the process, and the process's jobs go elsewhere. If the whole process
hangs, and its watchdog with it, Dask's scheduler misses its heartbeat and ends it from outside.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from surveyflow.execution.worker_logs import REASON_PREFIX

logger = logging.getLogger(__name__)

INTERVAL_S = 0.5
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
        time.sleep(INTERVAL_S)


def _line_of(thread: int) -> str:
    frame = sys._current_frames().get(thread)  # noqa: SLF001 - documented, and there is no other way
    if frame is None:
        return "and is gone"
    return f"in {frame.f_code.co_name} ({Path(frame.f_code.co_filename).name}:{frame.f_lineno})"
