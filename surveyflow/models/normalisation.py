"""The stretch that a network was trained on, found from the statistics in its first batch normalisation.

The order of layers is convolution, ReLU, batch normalisation. So the stored moving mean and variance of the first normalisation
are the per-channel statistics of conv1 + ReLU over the training images. Real cutouts that are prepared with the right stretch
and passed through conv1 + ReLU have about the same statistics; with another stretch, they do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from surveyflow.models.framing import framed
from surveyflow.models.weights import Weights
from surveyflow.sky.stretch import Stretch, prepare
from surveyflow.tasks.card import Architecture
from surveyflow.values.arrays import Float32Array, Float64Array
from surveyflow.values.images import CutoutStack

AGREES_BELOW = 0.5
"""Distance below which a stretch agrees with the stored statistics."""
CLEARLY_BETTER = 2.0
"""Factor by which the distance of every other stretch must exceed the smallest for the verdict to be clear."""

_FLOOR = 1e-3
"""Added to variances; batch normalisation does not distinguish smaller values from 0."""


@dataclass(frozen=True, slots=True)
class StretchEvidence:
    """The agreement of one preparation of the images with the network's stored statistics.

    Parameters
    ----------
    stretch, softening
        The preparation.
    mean_distance
        Root mean square over channels of (mean - stored mean) / stored standard deviation.
    variance_distance
        Root mean square over channels of ln(variance / stored variance) / 2: the log ratio of the standard deviations.
    """

    stretch: Stretch
    softening: float
    mean_distance: float
    variance_distance: float

    @property
    def distance(self) -> float:
        """Both distances added in quadrature; 0 is perfect agreement."""
        return float(np.hypot(self.mean_distance, self.variance_distance))

    def __str__(self) -> str:
        return f"{self.stretch.value}, softening {self.softening:g} (distance {self.distance:.2f})"


@dataclass(frozen=True, slots=True)
class StretchVerdict:
    """The conclusion from the evidence.

    Parameters
    ----------
    evidence
        Evidence of every preparation, best agreement first.
    clear
        Whether the best preparation agrees and every other stretch is clearly worse.
    """

    evidence: tuple[StretchEvidence, ...]
    clear: bool

    @property
    def best(self) -> StretchEvidence:
        """The preparation that agrees best."""
        return self.evidence[0]

    @property
    def candidates(self) -> tuple[StretchEvidence, ...]:
        """All preparations that agree and are not clearly worse than the best."""
        limit = min(AGREES_BELOW, CLEARLY_BETTER * self.best.distance)
        return tuple(one for one in self.evidence if one.distance <= limit)

    def __str__(self) -> str:
        if self.clear:
            return f"The network was trained on images prepared with {self.best}."
        if not self.candidates:
            return f"No preparation agrees with the network; the closest is {self.best}. Check unit, pixel scale and softening."
        return f"These agree about equally well: {'; '.join(map(str, self.candidates))}."


def stretch_evidence(
    weights: Weights, cutouts: CutoutStack, softenings: Sequence[float] = (1.0,), architecture: Architecture | None = None
) -> StretchVerdict:
    """Compare the statistics of conv1 + ReLU under every stretch with those stored in the network.

    Parameters
    ----------
    weights
        Arrays by role; those of the first convolution and normalisation are used.
    cutouts
        At least a few dozen cutouts of galaxies like those of the training, in the same unit and at the same pixel scale.
    softenings
        Softenings to try, in the unit that `surveyflow.sky.stretch.Softening` states for each stretch.
    architecture
        Architecture of the network; None if it sees every pixel.

    Raises
    ------
    ValueError
        If there are no cutouts, or no softenings.

    Examples
    --------
    >>> verdict = stretch_evidence(store.weights(key), cutouts, softenings=(1.0, 1e-3))  # doctest: +SKIP
    >>> print(verdict)  # doctest: +SKIP
    The network was trained on images prepared with asinh_minmax, softening 0.001 (distance 0.08).
    """
    if not len(cutouts) or not softenings:
        raise ValueError(f"at least one cutout and one softening are needed, not {len(cutouts)} and {len(softenings)}")
    trials = [(stretch, s) for stretch in Stretch for s in (softenings if stretch.softened else softenings[:1])]
    evidence = sorted((_evidence(weights, cutouts, *trial, architecture) for trial in trials), key=lambda one: one.distance)
    return StretchVerdict(tuple(evidence), _is_clear(evidence))


def _evidence(
    weights: Weights, cutouts: CutoutStack, stretch: Stretch, softening: float, architecture: Architecture | None
) -> StretchEvidence:
    prepared = prepare(cutouts.pixels, cutouts.valid, stretch, softening)
    mean, variance = _channel_statistics(prepared[..., None] if architecture is None else framed(prepared, architecture), weights)
    stored_mean, stored_variance = (weights[f"bn.0.{role}"].astype(np.float64) for role in ("mean", "variance"))
    spread = np.sqrt(stored_variance + _FLOOR)
    return StretchEvidence(
        stretch,
        softening,
        mean_distance=_rms((mean - stored_mean) / spread),
        variance_distance=_rms(np.log((variance + _FLOOR) / (stored_variance + _FLOOR)) / 2),
    )


def _channel_statistics(images: Float32Array, weights: Weights) -> tuple[Float64Array, Float64Array]:
    """Mean and variance of each channel of conv1 + ReLU over all images and positions."""
    kernel = weights["conv.0.kernel"]
    side, channels = kernel.shape[0], kernel.shape[-1]
    total, total_of_squares, count = np.zeros(channels), np.zeros(channels), 0
    for image in images:
        patches = sliding_window_view(image, (side, side), axis=(0, 1)).transpose(0, 1, 3, 4, 2)
        active = np.maximum(
            patches.reshape(-1, side**2 * image.shape[2]) @ kernel.reshape(-1, channels) + weights["conv.0.bias"], 0
        )
        total += active.sum(axis=0, dtype=np.float64)
        total_of_squares += np.square(active).sum(axis=0, dtype=np.float64)
        count += len(active)
    mean = total / count
    return mean, np.maximum(total_of_squares / count - mean**2, 0)


def _is_clear(evidence: Sequence[StretchEvidence]) -> bool:
    best = evidence[0]
    others = [one.distance for one in evidence if one.stretch is not best.stretch]
    return best.distance < AGREES_BELOW and min(others) > CLEARLY_BETTER * best.distance


def _rms(values: Float64Array) -> float:
    return float(np.sqrt(np.mean(values**2)))
