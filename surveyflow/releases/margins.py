"""The margins of revisions: ``ROOT/margins/v1.0-r2`` completes cross-matches with ``ROOT/releases/v1.0-r2``.

A margin has a place of its own, because its files have the names of partitions: within the revision's folder, readers of HATS
would count them as the catalog's. The collection in that folder names it, so readers get both with one swap of ``latest``.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from surveyflow.catalog.collection import COLLECTION
from surveyflow.files.durable import explained, make_folder, sync_folder
from surveyflow.output.prepared import BUILDING, MARGINS


def margin_folder(revision_folder: Path) -> Path:
    """The folder of a revision's margin; it need not exist.

    Parameters
    ----------
    revision_folder
        The revision's folder.
    """
    return revision_folder.parent.parent / MARGINS / revision_folder.name


def margin_name(revision: str) -> str:
    """The name by which a revision's collection knows its margin: the path from one to the other.

    Parameters
    ----------
    revision
        The revision's name.
    """
    return os.path.relpath(Path(MARGINS, revision), Path("releases", revision, COLLECTION))


@dataclass(frozen=True, slots=True)
class BuiltBeside:
    """What is built beside a revision.

    Parameters
    ----------
    margin
        Folder of the margin; it need not exist.
    scratch
        An existing folder for files that are needed only meanwhile.
    """

    margin: Path
    scratch: Path


@contextmanager
def building_beside(root: Path) -> Iterator[BuiltBeside]:
    """Name folders to build a margin in; what is still there in the end is removed.

    Parameters
    ----------
    root
        The output folder.
    """
    folder = root / MARGINS / f"{BUILDING}{secrets.token_hex(4)}"
    built = BuiltBeside(folder / "margin", folder / "scratch")
    try:
        with explained(built.scratch):
            make_folder(built.scratch)
        yield built
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def move_margin_into_place(folder: Path, revision_folder: Path) -> None:
    """Give a complete margin its final name, before its revision gets its own.

    Parameters
    ----------
    folder
        The margin as it was built; nothing is done if it does not exist.
    revision_folder
        The revision's folder, which does not exist yet.

    Raises
    ------
    OutputError
        If the folder cannot be renamed.
    """
    final = margin_folder(revision_folder)
    if folder.is_dir():
        with explained(final):
            make_folder(final.parent)
            folder.rename(final)
            sync_folder(final.parent)


def sweep_margins(root: Path) -> None:
    """Remove the margins that belong to no revision: killed publishers and pruners leave them behind.

    Parameters
    ----------
    root
        The output folder; the caller must hold its lock.

    Raises
    ------
    OutputError
        If one cannot be removed.
    """
    with explained(root / MARGINS):
        for folder in (root / MARGINS).glob("*"):
            if folder.is_dir() and not (root / "releases" / folder.name).is_dir():
                shutil.rmtree(folder)
