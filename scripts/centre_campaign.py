"""A test campaign that lives through a month at a computing centre, on a real Slurm of two nodes of our own.

    python scripts/centre_campaign.py --json centre.json

Nobody types anything: a schedule calls `surveyflow slurm submit WORKFLOW --profile PROFILE --release latest --if-changed` again
and again, as cron would. Four weekly releases arrive:

- w1. While it is measured, one of the two pools is cancelled. The run gives up, somebody is told, and the schedule submits again.
- w2, with other pixels. While it is measured, the node of the head loses its power. Slurm starts the head on the other node,
  which has another host name; it takes the lock over and continues. Meanwhile `surveyflow status` must not call the run running.
- w3, whose file is damaged. Somebody is told, and readers keep w2.
- w4, with the pixels of w2. It is published without measuring anything.

In the end each of w1, w2 and w4 must be published once, with the tables of a serial run. A stub computes in the place of the
network. It needs Slurm's programs (`scripts/install-slurm`), root, and some minutes; the exit code is 0 only if all of this held.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
from astropy.io import fits

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

from slurm_batch import TESTS, undisturbed  # noqa: E402
from slurm_machine import SlurmMachine, running_slurm  # noqa: E402
from stubs import TINY  # noqa: E402
from surveyflow import api  # noqa: E402
from surveyflow.output.lock import find_lease  # noqa: E402
from surveyflow.releases.publish import list_revisions, read_catalog  # noqa: E402
from surveyflow.simulation.survey import SimulatedSurvey  # noqa: E402
from waiting import wait_until  # noqa: E402
from worlds import MiniSurvey, copied, edit_workflow, write_untrained_models  # noqa: E402

PACE_S = 2.0
"""How long a unit takes at least, so that it can be disturbed."""

BETWEEN_CALLS_S = 5.0
PATIENCE_S = 600.0

PROFILE = """\
kind = "slurm"
interface = "lo"
worker_wait_s = 90

[directories]
shared = "{folder}/jobs"

[environment]
prologue = ["export PYTHONPATH={tests}/slurm_site:{tests}:{root}", "export SURVEYFLOW_TEST_PACE={pace}"]
python = {python}

[head]
memory = "1 GiB"
walltime = "00:30:00"

[pools.acs]
jobs = 1
memory_per_core = "1 GiB"
walltime = "00:20:00"
lifetime = "00:18:00"
models = ["EGS/F814W"]

[pools.wfc3]
jobs = 1
gres = "gpu:hst:1"
memory = "1 GiB"
walltime = "00:20:00"
lifetime = "00:18:00"
options = ["--comment=a pool with blanks"]
models = ["EGS/F125W_F160W"]
"""

MOSAICS = {
    instrument: {"science": f"{{release}}/egs_{instrument.lower()}_s*.fits", "weight": f"{{release}}/egs_{instrument.lower()}_w*"}
    for instrument in ("F814W", "F125W_F160W")
}


@dataclass
class Centre:
    """A survey at a centre, and what happened to it.

    Parameters
    ----------
    slurm
        The machine.
    survey
        The survey's folder, with the pixels of the releases aside.
    folder
        Folder of everything else.
    codes
        Exit codes of the schedule's calls.
    story
        What happened, with the seconds since the beginning.
    """

    slurm: SlurmMachine
    survey: SimulatedSurvey
    folder: Path
    codes: list[int] = field(default_factory=list)
    story: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    @property
    def root(self) -> Path:
        return self.survey.folder / "catalog"

    def tell(self, what: str) -> None:
        """Add a line to the story."""
        self.story.append(f"{time.monotonic() - self.began:5.0f} s  {what}")
        sys.stderr.write(f"{self.story[-1]}\n")

    def submit(self) -> subprocess.CompletedProcess[str]:
        """Call the command of the schedule once."""
        options = ["--profile", str(self.folder / "site.toml"), "--release", "latest", "--if-changed"]
        command = [sys.executable, "-m", "surveyflow", "slurm", "submit", str(self.survey.workflow), *options]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)

    def arrive(self, release: str, *, of: str, damaged: bool = False) -> None:
        """Let a release's files arrive, with the pixels of another."""
        self.tell(f"{release} arrives")
        aside = self.survey.folder / f"{release}.tmp"
        copied_tree = subprocess.run(["cp", "-r", str(self.survey.folder / "pixels" / of), str(aside)], check=True)
        assert copied_tree.returncode == 0
        if damaged:
            damage(next(aside.glob("egs_f814w_w*")))
        aside.rename(self.survey.folder / release)

    def published(self) -> list[str]:
        """Names of the published revisions."""
        return [revision.name for revision in list_revisions(self.root)]

    def receipts(self) -> int:
        return len(list((self.root / "units").glob("*/*.json")))

    def heard(self) -> list[str]:
        """Events that somebody was told."""
        path = self.folder / "heard"
        return path.read_text().split() if path.exists() else []

    def wait(self, condition: Callable[[], Any], what: str) -> Any:
        found = wait_until(condition, what, patience_s=PATIENCE_S)
        self.tell(what)
        return found


