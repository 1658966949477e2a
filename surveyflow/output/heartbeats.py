"""What the workers of an output folder are at: ``ROOT/workers/HOST-PROCESS.json``, written by each every few seconds.

Whoever sees the folder sees them, a login node for example. Beside it lies the worker's log, ``HOST-PROCESS.jsonl``, one event
a line. Neither belongs to one run: a worker may serve several, one after the other.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

INTERVAL_S = 10.0
"""Seconds between two heartbeats."""

SILENT_AFTER_S = 60.0
"""A worker that has not written for so long, seconds, is no longer at work, or its machine is in trouble."""

_KEPT_S = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class GpuUse:
    """How busy a GPU is.

    Parameters
    ----------
    name
        Number and kind, as its driver calls it.
    busy_percent
        Part of the last moment in which it computed.
    memory_mb, memory_total_mb
        In use by whomever, and there.
    """

    name: str
    busy_percent: float
    memory_mb: float
    memory_total_mb: float


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What a worker last said of itself.

    Parameters
    ----------
    worker
        Host and process, ``HOST-PROCESS``.
    pool
        What it is one of, such as a batch system's pool; ``local`` where nobody said.
    time, started
        When it said so, and when it began, seconds since 1970 by its own clock.
    job, job_since
        What it is at, and since when; empty and None where it waits.
    done, failed
        Jobs that it has ended since it began.
    memory_mb
        Resident.
    gpus
        The GPUs that it may use.
    """

    worker: str
    pool: str
    time: float
    started: float
    job: str
    job_since: float | None
    done: int
    failed: int
    memory_mb: float
    gpus: tuple[GpuUse, ...] = ()

    def is_silent(self, now: float) -> bool:
        """Tell whether a worker should have written again by ``now``, seconds since 1970."""
        return now - self.time > SILENT_AFTER_S


def heartbeat_path(root: Path, worker: str) -> Path:
    """Name the file of a worker's heartbeat."""
    return root / "workers" / f"{worker}.json"


def worker_log_path(root: Path, worker: str) -> Path:
    """Name the file of a worker's events."""
    return root / "workers" / f"{worker}.jsonl"


def write_heartbeat(root: Path, beat: Heartbeat) -> None:
    """Replace a worker's heartbeat, so that a reader sees a whole one.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    path = heartbeat_path(root, beat.worker)
    path.parent.mkdir(exist_ok=True)
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(asdict(beat)), encoding="utf-8")
    unfinished.replace(path)


def read_heartbeats(root: Path, since: float) -> list[Heartbeat]:
    """Read the heartbeats of all workers that wrote after ``since``, seconds since 1970, in the order of their names."""
    found = []
    for path in sorted((root / "workers").glob("*.json")):
        with suppress(OSError, ValueError, TypeError, AttributeError):  # gone by now, or of another version
            found.append(_beat(json.loads(path.read_text(encoding="utf-8"))))
    return [beat for beat in found if beat.time >= since]


def sweep_heartbeats(root: Path) -> None:
    """Remove heartbeats and logs of workers that have not written for a week."""
    before = time.time() - _KEPT_S
    for path in (root / "workers").glob("*.json*"):
        with suppress(OSError):  # another run's sweep may have come first
            if path.stat().st_mtime < before:
                path.unlink()


def _beat(entry: dict[str, Any]) -> Heartbeat:
    known = {item.name for item in fields(Heartbeat)}
    gpus = tuple(GpuUse(**gpu) for gpu in entry.get("gpus", ()))
    return Heartbeat(**{key: value for key, value in entry.items() if key in known} | {"gpus": gpus})
