"""Workers that need no models, for tests of whatever runs them."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from surveyflow.errors import DeviceMemoryError, ModelError, OutputError
from surveyflow.execution.watchdog import report_progress
from surveyflow.values.jobs import Job


class FakeWorker:
    """Does what a job's verb says.

    ``context`` may name a folder, ``diary``: each job appends a line ``<process> <name>`` to ``diary/<name>`` as it begins.
    """

    def __init__(self, context: dict[str, Any]) -> None:
        self.context = context
        self.n_jobs = 0
        self.n_at_work = 0
        self.is_open = True

    def do(self, job: Job) -> Any:
        self.n_jobs += 1
        self.n_at_work += 1
        try:
            self._note(job)
            return getattr(self, f"_{job.verb}")(job)
        finally:
            self.n_at_work -= 1

    def close(self) -> None:
        self.is_open = False

    def _note(self, job: Job) -> None:
        if "diary" in self.context:
            with (Path(self.context["diary"]) / job.name).open("a", encoding="utf-8") as diary:
                diary.write(f"{os.getpid()}\n")

    def _square(self, job: Job) -> int:
        return job.payload["number"] ** 2

    def _census(self, job: Job) -> tuple[int, int, int]:
        """Process, identity of this worker, jobs so far."""
        return os.getpid(), id(self), self.n_jobs

    def _environment(self, job: Job) -> dict[str, str]:
        return dict(os.environ)

    def _sleep(self, job: Job) -> str:
        time.sleep(job.payload["seconds"])
        return job.name

    def _company(self, job: Job) -> int:
        """How many jobs are done in this worker at the end of a nap."""
        time.sleep(job.payload["seconds"])
        return self.n_at_work

    def _is_open_after(self, job: Job) -> bool:
        """Whether this worker is still open at the end of a nap."""
        time.sleep(job.payload["seconds"])
        return self.is_open

    def _process(self, job: Job) -> int:
        """Say, after a nap, which process this is."""
        time.sleep(job.payload.get("seconds", 0))
        return os.getpid()

    def _exhaust_device(self, job: Job) -> None:
        """Find the device's memory full, always or (``times``) only the first few times."""
        if self._is_tired(job):
            return
        raise DeviceMemoryError("the device's memory is full even for the smallest batch")

    def _hang(self, job: Job) -> None:
        """Get on with nothing while the process lives, always or (``times``) only the first few times."""
        if not self._is_tired(job):
            threading.Event().wait()

    def _plod(self, job: Job) -> str:
        """Take long, but show signs of life."""
        for _ in range(job.payload["steps"]):
            time.sleep(job.payload["seconds"])
            report_progress()
        return job.name

    def _is_tired(self, job: Job) -> bool:
        """Whether this job has been begun often enough (``times``) to be good now."""
        return "times" in job.payload and len((Path(self.context["diary"]) / job.name).read_text().split()) > job.payload["times"]

    def _die(self, job: Job) -> None:
        """End this process the hard way, always or (``times``) only the first few times."""
        if self._is_tired(job):
            return
        os.write(2, f"{job.name} was here\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)

    def _freeze(self, job: Job) -> None:
        """Stop this process without ending it."""
        os.kill(os.getpid(), signal.SIGSTOP)

    def _crash(self, job: Job) -> None:
        """Do what a C library does when it is wrong."""
        ctypes.string_at(0)

    def _say(self, job: Job) -> None:
        print("to stdout", flush=True)
        print("to stderr", file=sys.stderr, flush=True)

    def _raise_value_error(self, job: Job) -> None:
        raise ValueError(job.payload["message"])

    def _raise_model_error(self, job: Job) -> None:
        raise ModelError("card.toml: no such model")

    def _raise_unpicklable(self, job: Job) -> None:
        raise UnpicklableError(lambda: None)

    def _return_unpicklable(self, job: Job) -> Any:
        return lambda: None

    def _fill_disk(self, job: Job) -> None:
        raise OutputError("catalogs/: no space left on device")


class UnpicklableError(Exception):
    """Holds what cannot be pickled."""

    def __str__(self) -> str:
        return "not for export"


def make_fake_worker(context: dict[str, Any]) -> FakeWorker:
    """Make a `FakeWorker`."""
    return FakeWorker(context)


def make_no_worker(context: dict[str, Any]) -> FakeWorker:
    """Fail, as a worker without its models would."""
    raise ModelError("store/: not found")
