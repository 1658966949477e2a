"""The calibration of a classifier: its stated probabilities against the observed frequencies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from surveyflow.values.arrays import BoolArray, Float64Array, Int64Array

N_BINS = 10
"""Bins of a reliability diagram, equally wide over [0, 1]."""


@dataclass(frozen=True, slots=True)
class Reliability:
    """A reliability diagram: stated probabilities and observed frequencies.

    Parameters
    ----------
    edges
        (n_bins + 1,) float64, from 0 to 1; bins are half-open, but the last includes 1.
    counts
        (n_bins,) int64: number of probabilities in each bin.
    stated
        (n_bins,) float64: mean stated probability; NaN for an empty bin.
    observed
        (n_bins,) float64: fraction that came true; NaN for an empty bin.
    """

    edges: Float64Array
    counts: Int64Array
    stated: Float64Array
    observed: Float64Array

    @property
    def error(self) -> float:
        """Expected calibration error: mean of ``|observed - stated|``, bins weighted by their counts; NaN if all are empty."""
        if not self.counts.any():
            return float("nan")
        gaps = np.abs(self.observed - self.stated)
        return float(np.nansum(self.counts * gaps) / self.counts.sum())


def reliability(probability: ArrayLike, came_true: ArrayLike, n_bins: int = N_BINS) -> Reliability:
    """Compare stated probabilities with observed frequencies, in equally wide bins of the stated probability.

    Parameters
    ----------
    probability
        (n,) in [0, 1].
    came_true
        (n,) bool.
    n_bins
        Number of bins.

    Raises
    ------
    ValueError
        If the shapes differ, or a probability is NaN or lies outside [0, 1].

    Examples
    --------
    >>> reliability([0.1, 0.9, 0.9, 0.9], [False, True, True, False], n_bins=2).observed.round(3).tolist()
    [0.0, 0.667]
    """
    stated, truth = _checked(probability, came_true)
    bins = np.minimum((stated * n_bins).astype(np.int64), n_bins - 1)
    counts = np.bincount(bins, minlength=n_bins).astype(np.int64)
    return Reliability(
        edges=np.linspace(0, 1, n_bins + 1),
        counts=counts,
        stated=_mean(bins, stated, counts),
        observed=_mean(bins, truth.astype(np.float64), counts),
    )


def calibration_error(probability: ArrayLike, came_true: ArrayLike, n_bins: int = N_BINS) -> float:
    """Expected calibration error of stated probabilities; see `Reliability.error`. Parameters as in `reliability`."""
    return reliability(probability, came_true, n_bins).error


def weighted_error(probability: ArrayLike, came_true: ArrayLike, weights: ArrayLike, n_bins: int = N_BINS) -> float:
    """Expected calibration error of weighted cases; with equal weights it is that of `calibration_error`.

    Parameters
    ----------
    probability, came_true
        As in `reliability`.
    weights
        (n,) weights of the cases, at least 0.
    n_bins
        Number of bins.

    Returns
    -------
    The error; NaN without any weight.
    """
    stated, truth = _checked(probability, came_true)
    weight = np.asarray(weights, np.float64)
    bins = np.minimum((stated * n_bins).astype(np.int64), n_bins - 1)
    excess = np.bincount(bins, weights=weight * (truth - stated), minlength=n_bins)
    return float(np.abs(excess).sum() / weight.sum()) if weight.sum() > 0 else float("nan")


def perfect_error(probability: ArrayLike, rng: np.random.Generator, n_bins: int = N_BINS, n_repeats: int = 200) -> float:
    """The calibration error that these probabilities would show if they were exact: chance alone keeps it above 0.

    Parameters
    ----------
    probability
        (n,) in [0, 1].
    rng
        Draws which events come true.
    n_bins
        Number of bins.
    n_repeats
        Number of realisations to average.

    Returns
    -------
    Mean error of ``n_repeats`` realisations in which each event comes true with its stated probability.
    """
    stated = np.asarray(probability, np.float64)
    drawn = (calibration_error(stated, rng.random(stated.shape) < stated, n_bins) for _ in range(n_repeats))
    return float(np.mean(list(drawn)))


def _checked(probability: ArrayLike, came_true: ArrayLike) -> tuple[Float64Array, BoolArray]:
    stated, truth = np.asarray(probability, np.float64), np.asarray(came_true, bool)
    if stated.ndim != 1 or stated.shape != truth.shape:
        raise ValueError(
            f"probability and came_true must be 1-D and equally long, not of shapes {stated.shape} and {truth.shape}"
        )
    if not ((stated >= 0) & (stated <= 1)).all():
        raise ValueError("probabilities must lie in [0, 1]")
    return stated, truth


def _mean(bins: Int64Array, values: Float64Array, counts: Int64Array) -> Float64Array:
    sums = np.bincount(bins, weights=values, minlength=len(counts))
    means: Float64Array = np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)
    return means
