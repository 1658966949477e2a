"""The level and the noise of a cutout's sky."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from surveyflow.values.arrays import BoolArray, Float32Array, Float64Array

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

    def of(self, rows: BoolArray) -> Sky:
        """The sky of some of the cutouts, (n,) bool."""
        return Sky(self.level[rows], self.rms[rows])

    @property
    def level_in_rms(self) -> Float32Array:
        """(n,) float32: the level in units of the rms; NaN where either is unknown or the rms is 0."""
        return np.divide(self.level, self.rms, out=np.full_like(self.level, np.nan), where=self.rms > 0)


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
