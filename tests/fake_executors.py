"""Executors that run no job, or run it with doubles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager

from surveyflow.measuring.orders import WorkerSettings
from surveyflow.runs.execute import LateExecutor
from surveyflow.sites.serial.profile import SerialExecutor
from surveyflow.values.jobs import Executor, Job, JobResult


@contextmanager
def stub_executor(settings: WorkerSettings) -> Iterator[LateExecutor]:
    """The executor of a serial run, whose worker measures with stubs."""
    with ExitStack() as stack:
        yield LateExecutor(stack, lambda: closing(SerialExecutor("stubs:StubWorker", settings)), in_this_process=True)


class NotingExecutor:
    """Does nothing but note the jobs that it was given."""

    dashboard: str | None = None

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def run(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
        self.jobs += jobs
        return iter(())

    def close(self) -> None:
        """Nothing is held."""


class Killed(BaseException):
    """Stands for SIGKILL: nothing may handle it."""


class KilledExecutor:
    """Is killed once it has been given a job."""

    dashboard: str | None = None

    def run(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
        raise Killed

    def close(self) -> None:
        """Nothing is held."""


_: tuple[type[Executor], ...] = (NotingExecutor, KilledExecutor)