def damage(path: Path) -> None:
    """Change a pixel behind the back of a file's checksums."""
    content = bytearray(path.read_bytes())
    content[-2880] ^= 1
    path.write_bytes(content)


def make_survey(folder: Path) -> SimulatedSurvey:
    """A survey of one field whose workflow names releases by folder, and the pixels of two releases aside."""
    survey = MiniSurvey(folder, fields=["EGS"])
    write_untrained_models(folder / "models", survey.spec.fields, TINY)
    discovery = {"watch_s": 0, "quiet_s": 0, "arrival_s": 0, "include": ["w*"]}
    edit_workflow(survey.workflow, {"survey": {"release": "w0"}, "discovery": discovery, "fields": {"EGS": MOSAICS}})
    for release, factor in (("first", 1.0), ("second", 1.01)):
        (folder / "pixels" / release).mkdir(parents=True)
        for path in sorted(folder.glob("egs_f*.fits")):
            with fits.open(path) as hdus:
                image = next(hdu for hdu in hdus if hdu.data is not None)
                image.data = (image.data * factor).astype(np.float32)
                hdus.writeto(folder / "pixels" / release / path.name, checksum=True)
    return survey


def expected(survey: SimulatedSurvey, folder: Path, pixels: str) -> pd.DataFrame:
    """The table of a serial run of one release alone."""
    alone = copied(survey, folder)
    (alone.folder / "pixels" / pixels).rename(alone.folder / "w0")
    return undisturbed(alone)


@contextmanager
def schedule(centre: Centre) -> Iterator[None]:
    """Call the command again and again, as cron does."""
    ended = threading.Event()

    def call() -> None:
        while not ended.is_set():
            done = centre.submit()
            centre.codes.append(done.returncode)
            if done.returncode not in {0, 4, 5}:
                centre.tell(f"the schedule's command ended with {done.returncode}: {done.stderr.strip()[-300:]}")
            ended.wait(BETWEEN_CALLS_S)

    thread = threading.Thread(target=call)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def cancel_a_pool(centre: Centre) -> None:
    """Week 1."""
    centre.arrive("w1", of="first")
    centre.wait(lambda: centre.receipts() >= 1, "w1: a unit is done")
    pools = [job for job in centre.slurm.jobs() if "acs" in job[1]]
    centre.slurm.ask("scancel", pools[0][0].partition("_")[0])
    centre.tell("w1: the pool of F814W was cancelled")
    centre.wait(lambda: "w1-r1" in centre.published(), "w1 is published")


def kill_the_node_of_the_head(centre: Centre) -> None:
    """Week 2."""
    before = centre.receipts()
    centre.arrive("w2", of="second")
    centre.wait(lambda: centre.receipts() > before, "w2: a unit is done")
    node = node_of_the_head(centre)
    lease = find_lease(centre.root)
    assert lease is not None
    assert lease.holder is not None
    assert lease.holder.host == node, lease
    centre.slurm.fail_node(node)
    centre.tell(f"w2: {node}, where the head ran, lost its power")
    state = centre.wait(lambda: not_running(centre), "w2: status says what became of the run")
    centre.tell(f"w2: status says: {state}")
    centre.wait(lambda: node_of_the_head(centre) not in {node, ""}, "w2: Slurm has started the head on the other node")
    centre.slurm.start_node(node)
    centre.wait(lambda: "w2-r1" in centre.published(), "w2 is published")
    log = "".join(path.read_text() for path in (centre.folder / "jobs").glob("*w2*/logs/head-*.log"))
    assert "taken over: Slurm has started Slurm's job" in log, "the later start of the job took the lock over by itself"


