"""What lies beside a revision: ``ROOT/margins/v1.0-r2`` and ``ROOT/alternatives/v1.0-r2`` belong to ``ROOT/releases/v1.0-r2``.

The margin completes cross-matches, and the alternatives are the rows of further instruments. Both are catalogs of their own:
their files have the names of partitions, and within the revision's folder, readers of HATS would count them as the catalog's.
The collection in that folder names the margin, and the link ``alternatives`` there leads to the alternatives, so readers get
everything with one swap of ``latest``.
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
from surveyflow.output.prepared import ALTERNATIVES, BUILDING, MARGINS

_PLACES = (MARGINS, ALTERNATIVES)


def margin_folder(revision_folder: Path) -> Path:
    """The folder of a revision's margin; it need not exist.

    Parameters
    ----------
    revision_folder
        The revision's folder.
    """
    return _beside(revision_folder, MARGINS)


def alternatives_folder(revision_folder: Path) -> Path:
    """The folder of a revision's alternatives; it need not exist. Those of the first revisions are in the revision's own folder.

    Parameters
    ----------
    revision_folder
        The revision's folder.
    """
    return _beside(revision_folder, ALTERNATIVES)


def folders_of(revision_folder: Path) -> tuple[Path, ...]:
    """Every folder that holds files of a revision: its own and those beside it, which need not exist.

    Parameters
    ----------
    revision_folder
        The revision's folder.
    """
    return (revision_folder, *(_beside(revision_folder, place) for place in _PLACES))


def _beside(revision_folder: Path, place: str) -> Path:
    return revision_folder.parent.parent / place / revision_folder.name


def margin_name(revision: str) -> str:
    """The name by which a revision's collection knows its margin: the path from one to the other.

    Parameters
    ----------
    revision
        The revision's name.
    """
    return os.path.relpath(Path(MARGINS, revision), Path("releases", revision, COLLECTION))


def link_alternatives(revision_folder: Path, folder: Path) -> None:
    """Let the link ``alternatives`` in a revision's folder point to a folder, by a relative path.

    Parameters
    ----------
    revision_folder
        The revision's folder, which is still being built: an earlier link is replaced.
    folder
        The folder of the alternatives; it need not exist yet.

    Raises
    ------
    OutputError
        If the link cannot be made.
    """
    link = revision_folder / ALTERNATIVES
    with explained(link):
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(folder, revision_folder), target_is_directory=True)


@dataclass(frozen=True, slots=True)
class BuiltBeside:
    """What is built beside a revision.

    Parameters
    ----------
    margin, alternatives
        Folders of the margin and of the alternatives; they need not exist.
    scratch
        An existing folder for files that are needed only meanwhile.
    """

    margin: Path
    alternatives: Path
    scratch: Path

    def move_into_place(self, revision_folder: Path) -> None:
        """Give what is complete its final name, before the revision gets its own; what does not exist is left out.

        Parameters
        ----------
        revision_folder
            The revision's folder, which does not exist yet.

        Raises
        ------
        OutputError
            If a folder cannot be renamed.
        """
        for folder, final in zip((self.margin, self.alternatives), folders_of(revision_folder)[1:], strict=True):
            if folder.is_dir():
                with explained(final):
                    make_folder(final.parent)
                    folder.rename(final)
                    sync_folder(final.parent)


@contextmanager
def building_beside(root: Path) -> Iterator[BuiltBeside]:
    """Name folders to build in what lies beside a revision; what is still there in the end is removed.

    Parameters
    ----------
    root
        The output folder.
    """
    folder = root / MARGINS / f"{BUILDING}{secrets.token_hex(4)}"
    built = BuiltBeside(folder / "margin", folder / ALTERNATIVES, folder / "scratch")
    try:
        with explained(built.scratch):
            make_folder(built.scratch)
        yield built
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep_beside(root: Path) -> None:
    """Remove the margins and alternatives that belong to no revision: killed publishers and pruners leave them behind.

    Parameters
    ----------
    root
        The output folder; the caller must hold its lock.

    Raises
    ------
    OutputError
        If one cannot be removed.
    """
    for place in _PLACES:
        with explained(root / place):
            for folder in (root / place).glob("*"):
                if folder.is_dir() and not (root / "releases" / folder.name).is_dir():
                    shutil.rmtree(folder)
