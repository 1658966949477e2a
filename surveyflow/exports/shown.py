"""One galaxy of a revision: its row, and its picture for a file, a notebook or a terminal."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.dataset as ds

from surveyflow.errors import CatalogNotFound
from surveyflow.inputs.published_mosaics import PublishedMosaics, SkyCutout
from surveyflow.releases.revisions import Revision, legible, open_catalog, read_manifest
from surveyflow.tasks.registry import cutout_size, warnings_of
from surveyflow.values.arrays import Float64Array
from surveyflow.values.codes import flags_text

_SUMMARY = (
    *("field", "source_id", "source_name", "ra", "dec", "redshift", "instrument", "status", "flags"),
    *("p_pm_mean", "p_pm_std", "p_sf_mean", "f_pm", "p_pm_calibrated", "p_contaminated_mean", "coverage_pct_mean"),
    *("weights_origin", "model_id"),
)
"""The columns that a table of one galaxy shows."""
_LARGEST_ID = 2**63 - 1


@dataclass(frozen=True, slots=True, repr=False)
class Shown:
    """A galaxy with its picture; notebooks show both.

    Parameters
    ----------
    revision
        The revision's name.
    row
        Every column of its row.
    png
        The picture.
    cutout
        Its pixels and their place on the sky; None if there are none.
    warnings
        What readers of the numbers must know, the gravest first.
    notes
        Why there is no picture of its pixels, if so.
    path
        The file that was written; None if none was asked for.
    """

    revision: str
    row: Mapping[str, Any]
    png: bytes
    cutout: SkyCutout | None
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = ()
    path: Path | None = None

    @property
    def facts(self) -> dict[str, str]:
        """The columns that say most, as texts; those without a value are left out."""
        values = {name: self.row[name] for name in _SUMMARY if self.row.get(name) is not None}
        values["flags"] = str(flags_text(self.row["flags"])) or "none"
        return {name: _text(name, value) for name, value in values.items()}

    def small(self, side: int) -> Float64Array | None:
        """The cutout, asinh stretch, averaged to at most ``side`` x ``side`` greys in [0, 1]; None without a cutout.

        Row 0 is at the bottom; 0 is the brightest.
        """
        from surveyflow.reports.figures import display_stretch

        if self.cutout is None or not self.cutout.valid.any():
            return None
        greys = np.ones(self.cutout.pixels.shape)
        greys[self.cutout.valid] = 1 - display_stretch(self.cutout.pixels[self.cutout.valid])
        step = -(-len(greys) // side)
        n_blocks = len(greys) // step
        return np.asarray(greys[: n_blocks * step, : n_blocks * step].reshape(n_blocks, step, n_blocks, step).mean(axis=(1, 3)))

    def __repr__(self) -> str:
        return f"<{self.row['field']} {self.row['source_id']} of {self.revision}: {self.row['status']}>"

    def _repr_png_(self) -> bytes:
        return self.png

    def _repr_html_(self) -> str:
        cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in self.facts.items())
        notes = "".join(f"<p><strong>{escape(text)}</strong></p>" for text in (*self.warnings, *self.notes))
        picture = base64.b64encode(self.png).decode("ascii")
        name = escape(f"{self.row['field']} {self.row['source_id']}")
        return f'{notes}<img alt="{name}" src="data:image/png;base64,{picture}"><table>{cells}</table>'


def _text(name: str, value: Any) -> str:
    """A value as it is read; positions have all their digits."""
    return f"{value:.6g}" if isinstance(value, float) and name not in {"ra", "dec"} else str(value)


def show_galaxy(root: Path, revision: Revision, field: str, source: int | str) -> Shown:
    """Find a galaxy, and draw it.

    Parameters
    ----------
    root
        The output folder.
    revision
        A published revision.
    field
        Its field.
    source
        Its number, or the name that the source list gives it.

    Raises
    ------
    CatalogNotFound
        If the revision has no such galaxy.
    CatalogError
        If the revision is damaged.
    """
    from surveyflow.reports.portrait import portrait_png

    with legible(root):
        row = _row(open_catalog(root, revision.name), revision, field, source)
    manifest = read_manifest(revision.path)
    models = manifest.get("models", [])
    with PublishedMosaics(manifest.get("inputs", [])) as mosaics:
        cutout = mosaics.cutout(row, cutout_size(models))
        notes = tuple(mosaics.notes.values())
    warnings = warnings_of(models, {row["weights_origin"]} - {None})
    return Shown(revision.name, row, portrait_png(row, cutout, revision.name, warnings), cutout, tuple(warnings), notes)


def _row(rows: ds.Dataset, revision: Revision, field: str, source: int | str) -> dict[str, Any]:
    for wanted in _named(str(source), "source_name" in rows.schema.names):
        found: list[dict[str, Any]] = rows.to_table(filter=(pc.field("field") == field) & wanted).to_pylist()
        if found:
            return found[0]
    fields = ", ".join(sorted(rows.to_table(columns=["field"])["field"].unique().to_pylist()))
    raise CatalogNotFound(f"{revision.name} has no galaxy {source} in a field {field}. Its fields are: {fields}.")


def _named(source: str, has_names: bool) -> Iterator[pc.Expression]:
    """The galaxies that a text may mean: by their name, which may be one of digits, and by their number."""
    if has_names:
        yield pc.field("source_name") == source
    if re.fullmatch(r"-?\d{1,19}", source) and abs(int(source)) <= _LARGEST_ID:
        yield pc.field("source_id") == int(source)
