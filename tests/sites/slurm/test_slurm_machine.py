"""Batch jobs on a real Slurm: whatever happens to them, the catalog is that of an undisturbed local run."""

from __future__ import annotations

import gc
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace

import pandas as pd
import pytest
from distributed import Client

from fakes import FakeSettings
from slurm_batch import TESTS, Batch, table, undisturbed
from slurm_machine import missing_programs, running_slurm
from stubs import TINY
from surveyflow.errors import ClusterError, LockHeld
from surveyflow.output.batch_jobs import BatchJob, Presence, ask_slurm
from surveyflow.sites.opening import open_executor
from surveyflow.sites.profiles import load_profile
from surveyflow.sites.slurm.submit import submit
from waiting import wait_until
from worlds import copied, write_untrained_models

LOOPBACK = {"127.0.0.1", "::1"}
MISSING = missing_programs() or ([] if os.geteuid() == 0 else ["root"])

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(bool(MISSING), reason=f"a Slurm of our own needs {', '.join(MISSING)}"),
]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    with running_slurm(tmp_path_factory.mktemp("slurm")) as machine, pytest.MonkeyPatch.context() as patch:
        for name, value in machine.environment.items():
            patch.setenv(name, value)
        yield machine


@pytest.fixture(scope="module")
def world(shared_worlds, survey_folder):
    """The small survey with models: only to be read."""

    def make(folder):
        survey = copied(survey_folder, folder)
        write_untrained_models(folder / "models", survey.spec.fields, TINY)
        return survey

    return shared_worlds.get("slurm", make)


@pytest.fixture(scope="module")
def expected(shared_worlds, world):
    """The catalog of a local run."""

    return shared_worlds.get("slurm-expected", lambda folder: undisturbed(copied(world, folder)))


@pytest.fixture
def batch(slurm, world, tmp_path):
    made = []

    def make(**options):
        made.append(Batch(slurm, copied(world, tmp_path / "survey"), tmp_path, **options))
        made[-1].submit()
        return made[-1]

    yield make
    for each in made:
        slurm.ask("scancel", "--quiet", each.jobs.head, *each.jobs.pools.values())
        wait_until(lambda: not slurm.jobs(), "the queue is empty")


def test_batch_jobs_publish_what_a_local_run_publishes_and_are_closed_to_strangers(batch, expected):
    running = batch(pace_s=0.5)
    running.wait_for_units(1)

    addresses = running.listening_addresses()
    assert addresses
    assert addresses <= LOOPBACK
    address = json.loads((running.folder / "scheduler.json").read_text())["address"]
    assert address.startswith("tls://127.0.0.1:")
    with pytest.raises((OSError, TypeError)):
        Client(address, timeout=2, set_as_default=False)
    gc.collect()  # a client that could not connect waits for ever if it is collected while another starts
    driver = load_profile(running.folder / "driver.toml")
    with open_executor(driver, "fakes:make_fake_worker", FakeSettings()):
        pass

    running.wait_for_end()
    pd.testing.assert_frame_equal(table(running.survey), expected)


def test_pinned_pools_do_their_own_units_only_even_while_one_of_them_is_lost_and_publish_the_same(batch, slurm, expected):
    running = batch(pace_s=0.5, routing="pinned")
    held = {name: resources_in(running.folder / script) for name, script in running.submission.pools.items()}
    keys = {name: keys_of(groups, expected) for name, groups in held.items() if name.startswith("gpu-")}
    running.wait_for_units(1)
    running.hold.touch()
    other, lost = sorted(keys, key=lambda name: len(keys[name] - running.finished()))

    slurm.ask("scontrol", "requeuehold", running.jobs.pools[lost])
    running.hold.unlink()
    running.wait_for(lambda: keys[other] <= running.finished(), f"{other} has done all of its units")
    assert keys[lost] - running.finished()
    slurm.ask("scontrol", "release", running.jobs.pools[lost])

    running.wait_for_end()
    assert set().union(*held.values()) == {f"{field}/{instrument}" for field, instrument in measured(expected)}
    pd.testing.assert_frame_equal(table(running.survey), expected)
    assert "routing pinned: the profile says so" in running.run_log()


def keys_of(groups, rows):
    """The keys of the units of some model groups."""
    return set(rows.unit_key[(rows.field + "/" + rows.instrument).isin(groups)].dropna())


