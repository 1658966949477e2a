"""The progress of a run, reported to its listeners."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from surveyflow.output.run_folders import Phase, Progress
from surveyflow.values.jobs import Job, JobResult

Listener = Callable[[Progress], None]


class Reporter:
    """Reports the progress of each phase to listeners.

    Parameters
    ----------
    listeners
        Called with every `Progress`.
    """

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self.listeners = list(listeners)

    def report(self, progress: Progress) -> None:
        """Report one event."""
        for listener in self.listeners:
            listener(progress)

    def report_workers(self, message: str) -> None:
        """Report a sentence about the workers."""
        self.report(Progress(Phase.WORKERS, message=message))

    def follow(
        self, phase: Phase, jobs: Sequence[Job], results: Iterator[JobResult], cutouts: Mapping[str, int] | None = None
    ) -> Iterator[JobResult]:
        """Pass results through and report each.

        Parameters
        ----------
        phase
            The phase.
        jobs
            All jobs of the phase.
        results
            Their results, as they end.
        cutouts
            Number of cutouts of each job, by name; no cutouts by default.
        """
        sizes = cutouts or {}
        start, cutouts_done, failed = time.monotonic(), 0, 0
        total = sum(sizes.values())
        self.report(Progress(phase, total=len(jobs), cutouts_total=total))
        for done, result in enumerate(results, start=1):
            failed += result.error is not None
            cutouts_done += sizes.get(result.job.name, 0)
            message = result.error or result.job.name
            seconds = time.monotonic() - start
            self.report(Progress(phase, done, len(jobs), cutouts_done, total, failed, seconds, message))
            yield result
