"""Revisions that are held: complete and verified, but not given to readers before somebody accepts them.

The comparison with the latest revision holds a new one, which its manifest says; a rollback holds the revision that it takes
back, which the file of decisions says. Whatever ``latest`` names is not held.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surveyflow.errors import CatalogError, InputError
from surveyflow.output.lock import RunLock
from surveyflow.output.run_folders import new_run_id
from surveyflow.releases.decisions import ACCEPTED, ROLLED_BACK, Decision, Decisions, read_decisions, record
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
class Hold:
    """A revision that readers were not given, or that was taken back from them.

    Parameters
    ----------
    revision
        The revision.
    reasons
        Why, in sentences.
    waits
        Whether it can be accepted; if not, readers were given a later revision since.
    rolled_back
        Whether a rollback holds it, and not the comparison with the latest revision.
    """

    revision: Revision
    reasons: tuple[str, ...]
    waits: bool = True
    rolled_back: bool = False

    @property
    def reason(self) -> str:
        """All reasons in one text."""
        return " ".join(self.reasons)

    def as_json(self) -> dict[str, Any]:
        """The hold as JSON values."""
        return {"revision": self.revision.name, "held": self.reason, "held_reasons": list(self.reasons)}


@dataclass(frozen=True, slots=True)
class Acceptance:
    """The result of accepting a revision.

    Parameters
    ----------
    before
        Name of the revision that ``latest`` named before; None if it named none.
    after
        The accepted revision, which it names now.
    decision
        Who accepted it, and when.
    """

    before: str | None
    after: Revision
    decision: Decision

    def _repr_html_(self) -> str:
        return notebook_table({"before": self.before, "after": self.after.name, "decision": str(self.decision)})


def holds(root: Path) -> list[Hold]:
    """List the intact revisions that readers were not given, or that were taken back from them, the oldest first.

    Parameters
    ----------
    root
        The output folder.

    Raises
    ------
    CatalogError
        If ``latest`` is not a link to a revision, or the file of decisions is damaged.
    """
    current, decisions = current_name(root), read_decisions(root)
    revisions, _ = readable_revisions(root)
    names = [revision.name for revision in revisions]
    later = revisions[names.index(current) + 1 :] if current in names else revisions
    found = []
    for revision in revisions:
        waits = revision in later
        reasons = _reasons(revision, decisions, waits=waits)
        if reasons and revision.name != current:
            found.append(Hold(revision, reasons, waits, _is_rolled_back(revision, decisions)))
    return found


def waiting(root: Path) -> list[Hold]:
    """List the held revisions that can be accepted, the oldest first.

    Raises
    ------
    CatalogError
        As in `holds`.
    """
    return [hold for hold in holds(root) if hold.waits]


def what_to_do(root: Path, name: str) -> tuple[str, ...]:
    """What a person can do about a held revision, each with the command that does it.

    Parameters
    ----------
    root
        The output folder.
    name
        The held revision.
    """
    compare = (f"compare it: `{remedies.compare_with_latest(root, name)}`",) if current_name(root) else ()
    return (*compare, f"give it to readers: `{remedies.accept(root, name)}`")


def accept(root: Path, release: str | None = None) -> Acceptance:
    """Check a held revision, record who accepted it, and point ``latest`` at it. Accepting it again changes nothing.

    Parameters
    ----------
    root
        The output folder.
    release
        A held revision, or a release for the newest of its held revisions; by default, the newest held revision.

    Raises
    ------
    CatalogNotFound
        If there is no such revision.
    InputError
        If it is not held, or readers were given a later one since.
    LockHeld
        If a run works on the folder.
    CatalogError
        If the revision was changed or damaged since it was published, or the file of decisions is damaged.
    """
    if release is not None or not revision_names(root):
        named(root, release or LATEST)
    with RunLock(root, f"accept-{new_run_id()}") as lock:
        current, decisions = current_name(root), read_decisions(root)
        decision = decisions.get(current or "")
        if current is not None and release == current and decision is not None and decision.decision == ACCEPTED:
            return Acceptance(current, find(root, current), decision)
        revision = _chosen(root, release).revision
        _check(revision)
        decision = Decision.now(ACCEPTED)
        record(root, {revision.name: decision})
        point_latest_at(root, revision.name, lock.check)
    return Acceptance(current, revision, decision)


def _reasons(revision: Revision, decisions: Decisions, *, waits: bool) -> tuple[str, ...]:
    reasons = withheld_because(revision, decisions)
    decision = decisions.get(revision.name)
    if waits and not reasons and decision is not None:
        return (f"It was {decision}, but this was interrupted before {LATEST} was moved. Accept it again.",)
    return reasons


def _is_rolled_back(revision: Revision, decisions: Decisions) -> bool:
    decision = decisions.get(revision.name)
    return decision is not None and decision.decision == ROLLED_BACK


def _chosen(root: Path, release: str | None) -> Hold:
    """The held revision that a name stands for."""
    found = holds(root)
    names = [hold.revision.name for hold in found] if release is None else named(root, release)
    of_name = [hold for hold in found if hold.revision.name in names]
    can_be_accepted = [hold for hold in of_name if hold.waits]
    if can_be_accepted:
        return can_be_accepted[-1]
    if release is None:
        raise InputError(f"{root} has no held revision to accept. To see its revisions: `{remedies.list_releases(root)}`.")
    name = find(root, names[-1]).name
    what = f"{name} was held, and readers were given a later revision since" if of_name else f"{name} is not held"
    raise InputError(f"{what}. To give readers a revision on purpose: `{remedies.roll_back_to(root, name)}`.")


def _check(revision: Revision) -> None:
    try:
        check_revision(revision.path)
    except CatalogError as error:
        remedy = f"Remove it: `{remedies.remove_folder(revision.path)}`; the next run makes a new one."
        raise CatalogError(f"{error}\n{revision.name} was not accepted. {remedy}") from error
