"""What workers say of themselves can be read by anybody who sees the output folder."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace

import pytest

from surveyflow.output.heartbeats import (
    SILENT_AFTER_S,
    GpuUse,
    Heartbeat,
    heartbeat_path,
    read_heartbeats,
    sweep_heartbeats,
    worker_log_path,
    write_heartbeat,
)

NOW = 1_800_000_000.0
GPU = GpuUse("0 NVIDIA A100", 87.0, 4_000.0, 40_000.0)
HEARTBEAT = Heartbeat("node1-77", "gpu", NOW, NOW - 100, "EGS/F814W/y000x001", NOW - 9, 12, 1, 900.0, (GPU,))


def test_a_heartbeat_is_read_as_it_was_written(tmp_path):
    write_heartbeat(tmp_path, replace(HEARTBEAT, job="an older one", time=NOW - 10))
    write_heartbeat(tmp_path, HEARTBEAT)
    assert read_heartbeats(tmp_path, since=NOW - 50) == [HEARTBEAT]
    assert [path.name for path in (tmp_path / "workers").iterdir()] == ["node1-77.json"]


def test_workers_of_earlier_runs_are_left_out(tmp_path):
    write_heartbeat(tmp_path, HEARTBEAT)
    assert read_heartbeats(tmp_path, since=NOW + 1) == []


def test_a_folder_without_workers_has_none(tmp_path):
    assert read_heartbeats(tmp_path, since=0) == []


def with_moment(number):
    """A heartbeat's text with a number in the place of the moment at which the job began."""
    return json.dumps(asdict(replace(HEARTBEAT, job_since=-17.5))).replace("-17.5", number)


ODD_MOMENTS = [with_moment(number) for number in ("NaN", "-Infinity", "1e999", "1e300", "-1")]


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"worker": "node1-77"}', *ODD_MOMENTS])
def test_heartbeats_that_cannot_be_read_are_skipped(tmp_path, text):
    write_heartbeat(tmp_path, replace(HEARTBEAT, worker="node2-5"))
    heartbeat_path(tmp_path, "node1-77").write_text(text)
    assert [heartbeat.worker for heartbeat in read_heartbeats(tmp_path, since=0)] == ["node2-5"]


def test_a_later_version_may_write_more_keys(tmp_path):
    write_heartbeat(tmp_path, HEARTBEAT)
    path = heartbeat_path(tmp_path, HEARTBEAT.worker)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"mood": "fine"}))
    assert read_heartbeats(tmp_path, since=0) == [HEARTBEAT]


def test_a_worker_is_silent_after_a_while():
    assert not HEARTBEAT.is_silent(NOW + SILENT_AFTER_S)
    assert HEARTBEAT.is_silent(NOW + SILENT_AFTER_S + 1)


def test_heartbeats_a_week_old_are_removed(tmp_path):
    for worker in ("node1-1", "node1-2"):
        write_heartbeat(tmp_path, replace(HEARTBEAT, worker=worker))
        worker_log_path(tmp_path, worker).touch()
    for path in (heartbeat_path(tmp_path, "node1-1"), worker_log_path(tmp_path, "node1-1")):
        os.utime(path, (0, 0))
    sweep_heartbeats(tmp_path)
    assert {path.name for path in (tmp_path / "workers").iterdir()} == {"node1-2.json", "node1-2.jsonl"}
