"""The centroid of the light around a position, and its distance from there.

A catalog's position and the middle of a galaxy's light may differ: catalogs disagree by a pixel or more. A network that was
trained on galaxies in the middle of the stamp then takes the difference for a property of the galaxy.
"""

from __future__ import annotations

import numpy as np

from surveyflow.sky.noise import Sky
from surveyflow.values.arrays import BoolArray, Float32Array, Float64Array

WINDOW_SIGMA_ARCSEC = 0.1
"""Standard deviation of the Gaussian window: it holds a galaxy's core at 0.5 < z < 3, and few of its neighbours."""

_REACH_SIGMA = 4.0
LARGEST_OFFSET_ARCSEC = _REACH_SIGMA * WINDOW_SIGMA_ARCSEC
"""The offset of light whose centroid lies farther away: no larger one is measured."""

_MOST_STEPS = 16
_CONVERGED_PIX = 0.01
_LEAST_SIGNIFICANCE = 5.0


def centroid_offsets(
    pixels: Float32Array, valid: BoolArray, sky: Sky, position_yx: Float64Array, pixel_scale_arcsec: float
) -> Float32Array:
    """Measure how far the centroid of each cutout's light lies from a position.

    This is the windowed centroid of SExtractor (``XWIN_IMAGE``; Bertin & Arnouts 1996, and the manual's "Windowed positional
    parameters"). It starts at the position. Each step is twice the mean offset of the light, weighted by a Gaussian around the
    present place. It ends when a step is shorter than 0.01 pixels, and after 16 steps at the latest. The window has a standard
    deviation of 0.1 arcsec for every galaxy, so light beyond 0.3 arcsec hardly counts.

    Parameters
    ----------
    pixels
        (n, size, size) float32 in any unit; invalid pixels may have any value.
    valid
        (n, size, size) bool; where it is True, pixels must be finite. Other pixels count as sky.
    sky
        Level and rms of each cutout's sky; the level is subtracted.
    position_yx
        (n, 2) float64: the position in pixels of the cutout, 0-based, integers at pixel centres.
    pixel_scale_arcsec
        Side of a pixel, arcsec.

    Returns
    -------
    (n,) float32, arcsec, up to 0.4, where the walk ends. NaN where no light is found: the rms is unknown or 0, or the weighted
    light around the position is below five times the noise of as many independent pixels.

    Examples
    --------
    >>> from surveyflow.sky.noise import measured_sky
    >>> y, x = np.mgrid[:64, :64]
    >>> noise = np.random.default_rng(1).normal(0, 1, (1, 64, 64))
    >>> star = (noise + 500 * np.exp(-((x - 33.0) ** 2 + (y - 31.5) ** 2) / 18)).astype(np.float32)
    >>> has_data = np.ones(star.shape, bool)
    >>> centroid_offsets(star, has_data, measured_sky(star, has_data), np.array([[31.5, 31.5]]), 0.03).round(3)
    array([0.045], dtype=float32)
    """
    sigma = WINDOW_SIGMA_ARCSEC / pixel_scale_arcsec
    light, corner = _light_in_the_middle(pixels, valid, sky, int(np.ceil(2 * _REACH_SIGMA * sigma)))
    start = position_yx - corner
    rows = np.flatnonzero((sky.rms > 0) & (_significance(light, start, sigma, sky) > _LEAST_SIGNIFICANCE))
    offsets = np.full(len(pixels), np.nan)
    offsets[rows] = _walked(light[rows], start[rows], sigma)
    return (offsets * pixel_scale_arcsec).astype(np.float32)


def _light_in_the_middle(pixels: Float32Array, valid: BoolArray, sky: Sky, reach: int) -> tuple[Float64Array, int]:
    """(n, side, side) light without its sky within ``reach`` of the cutouts' middle, 0 where unknown; and the part's corner."""
    size = pixels.shape[-1]
    corner = max(0, size // 2 - reach)
    part = slice(corner, size - corner)
    level = np.nan_to_num(sky.level.astype(np.float64))[:, None, None]
    return np.where(valid[:, part, part], pixels[:, part, part] - level, 0.0), corner


def _significance(light: Float64Array, place: Float64Array, sigma: float, sky: Sky) -> Float64Array:
    """(n,) weighted light around a place, in units of its noise; 0 where the noise is unknown."""
    noise = sky.rms.astype(np.float64) * sigma * np.sqrt(np.pi)
    flux = _moments(light, place, sigma)[0]
    significance: Float64Array = np.divide(flux, noise, out=np.zeros_like(noise), where=noise > 0)
    return significance


def _walked(light: Float64Array, start: Float64Array, sigma: float) -> Float64Array:
    """(n,) distance between start and centroid, pixels."""
    place, moving = start.copy(), np.arange(len(start))
    for _ in range(_MOST_STEPS):
        if not len(moving):
            break
        flux, first = _moments(light[moving], place[moving], sigma)
        step = 2 * np.divide(first, flux[:, None], out=np.zeros_like(first), where=flux[:, None] > 0)
        place[moving] += np.clip(step, -sigma, sigma)
        away = np.hypot(*(place[moving] - start[moving]).T)
        moving = moving[(np.hypot(*step.T) > _CONVERGED_PIX) & (away < _REACH_SIGMA * sigma)]
    distance: Float64Array = np.minimum(np.hypot(*(place - start).T), _REACH_SIGMA * sigma)
    return distance


def _moments(light: Float64Array, place: Float64Array, sigma: float) -> tuple[Float64Array, Float64Array]:
    """(n,) light weighted by a Gaussian around a place, and (n, 2) its first moments about that place."""
    offset = np.arange(light.shape[-1]) - np.nan_to_num(place)[:, :, None]
    weight = np.exp(-(offset**2) / (2 * sigma**2))
    by_column = np.stack([weight[:, 1], weight[:, 1] * offset[:, 1]], axis=-1)
    rows = light @ by_column
    by_row = np.stack([weight[:, 0], weight[:, 0] * offset[:, 0]], axis=1)
    table = by_row @ rows
    return table[:, 0, 0], np.stack([table[:, 1, 0], table[:, 0, 1]], axis=-1)
