"""What is measured on images without a network: sky, noise, centroid of the light, light at the border, image statistics.

A catalog's position and the middle of a galaxy's light may differ: catalogs disagree by a pixel or more. A network that was
trained on galaxies in the middle of the stamp then takes the difference for a property of the galaxy.

A network's last features are averages over the whole image after several ReLUs. They can be the same for a galaxy and for empty
sky. The statistics of prepared images are not: rings of light show stars and pedestals, differences of neighbouring pixels show
other noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from surveyflow.values.arrays import BoolArray, Float32Array, Float64Array, Int64Array

_Scalar = TypeVar("_Scalar", bound=np.generic)

_SAMPLES_A_SIDE = 32
_MIN_SAMPLES = 64
_CLIP_SIGMA = 3.0
_N_CLIPS = 5
_BELOW_ONE_SIGMA = 0.15865525


@dataclass(frozen=True, slots=True)
class Sky:
    """The sky of some cutouts.

    Parameters
    ----------
    level
        (n,) float32: the median of the sky, in the pixels' unit; NaN where it is unknown.
    rms
        (n,) float32: its standard deviation, in the pixels' unit; NaN where it is unknown.
    """

    level: Float32Array
    rms: Float32Array

    def of(self, rows: BoolArray | slice) -> Sky:
        """The sky of some of the cutouts, (n,) bool or a slice."""
        return Sky(self.level[rows], self.rms[rows])


def measured_sky(pixels: Float32Array, valid: BoolArray) -> Sky:
    """Estimate level and standard deviation of the sky around and behind each cutout's objects.

    The standard deviation is the distance from the median down to the 15.87th percentile, which objects hardly affect. Both use
    a regular sample of about 32 x 32 pixels, clipped five times at three such distances from the median. In empty sky the
    standard deviation is good to 5 %, and the level to a twentieth of the standard deviation.

    Parameters
    ----------
    pixels
        (n, size, size) float32 in any unit; invalid pixels may have any value.
    valid
        (n, size, size) bool; where it is True, pixels must be finite.

    Returns
    -------
    Level and standard deviation; NaN with fewer than 64 valid samples.
    """
    step = max(1, pixels.shape[-1] // _SAMPLES_A_SIDE)
    has_data, samples = (_flat(images[:, step // 2 :: step, step // 2 :: step]) for images in (valid, pixels))
    ordered = np.sort(np.where(has_data, samples, np.inf).astype(np.float64), axis=1)
    counts = has_data.sum(axis=1)
    found = [_clipped_median_and_rms(row[:count]) for row, count in zip(ordered, counts, strict=True)]
    level, rms = np.array(found, dtype=np.float64).reshape(len(pixels), 2).T.astype(np.float32)
    return Sky(level, rms)


def sky_rms(pixels: Float32Array, valid: BoolArray) -> Float32Array:
    """The standard deviation of the sky that `measured_sky` estimates, (n,) float32; parameters as there."""
    return measured_sky(pixels, valid).rms


def _flat(images: NDArray[_Scalar]) -> NDArray[_Scalar]:
    """(n, rows, columns) -> (n, rows * columns), also for n = 0."""
    return images.reshape(len(images), images.shape[1] * images.shape[2])


def _clipped_median_and_rms(ordered: Float64Array) -> tuple[float, float]:
    """Return median and rms of the sky from the ordered samples of one cutout."""
    if len(ordered) < _MIN_SAMPLES:
        return float("nan"), float("nan")
    for _ in range(_N_CLIPS):
        median, rms = _median_and_rms(ordered)
        first = np.searchsorted(ordered, median - _CLIP_SIGMA * rms, side="left")
        last = np.searchsorted(ordered, median + _CLIP_SIGMA * rms, side="right")
        ordered = ordered[first:last]
    return _median_and_rms(ordered)


def _median_and_rms(ordered: Float64Array) -> tuple[float, float]:
    """Median of ordered samples, and its distance to the percentile that lies one sigma below it in a normal distribution."""
    median = float(ordered[len(ordered) // 2])
    return median, median - float(ordered[int(len(ordered) * _BELOW_ONE_SIGMA)])


_NEAR_PIX, _FAR_PIX = 1, 4
_LEAST_PAIRS = 64
_AT_ONCE = 64
"""Cutouts whose noise is measured together: their arrays fit a core's cache, which makes it three times as fast."""


