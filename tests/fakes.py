"""Workers that need no models, for tests of whatever runs them."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surveyflow.errors import DeviceMemoryError, ModelError, OutputError
from surveyflow.execution.heartbeat import report_progress
from surveyflow.values.jobs import Job, Worker
from waiting import wait_until


@dataclass(frozen=True, slots=True)
class FakeOrder:
    """What a `FakeWorker` is asked to do: one of its methods, and what some of them need to know."""

    verb: str
    number: int = 0
    seconds: float = 0.0
    steps: int = 0
    message: str = ""
    times: int | None = None
    """How many times trouble comes before the order can be done; it always comes if None."""
    path: Path | None = None
    """The file that some orders wait for."""
    wanted: int = 1
    """How many jobs must have been done at a time."""


def fake_job(name: str, verb: str, model_group: str = "", n_sources: int = 1, **more: Any) -> Job:
    """A job with a `FakeOrder`."""
    return Job(name, FakeOrder(verb, **more), model_group, n_sources)


@dataclass(frozen=True, slots=True)
class FakeSettings:
    """What a `FakeWorker` is made with.

    Each job appends a line ``<process> <name>`` to the file of its name in the folder ``diary`` as it begins; nothing is written
    if that is None. ``seed`` tells apart workers that are otherwise equal.
    """

    diary: Path | None = None
    seed: int = 0


class FakeWorker:
    """Does what the verb of a `FakeOrder` says."""

    def __init__(self, settings: FakeSettings) -> None:
        self.settings = settings
        self.n_jobs = 0
        self.n_at_work = 0
        self.most_at_work = 0
        self.is_open = True

    def do(self, job: Job) -> Any:
        if not isinstance(job.order, FakeOrder):
            raise TypeError(f"a fake worker cannot do {job.order}")
        self.n_jobs += 1
        self.n_at_work += 1
        self.most_at_work = max(self.most_at_work, self.n_at_work)
        try:
            self._note(job)
            deed: Callable[[Job, FakeOrder], Any] = getattr(self, f"_{job.order.verb}")
            return deed(job, job.order)
        finally:
            self.n_at_work -= 1

    def close(self) -> None:
        self.is_open = False

    def _note(self, job: Job) -> None:
        if self.settings.diary is not None:
            with (self.settings.diary / job.name).open("a", encoding="utf-8") as diary:
                diary.write(f"{os.getpid()}\n")

    def _square(self, job: Job, order: FakeOrder) -> int:
        return order.number**2

    def _census(self, job: Job, order: FakeOrder) -> tuple[int, int, int]:
        """Process, identity of this worker, jobs so far."""
        return os.getpid(), id(self), self.n_jobs

    def _environment(self, job: Job, order: FakeOrder) -> dict[str, str]:
        return dict(os.environ)

    def _sleep(self, job: Job, order: FakeOrder) -> str:
        time.sleep(order.seconds)
        return job.name

    def _until(self, job: Job, order: FakeOrder) -> str:
        """Take until a file is there."""
        path = order.path
        if path is None:
            raise ValueError(f"{job.name} names no file to wait for")
        wait_until(path.exists, f"{path} is there")
        return job.name

    def _company(self, job: Job, order: FakeOrder) -> int:
        """The most jobs that this worker has done at a time, at the end of a nap that begins once they are ``wanted``."""
        wait_until(lambda: self.most_at_work >= order.wanted, "the company has come")
        time.sleep(order.seconds)
        return self.most_at_work

    def _is_open_after(self, job: Job, order: FakeOrder) -> bool:
        """Whether this worker is still open when a file is there."""
        self._until(job, order)
        return self.is_open

    def _process(self, job: Job, order: FakeOrder) -> int:
        """Say, after a nap, which process this is."""
        time.sleep(order.seconds)
        return os.getpid()

    def _exhaust_device(self, job: Job, order: FakeOrder) -> None:
        """Find the device's memory full, always or (``times``) only the first few times."""
        if self._is_tired(job, order):
            return
        raise DeviceMemoryError("the device's memory is full even for the smallest batch")

    def _hang(self, job: Job, order: FakeOrder) -> None:
        """Get on with nothing while the process lives, always or (``times``) only the first few times."""
        if not self._is_tired(job, order):
            threading.Event().wait()

    def _plod(self, job: Job, order: FakeOrder) -> str:
        """Take long, but show signs of life."""
        for _ in range(order.steps):
            time.sleep(order.seconds)
            report_progress()
        return job.name

    def _is_tired(self, job: Job, order: FakeOrder) -> bool:
        """Whether this job has been begun often enough (``times``) to be good now."""
        if order.times is None or self.settings.diary is None:
            return False
        return len((self.settings.diary / job.name).read_text().split()) > order.times

    def _die(self, job: Job, order: FakeOrder) -> None:
        """End this process the hard way, always or (``times``) only the first few times."""
        if self._is_tired(job, order):
            return
        os.write(2, f"{job.name} was here\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)

    def _freeze(self, job: Job, order: FakeOrder) -> None:
        """Stop this process without ending it."""
        os.kill(os.getpid(), signal.SIGSTOP)

    def _crash(self, job: Job, order: FakeOrder) -> None:
        """Do what a C library does when it is wrong."""
        ctypes.string_at(0)

    def _say(self, job: Job, order: FakeOrder) -> None:
        print("to stdout", flush=True)
        print("to stderr", file=sys.stderr, flush=True)

    def _raise_value_error(self, job: Job, order: FakeOrder) -> None:
        raise ValueError(order.message)

    def _raise_model_error(self, job: Job, order: FakeOrder) -> None:
        raise ModelError("card.toml: no such model")

    def _raise_unpicklable(self, job: Job, order: FakeOrder) -> None:
        raise UnpicklableError(lambda: None)

    def _return_unpicklable(self, job: Job, order: FakeOrder) -> Any:
        return lambda: None

    def _fill_disk(self, job: Job, order: FakeOrder) -> None:
        raise OutputError("catalogs/: no space left on device")


_: type[Worker] = FakeWorker


class UnpicklableError(Exception):
    """Holds what cannot be pickled."""

    def __str__(self) -> str:
        return "not for export"


def make_fake_worker(settings: FakeSettings) -> Worker:
    """Make a `FakeWorker`."""
    return FakeWorker(settings)


def make_no_worker(settings: FakeSettings) -> Worker:
    """Fail, as a worker without its models would."""
    raise ModelError("store/: not found")
