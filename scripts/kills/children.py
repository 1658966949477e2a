"""Child processes that report what they are doing, and are killed at a chosen moment.

Children are forked from a server process that has imported everything already, so that a kill costs no imports.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import psutil

TIMEOUT_S = 900.0
PRELOADED = ["kills.runs", "kills.releases", "surveyflow.releases.publish", "surveyflow.runs.run", "surveyflow.runs.preflight"]

Report = Callable[[str], None]
Choice = Callable[[psutil.Process], psutil.Process]
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(PRELOADED)


@dataclass
class Tally:
    """The counts of a target.

    Parameters
    ----------
    landed
        Number of kills that ended their process, by what it was doing.
    too_late
        Number of kills that found their process ended already. They say nothing.
    completed
        Number of undisturbed ends, after each of which the results were compared.
    seconds
        Duration.
    """

    landed: Counter[str] = field(default_factory=Counter)
    too_late: int = 0
    completed: int = 0
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """The counts as JSON values."""
        return {
            "landed": self.landed.total(),
            "during": dict(self.landed.most_common()),
            "too_late": self.too_late,
            "completed": self.completed,
            "seconds": round(self.seconds),
        }


class Target(ABC):
    """What is killed again and again.

    Parameters
    ----------
    seed
        Seed of the moments and the victims.
    """

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.tally = Tally()

    @abstractmethod
    def kill_once(self) -> None:
        """Kill once, and check what is left."""

    def finish(self) -> None:  # noqa: B027 - most have nothing to check
        """Check everything in the end, undisturbed."""

    def close(self) -> None:  # noqa: B027 - most start nothing
        """End what it has started."""


class Child:
    """A process that calls ``work(report, *arguments)``.

    Parameters
    ----------
    work
        A function of a module; it may report what it is doing.
    arguments
        Its arguments.
    """

    def __init__(self, work: Callable[..., object], *arguments: Any) -> None:
        self._heard, sending = _CONTEXT.Pipe(duplex=False)
        self._process = _CONTEXT.Process(target=_report_and_work, args=(sending, work, arguments))
        self._process.start()
        sending.close()
        self.phase = "start"
        self.begins: dict[str, float] = {}
        self._listen_until("begins")
        self._begin = time.monotonic()

    def finish(self) -> float:
        """Wait for its end, and return how long it took, seconds."""
        self._listen_until(None)
        self._process.join(TIMEOUT_S)
        if self._process.exitcode != 0:
            raise AssertionError(f"an undisturbed process ended with {self._process.exitcode} during {self.phase}")
        return time.monotonic() - self._begin

    def kill(self, tally: Tally, delay_s: float, after: str | None = None, choose: Choice = lambda process: process) -> bool:
        """Kill it, or a process that belongs to it, some time after it began or after it reported something.

        Returns
        -------
        Whether it has ended by itself, before the kill or in spite of it.
        """
        if after is not None:
            self._listen_until(after)
        self._listen_for(delay_s)
        phase = self.phase
        landed = self._strike(choose)
        self._listen_until(None)
        self._process.join(TIMEOUT_S)
        code = self._process.exitcode
        if code not in (0, -signal.SIGKILL):
            raise AssertionError(f"killed during {phase}: the process ended with {code}")
        if landed:
            tally.landed[phase] += 1
        else:
            tally.too_late += 1
        return code == 0

    def _strike(self, choose: Choice) -> bool:
        """Kill a process; False if it has ended before."""
        with suppress(psutil.NoSuchProcess):
            victim = choose(psutil.Process(self._process.pid))
            if victim.status() != psutil.STATUS_ZOMBIE:
                victim.kill()
                return victim.pid != self._process.pid or self._was_killed()
        return False

    def _was_killed(self) -> bool:
        self._process.join(TIMEOUT_S)
        return self._process.exitcode == -signal.SIGKILL

    def _listen_until(self, phase: str | None) -> None:
        """Hear reports until one of them is awaited, or the process has ended."""
        while self.phase != phase and self._hear(TIMEOUT_S):
            pass

    def _listen_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and self._hear(left):
            pass

    def _hear(self, patience_s: float) -> bool:
        """Hear one report; False if the process has ended, or says nothing for so long."""
        try:
            if self._heard.poll(patience_s):
                self.phase = self._heard.recv()
                self.begins.setdefault(self.phase, time.monotonic())
                return True
        except (EOFError, OSError):
            pass
        return False


def _report_and_work(sending: Connection, work: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    sending.send("begins")
    work(sending.send, *arguments)
    sys.stdout.flush()
