"""A selection on the sky: regions for SAOImage DS9, and the cells that hold the galaxies as a MOC."""

from __future__ import annotations

import io
import re
from typing import BinaryIO

import numpy as np

from surveyflow.catalog.frames import CLASS
from surveyflow.catalog.schema import cells_at
from surveyflow.errors import InputError
from surveyflow.exports.selected import Selected
from surveyflow.values import remedies
from surveyflow.values.codes import POST_MERGER, STAR_FORMING

RADIUS_ARCSEC = 1.5
"""Radius of the circles: that of a galaxy of the size that the networks were made for."""
MOC_ORDER = 12
"""Order of the cells of a MOC; they are 52 arcsec wide."""
_COLOURS = {POST_MERGER: "orange", STAR_FORMING: "cyan", None: "white dash=1"}


def write_ds9(selected: Selected, stream: BinaryIO) -> None:
    """Write a circle for each galaxy, in ICRS, with its name; its colour says the class, and a dashed one has no result.

    Parameters
    ----------
    selected
        The selection.
    stream
        The file.

    Raises
    ------
    CatalogError
        If a file of the catalog is damaged.
    """
    about = "".join(f"# {_one_line(f'{key}: {text}')}\n" for key, text in selected.about.items())
    stream.write(f"# Region file format: DS9 version 4.1\n{about}global width=1\nicrs\n".encode())
    for rows in selected.batches(["field", "source_id", "ra", "dec", CLASS]):
        stream.write("".join(map(_circle, *(rows[name].to_pylist() for name in rows.column_names))).encode())


def write_moc(selected: Selected, stream: BinaryIO) -> None:
    """Write the cells of `MOC_ORDER` that hold at least one galaxy as a MOC 2.0 in FITS.

    The MOC tells where there are galaxies, in cells of 52 arcsec; it does not tell which pixels of the mosaics hold data.

    Parameters
    ----------
    selected
        The selection.
    stream
        The file.

    Raises
    ------
    InputError
        If mocpy is not installed.
    CatalogError
        If a file of the catalog is damaged.
    """
    try:
        from mocpy import MOC
    except ModuleNotFoundError as error:
        raise InputError(f"A MOC needs mocpy, which is not installed: `{remedies.install('export')}`.") from error
    cells = np.empty(0, np.int64)
    for rows in selected.batches(["_healpix_29"]):
        cells = np.union1d(cells, cells_at(MOC_ORDER, rows["_healpix_29"].to_numpy()))
    moc = MOC.from_healpix_cells(cells.astype(np.uint64), np.full(len(cells), MOC_ORDER, np.uint8), MOC_ORDER)
    content = io.BytesIO()
    moc.serialize("fits").writeto(content)
    stream.write(content.getvalue())


def _circle(field: str, source_id: int, ra_deg: float, dec_deg: float, called: str | None) -> str:
    colour = _COLOURS[called]
    return f'circle({ra_deg:.7f},{dec_deg:.7f},{RADIUS_ARCSEC}") # color={colour} text={{{_one_line(f"{field} {source_id}")}}}\n'


def _one_line(text: str) -> str:
    """A text that ends neither a comment nor a name of a region: DS9 takes a semicolon for a line break."""
    return re.sub(r"[{};\x00-\x1f\x7f\u0085\u2028\u2029]", "_", text)
