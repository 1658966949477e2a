"""What the numbers of a weight map are, judged by the noise of the image beside it.

An inverse-variance map predicts the variance of the sky, 1 / w. So do a map of variances, w, and a map of standard deviations,
w^2. A map of exposure times is proportional to an inverse variance. The measured variance tells them apart by its value and,
where the depth varies, by how it changes with w.

Neighbouring pixels of a drizzled image are correlated, so that the scatter of its pixels is too small, by a factor of 1.5 to 3
(Casertano et al. 2000, appendix A). Some weights describe the pixels as they are, others independent ones of the same depth. So
the variance is measured twice, on pixels and on means over blocks of them, which see all but a little of the correlated noise;
a weight that fits either, or anything between, is accepted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from surveyflow.sky.measurements import measured_sky
from surveyflow.values.arrays import BoolArray, Float32Array, Float64Array
from surveyflow.values.codes import WeightKind

_Scalar = TypeVar("_Scalar", bound=np.generic)
_BLOCK_PIXELS = 4
_ENOUGH_BOXES = 5
_TOLERANCE = np.log10(2.5)
_LEVER = np.log10(1.3)
_SLOPES = {WeightKind.INVERSE_VARIANCE: -1.0, WeightKind.VARIANCE: 1.0, WeightKind.RMS: 2.0}
"""The power of the weight that the variance is."""


def inverse_variance(numbers: Float32Array, kind: WeightKind, factor: float = 1.0) -> Float32Array:
    """Convert the numbers of a weight map to inverse variances of an image that is multiplied by a factor.

    Parameters
    ----------
    numbers
        Numbers of the map, float32 of any shape, in the image's unit.
    kind
        What they are. Exposure times are returned as they are, since they are only proportional to an inverse variance.
    factor
        The number by which the image's pixels are multiplied, above 0.

    Returns
    -------
    float32 of that shape; 0, not finite, or negative as it was, where there is no data.
    """
    if kind is WeightKind.EXPOSURE:
        return numbers
    powers = {WeightKind.INVERSE_VARIANCE: 1, WeightKind.VARIANCE: -1, WeightKind.RMS: -2}
    known = np.where(numbers > 0, numbers, 0 if kind is WeightKind.INVERSE_VARIANCE else np.inf).astype(np.float64)
    with np.errstate(over="ignore", under="ignore"):
        weights = known ** powers[kind] / factor**2
    return np.where(numbers < 0, numbers, weights).astype(np.float32)


def stated_numbers(weights: Float32Array, kind: WeightKind) -> Float32Array:
    """Convert inverse variances back to numbers of a kind; the inverse of `inverse_variance` with a factor of 1."""
    powers = {WeightKind.VARIANCE: -1.0, WeightKind.RMS: -0.5}
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(weights.astype(np.float64) ** powers.get(kind, 1.0), np.float32)


@dataclass(frozen=True, slots=True)
class WeightCheck:
    """The comparison of a weight map with the noise of its image.

    Parameters
    ----------
    kind
        What the weights are, as far as the noise says; None if they fit nothing.
    times_pixel_variance, times_variance
        Medians, over the boxes, of the weight times the measured variance: of pixels as they are, and of independent pixels of
        the same depth. An inverse variance has 1 in one of them, or between them.
    n_boxes
        Number of boxes in which both were measured.
    stated
        What the workflow says that they are; None if it does not.
    """

    kind: WeightKind | None
    times_pixel_variance: float
    times_variance: float
    n_boxes: int
    stated: WeightKind | None = None

    @property
    def contradiction(self) -> WeightKind | None:
        """What the weights are, if that is something else than what is stated; None also if they fit nothing that is known.

        An inverse variance is an exposure time as well: what is stated as one is only proportional to an inverse variance.
        """
        allowed = {self.stated} | ({WeightKind.INVERSE_VARIANCE} if self.stated is WeightKind.EXPOSURE else set())
        return None if self.stated is None or self.kind in allowed else self.kind

    @property
    def caution(self) -> str:
        """What a reader of ``weight_median`` must know, as a phrase about the map; empty if the weights are what they should be.

        Weights of which nothing is stated should be inverse variances.
        """
        if self.kind is not None and (self.kind is WeightKind.INVERSE_VARIANCE or self.stated is not None):
            return ""
        looks = "is unlike any weight that is known" if self.kind is None else f"looks like {self.kind} ({self.kind.meaning})"
        if self.stated is not None:
            return (
                f"is stated to be {self.stated} ({self.stated.meaning}), but {looks}: the noise of the image was measured in "
                f"{self.n_boxes} boxes. Check weight_kind and the map; if either is wrong, weight_median is, too, and no other "
                f"column"
            )
        return (
            f"{looks}, and not like an inverse variance: weight times variance of the sky is {self.times_pixel_variance:.2g} "
            f"for its pixels and {self.times_variance:.2g} for independent ones (medians of {self.n_boxes} boxes), not about 1. "
            f"weight_median is in the map's own unit then; it changes no other column"
        )


def check_weights(
    pixels: Float32Array, valid: BoolArray, weight_median: Float32Array, stated: WeightKind | None = None
) -> WeightCheck | None:
    """Compare the weights in some boxes of a mosaic with the measured noise of the image.

    Parameters
    ----------
    pixels
        (n, size, size) float32, in any unit; 0 where there is no data. Objects in them do little harm.
    valid
        (n, size, size) bool; where it is True, pixels must be finite.
    weight_median
        (n,) float32: the median of each box's weights; NaN if it has none.
    stated
        What the workflow says that the weights are; None if it does not.

    Returns
    -------
    The verdict; None with fewer than 5 boxes in which noise and weight can be measured.
    """
    of_pixels = np.square(measured_sky(pixels, valid).rms.astype(np.float64))
    variances, weights = np.stack([of_pixels, independent_variance(pixels, valid)]), weight_median.astype(np.float64)
    known = (variances > 0).all(axis=0) & (weights > 0)
    if known.sum() < _ENOUGH_BOXES:
        return None
    log_variances, log_weight = np.log10(variances[:, known]), np.log10(weights[known])
    times = 10 ** np.median(log_variances + log_weight, axis=1)
    return WeightCheck(_kind(log_variances, log_weight, stated), float(times[0]), float(times[1]), int(known.sum()), stated)


def independent_variance(pixels: Float32Array, valid: BoolArray) -> Float64Array:
    """Measure the variance that the sky's pixels would have if they were independent.

    Parameters
    ----------
    pixels, valid
        As for `check_weights`.

    Returns
    -------
    (n,) float64, in the square of the pixels' unit: 16 times the variance of means over blocks of 4 x 4 pixels. NaN with fewer
    than 64 blocks without holes.
    """
    means, whole = _blocks(pixels).mean(axis=-1, dtype=np.float32), np.asarray(_blocks(valid).all(axis=-1))
    rms = measured_sky(means, whole).rms.astype(np.float64)
    return _BLOCK_PIXELS**2 * rms**2


def _blocks(images: NDArray[_Scalar]) -> NDArray[_Scalar]:
    """(n, size, size) -> (n, size / 4, size / 4, 16); what is left at the end of a row or column is dropped."""
    n, side = len(images), images.shape[-1] // _BLOCK_PIXELS
    whole = images[:, : side * _BLOCK_PIXELS, : side * _BLOCK_PIXELS]
    parts = whole.reshape(n, side, _BLOCK_PIXELS, side, _BLOCK_PIXELS).swapaxes(2, 3)
    return parts.reshape(n, side, side, _BLOCK_PIXELS**2)


def _kind(log_variances: Float64Array, log_weight: Float64Array, stated: WeightKind | None) -> WeightKind | None:
    """Choose what fits in value and slope, if possible what is stated; what fits by a falling slope alone is an exposure time."""
    low, high = _slope(log_variances[0], log_weight)
    possible = [kind for kind, slope in _SLOPES.items() if (slope < 0 and low < 0) or (slope > 0 and high > 0)]
    misfits = {kind: _misfit(log_variances - _SLOPES[kind] * log_weight) for kind in possible}
    fitting = [kind for kind, misfit in misfits.items() if misfit <= _TOLERANCE]
    preferred = next((kind for kind in (stated, WeightKind.INVERSE_VARIANCE) if kind in fitting), None)
    if fitting:
        return preferred or min(fitting, key=misfits.__getitem__)
    return WeightKind.EXPOSURE if low < 0 else None


def _misfit(log_ratios: Float64Array) -> float:
    """How far 0 lies beyond the medians of the two rows; 0 between them."""
    first, last = np.sort(np.median(log_ratios, axis=1))
    return float(max(first, -last, 0.0))


def _slope(log_variance: Float64Array, log_weight: Float64Array) -> tuple[float, float]:
    """Limits, at 99 %, of the power with which the variance goes with the weight; infinite where the weight hardly varies."""
    spread = np.subtract(*np.percentile(log_weight, [90, 10]))
    if spread < _LEVER:
        return -np.inf, np.inf
    from scipy.stats import theilslopes

    found = theilslopes(log_variance, log_weight, alpha=0.99)
    return float(found.low_slope), float(found.high_slope)
