"""The inventory of an output folder: its revisions, and how much space each takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surveyflow.errors import CatalogNotFound
from surveyflow.releases.beside import folders_of
from surveyflow.releases.decisions import Decision, read_decisions
from surveyflow.releases.holds import Hold, holds
from surveyflow.releases.revisions import Revision, latest, readable_revisions
from surveyflow.values.notebooks import notebook_rows


@dataclass(frozen=True, slots=True)
class StoredRevision:
    """A revision and its size.

    Parameters
    ----------
    revision
        The revision.
    is_latest
        Whether ``latest`` points to it.
    n_bytes
        Size of its files, those of its margin and those of its alternatives, bytes.
    n_new_bytes
        Size of the files that it does not share with earlier revisions, bytes.
    hold
        Why readers were not given it, or why it was taken back from them; None if neither is so.
    decision
        The last decision about it, with who decided and when; None if nobody did.
    """

    revision: Revision
    is_latest: bool
    n_bytes: int
    n_new_bytes: int
    hold: Hold | None = None
    decision: Decision | None = None

    @property
    def is_held(self) -> bool:
        """Whether it waits to be accepted."""
        return self.hold is not None and self.hold.waits

    def as_json(self) -> dict[str, Any]:
        """The revision and its size as JSON values."""
        return {
            "revision": self.revision.name,
            "latest": self.is_latest,
            "created": self.revision.created,
            "rows": self.revision.n_rows,
            "status": dict(self.revision.status_counts),
            "bytes": self.n_bytes,
            "new_bytes": self.n_new_bytes,
            "path": str(self.revision.path),
            "held": self.hold.reason if self.hold is not None and self.is_held else None,
            "held_reasons": list(self.hold.reasons) if self.hold is not None else [],
            "decision": self.decision.model_dump() if self.decision is not None else None,
        }


_SHOWN = ("revision", "latest", "created", "rows", "status", "bytes", "new_bytes", "held", "damage")


@dataclass(frozen=True, slots=True)
class Inventory:
    """The published revisions of an output folder.

    Parameters
    ----------
    revisions
        The revisions with intact manifests, in the order of their publication.
    damaged
        What is wrong with each of the other revisions, by name.
    """

    revisions: tuple[StoredRevision, ...]
    damaged: Mapping[str, str]

    def as_json(self) -> list[dict[str, Any]]:
        """One entry for each revision, the damaged ones last."""
        about_damaged = [{"revision": name, "latest": False, "damage": damage} for name, damage in self.damaged.items()]
        return [stored.as_json() for stored in self.revisions] + about_damaged

    def _repr_html_(self) -> str:
        return notebook_rows([{name: one[name] for name in _SHOWN if name in one} for one in self.as_json()])


def take_inventory(root: Path) -> Inventory:
    """List the revisions of an output folder with their sizes.

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
    current, decisions = latest(root), read_decisions(root)
    held = {hold.revision.name: hold for hold in holds(root)}
    seen: set[tuple[int, int]] = set()
    stored = []
    revisions, damaged = readable_revisions(root)
    for revision in revisions:
        states = [path.stat() for folder in folders_of(revision.path) for path in folder.rglob("*") if path.is_file()]
        new = [state for state in states if (state.st_dev, state.st_ino) not in seen]
        seen.update((state.st_dev, state.st_ino) for state in states)
        sizes = sum(state.st_size for state in states), sum(state.st_size for state in new)
        is_latest = current is not None and revision.name == current.name
        stored.append(StoredRevision(revision, is_latest, *sizes, held.get(revision.name), decisions.get(revision.name)))
    if not stored and not damaged:
        raise CatalogNotFound(f"{root} holds no revisions. Name the output folder of a finished run.")
    return Inventory(tuple(stored), damaged)
