"""What a run announces by the command of the workflow's ``[notify]`` table, and when."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from surveyflow.errors import LockHeld, WorkflowError
from surveyflow.files.durable import write_over
from surveyflow.files.json_state import recall_state
from surveyflow.inputs.discovery import ReleaseChoice, SkippedRelease
from surveyflow.runs.newest_release import choose_release, output_root
from surveyflow.runs.notify import notify
from surveyflow.settings.workflow import Notify, is_manifest, read_document
from surveyflow.values.codes import Event
from surveyflow.values.jobs import MissingWorkers

if TYPE_CHECKING:
    from surveyflow.runs.run import RunResult

logger = logging.getLogger(__name__)

_MOST_CHARACTERS = 10_000
_REASONS = TypeAdapter(dict[str, list[str]])


@dataclass(frozen=True, slots=True)
class Announcement:
    """Something that somebody is told.

    Parameters
    ----------
    event
        What happened.
    message
        The same in sentences.
    root
        The output folder; None if it is not known.
    exit_code
        Exit code with which the run ends; None if it goes on.
    revision
        Name of the revision that was published or held; empty if there is none.
    release
        Name of the release that was skipped; empty if none was.
    held
        Why readers did not get the revision, in sentences; empty if they have it.
    """

    event: Event
    message: str
    root: Path | None = None
    exit_code: int | None = None
    revision: str = ""
    release: str = ""
    held: str = ""

    def environment(self) -> dict[str, str]:
        """The variables in which the command finds it; they can be given to any process."""
        facts = {
            "EVENT": self.event,
            "MESSAGE": self.message[:_MOST_CHARACTERS],
            "ROOT": "" if self.root is None else str(self.root),
            "EXIT": "" if self.exit_code is None else str(self.exit_code),
            "REVISION": self.revision,
            "RELEASE": self.release,
            "HELD": self.held[:_MOST_CHARACTERS],
        }
        return {f"SURVEYFLOW_{name}": fact.replace("\0", " ") for name, fact in facts.items()}


def announce(settings: Notify | None, announcement: Announcement) -> bool:
    """Run the command of the workflow, if it names one and the event is among those that it is run for.

    Returns
    -------
    Whether nothing is left to do: the command succeeded, or there is none for the event.
    """
    if settings is None or announcement.event not in settings.on:
        return True
    return notify(settings.command, announcement.environment(), settings.timeout_s)


def announce_result(settings: Notify | None, result: RunResult) -> None:
    """Announce a new revision: that it was published or held, and that units of it failed."""
    rows = f"{result.revision}: {result.rows} rows ({', '.join(f'{count} {name}' for name, count in result.status.items())})"
    held, failed = " ".join(result.held), [f"{name}: {error}" for name, error in result.failed_units.items()]
    messages = {Event.HELD if held else Event.PUBLISHED: f"{held} {rows}".strip()}
    if failed:
        messages[Event.FAILED] = f"{len(failed)} units of {result.revision} failed. {' '.join(failed)}"
    for event, message in messages.items():
        announcement = Announcement(event, message, result.root, result.exit_code, revision=result.revision, held=held)
        announce(settings, announcement)


@contextmanager
def announcing_failure(workflow: Path, output: Path | None) -> Iterator[None]:
    """Announce an error that ends the block; not that another run works on the same output, nor that the run was stopped.

    Parameters
    ----------
    workflow
        The workflow file.
    output
        Output folder to use instead of the workflow's; None for the workflow's own.
    """
    try:
        yield
    except LockHeld:
        raise
    except Exception as error:
        message, code = str(error) or type(error).__name__, getattr(error, "exit_code", 1)
        if settings := notify_settings(workflow):
            announce(settings, Announcement(Event.FAILED, message, output or output_root(workflow), code))
        raise


def choose_and_announce(workflow: Path, output: Path | None) -> ReleaseChoice:
    """Find the newest complete release; log what was skipped, and announce what is broken.

    Parameters
    ----------
    workflow, output
        As in `announcing_failure`.

    Raises
    ------
    WorkflowError
        If there is no such release.
    """
    choice = choose_release(workflow)
    for skipped in choice.skipped:
        logger.warning("%s", skipped)
    announce_skipped(workflow, output, choice.broken)
    return choice


def announce_skipped(workflow: Path, output: Path | None, broken: tuple[SkippedRelease, ...]) -> None:
    """Announce each newer release that is broken, once, and again when its reasons change or if the command failed.

    What was announced is recorded in the output folder, if there is one.

    Parameters
    ----------
    workflow, output
        As in `announcing_failure`.
    broken
        The releases.
    """
    root = output or output_root(workflow)
    file = root / "digests" / "skipped.json" if root is not None and root.is_dir() else None
    known = (recall_state(file, _REASONS) if file is not None else None) or {}
    reasons: dict[str, list[str]] = {}
    for skipped in broken:
        announcement = Announcement(Event.SKIPPED, f"{skipped}.", root, release=skipped.release)
        if known.get(skipped.release) == [*skipped.reasons] or announce(notify_settings(workflow), announcement):
            reasons[skipped.release] = list(skipped.reasons)
    if file is not None and known != reasons:
        write_over(file, json.dumps(reasons, indent=1).encode())


@contextmanager
def announcing_missing_workers(
    settings: Notify | None, root: Path, then: Callable[[str], None]
) -> Iterator[Callable[[str], None]]:
    """Announce which workers are missing while the block lasts; the run does not wait for the command.

    Parameters
    ----------
    settings
        The workflow's ``[notify]`` table.
    root
        The output folder.
    then
        Called with every message.

    Yields
    ------
    A function to be called with every message about workers.
    """
    announcer = ThreadPoolExecutor(max_workers=1)

    def hear(message: str) -> None:
        then(message)
        if isinstance(message, MissingWorkers):
            announcer.submit(announce, settings, Announcement(Event.WAITING, message, root))

    try:
        yield hear
    finally:
        announcer.shutdown(cancel_futures=True)


def notify_settings(workflow: Path) -> Notify | None:
    """The ``[notify]`` table of a workflow file, whatever else is wrong with it; None if there is none that can be used.

    A manifest has none: making tables again runs no command that came with them.
    """
    try:
        document = {} if is_manifest(workflow) else read_document(workflow)
        return Notify.model_validate(document["notify"]) if "notify" in document else None
    except (WorkflowError, ValidationError):  # reported with all others when the workflow is loaded
        return None