def resources_in(script):
    (words,) = re.findall(r"--resources (\S+)", script.read_text())
    return {word.removeprefix("model:").partition("=")[0] for word in words.split(",")}


def measured(rows):
    ok = rows[rows.status.isin(["ok", "bad_pixels", "no_coverage"])]
    return set(zip(ok.field, ok.instrument, strict=True))


def seconds_to_start_a_worker():
    """Seconds that this machine, as busy as it is, takes to start a process that imports what a worker does."""
    began = time.monotonic()
    environment = os.environ | {"PYTHONPATH": f"{TESTS}:{TESTS.parent}"}
    subprocess.run([sys.executable, "-c", "import distributed, stubs"], env=environment, check=True)
    return time.monotonic() - began


def test_cancelled_requeued_and_aged_workers_a_killed_driver_and_a_requeued_head_lose_nothing(batch, expected):
    life_s = round(min(max(12, 5 * seconds_to_start_a_worker()), 480))  # less, and workers would end before their first unit does
    running = batch(pace_s=0.8, lifetime=f"00:{life_s // 60:02d}:{life_s % 60:02d}")
    running.wait_for_units(1)
    gpu = running.jobs.pools["gpu"]

    running.slurm.ask("scancel", f"{gpu}_1")
    running.slurm.ask("scontrol", "requeue", f"{gpu}_2")
    running.wait_for_units(3)
    running.process("-m", "surveyflow", "run").kill()
    running.wait_for_units(5)
    running.hold.touch()
    running.wait_for(
        lambda: "Start Nanny" in running.log_of("cpu").partition("worker-lifetime-reached")[2],
        "a worker at the end of its life is started again",
    )
    running.slurm.ask("scontrol", "requeue", running.jobs.head)
    running.hold.unlink()

    running.wait_for_end()
    pd.testing.assert_frame_equal(table(running.survey), expected)
    assert running.result()["units"]["kept"] >= 5


def test_the_failed_node_of_the_head_and_a_cancelled_submission_lose_nothing_and_two_never_run_side_by_side(
    batch, slurm, expected
):
    running = batch(pace_s=0.8)
    running.wait_for_units(1)
    node = slurm.ask("squeue", "--noheader", f"--jobs={running.jobs.head}", "--format=%N").strip()
    slurm.fail_node(node)
    running.wait_for(lambda: "taken over" in running.log_of("head"), "the next start of the head has taken the lock over")
    slurm.start_node(node)
    running.wait_for_units(3)

    with pytest.raises(LockHeld, match="has jobs in the queue"):
        running.submit()
    slurm.ask("scancel", running.jobs.head)
    running.wait_for(lambda: not slurm.jobs(), "the workers have left, too")
    running.submit()

    running.wait_for_end()
    pd.testing.assert_frame_equal(table(running.survey), expected)
    assert running.result()["units"]["kept"] >= 3


def test_a_demand_that_slurm_refuses_leaves_no_job_behind(slurm, world, tmp_path):
    asked = Batch(slurm, copied(world, tmp_path / "survey"), tmp_path)
    pool = asked.submission.files["pool-gpu.sh"].replace("gpu:hst:1", "gpu:hst:7")
    files = dict(asked.submission.files) | {"pool-gpu.sh": pool}

    with pytest.raises(ClusterError, match="Slurm refused sbatch"):
        submit(replace(asked.submission, files=files))

    assert slurm.jobs() == []


def test_slurm_says_whether_the_job_that_holds_a_lock_is_still_there(slurm):
    number = slurm.ask("sbatch", "--parsable", "--requeue", "--output=/dev/null", "--wrap", "sleep 600").strip()
    job = BatchJob("test", number, restarts=0)
    wait_until(lambda: [state for _, _, state in slurm.jobs()] == ["RUNNING"], "the job runs")
    assert ask_slurm(job) == (Presence.THERE, "RUNNING")
    assert ask_slurm(replace(job, number="99999")) == (Presence.GONE, "")
    assert ask_slurm(replace(job, cluster="elsewhere")) == (Presence.UNKNOWN, "")
    slurm.ask("scontrol", "requeue", number)
    wait_until(lambda: ask_slurm(job)[0] is Presence.GONE, "the job has ended or was started again")
    slurm.ask("scancel", number)
    wait_until(lambda: not slurm.jobs(), "the queue is empty")
    assert ask_slurm(replace(job, restarts=1)) == (Presence.GONE, "CANCELLED")
