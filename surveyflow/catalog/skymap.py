"""The sky map of a catalog: the number of rows in each HEALPix cell, in the format of HATS.

``skymap.fits`` lists the cells that hold rows, in the nested scheme with explicit cell numbers, so that a survey of a few
fields has a small map.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from astropy.io import fits

from surveyflow.catalog.healpix import cells_at
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
    def of(cls, cells_29: Int64Array) -> SkyMap:
        """Count the rows in each cell.

        Parameters
        ----------
        cells_29
            (n,) int64: ``_healpix_29`` of every row, in any order.
        """
        pixels, counts = np.unique(cells_at(SKYMAP_ORDER, cells_29), return_counts=True)
        return cls(pixels, counts.astype(np.int64))

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
