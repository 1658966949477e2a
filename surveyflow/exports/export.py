"""The export of a selection of galaxies to a file, or a folder, in any of the formats."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from surveyflow.errors import InputError
from surveyflow.exports.fits_table import write_fits
from surveyflow.exports.plain_tables import write_csv, write_parquet
from surveyflow.exports.selected import Selected
from surveyflow.exports.sky import write_ds9, write_moc
from surveyflow.exports.votable import write_votable
from surveyflow.files.durable import streamed
from surveyflow.values.codes import ExportFormat
from surveyflow.values.notebooks import notebook_table

_LARGEST_CUTOUT_PIX = 4096
_WRITERS: Mapping[ExportFormat, Callable[[Selected, BinaryIO], None]] = {
    ExportFormat.FITS: write_fits,
    ExportFormat.VOTABLE: write_votable,
    ExportFormat.PARQUET: write_parquet,
    ExportFormat.DS9: write_ds9,
    ExportFormat.MOC: write_moc,
}


@dataclass(frozen=True, slots=True)
class Exported:
    """What was exported.

    Parameters
    ----------
    path
        The file, or the folder of cutouts.
    format
        Its format.
    revision
        The revision that it was made from.
    n_galaxies
        Number of selected galaxies.
    warnings
        What readers of the numbers must know, the gravest first.
    notes
        Sentences on what is missing, and on what to beware of.
    """

    path: Path
    format: ExportFormat
    revision: str
    n_galaxies: int
    warnings: tuple[str, ...]
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Everything as JSON's plain values."""
        return asdict(self) | {"path": str(self.path), "format": self.format.value}

    def _repr_html_(self) -> str:
        return notebook_table(self.as_json())


def export_selection(selected: Selected, form: ExportFormat, output: Path, size_pix: int, *, overwrite: bool) -> Exported:
    """Write a selection; the file gets its name when it is complete.

    Parameters
    ----------
    selected
        The selection.
    form
        The format.
    output
        The file, or the folder of cutouts.
    size_pix
        Side of cutouts.
    overwrite
        Whether a file of that name is replaced.

    Raises
    ------
    InputError
        If the size of cutouts is not 1 to 4096, or the format has no place for the selection.
    OutputError
        If the file exists and is not to be replaced, or cannot be written.
    CatalogError
        If a file of the catalog is damaged.
    """
    if not 1 <= size_pix <= _LARGEST_CUTOUT_PIX:
        raise InputError(
            f"a cutout of {size_pix} pixels on a side cannot be made; expected 1 to {_LARGEST_CUTOUT_PIX}. Change --size."
        )
    notes = _write(selected, form, output, size_pix, overwrite=overwrite)
    return Exported(output, form, selected.revision.name, selected.n_rows, tuple(selected.warnings), notes)


def _write(selected: Selected, form: ExportFormat, output: Path, size_pix: int, *, overwrite: bool) -> tuple[str, ...]:
    from surveyflow.exports.cutouts import write_cutouts, write_gallery

    if form is ExportFormat.CUTOUTS:
        return write_cutouts(selected, output, size_pix, replace=overwrite)
    with streamed(output, replace=overwrite) as stream:
        if form is ExportFormat.HTML:
            return write_gallery(selected, stream, size_pix)
        if form is ExportFormat.CSV:
            return write_csv(selected, stream)
        _WRITERS[form](selected, stream)
    return ()
