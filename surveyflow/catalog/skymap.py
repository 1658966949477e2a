"""The map of the sky: how many rows of a catalog lie in each cell."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from astropy.io import fits

from surveyflow.catalog.schema import cells_at
from surveyflow.values.arrays import Int64Array

SKYMAP_ORDER = 10
"""The order of cells of 3.4 arcmin."""


@dataclass(frozen=True, slots=True)
class SkyMap:
    """The number of rows in each cell.

    Parameters
    ----------
    pixels
        (n,) int64: numbers of the cells of `SKYMAP_ORDER` that hold rows, increasing.
    counts
        (n,) int64: rows in each.
    """

    pixels: Int64Array
    counts: Int64Array

    @classmethod
    def of(cls, cells_29: Int64Array, counts: Int64Array) -> SkyMap:
        """Add up the rows in each cell.

        Parameters
        ----------
        cells_29
            (n,) int64: cells of order 29, in any order; several may be equal.
        counts
            (n,) int64: number of rows in or near each, in the same cell of `SKYMAP_ORDER`.
        """
        pixels, places = np.unique(cells_at(SKYMAP_ORDER, cells_29), return_inverse=True)
        return cls(pixels, np.bincount(places, counts, len(pixels)).astype(np.int64))

    @property
    def sky_fraction(self) -> float:
        """Share of the whole sky in the cells that hold rows."""
        return float(len(self.pixels) / (12 * 4**SKYMAP_ORDER))

    def to_fits(self) -> bytes:
        """Write the map as a FITS file: a table of PIXEL and VALUE."""
        columns = [fits.Column("PIXEL", "K", array=self.pixels), fits.Column("VALUE", "K", array=self.counts)]
        table = fits.BinTableHDU.from_columns(columns)
        table.header.update(
            PIXTYPE="HEALPIX",
            INDXSCHM="EXPLICIT",
            ORDERING="NESTED",
            COORDSYS="C",
            NSIDE=2**SKYMAP_ORDER,
            OBS_NPIX=len(self.pixels),
        )
        content = io.BytesIO()
        fits.HDUList([fits.PrimaryHDU(), table]).writeto(content)
        return content.getvalue()
