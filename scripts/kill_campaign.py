"""Kill runs at random moments, with SIGKILL, and check that nothing is ever lost, doubled or half published.

    python scripts/kill_campaign.py --kills 200 --seed 1 --profile local

Runs a small simulated survey again and again in a process of its own, with a stub in the model's place, and kills that
process or, with the local profile, one of its workers. After every kill, whatever `latest` names must be a complete
catalog; after every run that was let through, the table must equal that of an undisturbed run. Then half of the units'
files are taken away and the release gets a new name, so that the next run has work to do.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from stubs import TINY  # noqa: E402
from surveyflow.catalog.releases import latest, read_catalog  # noqa: E402
from surveyflow.flow.clusters import load_profile  # noqa: E402
from surveyflow.inputs.workflow import load_workflow  # noqa: E402
from surveyflow.runs.preflight import open_survey  # noqa: E402
from surveyflow.runs.whole import run_survey  # noqa: E402
from worlds import (  # noqa: E402
    MiniSurvey,
    edit_workflow,
    write_untrained_models,
)

CHILD_TIMEOUT_S = 120.0


@dataclass
class Campaign:
    """One survey that is run and killed.

    Parameters
    ----------
    folder
        Where the survey lies.
    profile
        ``serial`` or ``local``.
    seed
        Chooses the moments and the victims.
    """

    folder: Path
    profile: str
    seed: int

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.survey = MiniSurvey(self.folder)
        write_untrained_models(self.folder / "models", self.survey.spec.fields, TINY)
        self.root = self.folder / "catalog"
        self.counts: Counter[str] = Counter()
        start = time.monotonic()
        self.finish()
        self.undisturbed_s = time.monotonic() - start
        self.expected = self.table()

    def table(self) -> pd.DataFrame:
        """The published catalog, in a fixed order."""
        return read_catalog(self.root).sort_values(["field", "source_id"]).reset_index(drop=True)

    def start(self) -> subprocess.Popen[bytes]:
        """Start a run in a process of its own."""
        command = [sys.executable, __file__, "--child", str(self.survey.workflow), "--profile", self.profile]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def finish(self) -> None:
        """Run undisturbed, to the end."""
        child = self.start()
        _, errors = child.communicate(timeout=CHILD_TIMEOUT_S)
        if child.returncode != 0:
            raise AssertionError(f"an undisturbed run ended with {child.returncode}: {errors.decode()}")

    def kill_once(self) -> None:
        """Start a run and kill it, or one of its workers, at a random moment."""
        child, start = self.start(), time.monotonic()
        moment = self.rng.uniform(0.2, 1.0) * self.undisturbed_s
        try:
            child.wait(timeout=moment)
            self.undisturbed_s = time.monotonic() - start  # too late: the machine has become faster
        except subprocess.TimeoutExpired:
            self._kill(child)
        _, errors = child.communicate(timeout=CHILD_TIMEOUT_S)
        if child.returncode not in (0, -9):
            raise AssertionError(f"after a kill at {moment:.2f} s the run ended with {child.returncode}: {errors.decode()}")
        self._check_published()
        if child.returncode == 0:
            self._check_complete()
            self._make_work()

    def _kill(self, child: subprocess.Popen[bytes]) -> None:
        with suppress(psutil.NoSuchProcess):  # it ended by itself
            victim = self._victim(child)
            victim.kill()
            self.counts["worker" if victim.pid != child.pid else "driver"] += 1

    def _victim(self, child: subprocess.Popen[bytes]) -> psutil.Process:
        driver = psutil.Process(child.pid)
        workers = driver.children(recursive=True)
        return self.rng.choice(workers) if workers and self.rng.random() < 0.5 else driver

    def _check_published(self) -> None:
        """Whatever is published is whole: every source once, whichever revision it is."""
        revision = latest(self.root)
        assert revision is not None
        rows = self.table()
        assert len(rows) == revision.n_rows == len(self.expected)
        assert not rows.duplicated(["field", "source_id"]).any()

    def _check_complete(self) -> None:
        self.counts["completed"] += 1
        pd.testing.assert_frame_equal(self.table(), self.expected)

    def _make_work(self) -> None:
        """Lose half of the units and rename the release, so that the next run has to work and to publish."""
        files = sorted((self.root / "units").glob("*/*.parquet"))
        for path in self.rng.choice(files, len(files) // 2, replace=False):
            path.chmod(0o644)
            path.unlink()
        self.counts["releases"] += 1
        edit_workflow(self.survey.workflow, {"survey": {"release": f"release{self.counts['releases']}"}})


def run_campaign(folder: Path, n_kills: int, seed: int, profile: str) -> dict[str, int]:
    """Kill ``n_kills`` times, then run undisturbed and compare.

    Returns
    -------
    How many drivers and workers were killed, and how many runs came through.
    """
    campaign = Campaign(folder, profile, seed)
    while campaign.counts["driver"] + campaign.counts["worker"] < n_kills:
        campaign.kill_once()
        sys.stderr.write(f"{dict(campaign.counts)}\n")
    campaign.finish()
    pd.testing.assert_frame_equal(campaign.table(), campaign.expected)
    leftovers = [*campaign.root.glob("releases/.*"), *campaign.root.rglob(".*.tmp"), *campaign.root.glob("run.lock*")]
    assert not leftovers, leftovers
    return dict(campaign.counts)


def run_child(workflow: Path, profile: str) -> None:
    """Run the survey once, here."""
    with open_survey(load_workflow(workflow)) as survey:
        run_survey(survey, load_profile(profile), factory="stubs:StubWorker")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--profile", default="serial")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        run_child(arguments.child, arguments.profile)
        return
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        counts = run_campaign(Path(folder), arguments.kills, arguments.seed, arguments.profile)
        sys.stdout.write(json.dumps(counts | {"seconds": round(time.monotonic() - start)}) + "\n")


if __name__ == "__main__":
    main()
