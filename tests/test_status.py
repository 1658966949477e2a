"""Whoever sees the output folder can tell how a run is doing, and what its workers are at."""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import TypeAdapter

from surveyflow import api
from surveyflow.commands import runs as commands
from surveyflow.output.batch_jobs import BatchJob
from surveyflow.output.heartbeats import GpuUse, Heartbeat, write_heartbeat
from surveyflow.output.holders import Holder
from surveyflow.output.lock import RunLock, find_lease
from surveyflow.output.run_folders import Progress, RunFolder, new_run_id, old_runs, remove_runs

DASHBOARD = "http://127.0.0.1:8787/status"


@pytest.fixture
def root(tmp_path):
    """A run at work for an hour: three workers of two pools, one of which fell silent ten minutes ago."""
    folder = RunFolder(tmp_path, f"{datetime.now(UTC) - timedelta(hours=1):%Y%m%dT%H%M%S}-abcdef")
    folder.create("")
    folder.note_dashboard(DASHBOARD)
    folder.record(Progress("units", 30, 120, 3_000, 12_000, 2, 60.0, "EGS/F814W/y000x001"))
    now = time.time()
    gpu = GpuUse("0 NVIDIA A100", 87.0, 4_000.0, 40_000.0)
    for heartbeat in (
        Heartbeat("node1-11", "gpu", now, now, "EGS/F814W/y000x002", now - 20, 18, 0, 2_100.0, (gpu,)),
        Heartbeat("node2-12", "gpu", now - 600, now, "UDS/F814W/y003x000", now - 700, 7, 2, 2_000.0),
        Heartbeat("node3-13", "cpu", now, now, "", None, 5, 0, 300.0),
    ):
        write_heartbeat(tmp_path, heartbeat)
    with RunLock(tmp_path, folder.run_id):
        yield tmp_path


def test_status_tells_progress_rate_failures_and_workers_by_pool(root, capsys):
    now = time.time()
    commands._print_status(api.status(root), now)
    lines = capsys.readouterr().out.splitlines()
    assert "30/120 units, 3000 cutouts, 50/s, 0:03:00 left, 2 failed" in lines[1]
    assert f"dashboard {DASHBOARD}" in lines
    lock = next(line for line in lines if line.startswith("lock"))
    assert re.fullmatch(
        r"lock +held by run \S+ on host .*, started 20.*\. Last sign of life 0:00:\d\d ago; expires in 0:0.*", lock
    )
    assert "pool      cpu: 1 workers, 0 busy, 5 jobs done, 0 failed" in lines
    assert "pool      gpu: 1 workers, 1 busy, 25 jobs done, 2 failed" in lines
    told = {line.split(":")[0].strip(): line for line in lines if line.startswith("  ")}
    assert "EGS/F814W/y000x002 for 0:00:2" in told["node1-11"]
    assert told["node1-11"].endswith("2100 MB, GPU 0 NVIDIA A100: 87 % busy, 4000 of 40000 MB")
    assert "silent for 0:10:0" in told["node2-12"]
    assert "UDS/F814W/y003x000" in told["node2-12"]
    assert "waiting" in told["node3-13"]


def test_status_of_a_killed_run_says_how_to_continue(root, capsys):
    (root / "run.lock").unlink()
    (folder,) = (root / "runs").iterdir()
    commands._print_status(api.status(root), time.time())
    (state,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("state")]
    assert state.endswith(
        f"it was killed. Nothing is lost; to continue: `surveyflow run {folder}/workflow.toml --profile PROFILE`"
    )
    assert (folder / "workflow.toml").exists()


def by_another_machine(root, silent_s=0.0, **change):
    """Let the lock be that of a process on another machine, last touched so many seconds ago."""
    holder = replace(find_lease(root).holder, host="node17", **change)
    (root / "run.lock").write_bytes(TypeAdapter(Holder).dump_json(holder))
    os.utime(root / "run.lock", (time.time() - silent_s,) * 2)