def node_of_the_head(centre: Centre) -> str:
    """The node on which the head runs; empty if it does not."""
    lines = centre.slurm.ask("squeue", "--noheader", "--states=RUNNING", "--format=%j %N").splitlines()
    names = [line.split() for line in lines]
    return next((node for name, node in names if not name.endswith(("acs", "wfc3"))), "")


def not_running(centre: Centre) -> str:
    """What status says of a run that it does not call running."""
    condition = api.status(centre.root).condition
    return "" if condition.state == "running" else f"{condition.state}: {condition.message}"


def break_a_release(centre: Centre) -> None:
    """Week 3."""
    centre.arrive("w3", of="second", damaged=True)
    centre.wait(lambda: "skipped" in centre.heard(), "w3: somebody was told that it is broken")


def repeat_a_release(centre: Centre) -> None:
    """Week 4."""
    centre.arrive("w4", of="second")
    centre.wait(lambda: "w4-r1" in centre.published(), "w4 is published")
    centre.wait(lambda: not centre.slurm.jobs(), "the queue is empty")


def judge(centre: Centre, first: pd.DataFrame, second: pd.DataFrame) -> dict[str, Any]:
    """Compare what is published with serial runs, and count what happened."""
    for name, table in (("w1-r1", first), ("w2-r1", second), ("w4-r1", second)):
        found = read_catalog(centre.root, release=name).sort_values(["field", "source_id"]).reset_index(drop=True)
        pd.testing.assert_frame_equal(found, table)
    assert centre.published() == ["w1-r1", "w2-r1", "w4-r1"]
    heard = centre.heard()
    assert [heard.count("published"), heard.count("skipped")] == [3, 1], heard
    assert heard.count("failed") >= 1, heard
    assert set(centre.codes) <= {0, 4, 5}, centre.codes
    results = [json.loads(path.read_text()) for path in sorted((centre.folder / "jobs").glob("*w4*/result.json"))]
    assert [result["units"]["done"] for result in results] == [0], results
    codes = {str(code): centre.codes.count(code) for code in sorted(set(centre.codes))}
    return {"seconds": round(time.monotonic() - centre.began), "codes": codes, "heard": heard, "story": centre.story}


def live_through(folder: Path) -> dict[str, Any]:
    """Let the four weeks pass."""
    survey = make_survey(folder / "survey")
    first, second = (expected(survey, folder / pixels, pixels) for pixels in ("first", "second"))
    hear = shlex.join(["sh", "-c", f'echo "$SURVEYFLOW_EVENT" >>{folder}/heard'])
    edit_workflow(survey.workflow, {"notify": {"command": hear}})
    values = {"tests": TESTS, "root": ROOT, "folder": folder, "pace": PACE_S, "python": json.dumps(sys.executable)}
    (folder / "site.toml").write_text(PROFILE.format(**values))
    with running_slurm(folder / "slurm", own_host_names=True) as slurm, patch.dict(os.environ, slurm.environment):
        centre = Centre(slurm, survey, folder)
        try:
            with schedule(centre):
                for week in (cancel_a_pool, kill_the_node_of_the_head, break_a_release, repeat_a_release):
                    week(centre)
        except BaseException:
            show_logs(folder)
            raise
        return judge(centre, first, second)


def show_logs(folder: Path) -> None:
    """Write the ends of all logs to stderr."""
    for path in sorted((folder / "jobs").glob("*/logs/*.log")):
        sys.stderr.write(f"==> {path}\n{path.read_text()[-3000:]}\n")


def main() -> None:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="File to write the result to.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = live_through(Path(folder))
    text = json.dumps(result, indent=1)
    if options.json:
        options.json.write_text(f"{text}\n")
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    main()
