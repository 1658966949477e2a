"""The mosaics that may hold each source: the search by circles around footprints.

A circle on the sphere encloses each mosaic. A tree of the sources' directions finds those inside each circle, so that only these
are converted to the mosaic's pixels, which decide. The circles are plain arrays: any part of a list can be matched with them
anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from surveyflow.values.arrays import Float64Array, Int64Array

_MARGIN_RAD = 1e-8


@dataclass(frozen=True, slots=True)
class Caps:
    """Circles on the sphere, each around the footprint of one mosaic.

    Parameters
    ----------
    centres
        (m, 3) float64 unit vectors.
    chords
        (m,) float64: distance, through the sphere, from the centre to the circle, 0 to 2.
    """

    centres: Float64Array
    chords: Float64Array


def directions(ra_deg: Float64Array, dec_deg: Float64Array) -> Float64Array:
    """Unit vectors of positions: (n, 3) float64."""
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def caps_around(corners_deg: Sequence[tuple[Float64Array, Float64Array]]) -> Caps:
    """Enclose footprints whose edges are great circles, as those of mosaics in a tangent projection are.

    Parameters
    ----------
    corners_deg
        Right ascensions and declinations of each footprint's corners, degrees. Each footprint is smaller than a hemisphere, so no
        point of it lies farther from its centre than its corners.
    """
    corners = [directions(*each) for each in corners_deg]
    sums = np.array([each.sum(axis=0) for each in corners])
    centres = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    chords = np.array([np.linalg.norm(each - centre, axis=1).max() for each, centre in zip(corners, centres, strict=True)])
    return Caps(centres, np.minimum(chords + _MARGIN_RAD, 2.0))


def same_places(caps: Caps, limit_arcsec: float) -> list[tuple[int, int]]:
    """Find pairs of circles whose centres and radii are the same.

    Parameters
    ----------
    caps
        The circles.
    limit_arcsec
        Largest difference of centres, and of radii, arcsec.

    Returns
    -------
    Pairs of numbers of circles, the lower first, in increasing order.
    """
    from scipy.spatial import KDTree

    limit = np.radians(limit_arcsec / 3600)
    pairs = KDTree(caps.centres).query_pairs(limit)
    return sorted(pair for pair in pairs if abs(caps.chords[pair[0]] - caps.chords[pair[1]]) <= limit)


def inside(caps: Caps, ra_deg: Float64Array, dec_deg: Float64Array) -> list[Int64Array]:
    """Find the positions inside each circle.

    Parameters
    ----------
    caps
        The m circles.
    ra_deg, dec_deg
        (n,) finite degrees.

    Returns
    -------
    For each circle, the increasing row numbers of the positions inside it: arrays of int64.
    """
    if not len(ra_deg):
        return [np.zeros(0, np.int64) for _ in caps.chords]
    from scipy.spatial import KDTree  # workers, which measure, have no use for it

    found = KDTree(directions(ra_deg, dec_deg)).query_ball_point(caps.centres, caps.chords, return_sorted=True)
    return [np.asarray(rows, dtype=np.int64) for rows in found]
