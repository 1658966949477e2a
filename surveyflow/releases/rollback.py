"""The return of ``latest`` to an earlier revision."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from surveyflow.errors import CatalogNotFound, InputError
from surveyflow.output.lock import RunLock
from surveyflow.output.run_folders import new_run_id
from surveyflow.releases.decisions import ACCEPTED, ROLLED_BACK, Decision, read_decisions, record
from surveyflow.releases.holds import waiting
from surveyflow.releases.revisions import (
    LATEST,
    Revision,
    current_name,
    find,
    named,
    point_latest_at,
    readable_revisions,
    revision_names,
    withheld_because,
)
from surveyflow.releases.verify import check_revision
from surveyflow.values import remedies
from surveyflow.values.notebooks import notebook_table


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

    def _repr_html_(self) -> str:
        return notebook_table({"before": self.before, "after": self.after.name})


def roll_back(root: Path, to: str | None = None) -> Rollback:
    """Check an earlier revision and point ``latest`` at it. Nothing is removed.

    The revision that is taken back from readers is held: a run with the same inputs does not publish it again.

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
        If ``latest`` names it already, or it waits to be accepted.
    LockHeld
        If a run works on the folder.
    CatalogError
        If the revision was changed or damaged since it was published, if ``latest`` is not a link to a revision, or if the file
        of decisions is damaged.
    """
    if to is not None or not revision_names(root):
        find(root) if to in (None, LATEST) else named(root, str(to))
    with RunLock(root, f"rollback-{new_run_id()}") as lock:
        current, refused = current_name(root), _waiting_for_acceptance(root)
        target = _one_before(root, current, refused) if to is None else _named(root, to, refused)
        if target.name == current:
            raise InputError(f"{root / LATEST} names {current} already. Name another: `{remedies.list_releases(root)}`.")
        check_revision(target.path)
        _record(root, current, target)
        point_latest_at(root, target.name, lock.check)
    return Rollback(current, target)


def _waiting_for_acceptance(root: Path) -> set[str]:
    """Names of the revisions that readers have never been given and may still be."""
    return {hold.revision.name for hold in waiting(root) if not hold.rolled_back}


def _named(root: Path, name: str, refused: Collection[str]) -> Revision:
    """The revision of this name, or the newest of the release that readers were given."""
    if name == LATEST:
        return find(root)
    names = [one for one in named(root, name) if one not in refused]
    if not names:
        raise InputError(
            f"{name} is held: readers have never been given it. To give it to readers: `{remedies.accept(root, name)}`."
        )
    return find(root, names[-1])


def _one_before(root: Path, current: str | None, refused: Collection[str]) -> Revision:
    """The revision published before another; the newest intact one if that other cannot be read."""
    revisions = [revision for revision in readable_revisions(root)[0] if revision.name not in refused]
    names = [revision.name for revision in revisions]
    place = names.index(current) if current in names else len(names)
    given = [revision for revision in revisions[:place] if not withheld_because(revision, read_decisions(root))]
    if not given:
        raise CatalogNotFound(f"{root} has no revision older than {current}: there is nothing to roll back to.")
    return given[-1]


def _record(root: Path, current: str | None, target: Revision) -> None:
    """Record what is held from now on and what is not; before ``latest`` is moved, so that no run comes between."""
    decisions = read_decisions(root)
    names = [revision.name for revision in readable_revisions(root)[0]]
    changes = {}
    if current in names and names.index(current) > names.index(target.name):
        changes[str(current)] = Decision.now(ROLLED_BACK)
    if withheld_because(target, decisions):
        changes[target.name] = Decision.now(ACCEPTED)
    if changes:
        record(root, changes)
