"""A worker says what it is at, in files."""

from __future__ import annotations

import json
import logging
import re

import pytest

from fakes import fake_job
from surveyflow.execution import gpus
from surveyflow.execution.heartbeat import HeartbeatWriter
from surveyflow.execution.worker_logs import POOL_VARIABLE
from surveyflow.output.heartbeats import read_heartbeats, worker_log_path, write_heartbeat
from waiting import wait_until

UNIT, OTHER = fake_job("EGS/F814W/y000x001", "unit"), fake_job("EGS/F814W/y000x002", "unit")


@pytest.fixture
def heartbeat(tmp_path, monkeypatch):
    monkeypatch.setenv(POOL_VARIABLE, "gpu")
    (tmp_path / "workers").mkdir()
    heartbeat = HeartbeatWriter(tmp_path, interval_s=0.05)
    yield heartbeat
    heartbeat.stop()


def heartbeat_when(root, is_there):
    return wait_until(lambda: [found for found in read_heartbeats(root, since=0) if is_there(found)], "the heartbeat is there")[0]


def test_a_worker_that_waits_says_so(heartbeat, tmp_path):
    found = heartbeat_when(tmp_path, lambda found: not found.job)
    assert (found.worker, found.pool, found.job_since, found.done, found.failed) == (heartbeat.worker, "gpu", None, 0, 0)
    assert found.memory_mb > 1


def test_of_two_jobs_the_longer_is_reported(heartbeat, tmp_path):
    with heartbeat.during(UNIT), heartbeat.during(OTHER):
        found = heartbeat_when(tmp_path, lambda found: found.job)
    assert found.job == UNIT.name
    assert heartbeat_when(tmp_path, lambda found: found.done == 2).job == ""


def test_what_failed_is_counted_and_logged(heartbeat, tmp_path):
    with pytest.raises(ValueError, match="the sky fell"), heartbeat.during(UNIT):
        raise ValueError("the sky fell")
    assert heartbeat_when(tmp_path, lambda found: found.failed).done == 0
    events = [json.loads(line) for line in worker_log_path(tmp_path, heartbeat.worker).read_text().splitlines()]
    assert [event["level"] for event in events] == ["INFO", "WARNING"]
    assert events[0]["message"] == f"worker={heartbeat.worker} pool=gpu begins"
    told = re.fullmatch(r"job=EGS/F814W/y000x001 verb=unit seconds=(\d+\.\d\d) failed: the sky fell", events[1]["message"])
    assert told
    assert float(told[1]) < 100  # seconds since it began, not since 1970


def test_a_worker_that_ends_takes_its_heartbeat_away_and_leaves_its_log(tmp_path):
    level = logging.getLogger("surveyflow").level
    heartbeat = HeartbeatWriter(tmp_path, interval_s=0.05)
    heartbeat_when(tmp_path, lambda found: True)
    heartbeat.stop()
    assert [path.name for path in (tmp_path / "workers").iterdir()] == [f"{heartbeat.worker}.jsonl"]
    assert logging.getLogger("surveyflow").level == level


def test_a_folder_that_cannot_be_written_stops_no_worker(tmp_path, monkeypatch):
    (tmp_path / "workers").write_text("a file")
    failures = []

    def write(*arguments):
        try:
            write_heartbeat(*arguments)
        except OSError as error:
            failures.append(error)
            raise

    monkeypatch.setattr("surveyflow.execution.heartbeat.write_heartbeat", write)
    heartbeat = HeartbeatWriter(tmp_path, interval_s=0.01)
    with heartbeat.during(UNIT):
        wait_until(lambda: len(failures) >= 2, "it went on after a heartbeat could not be written")
    heartbeat.stop()


def fake_nvidia_smi(folder, monkeypatch, answer):
    """Put a FAKE nvidia-smi on the path, which says what it is told to and writes down what it was asked."""
    program = folder / "nvidia-smi"
    program.write_text(f'#!/bin/sh\n# A fake, for tests.\nprintf "%s\\n" "$*" > "{folder}/asked"\nprintf "{answer}"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_gpus_are_asked_how_busy_they_are(tmp_path, monkeypatch):
    fake_nvidia_smi(tmp_path, monkeypatch, "1, NVIDIA A100, 87, 4000, 40000\\n")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert gpus.gpu_use() == (gpus.GpuUse("1 NVIDIA A100", 87.0, 4000.0, 40000.0),)
    assert "--id=1" in (tmp_path / "asked").read_text()


def test_a_gpu_of_which_the_driver_knows_nothing_is_left_out(tmp_path, monkeypatch):
    fake_nvidia_smi(tmp_path, monkeypatch, "0, NVIDIA A100, [N/A], [N/A], 40000\\n")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpus.gpu_use() == ()


def test_a_worker_without_gpus_asks_nobody(tmp_path, monkeypatch):
    fake_nvidia_smi(tmp_path, monkeypatch, "0, NVIDIA A100, 1, 1, 1\\n")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus.gpu_use() == ()
    assert not (tmp_path / "asked").exists()
