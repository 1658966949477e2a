"""Scores of estimates against the truth: bias, scatter, R2, and the coverage of intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from surveyflow.values.arrays import Float64Array


@dataclass(frozen=True, slots=True)
class RegressionScores:
    """The errors of estimates, in numbers.

    Parameters
    ----------
    n
        Number of estimates.
    bias
        Mean of estimate minus truth.
    scatter
        Standard deviation of estimate minus truth.
    r2
        Share of the truth's variance that the estimates explain: 1 - sum of squared errors / sum of squared deviations of the
        truth from its mean. 1 is perfect; 0 is as good as the mean of the truths. NaN if the truth is constant.
    """

    n: int
    bias: float
    scatter: float
    r2: float


def regression_scores(truth: ArrayLike, estimate: ArrayLike) -> RegressionScores:
    """Score estimates of a quantity.

    Parameters
    ----------
    truth, estimate
        (n,) finite numbers, in any unit.

    Returns
    -------
    Scores; all NaN if n is 0.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> regression_scores([0, 2, 4, 6], [1, 3, 5, 7])
    RegressionScores(n=4, bias=1.0, scatter=0.0, r2=0.8)
    """
    true, estimated = _pair(truth, estimate)
    if not len(true):
        return RegressionScores(0, float("nan"), float("nan"), float("nan"))
    errors = estimated - true
    deviations = float(np.square(true - true.mean()).sum())
    r2 = 1 - float(np.square(errors).sum()) / deviations if deviations > 0 else float("nan")
    return RegressionScores(len(true), float(errors.mean()), float(errors.std()), r2)


def interval_coverage(truth: ArrayLike, low: ArrayLike, high: ArrayLike) -> float:
    """The share of truths that lie in their intervals, ends included.

    Parameters
    ----------
    truth, low, high
        (n,) numbers in the same unit.

    Returns
    -------
    A number in [0, 1]; NaN if n is 0.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> interval_coverage([1, 2, 3, 4], [0, 0, 0, 0], [2, 2, 2, 2])
    0.5
    """
    true, bottom = _pair(truth, low)
    _, top = _pair(truth, high)
    return float(np.mean((true >= bottom) & (true <= top))) if len(true) else float("nan")


def _pair(first: ArrayLike, second: ArrayLike) -> tuple[Float64Array, Float64Array]:
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if one.ndim != 1 or one.shape != other.shape:
        raise ValueError(f"expected two equally long 1-D arrays, not of shapes {one.shape} and {other.shape}")
    return one, other
