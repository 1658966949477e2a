"""The HEALPix cells of positions: order 29 is the catalog's spatial index."""

from __future__ import annotations

import numpy as np
from astropy import units as u
from astropy.coordinates import Latitude, Longitude
from cdshealpix.nested import lonlat_to_healpix

from surveyflow.values.arrays import Float64Array, Int64Array

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
