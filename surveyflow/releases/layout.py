"""The check of an output folder before a run: whether what is there lets a revision be published."""

from __future__ import annotations

import os
from pathlib import Path

from surveyflow.errors import CatalogError
from surveyflow.releases.decisions import read_decisions
from surveyflow.releases.revisions import current_name, remembered_numbers


def check_layout(root: Path) -> None:
    """Refuse an output folder in which something else is in the place of the releases, of ``latest`` or of their records.

    Parameters
    ----------
    root
        The output folder; it need not exist.

    Raises
    ------
    CatalogError
        If ``releases`` is not a folder, ``latest`` is not a link to one of its revisions, or the file of decisions or of removed
        numbers is damaged.
    """
    releases = root / "releases"
    if os.path.lexists(releases) and not releases.is_dir():
        what = "a broken link" if releases.is_symlink() else "a file"
        raise CatalogError(
            f"{releases} is {what}, expected the folder of the revisions. Move it away: mv '{releases}' '{releases}.moved'; then "
            "run again."
        )
    current_name(root)
    read_decisions(root)
    remembered_numbers(root)