@dataclass(frozen=True, slots=True)
class Noise:
    """The noise of the pixels of some cutouts.

    Parameters
    ----------
    rms
        (n,) float32: its standard deviation, in the pixels' unit; NaN where it is unknown.
    correlation
        (n,) float32: the correlation of the noise of neighbouring pixels, along rows and columns alike, up to 1; 0 for white
        noise. NaN where it is unknown.
    """

    rms: Float32Array
    correlation: Float32Array


def measured_noise(pixels: Float32Array, valid: BoolArray, sky: Sky) -> Noise:
    """Measure standard deviation and correlation of the pixels' noise.

    Both come from differences of pixels within three standard deviations of the sky's level, in every fourth row and column of
    128. Light that varies slowly, such as that of a large galaxy, cancels in them, while it raises the standard deviation that
    `measured_sky` finds by up to a factor of three. Half the mean square of differences of pixels that are 4 apart is taken for
    the variance: noise of drizzled images is hardly correlated over such a distance, and light varies little. The correlation
    is 1 minus the ratio of the mean square of differences of neighbours to it.

    In empty sky the standard deviation is 2 % too low, and good to 1.5 %; the correlation is good to 0.013. Around simulated
    galaxies of 20 to 24 mag, nine in ten standard deviations are within 6 (F160W) and 13 % (F814W) of the truth, and nine in ten
    correlations of 0.51 between 0.46 and 0.52 (F160W), and between 0.40 and 0.50 (F814W).

    Parameters
    ----------
    pixels, valid
        As for `measured_sky`.
    sky
        What that found.

    Returns
    -------
    Standard deviation and correlation; NaN with fewer than 64 pairs of pixels, or if the sky's rms is 0 or unknown.
    """
    parts = [slice(start, start + _AT_ONCE) for start in range(0, len(pixels), _AT_ONCE)]
    found = [np.empty((2, 0)), *(_variances(pixels[part], valid[part], sky.of(part)) for part in parts)]
    near, far = np.concatenate(found, axis=1)
    ratio = np.divide(near, far, out=np.full_like(far, np.nan), where=far > 0)
    rms = np.where(far > 0, np.sqrt(far), np.nan) * sky.rms
    return Noise(rms.astype(np.float32), (1 - ratio).astype(np.float32))


