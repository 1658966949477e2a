"""The return of ``latest`` to an earlier revision."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from surveyflow.errors import CatalogNotFound, InputError
from surveyflow.output.lock import RunLock
from surveyflow.output.run_folders import new_run_id
from surveyflow.releases.revisions import LATEST, Revision, find, point_latest_at, readable_revisions, revision_names
from surveyflow.releases.verify import check_revision


@dataclass(frozen=True, slots=True)
class Rollback:
    """The result of a rollback.

    Parameters
    ----------
    before
        Name of the revision that ``latest`` named before; None if it named none.
    after
        The revision that it names now.
    """

    before: str | None
    after: Revision


def roll_back(root: Path, to: str | None = None) -> Rollback:
    """Check an earlier revision and point ``latest`` at it. Nothing is removed.

    Parameters
    ----------
    root
        The output folder.
    to
        A release or a revision; by default, the revision that was published before the present one.

    Raises
    ------
    CatalogNotFound
        If there is no such revision.
    InputError
        If ``latest`` names it already.
    LockHeld
        If a run works on the folder.
    CatalogError
        If the revision was changed or damaged since it was published.
    """
    if to is not None or not revision_names(root):
        find(root, to or LATEST)
    with RunLock(root, f"rollback-{new_run_id()}") as lock:
        link = root / LATEST
        current = link.readlink().name if link.is_symlink() else None
        target = _one_before(root, current) if to is None else find(root, to)
        if target.name == current:
            raise InputError(f"{link} names {current} already. Name another: surveyflow releases list {root}.")
        check_revision(target.path)
        point_latest_at(root, target.name, lock.check)
    return Rollback(current, target)


def _one_before(root: Path, current: str | None) -> Revision:
    """The revision published before another; the newest intact one if that other cannot be read."""
    revisions, _ = readable_revisions(root)
    names = [revision.name for revision in revisions]
    place = names.index(current) if current in names else len(names)
    if place == 0:
        raise CatalogNotFound(f"{root} has no revision older than {current}: there is nothing to roll back to.")
    return revisions[place - 1]
