"""Runs of a small survey, killed in any phase: the driver, or with a local cluster any of its processes."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from kills.children import Child, Report, Target
from stubs import TINY, check_stubbed
from surveyflow.output.digest_cache import forget_digests
from surveyflow.output.run_folders import Phase
from surveyflow.releases.publish import latest, read_catalog
from surveyflow.releases.verify import check_revision
from surveyflow.runs.preflight import open_survey
from surveyflow.runs.run import run_survey
from surveyflow.settings.workflow import load_workflow
from surveyflow.sites.profiles import load_profile
from worlds import MiniSurvey, edit_workflow, write_untrained_models

MOMENTS = ("begins", Phase.UNITS, Phase.PUBLISH)
"""What a run must have begun before it is killed: each as often as the others, however short it is."""
NEW_WORK_SHARE = 0.6
"""Share of the kills before which units are removed, because a killed run leaves less to interrupt than it found."""


class Runs(Target):
    """A survey that is run and killed again and again.

    Parameters
    ----------
    folder
        An empty folder.
    seed
        Seed of the moments and the victims.
    profile
        ``serial``, or ``local`` for runs with a cluster of their own.
    """

    def __init__(self, folder: Path, seed: int, profile: str = "serial") -> None:
        super().__init__(seed)
        self._profile = profile
        self._survey = MiniSurvey(folder)
        write_untrained_models(folder / "models", self._survey.spec.fields, TINY)
        self._root = folder / "catalog"
        self._releases, self._lasts_s = 0, {}
        self._run()
        check_stubbed(self._root)
        self._expected = self._table()

    def kill_once(self) -> None:
        """Start a run and kill it at a random moment; if it ends nevertheless, there is new work for the next."""
        choose = self._driver if self._profile == "serial" else self._any
        if self.rng.random() < NEW_WORK_SHARE:
            self._remove_work()
        after = MOMENTS[self.rng.integers(len(MOMENTS))]
        ended = self._start().kill(self.tally, self.rng.uniform(0, self._lasts_s[after]), after, choose)
        self._check_published()
        if ended:
            self._complete()

    def finish(self) -> None:
        """Run to the end, compare, and look for leftovers."""
        self._run()
        self._check_published()
        self._complete()
        self._run()
        hidden = [*self._root.glob("releases/.*"), *self._root.glob("margins/.*"), *self._root.rglob(".*.tmp")]
        leftovers = [*hidden, *self._root.glob("run.lock*")]
        assert not leftovers, leftovers

    def _run(self) -> None:
        """Run to the end, undisturbed, and see how long everything takes."""
        child = self._start()
        child.finish()
        times = [*(child.begins.get(moment, time.monotonic()) for moment in MOMENTS), time.monotonic()]
        self._lasts_s = {moment: max(0.1, end - begin) for moment, begin, end in zip(MOMENTS, times, times[1:], strict=False)}

    def _start(self) -> Child:
        return Child(run, self._survey.workflow, self._profile)

    def _driver(self, driver: psutil.Process) -> psutil.Process:
        return driver

    def _any(self, driver: psutil.Process) -> psutil.Process:
        others = driver.children(recursive=True)
        return self.rng.choice(others) if others and self.rng.random() < 0.5 else driver

    def _table(self) -> pd.DataFrame:
        return read_catalog(self._root).sort_values(["field", "source_id"]).reset_index(drop=True)

    def _check_published(self) -> None:
        """What readers see is complete, unchanged and made by the stub."""
        check_stubbed(self._root)
        revision = latest(self._root)
        assert revision is not None
        check_revision(revision.path)
        pd.testing.assert_frame_equal(self._table(), self._expected)

    def _complete(self) -> None:
        """Remove half of the units and rename the release, so that the next run has to work and to publish."""
        self.tally.completed += 1
        self._remove_work()
        self._releases += 1
        edit_workflow(self._survey.workflow, {"survey": {"release": f"release{self._releases}"}})

    def _remove_work(self) -> None:
        """Remove units until half of all are left, and sometimes the digests of the mosaics."""
        files = sorted((self._root / "units").glob("*/*.parquet"))
        n_units = len(list((self._root / "units").glob("*/*.json")))
        for path in self.rng.choice(np.array(files), max(0, len(files) - n_units // 2), replace=False):
            path.unlink()
        if self.rng.random() < 0.3:
            forget_digests(self._root)


def run(report: Report, workflow: Path, profile: str) -> None:
    """Run a survey with the stub in the place of its models."""
    with open_survey(load_workflow(workflow)) as survey:
        result = run_survey(
            survey, load_profile(profile), factory="stubs:StubWorker", listeners=[lambda progress: report(str(progress.phase))]
        )
    assert result.exit_code == 0, result.failed_units


LocalRuns = partial(Runs, profile="local")