def _variances(pixels: Float32Array, valid: BoolArray, sky: Sky) -> Float64Array:
    """(2, n) half the mean square of differences of pixels 1 and 4 apart, in units of the sky's variance; NaN if unknown."""
    step = max(1, pixels.shape[-1] // _SAMPLES_A_SIDE)
    some = slice(step // 2, None, step)
    along_rows = _squares(pixels[:, some], valid[:, some], sky)
    along_columns = _squares(_turned(pixels[:, :, some]), _turned(valid[:, :, some]), sky)
    sums, counts = along_rows + along_columns
    known: Float64Array = np.divide(sums, 2 * counts, out=np.full_like(sums, np.nan), where=counts >= _LEAST_PAIRS)
    return known


def _turned(images: NDArray[_Scalar]) -> NDArray[_Scalar]:
    """Images whose rows are the columns of these."""
    return np.ascontiguousarray(images.transpose(0, 2, 1))


def _squares(pixels: Float32Array, valid: BoolArray, sky: Sky) -> Float64Array:
    """(2, 2, n) sums of squares of differences along the last axis, and numbers of pairs; for both distances."""
    deviations, is_sky = _sky_pixels(pixels, valid, sky)
    found = []
    for distance in (_NEAR_PIX, _FAR_PIX):
        pairs = is_sky[:, :, distance:] & is_sky[:, :, :-distance]
        differences = deviations[:, :, distance:] - deviations[:, :, :-distance]
        differences *= pairs
        found.append((np.square(_flat(differences)).sum(axis=1), np.count_nonzero(_flat(pairs), axis=1)))
    return np.array(found, np.float64).transpose(1, 0, 2)


def _sky_pixels(pixels: Float32Array, valid: BoolArray, sky: Sky) -> tuple[Float32Array, BoolArray]:
    """Deviations from the sky's level in units of its rms, 0 beyond three of them; and which pixels are within."""
    rms = np.where(sky.rms > 0, sky.rms, np.float32(np.nan))[:, None, None]
    with np.errstate(invalid="ignore", over="ignore"):
        deviations = np.asarray((pixels - sky.level[:, None, None]) / rms, np.float32)
        is_sky: BoolArray = np.abs(deviations) <= _CLIP_SIGMA
    is_sky &= valid
    deviations[~is_sky] = 0
    return deviations, is_sky


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
    >>> from surveyflow.sky.measurements import measured_sky
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


def signal_to_noise(
    pixels: Float32Array, valid: BoolArray, sky: Sky, position_yx: Float64Array, pixel_scale_arcsec: float
) -> Float32Array:
    """Measure how far the light at a position stands out of the noise.

    This is the light weighted by the Gaussian window of `centroid_offsets` about the position, in units of the standard deviation
    that the same sum has in uncorrelated noise. Where noise is correlated, the true ratio is smaller.

    Parameters
    ----------
    pixels, valid
        As for `centroid_offsets`.
    sky
        Level of each cutout's sky, which is subtracted, and rms of its noise.
    position_yx, pixel_scale_arcsec
        As for `centroid_offsets`.

    Returns
    -------
    (n,) float32; negative below the level of the sky, NaN where the noise is unknown or 0, or the ratio exceeds float32.

    Examples
    --------
    >>> from surveyflow.sky.measurements import measured_sky
    >>> y, x = np.mgrid[:64, :64]
    >>> noise = np.random.default_rng(1).normal(0, 1, (1, 64, 64))
    >>> star = (noise + 10 * np.exp(-((x - 31.5) ** 2 + (y - 31.5) ** 2) / 18)).astype(np.float32)
    >>> has_data = np.ones(star.shape, bool)
    >>> signal_to_noise(star, has_data, measured_sky(star, has_data), np.array([[31.5, 31.5]]), 0.03).round()
    array([53.], dtype=float32)
    """
    sigma = WINDOW_SIGMA_ARCSEC / pixel_scale_arcsec
    light, corner = _light_in_the_middle(pixels, valid, sky, int(np.ceil(_REACH_SIGMA * sigma)))
    rms = np.where(sky.rms > 0, sky.rms.astype(np.float64), np.nan)
    flux = _moments(light, position_yx - corner, sigma)[0]
    ratio = flux / (rms * sigma * np.sqrt(np.pi))
    return np.where(np.abs(ratio) <= np.finfo(np.float32).max, ratio, np.nan).astype(np.float32)


_BORDER_PIX = 8
_BRIGHT_SIGMA = 3.0


def edge_light_fractions(pixels: Float32Array, valid: BoolArray, sky: Sky) -> Float32Array:
    """Measure how much of each cutout's border is covered by light.

    The border is a frame 8 pixels wide: all of a cutout of up to 16 pixels a side. This is the share of its valid pixels that are
    brighter than the level of the sky plus three times the rms of the noise. Normal noise alone makes it 0.0013. Bright galaxies
    beside that of the cutout raise it. It stays the same where a cutout is turned by 90 degrees or mirrored, with the same sky.

    Parameters
    ----------
    pixels
        (n, size, size) float32 in any unit; invalid pixels may have any value.
    valid
        (n, size, size) bool; where it is True, pixels must be finite.
    sky
        Level of each cutout's sky, and rms of its noise.

    Returns
    -------
    (n,) float32, 0 to 1. NaN where the level is unknown, the noise is unknown or 0, or no pixel of the border is valid.

    Examples
    --------
    >>> light = np.zeros((1, 64, 64), np.float32)
    >>> light[0, :8, :32] = 5
    >>> sky = Sky(np.zeros(1, np.float32), np.ones(1, np.float32))
    >>> edge_light_fractions(light, np.ones(light.shape, bool), sky).round(3)
    array([0.143], dtype=float32)
    """
    rms = np.where(sky.rms > 0, sky.rms.astype(np.float64), np.nan)
    faintest = sky.level + _BRIGHT_SIGMA * rms
    has_data = _border(valid)
    with np.errstate(invalid="ignore"):
        is_bright = has_data & (_border(pixels) > faintest[:, None])
    n_valid, n_bright = (np.count_nonzero(some, axis=1) for some in (has_data, is_bright))
    known = np.isfinite(faintest) & (n_valid > 0)
    fractions: Float64Array = np.divide(n_bright, n_valid, out=np.full(len(pixels), np.nan), where=known)
    return fractions.astype(np.float32)


def _border(images: NDArray[_Scalar]) -> NDArray[_Scalar]:
    """(n, m) the pixels of images that lie in a frame along their edges, each once."""
    if images.shape[-1] <= 2 * _BORDER_PIX:
        return _flat(images)
    first, inner, last = slice(_BORDER_PIX), slice(_BORDER_PIX, -_BORDER_PIX), slice(-_BORDER_PIX, None)
    parts = (images[:, first], images[:, last], images[:, inner, first], images[:, inner, last])
    return np.concatenate([_flat(part) for part in parts], axis=1)


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


RING_EDGES = (0.0, 0.03, 0.06, 0.09, 0.135, 0.19, 0.25, 0.33, 0.42, 0.5, 0.84)
"""Radii that separate the rings, in units of the image's side; the last ring includes the corners."""
N_STATISTICS = 3 * (len(RING_EDGES) - 1) + 6

_FAINTEST = 1e-2
_INNER_RINGS = 3
_LEAST_CORE = 5e-2
_SMALLEST_STEP = 1e-3


def image_statistics(images: Float32Array) -> Float64Array:
    """Measure rings, texture and extremes of images.

    Parameters
    ----------
    images
        (n, side, side) float32, finite, prepared as a network takes them.

    Returns
    -------
    (n, 36) float64. For each of ten rings around the middle: mean, standard deviation, and the logarithm of the mean absolute
    difference from the image turned by 180 degrees; 0, 0 and log(0.01) for a ring that holds no pixel. Then the logarithms of
    the median absolute difference of pixels that are 1 and 2 columns apart (the first column follows the last), and of the mean
    for 1; then maximum and minimum, and the logarithm of the mean of the three inner rings, at least log(0.05).

    Examples
    --------
    >>> image_statistics(np.zeros((2, 48, 48), np.float32)).shape
    (2, 36)
    """
    flat = images.reshape(len(images), images.shape[1] * images.shape[2])
    order, present, starts, counts = _rings(images.shape[-1])
    light = np.take(flat, order, axis=1)
    residual = np.abs(light - np.take(flat, flat.shape[1] - 1 - order, axis=1))
    sums = [
        np.add.reduceat(values, starts, axis=1, dtype=np.float64)
        for values in (light, np.square(light, dtype=np.float64), residual)
    ]
    mean, square, asymmetry = (total / counts for total in sums)
    spread = np.sqrt(np.maximum(square - mean**2, 0))
    n_rings = len(RING_EDGES) - 1
    rings = np.zeros((len(images), 3, n_rings))
    rings[:, :, present] = np.stack([mean, spread, asymmetry], axis=1)
    rings[:, 2] = np.log(_FAINTEST + rings[:, 2])
    core = np.log(np.maximum(mean[:, :_INNER_RINGS].mean(axis=1), _LEAST_CORE))
    texture = np.stack([*_texture(images), flat.max(axis=1), flat.min(axis=1), core], axis=1)
    return np.concatenate([rings.reshape(len(images), 3 * n_rings), texture], axis=1)


def _texture(images: Float32Array) -> list[Float64Array]:
    """Of every other row: logarithms of the median difference of pixels 1 and 2 columns apart, and the mean for 1; each (n,)."""
    rows = images[:, ::2]
    size = rows.shape[1] * rows.shape[2]
    one, two = (np.abs(rows - np.roll(rows, step, axis=2)).reshape(len(rows), size) for step in (1, 2))
    medians = [np.partition(steps, size // 2, axis=1)[:, size // 2] for steps in (one, two)]
    return [np.log(_SMALLEST_STEP + values.astype(np.float64)) for values in (*medians, one.mean(axis=1, dtype=np.float64))]


@lru_cache(maxsize=8)
def _rings(side: int) -> tuple[Int64Array, Int64Array, Int64Array, Int64Array]:
    """Pixels in the order of their rings; the rings that hold pixels, where each begins in that order, and how many it holds."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    number = np.digitize(np.hypot(y, x).ravel() / side, RING_EDGES[1:-1])
    present, starts, counts = np.unique(np.sort(number), return_index=True, return_counts=True)
    return np.argsort(number, kind="stable"), present, starts, counts