@pytest.mark.parametrize(
    ("silent_s", "state", "said"),
    [
        (20, "running", "running"),
        (180, "silent", "no sign of life for 0:03:0"),
        (3600, "killed", "it was killed. Nothing is lost; to continue: `surveyflow run "),
    ],
)
@pytest.mark.parametrize("can_write", [True, False])
def test_a_run_on_a_machine_that_died_is_not_said_to_be_at_work(root, monkeypatch, silent_s, state, said, can_write):
    by_another_machine(root, silent_s)
    if not can_write:
        monkeypatch.setattr("surveyflow.output.lock._server_time", lambda _: None)
        state = "silent" if state == "killed" else state

    found = api.status(root)

    assert (found.condition.state, found.at_work) == (state, state == "running")
    assert said in found.condition.message or not can_write
    assert state == "running" or "to continue: `surveyflow run" in found.condition.message


@pytest.mark.parametrize(
    ("answer", "state", "said"),
    [
        ("JobState=RUNNING Restarts=0", "running", "running"),
        ("JobState=NODE_FAIL Restarts=0", "killed", "to continue: `surveyflow slurm submit "),
        ("JobState=PENDING Restarts=1", "queued", "Slurm's job 12 is PENDING again: the run continues by itself"),
        ("JobState=RUNNING Restarts=1", "queued", "Slurm's job 12 is RUNNING again"),
        ("JobState=PREEMPTED Restarts=0", "killed", "surveyflow slurm submit"),
    ],
)
def test_slurm_is_asked_for_the_job_of_a_run(root, tmp_path, monkeypatch, answer, state, said):
    (tmp_path / "scontrol").write_text(f'#!/bin/sh\n[ "$2" = config ] && echo ClusterName = hpc || echo "{answer}"\n')
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    by_another_machine(root, job=BatchJob("hpc", "12", 0))

    condition = api.status(root).condition

    assert (condition.state, said in condition.message) == (state, True)


def test_a_killed_run_whose_place_another_has_taken_needs_no_remedy(root):
    by_another_machine(root, run_id="20260101T000000-abcdef")

    condition = api.status(root).condition

    assert condition.state == "replaced"
    assert "surveyflow" not in condition.message


def test_status_as_json_says_the_same(root):
    now = time.time()
    found = json.loads(json.dumps(api.status(root).as_json(now), default=str))
    assert (found["at_work"], found["state"], found["message"]) == (True, "running", "running")
    assert found["last_run"]["dashboard"] == DASHBOARD
    assert found["lock"]["holder"]["run_id"] == found["last_run"]["run_id"]
    assert 0 < found["lock"]["expires_in_s"] <= 300
    assert found["rates"] == {"cutouts_per_second": 50.0, "seconds_left": 180.0}
    assert {worker["worker"]: worker["silent"] for worker in found["workers"]} == {
        "node1-11": False,
        "node2-12": True,
        "node3-13": False,
    }


def test_names_of_runs_sort_by_their_start_also_within_a_second():
    names = []
    for _ in range(40):
        names.append(new_run_id())
        time.sleep(1e-4)

    assert names == sorted(set(names))


def test_old_runs_are_named_but_not_the_newest(tmp_path):
    now = datetime.now(UTC)
    names = [f"{now - timedelta(days=days):%Y%m%dT%H%M%S}-abcdef" for days in (400, 100, 99, 3)]
    for name in (*names, "not-a-run"):
        (tmp_path / "runs" / name).mkdir(parents=True)

    assert old_runs(tmp_path, 99.5) == names[:2]
    assert old_runs(tmp_path, 1) == names[:3]
    remove_runs(tmp_path, [*names[:2], "20200101T000000-abcdef"])
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == sorted([*names[2:], "not-a-run"])


def test_workers_of_an_earlier_run_are_not_reported(root):
    old = time.time() - 86_400
    write_heartbeat(root, Heartbeat("node9-9", "cpu", old, old, "", None, 1, 0, 1.0))
    assert "node9-9" not in [heartbeat.worker for heartbeat in api.status(root).workers]


def test_a_long_progress_file_is_read_from_its_end(root):
    path = next((root / "runs").glob("*/progress.jsonl"))
    path.write_text(path.read_text() * 2_000)
    assert api.status(root).last_run.progress.done == 30
