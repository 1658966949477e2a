"""Whether a job that has begun still gets on; if not, its process says where it hangs, and ends, and its jobs go elsewhere.

A job shows signs of life by `beat`, from the thread that does it. The watchman is a thread of the same process. A process that
hangs altogether, and its watchman with it, shows its scheduler no sign of life, either, and is ended from outside.
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

from surveyflow.execution.worker_logs import VERDICT

logger = logging.getLogger(__name__)

LOOK_AGAIN_S = 0.5
EXIT_CODE = 70
"""What a process ends with that gives itself up."""


@dataclass(slots=True)
class _Pulse:
    """When a thread's job was last alive, and for how long it may be silent; None while it waits for its turn."""

    name: str
    silence_s: float
    at: float | None


_PULSES: dict[int, _Pulse] = {}
_STARTING = threading.Lock()
_watchman: threading.Thread | None = None


@contextmanager
def watched(name: str, silence_s: float | None) -> Iterator[None]:
    """Have the calling thread's job watched.

    Parameters
    ----------
    name
        The job's name.
    silence_s
        Without a sign of life for so long, seconds, the process ends; never if None.
    """
    if silence_s is None:
        yield
        return
    _PULSES[threading.get_ident()] = _Pulse(name, silence_s, time.monotonic())
    _start_watchman()
    try:
        yield
    finally:
        _PULSES.pop(threading.get_ident(), None)


def beat() -> None:
    """Show that the calling thread's job gets on; without effect where nobody watches."""
    if pulse := _PULSES.get(threading.get_ident()):
        pulse.at = time.monotonic()


@contextmanager
def turn(lock: threading.Lock) -> Iterator[None]:
    """Hold a lock; the wait for it is no silence."""
    pulse = _PULSES.get(threading.get_ident())
    if pulse:
        pulse.at = None
    with lock:
        beat()
        yield


def end_process(reason: str) -> NoReturn:
    """Write where every thread is, and why this process ends, and end it at once: whoever started it starts another."""
    logger.critical("process=%d ends: %s", os.getpid(), reason)
    faulthandler.dump_traceback(all_threads=True)
    sys.stderr.write(f"{VERDICT} {reason}\n")
    sys.stderr.flush()
    os._exit(EXIT_CODE)


def _start_watchman() -> None:
    global _watchman  # noqa: PLW0603 - one a process
    with _STARTING:
        if _watchman is None:
            _watchman = threading.Thread(target=_watch, name="surveyflow-watchman", daemon=True)
            _watchman.start()


def _watch() -> None:
    while True:
        for thread, pulse in list(_PULSES.items()):
            if pulse.at is not None and time.monotonic() - pulse.at > pulse.silence_s:
                end_process(f"{pulse.name} has shown no sign of life for {pulse.silence_s:g} s, {_place_of(thread)}")
        time.sleep(LOOK_AGAIN_S)


def _place_of(thread: int) -> str:
    frame = sys._current_frames().get(thread)  # noqa: SLF001 - documented, and there is no other way
    if frame is None:
        return "and is gone"
    return f"in {frame.f_code.co_name} ({Path(frame.f_code.co_filename).name}:{frame.f_lineno})"
