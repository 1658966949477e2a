"""The HEALPix cells of positions: order 29 is the catalog's spatial index, and a map counts the rows in each.

``skymap.fits`` lists the cells that hold rows, in the nested scheme with explicit cell numbers, so that a survey of a few
fields has a small map.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from astropy import units as u
from astropy.coordinates import Latitude, Longitude
from astropy.io import fits
from cdshealpix.nested import lonlat_to_healpix

from surveyflow.values.arrays import Float64Array, Int64Array

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


FINEST_ORDER = 29


def healpix_29(ra_deg: Float64Array, dec_deg: Float64Array) -> Int64Array:
    """Find the cells of order 29 that hold positions, nested scheme; each cell is 0.4 mas wide.

    Parameters
    ----------
    ra_deg, dec_deg
        (n,) float64, ICRS degrees, finite; -90 <= dec <= 90.

    Returns
    -------
    (n,) int64

    Examples
    --------
    >>> healpix_29(np.array([150.1]), np.array([2.2]))
    array([1918129809776324852])
    """
    lon, lat = Longitude(ra_deg, u.deg), Latitude(dec_deg, u.deg)
    return np.asarray(lonlat_to_healpix(lon, lat, FINEST_ORDER, num_threads=1)).astype(np.int64)


def cells_at(order: int, cells_29: Int64Array) -> Int64Array:
    """Find the cells of a coarser order that contain cells of order 29.

    Parameters
    ----------
    order
        0 to 29.
    cells_29
        (n,) int64.
    """
    return cells_29 >> 2 * (FINEST_ORDER - order)


def span_29(order: int, cell: int) -> tuple[int, int]:
    """The half-open range of cells of order 29 inside a coarser cell."""
    shift = 2 * (FINEST_ORDER - order)
    return cell << shift, (cell + 1) << shift
