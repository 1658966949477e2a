"""Waiting for events instead of for a number of seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

import psutil

PATIENCE_S = 240.0
"""Only what hangs takes so long; under the timeout of a test, which could not say what was waited for."""

Found = TypeVar("Found")


def wait_until(condition: Callable[[], Found], what: str, patience_s: float = PATIENCE_S) -> Found:
    """Wait until something is true, and return it; or say what never came true."""
    deadline = time.monotonic() + patience_s
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"after {patience_s:g} s, still not so: {what}")
        time.sleep(0.02)
    return found


def wait_until_gone(processes: Iterable[psutil.Process]) -> None:
    """Wait until processes have ended; one that nobody has asked for its exit code yet has ended, too."""
    for process in processes:
        wait_until(partial(_has_ended, process), f"{process} has ended")


def _has_ended(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
