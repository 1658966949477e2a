"""The choice of the release for ``--release latest``. Files that were found intact before are not read again."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from pydantic import TypeAdapter

from surveyflow.errors import Problem, WorkflowError
from surveyflow.files.durable import write_over
from surveyflow.files.json_state import MOST_BYTES_OF_LISTS, recall_state
from surveyflow.inputs.discovery import ReleaseChoice, Watch, age_order, find_newest_release
from surveyflow.inputs.fits_checksums import damage_of_fits
from surveyflow.releases.revisions import Revision, latest, split_name
from surveyflow.settings.workflow import is_manifest, read_document
from surveyflow.settings.workflow_paths import RELEASE

_STATES = TypeAdapter(dict[str, list[int]])
logger = logging.getLogger(__name__)


def choose_release(workflow: Path) -> ReleaseChoice:
    """Find the newest release whose files are all complete, and which is not older than the published one.

    Parameters
    ----------
    workflow
        The workflow file.

    Raises
    ------
    WorkflowError
        If there is no such release. Readers never get an older release merely because a newer one's files are being moved.
    """
    root = output_root(workflow)
    sound = SoundFiles(root)
    choice = find_newest_release(workflow, Watch(damage=sound.damage))
    sound.save()
    published = latest(root) if root is not None else None
    if published is not None and age_order(choice.release) < age_order(split_name(published.name)[0]):
        raise _going_back(workflow, choice, published)
    return choice


def _going_back(workflow: Path, choice: ReleaseChoice, published: Revision) -> WorkflowError:
    what = f"{choice.release}, the newest complete release, is older than {published.name}, which is published."
    remedy = f"Restore the files of the newer release, or go back on purpose: --release {choice.release}."
    skipped = [Problem(workflow.name, f"{release}.", "") for release in choice.skipped]
    return WorkflowError([Problem(workflow.name, what, remedy), *skipped])


class SoundFiles:
    """The files whose checksums were correct, in ``ROOT/digests/checksums.json``, by size, mtime and inode.

    Parameters
    ----------
    root
        The output folder; None if it is not known. Nothing is written if the folder does not exist.
    """

    def __init__(self, root: Path | None) -> None:
        self._file = root / "digests" / "checksums.json" if root is not None and root.is_dir() else None
        self._known = self._read()
        self._found: dict[str, list[int]] = {}

    def damage(self, path: Path) -> str | None:
        """Describe what is wrong with a file's checksums; None if nothing is."""
        status = path.stat()
        state = [status.st_size, status.st_mtime_ns, status.st_ino]
        if self._known.get(str(path)) != state:
            logger.info("file=%s bytes=%d: comparing its checksums, if it has any", path, status.st_size)
            if damage := damage_of_fits(path):
                return damage
        self._found[str(path)] = state
        return None

    def save(self) -> None:
        """Record the files that were checked and found intact."""
        if self._file is not None and self._found != self._known:
            write_over(self._file, json.dumps(self._found, indent=1).encode())

    def _read(self) -> dict[str, list[int]]:
        known = recall_state(self._file, _STATES, MOST_BYTES_OF_LISTS) if self._file is not None else None
        return known or {}


def output_root(workflow: Path) -> Path | None:
    """The output folder of a workflow file that can be read; None if it is not stated, or depends on the release."""
    workflow = workflow.absolute()
    document = {} if is_manifest(workflow) else read_document(workflow)
    output = document.get("output")
    text = output.get("root") if isinstance(output, dict) else None
    return workflow.parent / text if isinstance(text, str) and RELEASE not in text else None
