"""The decisions of people about revisions, in ``ROOT/decisions.json``: which were accepted, and which were rolled back."""

from __future__ import annotations

import getpass
import json
import os
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from surveyflow.errors import CatalogError
from surveyflow.files.durable import write_over
from surveyflow.settings.reader import MOST_BYTES, Line, SettingsTable, Unreadable, read_bytes

DECISIONS = "decisions.json"
ACCEPTED: Literal["accepted"] = "accepted"
ROLLED_BACK: Literal["rolled back"] = "rolled back"


class Decision(SettingsTable):
    """The last decision about a revision.

    Parameters
    ----------
    decision
        ``accepted`` or ``rolled back``.
    by
        User and host.
    at
        Time, ISO 8601, UTC.
    """

    decision: Literal["accepted", "rolled back"]
    by: Line
    at: Line

    @classmethod
    def now(cls, decision: Literal["accepted", "rolled back"]) -> Decision:
        """A decision of the present user."""
        return cls(decision=decision, by=f"{_user()}@{socket.gethostname()}", at=datetime.now(UTC).isoformat(timespec="seconds"))

    def __str__(self) -> str:
        return f"{self.decision} by {self.by} on {self.at}"


Decisions = Mapping[str, Decision]
"""The last decision about each revision about which there is one, by the revision's name."""

_FORM = TypeAdapter(dict[str, Decision])


def read_decisions(root: Path) -> dict[str, Decision]:
    """Read the decisions of an output folder; empty if there are none.

    Raises
    ------
    CatalogError
        If the file is damaged.
    """
    path = root / DECISIONS
    if not os.path.lexists(path):
        return {}
    try:
        return _FORM.validate_json(read_bytes(path, MOST_BYTES))
    except Unreadable as problem:
        raise _damaged(path, problem.what.rstrip(".")) from problem
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise _damaged(path, f"{'.'.join(map(str, first['loc']))[:100]}: {first['msg'][:200]}".removeprefix(": ")) from error


def record(root: Path, decisions: Mapping[str, Decision]) -> None:
    """Record decisions durably, in one step; the caller must hold the folder's lock.

    Parameters
    ----------
    root
        The output folder.
    decisions
        The new decisions, by the revision's name.

    Raises
    ------
    CatalogError
        If the file of decisions is damaged.
    OutputError
        If it cannot be written.
    """
    known = read_decisions(root) | dict(decisions)
    content = {name: decision.model_dump() for name, decision in sorted(known.items())}
    write_over(root / DECISIONS, json.dumps(content, indent=1).encode())


def _user() -> str:
    """The user's name; the number if the system knows no name, as in some containers."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return str(os.getuid())


def _damaged(path: Path, how: str) -> CatalogError:
    return CatalogError(
        f"{path} is damaged ({how!r}). It says which revisions were accepted or rolled back, by whom and when. Restore it, or "
        f"move it away: mv '{path}' '{path}.damaged'; then accept or roll back again what was decided."
    )
