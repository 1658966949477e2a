"""A test campaign that kills runs at random moments and checks that nothing is lost, duplicated or half published.

    python scripts/kill_campaign.py --kills 200 --seed 1 --profile local
    python scripts/kill_campaign.py --kills 50 --seed 1 --victims workers

It runs a small simulated survey repeatedly in a separate process, with a stub in place of the model, and kills that process or,
with the local profile, one of its workers, with SIGKILL. After every kill, `latest` must name a complete catalog; after every
run that finished, the table must equal that of an undisturbed run. Then half of the units' files are removed and the release
gets a new name, so that the next run has work to do.

With ``--victims workers``, the runs happen in this process on a local cluster of two workers. Each run loses one worker; it must
finish nevertheless and publish the table of an undisturbed run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
from distributed import Client

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from stubs import TINY, check_stubbed  # noqa: E402
from surveyflow.output.digest_cache import forget_digests  # noqa: E402
from surveyflow.output.run_folders import Progress  # noqa: E402
from surveyflow.releases.publish import latest, read_catalog  # noqa: E402
from surveyflow.runs.preflight import open_survey  # noqa: E402
from surveyflow.runs.run import run_survey  # noqa: E402
from surveyflow.settings.workflow import load_workflow  # noqa: E402
from surveyflow.sites.local.profile import LocalProfile  # noqa: E402
from surveyflow.sites.profiles import load_profile  # noqa: E402
from worlds import (  # noqa: E402
    MiniSurvey,
    edit_workflow,
    write_untrained_models,
)

CHILD_TIMEOUT_S = 900.0
N_WORKERS = 2


@dataclass
class Campaign:
    """One survey that is run and killed.

    Parameters
    ----------
    folder
        Folder of the survey.
    profile
        ``serial`` or ``local``.
    seed
        Seed of the moments and the victims.
    client
        Client of the cluster that the runs share; None if each run has its own.
    """

    folder: Path
    profile: str
    seed: int
    client: Client | None = None

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.survey = MiniSurvey(self.folder)
        write_untrained_models(self.folder / "models", self.survey.spec.fields, TINY)
        self.root = self.folder / "catalog"
        self.counts: Counter[str] = Counter()
        start = time.monotonic()
        self.finish()
        self.undisturbed_s = time.monotonic() - start
        check_stubbed(self.root)
        self.expected = self.table()

    def table(self) -> pd.DataFrame:
        """The published catalog, in a fixed order."""
        return read_catalog(self.root).sort_values(["field", "source_id"]).reset_index(drop=True)

    def start(self) -> subprocess.Popen[bytes]:
        """Start a run in a separate process."""
        command = [sys.executable, __file__, "--child", str(self.survey.workflow), "--profile", self.profile]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def finish(self) -> None:
        """Run to the end, undisturbed."""
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
            self.undisturbed_s = time.monotonic() - start  # the run ended before the kill: the machine has become faster
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
        """The published revision is complete, with every source once, and no network computed it."""
        check_stubbed(self.root)
        revision = latest(self.root)
        assert revision is not None
        rows = self.table()
        assert len(rows) == revision.n_rows == len(self.expected)
        assert not rows.duplicated(["field", "source_id"]).any()

    def _check_complete(self) -> None:
        self.counts["completed"] += 1
        pd.testing.assert_frame_equal(self.table(), self.expected)

    def _make_work(self) -> None:
        """Delete half of the units and rename the release, so that the next run has to work and to publish."""
        files = sorted((self.root / "units").glob("*/*.parquet"))
        for path in self.rng.choice(files, len(files) // 2, replace=False):
            path.chmod(0o644)
            path.unlink()
        self.counts["releases"] += 1
        edit_workflow(self.survey.workflow, {"survey": {"release": f"release{self.counts['releases']}"}})


class WorkerCampaign(Campaign):
    """One survey whose runs share a cluster of two workers, lose one of them each, and must finish.

    Moments are spread evenly between a run's start and the end of its last unit. ``counts`` also records the phase of the run in
    which workers were killed.
    """

    def finish(self) -> None:
        """Run here to the end, undisturbed."""
        self._run()

    def kill_once(self) -> None:
        """Kill a worker at a random moment of a run; a run that ends earlier does not count."""
        moment = self.rng.uniform(0.0, 1.0) * self.worked_s
        self._wait_for_workers()
        self.ended = threading.Event()
        killer = threading.Thread(target=self._kill_a_worker, args=(moment,))
        killer.start()
        try:
            self._run()
        finally:
            self.ended.set()
            killer.join()
        self._check_published()
        self._check_complete()
        self._make_work()

    def _run(self) -> None:
        self._wait_for_workers()
        self.phase, self.start_s = "start", time.monotonic()
        with open_survey(load_workflow(self.survey.workflow)) as survey:
            result = run_survey(survey, LocalProfile(), client=self.client, factory="stubs:SlowWorker", listeners=[self._follow])
        assert result.exit_code == 0, result.failed_units

    def _wait_for_workers(self) -> None:
        self.client.wait_for_workers(N_WORKERS, timeout=CHILD_TIMEOUT_S)

    def _follow(self, progress: Progress) -> None:
        self.phase = progress.phase
        if progress.phase == "publish":
            self.worked_s = time.monotonic() - self.start_s

    def _kill_a_worker(self, moment: float) -> None:
        """Kill one of the workers at the given moment, unless the run has ended."""
        if not self.ended.wait(moment):
            with suppress(psutil.NoSuchProcess):
                self.rng.choice(worker_processes()).kill()
                self.counts.update(["worker", f"in {self.phase}"])

    def _make_work(self) -> None:
        super()._make_work()
        forget_digests(self.root)


def worker_processes() -> list[psutil.Process]:
    """Find this process's workers, without Dask's helper processes."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if any("spawn_main" in word for word in child.cmdline()):
                found.append(child)
    return found


def run_campaign(folder: Path, n_kills: int, seed: int, profile: str, victims: str) -> dict[str, int]:
    """Kill ``n_kills`` times, then run undisturbed and compare.

    Returns
    -------
    Numbers of drivers and workers that were killed, and of runs that finished.
    """
    with ExitStack() as stack:
        if victims == "workers":
            cluster = stack.enter_context(LocalProfile(workers=N_WORKERS).open_cluster())
            campaign: Campaign = WorkerCampaign(folder, profile, seed, cluster.client)
        else:
            campaign = Campaign(folder, profile, seed)
        return carry_out(campaign, n_kills)


def carry_out(campaign: Campaign, n_kills: int) -> dict[str, int]:
    """Kill the requested number of times, then let a run finish."""
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
    parser.add_argument("--victims", choices=["any", "workers"], default="any")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        run_child(arguments.child, arguments.profile)
        return
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        counts = run_campaign(Path(folder), arguments.kills, arguments.seed, arguments.profile, arguments.victims)
        sys.stdout.write(json.dumps(counts | {"seconds": round(time.monotonic() - start)}) + "\n")


if __name__ == "__main__":
    main()
