"""Runs that share a cluster of two workers and lose one of them each; every run must finish."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil

from kills.children import TIMEOUT_S
from kills.runs import Runs
from surveyflow.output.digest_cache import forget_digests
from surveyflow.output.run_folders import Phase, Progress
from surveyflow.runs.preflight import open_survey
from surveyflow.runs.run import run_survey
from surveyflow.settings.workflow import load_workflow
from surveyflow.sites.local.profile import LocalProfile

N_WORKERS = 2


class Workers(Runs):
    """A survey whose runs share a cluster, lose one of its workers each, and must finish.

    Moments are spread evenly between a run's start and the end of its last unit.

    Parameters
    ----------
    folder
        An empty folder.
    seed
        Seed of the moments and the victims.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self._stack = ExitStack()
        self._client = self._stack.enter_context(LocalProfile(workers=N_WORKERS).open_cluster()).client
        self._worked_s = 0.0
        super().__init__(folder, seed)

    def kill_once(self) -> None:
        """Kill a worker at a random moment of a run, which must finish."""
        self._await_workers()
        self._ended = threading.Event()
        killer = threading.Thread(target=self._kill_a_worker, args=(self.rng.uniform(0, self._worked_s),))
        killer.start()
        try:
            self._run()
        finally:
            self._ended.set()
            killer.join()
        self._check_published()
        self._complete()

    def close(self) -> None:
        """Close the cluster."""
        self._stack.close()

    def _run(self) -> None:
        self._await_workers()
        self._phase, self._start_s = "start", time.monotonic()
        with open_survey(load_workflow(self._survey.workflow)) as survey:
            result = run_survey(survey, LocalProfile(), client=self._client, factory="stubs:SlowWorker", listeners=[self._follow])
        assert result.exit_code == 0, result.failed_units

    def _await_workers(self) -> None:
        self._client.wait_for_workers(N_WORKERS, timeout=TIMEOUT_S)

    def _follow(self, progress: Progress) -> None:
        self._phase = str(progress.phase)
        if progress.phase is Phase.PUBLISH:
            self._worked_s = time.monotonic() - self._start_s

    def _kill_a_worker(self, moment_s: float) -> None:
        """Kill one of the workers at the given moment, unless the run has ended."""
        if self._ended.wait(moment_s):
            self.tally.too_late += 1
            return
        with suppress(psutil.NoSuchProcess):
            self.rng.choice(worker_processes()).kill()
            self.tally.landed[self._phase] += 1

    def _complete(self) -> None:
        super()._complete()
        forget_digests(self._root)


def worker_processes() -> list[psutil.Process]:
    """Find this process's workers, without Dask's helper processes."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if any("spawn_main" in word for word in child.cmdline()):
                found.append(child)
    return found
