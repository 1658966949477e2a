"""The folder of a run, ``ROOT/runs/<run id>/``: its resolved workflow, its log and its progress."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import TypeAdapter

from surveyflow.files.durable import explained, make_way, remove_any
from surveyflow.files.json_state import MOST_SECONDS, Amount, Count, Damaged, parse_state, read_end, recall_state
from surveyflow.values.codes import Code

_UNCHANGED = "unchanged"
"""Name of the file that marks the folder of a run that found nothing to do."""
_TAIL_BYTES = 65_536
"""Bytes to read from the end of a progress file: many times the length of a line."""


class Phase(Code):
    """What a run is doing.

    Attributes
    ----------
    counted
        What is counted in this phase; empty if nothing is.
    """

    def __init__(self, value: str, meaning: str = "", counted: str = "") -> None:
        super().__init__(value, meaning)
        self.counted = counted

    LISTS = "lists", "reading source lists", "parts"
    DIGEST = "digest", "reading mosaics", "windows"
    WORKERS = "workers", "finding workers"
    UNITS = "units", "measuring", "units"
    PUBLISH = "publish", "publishing"
    DONE = "done", "ended"
    STOPPED = "stopped", "stopped by an error"

    @property
    def is_last(self) -> bool:
        """Whether the run has ended."""
        return self in (Phase.DONE, Phase.STOPPED)


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a run.

    Parameters
    ----------
    phase
        What the run is doing.
    done, total
        Number of this phase's jobs that have ended, and of all its jobs.
    cutouts_done, cutouts_total
        Number of sources in the phase's ended units, and in all its units.
    failed
        Number of this phase's jobs that failed.
    seconds
        Seconds since the phase began.
    message
        What ended last: a unit's name, or the error of one that failed. In phase ``workers``, how units find workers, or which
        workers the run is waiting for.
    """

    phase: Phase
    done: Count = 0
    total: Count = 0
    cutouts_done: Count = 0
    cutouts_total: Count = 0
    failed: Count = 0
    seconds: Amount = 0.0
    message: str = ""

    @property
    def cutouts_per_second(self) -> float:
        """Mean rate since the phase began; 0 before anything has ended."""
        return self.cutouts_done / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Time left at the mean rate, seconds; None before anything has ended."""
        if not self.done or not self.total:
            return None
        counts = (self.cutouts_done, self.cutouts_total) if self.cutouts_done else (self.done, self.total)
        return min(self.seconds * (counts[1] - counts[0]) / counts[0], MOST_SECONDS)

    def describe(self) -> str:
        """Describe the progress in one line: ``3/12 units, 420 cutouts, 61/s, 0:01:20 left``."""
        if not self.phase.counted:
            return f"{self.phase} {self.message}".strip()
        words = [f"{self.done}/{self.total} {self.phase.counted}"]
        if self.cutouts_done:
            words += [f"{self.cutouts_done} cutouts", f"{self.cutouts_per_second:.0f}/s"]
        if self.seconds_left:
            words.append(f"{timedelta(seconds=round(self.seconds_left))} left")
        if self.failed:
            words.append(f"{self.failed} failed")
        return ", ".join(words)


@dataclass(frozen=True, slots=True)
class _Line(Progress):
    """A line of ``progress.jsonl``."""

    time: str = ""

    @property
    def progress(self) -> Progress:
        """The line without its time."""
        return Progress(**{item.name: getattr(self, item.name) for item in fields(Progress)})


_LINE = TypeAdapter(_Line)
_CLUSTER = TypeAdapter(dict[str, str | None])
_STARTED = "%Y%m%dT%H%M%S"
_RUN_ID = re.compile(r"[0-9]{8}T[0-9]{6}-[0-9a-f]+")


@dataclass(frozen=True, slots=True)
class RunStatus:
    """The last report of a run.

    Parameters
    ----------
    run_id
        Its folder's name: UTC start time, and the fraction of its last second in six hexadecimal digits.
    updated
        When it last reported, ISO 8601, UTC.
    progress
        The progress that it reported.
    dashboard
        Address of its cluster's dashboard; None if there is none.
    """

    run_id: str
    updated: str
    progress: Progress
    dashboard: str | None = None

    @property
    def started(self) -> float:
        """When the run began, seconds since 1970."""
        return _start(self.run_id).timestamp()


class RunFolder:
    """The folder of one run.

    Parameters
    ----------
    root
        The output folder.
    run_id
        Its name.
    """

    def __init__(self, root: Path, run_id: str) -> None:
        self.run_id = run_id
        self._root = root
        self.path = root / "runs" / run_id

    def create(self, workflow_toml: str) -> None:
        """Make the folder and save the resolved workflow in it."""
        with explained(self.path):
            self.path.mkdir(parents=True)
            (self.path / "workflow.toml").write_text(workflow_toml, encoding="utf-8")
            (self.path / "log.jsonl").touch()

    def record(self, progress: Progress) -> None:
        """Append a line to ``progress.jsonl``; a run does not end because its progress cannot be written."""
        try:
            with (self.path / "progress.jsonl").open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"time": _now(), **asdict(progress)}) + "\n")
        except OSError as error:
            logging.getLogger(__name__).warning("run=%s progress was not recorded: %s", self.run_id, error)

    @contextmanager
    def logging(self) -> Iterator[None]:
        """Copy surveyflow's log records into ``log.jsonl`` while the run lasts."""
        log = JsonLog(self.path / "log.jsonl")
        try:
            yield
        finally:
            log.close()

    def note_unchanged(self) -> None:
        """Record that this run found nothing to do, and remove the folders of earlier such runs; failures are logged."""
        try:
            (self.path / _UNCHANGED).touch()
            for earlier in (self._root / "runs").glob(f"*/{_UNCHANGED}"):
                if _is_run_id(earlier.parent.name) and earlier.parent != self.path:
                    remove_any(earlier.parent)
        except OSError as error:
            logging.getLogger(__name__).warning("run=%s folders of earlier runs were not removed: %s", self.run_id, error)

    def note_dashboard(self, address: str | None) -> None:
        """Record the address of the cluster's dashboard, if it has one; as with progress, a failure does not end the run."""
        try:
            (self.path / "cluster.json").write_text(json.dumps({"dashboard": address}), encoding="utf-8")
        except OSError as error:
            logging.getLogger(__name__).warning("run=%s dashboard was not recorded: %s", self.run_id, error)


