"""An executor that runs jobs one after another in this process."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

from surveyflow.execution.jobs import WorkerSpec, close_workers, do_job
from surveyflow.values.jobs import Job, JobResult


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
