"""The files of a comparison: its document as JSON, and its page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from surveyflow import __version__
from surveyflow.files.durable import explained, write_over
from surveyflow.releases.revisions import read_manifest
from surveyflow.reports.comparison_page import comparison_tables, write_comparison_page
from surveyflow.reports.tables import as_html
from surveyflow.tasks.registry import cutout_size


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison that was written.

    Parameters
    ----------
    document
        What `surveyflow.comparisons.compared.compare_with_labels` returns, with the time and the version.
    json, page
        The files.
    """

    document: Mapping[str, Any]
    json: Path
    page: Path

    def _repr_html_(self) -> str:
        return "".join(map(as_html, comparison_tables(self.document)))


def write_comparison(document: Mapping[str, Any], revision_folder: Path, folder: Path) -> Comparison:
    """Write a comparison into a folder.

    Parameters
    ----------
    document
        The comparison.
    revision_folder
        The revision's folder, whose manifest names the mosaics of the pictures.
    folder
        The folder to write into; files of an earlier comparison are replaced.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    manifest = read_manifest(revision_folder)
    stamped = {"created": datetime.now(UTC).isoformat(timespec="seconds"), "surveyflow_version": __version__, **document}
    written = Comparison(stamped, folder / "comparison.json", folder / "comparison.html")
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_over(written.json, json.dumps(stamped, indent=1).encode())
    write_comparison_page(stamped, manifest["inputs"], cutout_size(manifest["models"]), written.page)
    return written