class JsonLog:
    """A copy of surveyflow's log records, from level INFO, in a file of JSON lines; it lasts until it is closed.

    Parameters
    ----------
    path
        The file; records are appended.
    """

    def __init__(self, path: Path) -> None:
        self._handler = _LogFile(path, delay=True, encoding="utf-8")
        self._handler.setFormatter(_JsonLines())
        self._logger = logging.getLogger("surveyflow")
        self._level = self._logger.level
        self._logger.addHandler(self._handler)
        self._logger.setLevel(min(self._level or logging.INFO, logging.INFO))

    def close(self) -> None:
        """Stop writing, and restore the loggers."""
        self._logger.setLevel(self._level)
        self._logger.removeHandler(self._handler)
        self._handler.close()


class _LogFile(logging.FileHandler):
    """A log that silently drops records when its disk is full: the run itself reports that."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, if the file can be opened; a pipe in its place would wait for a reader."""
        with suppress(OSError):
            if self.stream is None:
                make_way(Path(self.baseFilename))
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the base class's name
        """Drop the record."""


class _JsonLines(logging.Formatter):
    """A formatter that writes each record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {"time": _now(), "level": record.levelname, "logger": record.name, "message": record.getMessage()}
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def new_run_id() -> str:
    """Make a run's name, ``20221123T081500-3fa9c1``; names sort by start time, also those of one second."""
    now = datetime.now(UTC)
    return f"{now:%Y%m%dT%H%M%S}-{now.microsecond * 2**24 // 10**6:06x}"


def _start(run_id: str) -> datetime:
    return datetime.strptime(run_id[:15], _STARTED).replace(tzinfo=UTC)


def _is_run_id(name: str) -> bool:
    """Whether a folder has the name of a run, with a time that exists."""
    with suppress(ValueError):
        return _RUN_ID.fullmatch(name) is not None and bool(_start(name))
    return False


def last_run(root: Path) -> RunStatus | None:
    """The newest run in an output folder that has reported progress; None if there is none."""
    for folder in sorted((root / "runs").glob("*"), reverse=True):
        entry = _last_line(folder / "progress.jsonl") if _is_run_id(folder.name) else None
        if entry is not None:
            return RunStatus(folder.name, entry.time, entry.progress, _dashboard(folder))
    return None


def old_runs(root: Path, days: float) -> list[str]:
    """Names of the runs that began longer ago than so many days, the oldest first, without the newest run of all."""
    before = (datetime.now(UTC) - timedelta(days=days)).timestamp()
    names = sorted(folder.name for folder in (root / "runs").glob("*") if _is_run_id(folder.name))
    return [name for name in names[:-1] if _start(name).timestamp() < before]


def remove_runs(root: Path, names: Iterable[str]) -> None:
    """Remove the folders of runs; failures are logged.

    Parameters
    ----------
    root
        The output folder; the caller must hold its lock.
    names
        The runs.
    """
    for name in names:
        try:
            remove_any(root / "runs" / name)
        except OSError as error:
            logging.getLogger(__name__).warning("run=%s its folder was not removed: %s", name, error)


def _dashboard(folder: Path) -> str | None:
    found = recall_state(folder / "cluster.json", _CLUSTER)
    return found.get("dashboard") or None if found else None


def _last_line(path: Path) -> _Line | None:
    """The last complete line of a file that may still be growing; None if it has none, or is damaged."""
    try:
        complete = read_end(path, _TAIL_BYTES).split(b"\n")[:-1]
        return parse_state(complete[-1], _LINE) if complete else None
    except FileNotFoundError:
        return None
    except Damaged as error:
        logging.getLogger(__name__).warning("file=%s is damaged: %s", path, error)
        return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
