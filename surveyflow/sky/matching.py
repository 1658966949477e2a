"""The match of two lists of positions on the sky."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord

from surveyflow.values.arrays import BoolArray, Float64Array, Int64Array


@dataclass(frozen=True, slots=True)
class SkyMatch:
    """Pairs of which each member is the other's nearest neighbour, within a limit.

    Parameters
    ----------
    first, second
        (n_pairs,) int64: rows of the first list, in increasing order, and of the second.
    separation_arcsec
        (n_pairs,) float64.
    offset_arcsec
        Median of the second position minus the first, to the east and to the north, arcsec; NaN without pairs.
    ambiguous
        (n_pairs,) bool: pairs of which either member has another neighbour of the other list within the limit.
    n_shared
        Rows of the first list that lie within the limit of the second, but are not the nearest to any of it.
    """

    first: Int64Array
    second: Int64Array
    separation_arcsec: Float64Array
    offset_arcsec: tuple[float, float]
    ambiguous: BoolArray
    n_shared: int


def match_sky(
    ra_deg: Float64Array, dec_deg: Float64Array, other_ra_deg: Float64Array, other_dec_deg: Float64Array, limit_arcsec: float
) -> SkyMatch:
    """Match positions of two lists.

    Parameters
    ----------
    ra_deg, dec_deg
        (n,) positions of the first list, degrees, finite.
    other_ra_deg, other_dec_deg
        (m,) positions of the second list, in the same frame.
    limit_arcsec
        Largest separation of a pair, arcsec; greater than 0.

    Examples
    --------
    >>> found = match_sky(np.array([10.0, 20.0]), np.array([0.0, 0.0]), np.array([20.0001]), np.array([0.0]), 1.0)
    >>> found.first.tolist(), found.second.tolist(), found.separation_arcsec.round(2).tolist()
    ([1], [0], [0.36])
    """
    here, there = (SkyCoord(*each, unit="deg") for each in ((ra_deg, dec_deg), (other_ra_deg, other_dec_deg)))
    if not len(here) or not len(there):
        none = np.zeros(0, np.int64)
        return SkyMatch(none, none, np.zeros(0), (np.nan, np.nan), np.zeros(0, bool), 0)
    nearest, apart, _ = here.match_to_catalog_sky(there)
    back, _, _ = there.match_to_catalog_sky(here)
    near = apart.arcsec <= limit_arcsec
    mutual = near & (back[nearest] == np.arange(len(here)))
    first, second = np.flatnonzero(mutual), nearest[mutual].astype(np.int64)
    n_there, n_here = _neighbours(here, there, limit_arcsec)
    ambiguous = (n_there[first] > 1) | (n_here[second] > 1)
    return SkyMatch(
        first, second, apart.arcsec[mutual], _offset(here[first], there[second]), ambiguous, int((near & ~mutual).sum())
    )


def _neighbours(here: SkyCoord, there: SkyCoord, limit_arcsec: float) -> tuple[Int64Array, Int64Array]:
    """Number of neighbours of each position in the other list."""
    of_there, of_here, _, _ = here.search_around_sky(there, limit_arcsec * u.arcsec)
    return np.bincount(of_here, minlength=len(here)), np.bincount(of_there, minlength=len(there))


def _offset(here: SkyCoord, there: SkyCoord) -> tuple[float, float]:
    if not len(here):
        return float("nan"), float("nan")
    east, north = here.spherical_offsets_to(there)
    return float(np.median(east.arcsec)), float(np.median(north.arcsec))
