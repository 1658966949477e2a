"""Executors that run no job."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from surveyflow.values.jobs import Executor, Job, JobResult


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
