"""The image of a galaxy that is given as particles: each is a Gaussian whose width follows the density around it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from surveyflow.simulation.profiles import Grid
from surveyflow.values.arrays import Float32Array, Float64Array

_NEIGHBOURS = 30
_WIDTHS = np.array([0.06, 0.1, 0.17, 0.3])


@dataclass(frozen=True, slots=True, eq=False)
class Particles:
    """Stars of equal flux.

    Parameters
    ----------
    fraction
        Share of the galaxy's flux.
    xy_arcsec
        (stars, 2) float64 positions, x first.
    widths_arcsec
        (stars,) float64, Gaussian sigma of each; few different values.
    """

    fraction: float
    xy_arcsec: Float64Array
    widths_arcsec: Float64Array

    def pixel_fluxes(self, grid: Grid) -> Float32Array:
        image = np.zeros(grid.shape)
        origin = np.array([grid.x_arcsec[0, 0], grid.y_arcsec[0, 0]])
        pixels = (self.xy_arcsec - origin) / grid.pixel_scale_arcsec
        for width in np.unique(self.widths_arcsec):
            counts = _counts(pixels[self.widths_arcsec == width], grid.shape)
            image += gaussian_filter(counts, width / grid.pixel_scale_arcsec, mode="constant", truncate=3.5)
        return np.asarray(image / len(self.xy_arcsec), np.float32)


def smoothing_widths(xy: Float64Array, half_light: float) -> Float64Array:
    """Width of each particle, (stars,) in the unit of the positions: narrow where they are dense.

    Parameters
    ----------
    xy
        (stars, 2) positions about the galaxy's centre.
    half_light
        Its half-light radius, in the same unit.
    """
    cell, cells = 0.2 * half_light, 64
    bins = np.clip((xy / cell + cells / 2).astype(int), 0, cells - 1)
    number = bins[:, 1] * cells + bins[:, 0]
    around = gaussian_filter(np.bincount(number, minlength=cells**2).reshape(cells, cells).astype(float), 0.7).ravel()[number]
    reach = cell * np.sqrt(_NEIGHBOURS / (np.pi * np.maximum(around, 0.1))) / half_light
    nearest = np.clip(np.searchsorted(_WIDTHS, 0.5 * reach), 0, len(_WIDTHS) - 1)
    return np.asarray(half_light * _WIDTHS[nearest], np.float64)


def _counts(pixels_xy: Float64Array, shape: tuple[int, int]) -> Float64Array:
    """Particles shared among the four nearest pixels, (rows, columns)."""
    base = np.floor(pixels_xy).astype(int)
    part = pixels_xy - base
    counts = np.zeros(shape[0] * shape[1])
    for dy in (0, 1):
        for dx in (0, 1):
            x, y = base[:, 0] + dx, base[:, 1] + dy
            shares = np.abs(1 - dx - part[:, 0]) * np.abs(1 - dy - part[:, 1])
            inside = (x >= 0) & (x < shape[1]) & (y >= 0) & (y < shape[0])
            counts += np.bincount((y * shape[1] + x)[inside], shares[inside], len(counts))
    return counts.reshape(shape)
