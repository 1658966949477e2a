"""Functions on published revisions: list, diff, verify, accept, rollback, prune."""

from __future__ import annotations

from pathlib import Path

from surveyflow.releases.comparison import Difference, compare
from surveyflow.releases.holds import Acceptance, accept
from surveyflow.releases.inventory import Inventory, take_inventory
from surveyflow.releases.pruning import Pruning, plan_pruning, prune
from surveyflow.releases.revisions import LATEST, find, legible, revision_names
from surveyflow.releases.rollback import Rollback, roll_back
from surveyflow.releases.verify import Verdict, judge
from surveyflow.values.notebooks import TableList


def list_releases(root: str | Path) -> Inventory:
    """List the published revisions of an output folder, and the space that each takes.

    Parameters
    ----------
    root
        The output folder.

    Raises
    ------
    CatalogNotFound
        If nothing was published there, or ``latest`` points to nothing.
    CatalogError
        If the manifest of the revision that ``latest`` names is damaged, if ``latest`` is not a link to a revision, or if the
        file of decisions is damaged.
    """
    return take_inventory(Path(root))


def diff_releases(root: str | Path, before: str, after: str = LATEST) -> Difference:
    """Compare two revisions: rows added, removed and changed, and by how much the results moved.

    Parameters
    ----------
    root
        The output folder.
    before, after
        The earlier and the later one: ``latest``, a release or a revision.

    Raises
    ------
    CatalogNotFound
        If there is no such revision.
    CatalogError
        If a revision is damaged.
    """
    with legible(root):
        return compare(Path(root), before, after)


def verify_releases(root: str | Path, release: str | None = None) -> list[Verdict]:
    """Read revisions back and check files, digests, schema, order, counts, and that no source occurs twice.

    Parameters
    ----------
    root
        The output folder.
    release
        ``latest``, a release or a revision; every revision if None.

    Returns
    -------
    A verdict for each revision; it holds the problems found.

    Raises
    ------
    CatalogNotFound
        If there is no such revision.
    """
    root = Path(root)
    names = [find(root, release).name] if release is not None else revision_names(root) or [find(root).name]
    return TableList(judge(root / "releases" / name) for name in names)


def accept_releases(root: str | Path, release: str | None = None) -> Acceptance:
    """Give readers a revision that was held, after checking it, and record who accepted it; accepting it again changes nothing.

    Parameters
    ----------
    root
        The output folder.
    release
        A held revision, or a release for the newest of its held revisions; the newest held revision if None.

    Raises
    ------
    CatalogNotFound
        If there is no such revision.
    InputError
        If it is not held, or readers were given a later revision since.
    LockHeld
        If a run works on the folder.
    CatalogError
        If the revision was changed or damaged since it was published, or the file of decisions is damaged.
    """
    return accept(Path(root), release)


def rollback_releases(root: str | Path, to: str | None = None) -> Rollback:
    """Give readers an earlier revision again, after checking it; nothing is removed.

    The revision that is taken back is held: runs with unchanged inputs do not publish it again before it is accepted.

    Parameters
    ----------
    root
        The output folder.
    to
        A release or a revision; the one published before the present one if None.

    Raises
    ------
    CatalogNotFound
        If there is no such revision.
    InputError
        If ``latest`` names it already, or it is held and was never given to readers.
    LockHeld
        If a run works on the folder.
    CatalogError
        If the revision was changed or damaged since it was published, or the file of decisions is damaged.
    """
    return roll_back(Path(root), to)


def prune_releases(root: str | Path, *, keep: int = 3, apply: bool = False) -> Pruning:
    """Remove old revisions, and results that neither a kept revision nor an unfinished run needs.

    Parameters
    ----------
    root
        The output folder.
    keep
        Number of revisions to keep, the newest first, at least 1. The latest is always kept, and so are those that were rolled
        back and the newest one that is held.
    apply
        Whether to remove anything; otherwise the result says what would be removed.

    Raises
    ------
    CatalogNotFound
        If nothing was published there.
    InputError
        If ``keep`` is below 1.
    LockHeld
        If a run works on the folder.
    """
    return prune(Path(root), keep) if apply else plan_pruning(Path(root), keep)
