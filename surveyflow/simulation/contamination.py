"""The true contamination of a simulated stamp, whose galaxy and neighbours are known separately.

How much do a galaxy's neighbours disturb it? A neighbour counts where it is detected: the image is smoothed, connected pixels
over a threshold form an object, and the objects' mask is widened by a disc. The galaxy's own mask is made in the same way. There
are two variants, because "two sigma" and "a disc of diameter 7" can be read in two ways:

- ``sky_sigma``: the threshold is twice the rms of the sky, and the disc is centred (29 pixels).
- ``self_sigma``, the authors' reading: the threshold is the image's own clipped mean plus twice its own clipped standard
  deviation, and the disc is off centre (37 pixels). The mask of a noiseless galaxy is then always large.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve

from surveyflow.errors import InputError
from surveyflow.values import remedies
from surveyflow.values.arrays import BoolArray, Float32Array, Float64Array

SKY_SIGMA = "sky_sigma"
SELF_SIGMA = "self_sigma"
TRUTHS = (SKY_SIGMA, SELF_SIGMA)

N_SIGMA = 2.0
N_PIXELS = 10
"""The least number of pixels over the threshold that an object has."""

_DIAMETER = 7
_CLIP_SIGMA = 3.0
_N_CLIPS = 10
_Offsets = tuple[tuple[int, int], ...]


def _disc(centre: int, radius: int) -> _Offsets:
    steps = range(_DIAMETER)
    return tuple((dy, dx) for dy in steps for dx in steps if (dy - centre) ** 2 + (dx - centre) ** 2 <= radius**2)


# In SELF_SIGMA, half of the diameter, 3.5, is rounded up to 4, both for the radius and for the position of the centre.
DISCS: Mapping[str, _Offsets] = MappingProxyType({SKY_SIGMA: _disc(3, 3), SELF_SIGMA: _disc(4, 4)})
"""Pixels of the disc that widens masks, as rows and columns of a 7 x 7 array whose middle, (3, 3), lies on the mask's pixel."""


@dataclass(frozen=True, slots=True)
class Contamination:
    """The contamination of a galaxy by its neighbours.

    Parameters
    ----------
    coverage_pct
        Percentage of the galaxy's mask that the neighbours' mask overlaps; NaN if the galaxy's mask is empty.
    flux_pp
        Mean of the neighbours' image over their mask, in the image's unit per pixel; 0 if nothing is detected.
    n_pix
        Pixels of the neighbours' mask; 1 if nothing is detected.
    """

    coverage_pct: float
    flux_pp: float
    n_pix: int


def contamination(galaxy: Float32Array, neighbours: Float32Array, sky_rms: float) -> dict[str, Contamination]:
    """Measure the true contamination in both variants.

    Parameters
    ----------
    galaxy
        (rows, columns) float32: the galaxy alone, convolved with the PSF, without noise.
    neighbours
        (rows, columns) float32 in the same unit: everything else. A patch of a real image may contain noise.
    sky_rms
        Standard deviation of the sky in the same unit, positive.

    Returns
    -------
    The contamination by variant, ``sky_sigma`` and ``self_sigma``.

    Raises
    ------
    ValueError
        If the two images differ in shape, or the rms is not positive.
    InputError
        If photutils, of the extra ``train``, is not installed.

    Notes
    -----
    As in the authors' simulator, the kernel has 3 x 3 pixels and a FWHM of 2, and objects have at least 10 pixels, which may be
    connected at corners.
    """
    if galaxy.shape != neighbours.shape or not sky_rms > 0:
        raise ValueError(
            f"expected two images of the same shape and a positive rms, not {galaxy.shape}, {neighbours.shape}, {sky_rms}"
        )
    smooth = convolve(galaxy, _kernel(), mode="constant"), convolve(neighbours, _kernel(), mode="constant")
    thresholds = {SKY_SIGMA: (N_SIGMA * sky_rms,) * 2, SELF_SIGMA: (_own_threshold(galaxy), _own_threshold(neighbours))}
    return {truth: _measured(smooth, thresholds[truth], DISCS[truth], neighbours) for truth in TRUTHS}


def _measured(
    smooth: tuple[Float32Array, Float32Array], thresholds: tuple[float, float], disc: _Offsets, neighbours: Float32Array
) -> Contamination:
    galaxy_mask, neighbour_mask = (_mask(image, threshold, disc) for image, threshold in zip(smooth, thresholds, strict=True))
    n_galaxy, n_neighbours = int(np.count_nonzero(galaxy_mask)), int(np.count_nonzero(neighbour_mask))
    coverage_pct = 100 * int(np.count_nonzero(galaxy_mask & neighbour_mask)) / n_galaxy if n_galaxy else np.nan
    if not n_neighbours:
        return Contamination(coverage_pct, 0.0, 1)
    return Contamination(coverage_pct, float(neighbours[neighbour_mask].mean(dtype=np.float64)), n_neighbours)


def _mask(smooth: Float32Array, threshold: float, disc: _Offsets) -> BoolArray:
    """The pixels of an image's objects, widened by a disc."""
    # The detection warns if an image has no objects.
    if np.count_nonzero(smooth > threshold) < N_PIXELS:
        return np.zeros(smooth.shape, bool)
    segments = _segmentation().detect_sources(smooth, threshold, N_PIXELS)
    return np.zeros(smooth.shape, bool) if segments is None else _widened(segments.data > 0, disc)


def _widened(mask: NDArray[np.bool_], disc: _Offsets) -> BoolArray:
    rows, columns = mask.shape
    wide = np.zeros((rows + _DIAMETER - 1, columns + _DIAMETER - 1), bool)
    for dy, dx in disc:
        wide[dy : dy + rows, dx : dx + columns] |= mask
    half = _DIAMETER // 2
    return wide[half:-half, half:-half]


def _own_threshold(image: Float32Array) -> float:
    """Mean plus two standard deviations, after clipping at three standard deviations about the median, at most ten times."""
    values = np.sort(image, axis=None).astype(np.float64)
    sums = np.concatenate([np.zeros((2, 1)), np.cumsum([values, values * values], axis=1)], axis=1)
    first, last = 0, len(values)
    for _ in range(_N_CLIPS):
        median = (values[(first + last - 1) // 2] + values[(first + last) // 2]) / 2
        reach = _CLIP_SIGMA * _mean_and_deviation(sums, first, last)[1]
        kept = np.searchsorted(values, median - reach, "left"), np.searchsorted(values, median + reach, "right")
        # The deviation of constant values is rounding error alone, so that clipping would remove all of them.
        if kept == (first, last) or kept[0] >= kept[1]:
            break
        first, last = max(first, int(kept[0])), min(last, int(kept[1]))
    mean, deviation = _mean_and_deviation(sums, first, last)
    return mean + N_SIGMA * deviation


def _mean_and_deviation(sums: Float64Array, first: int, last: int) -> tuple[float, float]:
    """Mean and standard deviation of a range of ordered values, from the running sums of values and squares."""
    mean, mean_square = (sums[:, last] - sums[:, first]) / (last - first)
    return float(mean), float(np.sqrt(max(mean_square - mean * mean, 0.0)))


@lru_cache(maxsize=1)
def _kernel() -> Float32Array:
    return np.asarray(_segmentation().make_2dgaussian_kernel(2.0, size=3).array, np.float32)


def _segmentation() -> Any:
    try:
        from photutils import segmentation
    except ModuleNotFoundError as error:
        raise InputError(
            f"Measuring the true contamination needs photutils, which is not installed: `{remedies.install('train')}`."
        ) from error
    return segmentation
