"""The cutouts of a selection: a folder of images, or a page of pictures."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from astropy.io import fits
from markupsafe import Markup

from surveyflow.errors import InputError, OutputError
from surveyflow.exports.fits_table import ascii_text
from surveyflow.exports.selected import Selected
from surveyflow.files.durable import explained, make_folder, sync_folder, temporary_path
from surveyflow.inputs.published_mosaics import PublishedMosaics, SkyCutout
from surveyflow.reports.figures import grey_png
from surveyflow.reports.gallery import gallery_entry
from surveyflow.reports.page import package_text, page_template
from surveyflow.reports.pictures import cut_pictures
from surveyflow.reports.summary import GALLERY_COLUMNS

MOST_ON_A_PAGE = 2000
"""Galaxies on one page, about 30 MB, which browsers still show."""
INDEX = "cutouts.csv"
_COLUMNS = ("field", "source_id", "ra", "dec", "instrument", "x_pix", "y_pix", "p_pm_mean", "f_pm", "flags", "weights_origin")
_CARDS = {"ra": "RA_GAL", "dec": "DEC_GAL", "p_pm_mean": "P_PM", "f_pm": "F_PM", "flags": "SFFLAGS", "weights_origin": "WEIGHTS"}


def write_cutouts(selected: Selected, folder: Path, size_pix: int, *, replace: bool) -> tuple[str, ...]:
    """Write a FITS image with WCS and a PNG of each galaxy, and a list of the files.

    The files are written into a folder beside, which gets its name when it is complete. With ``replace``, files of an existing
    folder are replaced one by one, and others stay.

    Parameters
    ----------
    selected
        The selection.
    folder
        The folder.
    size_pix
        Side of the cutouts.
    replace
        Whether files of equal names are replaced.

    Returns
    -------
    Sentences on galaxies without a cutout.

    Raises
    ------
    OutputError
        If the folder is not empty and nothing is to be replaced, or cannot be written.
    CatalogError
        If a file of the catalog is damaged.
    """
    target = _free_folder(folder, replace=replace)
    with explained(target):
        make_folder(target.parent)
        aside = temporary_path(target)
        aside.mkdir()
        try:
            notes = _write_images(selected, aside, size_pix)
            _move(aside, target)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        sync_folder(target.parent)
    return notes


def write_gallery(selected: Selected, stream: BinaryIO, size_pix: int) -> tuple[str, ...]:
    """Write a page with a picture of each galaxy, in the order of the catalog; it needs no other file.

    Parameters
    ----------
    selected
        The selection.
    stream
        The file.
    size_pix
        Side of the cutouts.

    Returns
    -------
    Sentences on galaxies without a picture.

    Raises
    ------
    InputError
        If more galaxies are selected than one page can show.
    CatalogError
        If a file of the catalog is damaged.
    """
    if selected.n_rows > MOST_ON_A_PAGE:
        raise InputError(
            f"{selected.n_rows:,} galaxies are selected, and a page shows at most {MOST_ON_A_PAGE:,}. Narrow the selection, or "
            "export cutouts."
        )
    rows = [row for batch in selected.batches(_known(GALLERY_COLUMNS, selected)) for row in batch.to_pylist()]
    pictures = cut_pictures(rows, selected.manifest.get("inputs", []), size_pix)
    page = page_template("selection.html.j2").render(
        style=Markup(package_text("page.css")),  # noqa: S704 -- the package's own file
        title=str(selected.manifest.get("survey", "")) or selected.revision.name,
        about=selected.about,
        warnings=selected.warnings,
        n_shown=len(rows),
        n_selected=selected.n_rows,
        cutout_pix=size_pix,
        notes=pictures.notes,
        galaxies=[gallery_entry(row, pictures) for row in rows],
    )
    stream.write(page.encode())
    return _without(len(rows) - len(pictures.by_source), pictures.notes)


def file_name(row: Mapping[str, Any]) -> str:
    """A name for the files of a galaxy, without characters that a file system or a shell takes for something else.

    Examples
    --------
    >>> file_name({"field": "GOODS S/x", "source_id": 7, "instrument": "F814W"})
    'GOODS_S_x-7-F814W'
    """
    words = (re.sub(r"[^A-Za-z0-9_.+-]", "_", str(row[key])).lstrip(".-") for key in ("field", "source_id", "instrument"))
    return "-".join(words)


def _free_folder(folder: Path, *, replace: bool) -> Path:
    if os.path.lexists(folder) and not folder.is_dir():
        raise OutputError(f"{folder} is not a folder, and a folder of cutouts is to be written. Name another.")
    if folder.is_dir() and any(folder.iterdir()) and not replace:
        raise OutputError(
            f"{folder} is not empty, and its files are not replaced unasked. Name another folder, or add --overwrite."
        )
    return folder.resolve()


def _write_images(selected: Selected, folder: Path, size_pix: int) -> tuple[str, ...]:
    names: dict[str, int] = {}
    with PublishedMosaics(selected.manifest.get("inputs", [])) as mosaics, (folder / INDEX).open("w", newline="") as stream:
        index = csv.writer(stream)
        index.writerow([*_COLUMNS, "mosaic", "fits", "png"])
        n_written = 0
        for row, cutout in _cutouts(selected, mosaics, size_pix):
            base = _unused(file_name(row), names)
            (folder / f"{base}.fits").write_bytes(_image(row, cutout, selected.about))
            (folder / f"{base}.png").write_bytes(grey_png(cutout.pixels, cutout.valid))
            index.writerow([*(row.get(name) for name in _COLUMNS), Path(cutout.mosaic).name, f"{base}.fits", f"{base}.png"])
            n_written += 1
        return _without(selected.n_rows - n_written, tuple(mosaics.notes.values()))


def _cutouts(selected: Selected, mosaics: PublishedMosaics, size_pix: int) -> Iterator[tuple[dict[str, Any], SkyCutout]]:
    for batch in selected.batches(_known((*_COLUMNS, "mosaic"), selected)):
        for row in batch.to_pylist():
            cutout = mosaics.cutout(row, size_pix)
            if cutout is not None:
                yield row, cutout


def _known(names: Sequence[str], selected: Selected) -> list[str]:
    """The columns that the revision has: older ones may lack some."""
    return [name for name in names if name in selected.rows.schema.names]


def _unused(base: str, names: dict[str, int]) -> str:
    """The name itself, or with a number behind it if another galaxy has it."""
    names[base] = names.get(base, 0) + 1
    return base if names[base] == 1 else f"{base}~{names[base]}"


def _image(row: Mapping[str, Any], cutout: SkyCutout, about: Mapping[str, str]) -> bytes:
    """A FITS image: the mosaic's own values, and NaN where it holds no data."""
    header = fits.Header(cutout.header, copy=True)
    header["OBJECT"] = ascii_text(f"{row['field']} {row['source_id']}")
    header["MOSAIC"] = ascii_text(Path(cutout.mosaic).name)
    header["REVISION"] = about["revision"]
    header.update({card: row[name] for name, card in _CARDS.items() if row.get(name) is not None})
    header["CREATOR"] = about["made_with"]
    if "warning" in about:
        header["WARNING"] = ascii_text(about["warning"])
    content = io.BytesIO()
    fits.PrimaryHDU(np.where(cutout.valid, cutout.pixels, np.float32(np.nan)), header).writeto(content)
    return content.getvalue()


def _move(aside: Path, target: Path) -> None:
    """Give a finished folder its name; into an existing folder, move its files."""
    if not target.is_dir() or not any(target.iterdir()):
        aside.rename(target)
        return
    for path in sorted(aside.iterdir()):
        path.replace(target / path.name)


def _without(n_missing: int, notes: tuple[str, ...]) -> tuple[str, ...]:
    counted = (f"{n_missing:,} of the selected galaxies have no cutout: they are on no mosaic, or it is not there any more.",)
    return (*(counted if n_missing else ()), *notes)
