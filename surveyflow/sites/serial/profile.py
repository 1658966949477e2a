"""The profile of kind ``serial``, and the executor that runs jobs in this process."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Literal, NoReturn

from surveyflow.execution.jobs import WorkerSpec, close_workers, do_job
from surveyflow.execution.limits import ClusterProfile
from surveyflow.settings.reader import SettingsTable
from surveyflow.sites.kind import THIS_PROCESS, Answer, Question, RunToRender, refuse_jobs
from surveyflow.values.jobs import Executor, Job, JobResult


class SerialExecutor:
    """Runs jobs one after another in this process, with the same results as any other executor.

    Parameters
    ----------
    factory
        ``package.module:callable`` that takes ``settings`` and returns a `surveyflow.values.jobs.Worker`.
    settings
        What the worker must know: a small frozen dataclass.
    """

    dashboard = None

    def __init__(self, factory: str, settings: Hashable) -> None:
        self._spec = WorkerSpec(factory, settings)

    def run(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
        """Yield a result for each job, in order; a fatal one is the last."""
        for job in jobs:
            result = do_job(self._spec, job).result(job)
            yield result
            if result.fatal:
                return

    def close(self) -> None:
        """Close the worker, and with it its models and open mosaics."""
        close_workers()


class SerialProfile(SettingsTable):
    """Everything in the process that was started."""

    kind: Literal["serial"] = "serial"

    @property
    def limits(self) -> ClusterProfile:
        """The limits of a user's own cluster, used with this profile: the defaults."""
        return ClusterProfile()

    @contextmanager
    def open(self, factory: str, settings: Hashable, _on_message: Callable[[str], None]) -> Iterator[Executor]:
        """Run jobs one after another in this process: see `surveyflow.sites.kind.Profile`."""
        with closing(SerialExecutor(factory, settings)) as executor:
            yield executor

    def inspect(self, question: Question) -> list[Answer]:
        """Ask this process: see `surveyflow.sites.kind.Profile`."""
        return [Answer(THIS_PROCESS, question())]

    def render(self, _run: RunToRender) -> NoReturn:
        """Refuse: the run starts at once, without jobs."""
        refuse_jobs()

    def submit(self, _run: RunToRender) -> NoReturn:
        """Refuse: the run starts at once, without jobs."""
        refuse_jobs()
