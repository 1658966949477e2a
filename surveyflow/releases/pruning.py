"""The removal of old revisions and of results that no revision needs.

The newest revisions are kept, and the one that ``latest`` names. So are those that wait for somebody's decision: the newest that
the comparison with ``latest`` holds, which does not count among those to keep, and all that were rolled back. Every unit of a
kept revision is kept, and every unit done since the last revision was published, because an unfinished run will need it.
"""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surveyflow.errors import InputError, LockHeld
from surveyflow.files.durable import explained, remove_any, sync_folder
from surveyflow.output.lock import RunLock
from surveyflow.output.run_folders import new_run_id
from surveyflow.releases.beside import folders_of, sweep_beside
from surveyflow.releases.holds import waiting
from surveyflow.releases.revisions import (
    LATEST,
    MANIFEST,
    Revision,
    find,
    in_order_of_publication,
    read_manifest,
    remember_numbers,
)
from surveyflow.values.notebooks import notebook_table

PRUNED = ".pruned-"
"""Prefix of the name of a revision that is being removed."""


@dataclass(frozen=True, slots=True)
class Pruning:
    """What can be removed from an output folder.

    Parameters
    ----------
    revisions
        Revisions to remove, the oldest first.
    kept
        Names of the revisions to keep.
    units
        Files of each unit to remove, by key.
    n_bytes
        Space that this frees, bytes; files that are shared with kept revisions or units do not count.
    """

    revisions: tuple[Revision, ...]
    kept: tuple[str, ...]
    units: Mapping[str, Sequence[Path]]
    n_bytes: int

    def as_json(self) -> dict[str, Any]:
        """The pruning as JSON values."""
        names = [revision.name for revision in self.revisions]
        return {"revisions": names, "kept": list(self.kept), "units": len(self.units), "bytes": self.n_bytes}

    def _repr_html_(self) -> str:
        return notebook_table(self.as_json())


def plan_pruning(root: Path, keep: int) -> Pruning:
    """List what can be removed; nothing is changed.

    Parameters
    ----------
    root
        The output folder.
    keep
        Number of revisions to keep, the newest first, at least 1. The one that ``latest`` names is kept in any case, and so are
        held ones.

    Raises
    ------
    CatalogNotFound
        If nothing was published there.
    InputError
        If ``keep`` is below 1.
    """
    if keep < 1:
        raise InputError(f"found keep = {keep}, expected at least 1. Name the number of revisions to keep.")
    current, held = find(root, LATEST).name, waiting(root)
    revisions = in_order_of_publication(root)
    never_given = [hold.revision.name for hold in held if not hold.rolled_back]
    taken_back = [hold.revision.name for hold in held if hold.rolled_back]
    newest = [revision.name for revision in revisions if revision.name not in never_given][-keep:]
    names = {current, *newest, *never_given[-1:], *taken_back}
    kept = [revision for revision in revisions if revision.name in names]
    gone = tuple(revision for revision in revisions if revision not in kept)
    units = _unwanted_units(root, kept, since=(revisions[-1].path / MANIFEST).stat().st_mtime)
    files = [*_files(gone), *(path for paths in units.values() for path in paths)]
    return Pruning(gone, tuple(revision.name for revision in kept), units, _freed(files))


def prune(root: Path, keep: int) -> Pruning:
    """Remove old revisions, and units that no revision needs any more. The number of a removed revision is never used again.

    Parameters
    ----------
    root, keep
        As in `plan_pruning`.

    Returns
    -------
    What was removed.

    Raises
    ------
    CatalogNotFound, InputError
        As in `plan_pruning`.
    LockHeld
        If a run works on the folder.
    OutputError
        If something cannot be removed. What was removed before is gone, and every kept revision is complete.
    """
    find(root, LATEST)
    with RunLock(root, f"prune-{new_run_id()}") as lock:
        pruning = plan_pruning(root, keep)
        with explained(root):
            for ruin in (root / "releases").glob(f"{PRUNED}*"):
                shutil.rmtree(ruin)
            if pruning.revisions:
                remember_numbers(root)
            for revision in pruning.revisions:
                _remove_revision(revision, lock.check)
            sweep_beside(root)
            for key, paths in pruning.units.items():
                lock.check()
                _remove_unit(key, paths)
    return pruning


def _unwanted_units(root: Path, kept: Iterable[Revision], since: float) -> dict[str, list[Path]]:
    """Files of the units that are in no kept revision and older than the last publish, by key."""
    wanted = {unit["key"] for revision in kept for unit in read_manifest(revision.path).get("unit_keys", [])}
    found: defaultdict[str, list[Path]] = defaultdict(list)
    for path in root.glob("units/*/[!.]*"):
        found[path.name.split(".")[0]].append(path)
    return {
        key: sorted(paths)
        for key, paths in sorted(found.items())
        if key not in wanted and max(path.stat().st_mtime for path in paths) < since
    }


def _files(revisions: Iterable[Revision]) -> list[Path]:
    folders = [folder for revision in revisions for folder in folders_of(revision.path)]
    return [path for folder in folders for path in folder.rglob("*") if path.is_file()]


def _freed(paths: Iterable[Path]) -> int:
    """Bytes of the files that have no name other than the given ones."""
    states = [path.stat() for path in paths]
    names = Counter((state.st_dev, state.st_ino) for state in states)
    files = {(state.st_dev, state.st_ino): state for state in states}
    return sum(state.st_size for file, state in files.items() if names[file] == state.st_nlink)


def _remove_revision(revision: Revision, guard: Callable[[], object]) -> None:
    """Rename the revision first, so that no reader finds half of it; the next publish removes what a killed pruner leaves.

    If the lock was lost before the renaming, the revision gets its name back: its new holder may need it.
    """
    guard()
    hidden = revision.path.with_name(f"{PRUNED}{revision.name}")
    revision.path.rename(hidden)
    try:
        guard()
    except LockHeld:
        hidden.rename(revision.path)
        raise
    sync_folder(hidden.parent)
    shutil.rmtree(hidden)


def _remove_unit(key: str, paths: Sequence[Path]) -> None:
    """Remove the receipt first: without it, the other files do not count."""
    for path in sorted(paths, key=lambda path: path.name != f"{key}.json"):
        remove_any(path)
