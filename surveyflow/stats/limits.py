"""Whether a share or a distance of distributions exceeds its limit by more than chance explains."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import bdtrc

from surveyflow.values.arrays import Float32Array


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


def ks_distance(first: Float32Array, second: Float32Array) -> float:
    """The distance of Kolmogorov and Smirnov: the largest difference between two cumulative distributions, 0 to 1.

    Parameters
    ----------
    first, second
        (n,) and (m,) float32, finite; neither is empty.
    """
    values = np.concatenate([first, second])
    below = [np.searchsorted(np.sort(sample), values, side="right") / len(sample) for sample in (first, second)]
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
