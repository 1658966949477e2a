"""The balance of a galaxy's parts that gives it an asymmetry, a barycentre and a half-light radius that were drawn before.

If these numbers followed from a galaxy's structure, each of them would tell a post-merger from a disc. So they are drawn first,
from one distribution for both kinds, and the galaxy is balanced until it has them. An image is a sum of maps: a regular body, its
two lopsided modes (m = 1), and the irregular part. It is linear in all of them, so a few small arrays suffice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from surveyflow.simulation.profiles import Grid
from surveyflow.values.arrays import Float32Array, Float64Array

MOST_LOPSIDED = 0.6
"""Largest amplitude of the m = 1 mode; above 0.67 its brightness would become negative."""

_SIDE = 48
_REACH = 4.5
_SHARES = np.concatenate([np.geomspace(0.03, 0.1, 4), np.linspace(0.14, 0.5, 10)])


@dataclass(frozen=True, slots=True)
class Wanted:
    """The numbers that a galaxy shall have.

    Parameters
    ----------
    asymmetry
        Sum of the absolute differences between the image and itself, turned by half about the nucleus, over twice its flux.
    x_arcsec, y_arcsec
        Barycentre of its light, from the nucleus.
    """

    asymmetry: float
    x_arcsec: float
    y_arcsec: float


@dataclass(frozen=True, slots=True)
class Balance:
    """The weights of a galaxy's parts.

    Parameters
    ----------
    irregular_share
        Share of the irregular part in the flux.
    lopsidedness, phase_rad
        Amplitude and direction of the body's m = 1 mode.
    miss
        Difference between the asymmetry reached and the one wanted.
    """

    irregular_share: float
    lopsidedness: float
    phase_rad: float
    miss: float

    def weights(self) -> Float64Array:
        """Weights of the four maps, (4,) float64."""
        body, sway = 1 - self.irregular_share, self.lopsidedness
        waves = sway * np.cos(self.phase_rad), sway * np.sin(self.phase_rad)
        return np.array([body, body * waves[0], body * waves[1], self.irregular_share])


def reference_grid(radius_arcsec: float) -> Grid:
    """The small grid on which galaxies are balanced: 48 x 48 pixels, to 4.5 radii, with the nucleus in its middle."""
    middle = (_SIDE - 1) / 2
    return Grid.around(middle, middle, (_SIDE, _SIDE), 2 * _REACH * radius_arcsec / _SIDE)


def asymmetry(image: Float32Array) -> float:
    """Asymmetry of an image about the middle of its grid."""
    return float(np.abs(image - image[::-1, ::-1]).sum() / (2 * image.sum()))


def balance(maps: Float32Array, grid: Grid, wanted: Wanted, least_share: float = 0.0) -> Balance:
    """Find the weights that give a galaxy its asymmetry and its barycentre.

    Parameters
    ----------
    maps
        (4, rows, columns) float32: the body, its two lopsided modes of amplitude 1 (without the body), and the irregular part, of
        flux 1.
    grid
        Their pixels, with the nucleus in the middle.
    wanted
        Asymmetry and barycentre.
    least_share
        Least share of the irregular part.

    Returns
    -------
    The balance with the least irregular share; if there is none, the one whose asymmetry comes nearest.
    """
    flat = maps.reshape(4, -1).astype(np.float64)
    places = np.stack([np.ones(grid.shape), *np.broadcast_arrays(grid.x_arcsec, grid.y_arcsec)]).reshape(3, -1)
    moments = flat @ places.T
    shares = _SHARES[least_share <= _SHARES]
    sways = _sways(moments, shares, wanted)
    weights = np.column_stack([1 - shares, (1 - shares)[:, None] * sways, shares])
    odd = (flat - flat[:, ::-1])[:, : flat.shape[1] // 2]
    reached = np.abs(weights @ odd).sum(axis=1) / (weights @ moments[:, 0])
    amplitudes = np.hypot(*sways.T)
    # A body that would have to be too lopsided is no solution.
    misses = np.where(amplitudes <= MOST_LOPSIDED, reached - wanted.asymmetry, np.inf)
    return _chosen(shares, misses, moments, wanted)


def _chosen(shares: Float64Array, misses: Float64Array, moments: Float64Array, wanted: Wanted) -> Balance:
    crossings = np.flatnonzero((misses[:-1] <= 0) & (misses[1:] > 0) & np.isfinite(misses[1:]))
    if len(crossings):
        low, high = crossings[0], crossings[0] + 1
        share = shares[low] + misses[low] / (misses[low] - misses[high]) * (shares[high] - shares[low])
        miss = 0.0
    else:
        nearest = int(np.argmin(np.abs(misses)))
        share, miss = shares[nearest], abs(misses[nearest])
    along, across = _sways(moments, np.array([share]), wanted)[0]
    amplitude = min(float(np.hypot(along, across)), MOST_LOPSIDED)
    return Balance(float(share), amplitude, float(np.arctan2(across, along)), float(miss))


def _sways(moments: Float64Array, shares: Float64Array, wanted: Wanted) -> Float64Array:
    """The amplitudes of the two modes that put the barycentre of each mixture where it is wanted, (shares, 2) float64."""
    about = moments[:, 1:] - moments[:, :1] * np.array([wanted.x_arcsec, wanted.y_arcsec])
    body, waves, irregular = about[0], about[1:3], about[3]
    aims = body + (shares / (1 - shares))[:, None] * irregular
    return np.asarray(-np.linalg.solve(waves.T, aims.T).T, np.float64)


def barycentre(image: Float32Array, grid: Grid) -> tuple[float, float]:
    """The x and y of an image's barycentre, arcsec."""
    total = image.sum(dtype=np.float64)
    return float((image * grid.x_arcsec).sum() / total), float((image * grid.y_arcsec).sum() / total)


def half_light_arcsec(image: Float32Array, grid: Grid, centre_xy: tuple[float, float]) -> float:
    """Radius of the circle about a point that holds half of an image's flux, interpolated between pixels; arcsec."""
    distance = np.hypot(grid.x_arcsec - np.float32(centre_xy[0]), grid.y_arcsec - np.float32(centre_xy[1])).ravel()
    order = np.argsort(distance)
    inside = np.cumsum(image.ravel()[order], dtype=np.float64)
    return float(np.interp(inside[-1] / 2, inside, distance[order]))
