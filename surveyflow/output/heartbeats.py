"""The heartbeats of workers: ``ROOT/workers/HOST-PROCESS.json``, which each worker writes every few seconds.

Every machine that sees the output folder can read them, for example a login node. The worker's log lies beside its heartbeat,
``HOST-PROCESS.jsonl``, with one event a line. Neither belongs to one run: a worker may serve several, one after another.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from surveyflow.files.durable import make_way
from surveyflow.files.json_state import Amount, Count, recall_state

INTERVAL_S = 10.0
"""Seconds between two heartbeats."""

SILENT_AFTER_S = 60.0
"""A worker that has not written for this time, seconds, has stopped, or its machine has a problem."""

_KEPT_S = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class GpuUse:
    """Use of a GPU.

    Parameters
    ----------
    name
        Number and type, as the driver reports them.
    busy_percent
        Percentage of the last sampling period in which it computed.
    memory_mb, memory_total_mb
        Memory in use by all programs, and the total, MB.
    """

    name: str
    busy_percent: Amount
    memory_mb: Amount
    memory_total_mb: Amount


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The last report of a worker.

    Parameters
    ----------
    worker
        Host and process, ``HOST-PROCESS``.
    pool
        Its pool, such as one of a batch system; ``local`` if it belongs to none.
    time, started
        Time of the report and of the worker's start, seconds since 1970 by its own clock.
    job, job_since
        Its present job and when that began; empty and None if it is idle.
    done, failed
        Number of jobs that it finished, and that failed, since it started.
    memory_mb
        Resident memory, MB.
    gpus
        The GPUs that it may use.
    """

    worker: str
    pool: str
    time: Amount
    started: Amount
    job: str
    job_since: Amount | None
    done: Count
    failed: Count
    memory_mb: Amount
    gpus: tuple[GpuUse, ...] = ()

    def is_silent(self, now: float) -> bool:
        """Whether the worker has been silent for too long at ``now``, seconds since 1970."""
        return now - self.time > SILENT_AFTER_S


_HEARTBEAT = TypeAdapter(Heartbeat)


def heartbeat_path(root: Path, worker: str) -> Path:
    """Path of a worker's heartbeat."""
    return root / "workers" / f"{worker}.json"


def worker_log_path(root: Path, worker: str) -> Path:
    """Path of a worker's log."""
    return root / "workers" / f"{worker}.jsonl"


def write_heartbeat(root: Path, heartbeat: Heartbeat) -> None:
    """Replace a worker's heartbeat in one step, so that a reader never sees half of it.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    path = heartbeat_path(root, heartbeat.worker)
    path.parent.mkdir(exist_ok=True)
    unfinished = path.with_suffix(".part")
    make_way(unfinished)
    make_way(path)
    unfinished.write_text(json.dumps(asdict(heartbeat)), encoding="utf-8")
    unfinished.replace(path)


def read_heartbeats(root: Path, since: float) -> list[Heartbeat]:
    """Read the heartbeats of all workers that wrote at or after ``since``, seconds since 1970, in the order of their names."""
    found = (recall_state(path, _HEARTBEAT) for path in sorted((root / "workers").glob("*.json")))
    return [heartbeat for heartbeat in found if heartbeat is not None and heartbeat.time >= since]


def sweep_heartbeats(root: Path) -> None:
    """Remove heartbeats and logs of workers that have not written for a week."""
    before = time.time() - _KEPT_S
    for path in (root / "workers").glob("*.json*"):
        with suppress(OSError):  # another run may have removed it first
            if path.stat().st_mtime < before:
                path.unlink()
