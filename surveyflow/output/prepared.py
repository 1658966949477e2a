"""What a holder of the lock has prepared and not yet moved into place, and how the next holder withdraws it.

A holder prepares under these names, checks its lease, and renames. If it lost the lease before the check, it notices. If it
lost it after the check, the name that it renames is gone, because its successor withdraws everything prepared before it begins.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from surveyflow.files.durable import TEMPORARY_SUFFIX, explained

MARGINS = "margins"
"""Folder of the margins in the output folder."""
ALTERNATIVES = "alternatives"
"""Folder of the alternatives in the output folder."""
BUILDING = ".building-"
"""Prefix of the name of a revision, or of a margin, that is not complete."""
WITHDRAWN = ".withdrawn-"
"""Prefix of the name of an incomplete revision that will never be published."""
LATEST = "latest"
"""Name of the link to the revision that readers see."""


def withdraw_prepared(root: Path) -> None:
    """Take away what an earlier holder could still move into place; the folders are removed at the next publication.

    Parameters
    ----------
    root
        The output folder; the caller must hold its lock.

    Raises
    ------
    OutputError
        If something cannot be renamed or removed.
    """
    with explained(root):
        for place in ("releases", MARGINS):
            for folder in (root / place).glob(f"{BUILDING}*"):
                folder.rename(folder.with_name(f"{WITHDRAWN}{secrets.token_hex(8)}"))
        for link in root.glob(f".{LATEST}.*{TEMPORARY_SUFFIX}"):
            link.unlink(missing_ok=True)
