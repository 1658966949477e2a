"""Workers that need no models, for tests of whatever runs them."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from surveyflow.errors import ModelError, OutputError
from surveyflow.types import Job


class FakeWorker:
    """Does what a job's verb says.

    ``context`` may name a folder, ``diary``: each job appends a line ``<process> <name>`` to ``diary/<name>`` as it begins.
    """

    def __init__(self, context: dict[str, Any]) -> None:
        self.context = context
        self.n_jobs = 0

    def do(self, job: Job) -> Any:
        self.n_jobs += 1
        self._note(job)
        return getattr(self, f"_{job.verb}")(job)

    def close(self) -> None:
        """Hold nothing."""

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

    def _overlap(self, job: Job) -> bool:
        """Tell whether another job ran in this worker meanwhile."""
        n_jobs = self.n_jobs
        time.sleep(job.payload["seconds"])
        return self.n_jobs != n_jobs

    def _die(self, job: Job) -> None:
        """End this process the hard way, always or (``times``) only the first few times."""
        if "times" in job.payload and len((Path(self.context["diary"]) / job.name).read_text().split()) > job.payload["times"]:
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
