"""Whether a share or a distance of distributions exceeds its limit by more than chance explains."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import bdtrc

from surveyflow.values.arrays import Float32Array, Int64Array


def share_exceeds(count: int, total: int, limit: float, significance: float) -> bool:
    """Whether a share lies above its limit, and so many would be found by chance too rarely if the limit were the true share.

    Parameters
    ----------
    count, total
        Number of members with a property, and of all members.
    limit
        The limit of the share, 0 to 1.
    significance
        Probability of the upper tail of the binomial distribution below which an excess counts, 0 to 1.

    Examples
    --------
    >>> share_exceeds(1, 12, 0.05, 0.001), share_exceeds(5, 12, 0.05, 0.001)
    (False, True)
    """
    if count <= limit * total:
        return False
    return limit == 0 or bool(bdtrc(count - 1, total, limit) < significance)


DISTANCE_BINS = 2**14
"""Bins of [0, 1] in which probabilities are counted for `ks_distance`; 1 has one of its own."""


def counted_probabilities(values: Float32Array) -> Int64Array:
    """Count probabilities in bins, so that those of any number of sources take the same memory.

    Parameters
    ----------
    values
        (n,) float32 in [0, 1].

    Returns
    -------
    (`DISTANCE_BINS` + 1,) int64
    """
    places = np.clip(values.astype(np.float64) * DISTANCE_BINS, 0, DISTANCE_BINS).astype(np.int64)
    return np.bincount(places, minlength=DISTANCE_BINS + 1).astype(np.int64)


def ks_distance(first: Int64Array, second: Int64Array) -> float:
    """The distance of Kolmogorov and Smirnov: the largest difference between two cumulative distributions, 0 to 1.

    Differences within a bin are not seen: the distance of two samples is at most that of the same samples without bins, and
    smaller at most by the larger share of either sample in one bin.

    Parameters
    ----------
    first, second
        Numbers of values by bin, as `counted_probabilities` gives them; neither is empty.
    """
    below = [np.cumsum(counts) / counts.sum() for counts in (first, second)]
    return float(np.abs(below[0] - below[1]).max())


def ks_error(n_first: int, n_second: int, significance: float) -> float:
    """The distance of Kolmogorov and Smirnov that two samples of one distribution exceed with a given probability, at most.

    This is Smirnov's asymptotic bound, with the first term of its series.

    Parameters
    ----------
    n_first, n_second
        Sizes of the samples, at least 1.
    significance
        The probability, above 0 and below 1.
    """
    return math.sqrt(-0.5 * math.log(significance / 2) * (n_first + n_second) / (n_first * n_second))
