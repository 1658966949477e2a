"""The fraction of post-mergers in a population, with its confidence interval.

Galaxies classified as post-mergers are counted bin by bin. The fraction is corrected with the classifier's confusion matrix
(Rogan & Gladen 1978). Intervals of proportions are Wilson's (1927); those of sums and differences follow from them by recovering
variances from confidence limits (MOVER: Zou, Huang & Zhang 2009, for linear functions of binomial proportions).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from surveyflow.stats.metrics import recall
from surveyflow.values.arrays import BoolArray, Float64Array, Int64Array
from surveyflow.values.codes import ClassRule


@dataclass(frozen=True, slots=True)
class ConfusionMatrix:
    """The result of testing a classifier of post-mergers and star-forming galaxies.

    Parameters
    ----------
    counts
        (2, 2) integers: rows are the truth, columns the prediction; post-merger first. Each row has members, and the share
        classified as post-merger is larger in the first row than in the second.
    """

    counts: Int64Array

    def __post_init__(self) -> None:
        if self.counts.shape != (2, 2) or self.counts.dtype.kind not in "iu" or self.counts.min() < 0:
            raise ValueError(f"a confusion matrix must be 2 x 2 integers of at least 0, not {self.counts.tolist()}")
        if not self.counts.sum(axis=1).all():
            raise ValueError(f"each class must have been tested: a row of {self.counts.tolist()} has no galaxies")
        if self.completeness <= self.false_positive_rate:
            raise ValueError(
                f"{self.counts.tolist()} cannot correct a fraction: {self.completeness:.3f} of post-mergers and "
                f"{self.false_positive_rate:.3f} of star-forming galaxies are called post-mergers. Are rows the truth?"
            )

    @property
    def completeness(self) -> float:
        """Completeness (recall) of post-mergers: the share of them that is classified as such."""
        return float(recall(self.counts)[0])

    @property
    def false_positive_rate(self) -> float:
        """Share of star-forming galaxies that is classified as post-merger."""
        return float(1 - recall(self.counts)[1])

    @property
    def test_purity(self) -> float:
        """Purity (precision) of post-mergers in the test itself; it depends on their prevalence, see `purity`."""
        return float(self.counts[0, 0] / self.counts[:, 0].sum())


@dataclass(frozen=True, slots=True)
class Estimate:
    """A quantity with its confidence interval.

    Parameters
    ----------
    value, low, high
        Arrays of float64 and of the same shape; NaN where nothing was counted.
    """

    value: Float64Array
    low: Float64Array
    high: Float64Array


def called_post_merger(p_pm_mean: ArrayLike, p_sf_mean: ArrayLike, f_pm: ArrayLike, rule: ClassRule) -> BoolArray:
    """Whether each galaxy is classified as post-merger.

    Parameters
    ----------
    p_pm_mean, p_sf_mean
        (n,) means of the two outputs over the draws; they are independent, and their sum is not 1.
    f_pm
        (n,) fraction of draws with p_pm > p_sf: not a probability, but a count of votes.
    rule
        The quantity that decides. A tie is not a post-merger.
    """
    if rule is ClassRule.MEAN_OUTPUT:
        return np.asarray(np.greater(p_pm_mean, p_sf_mean))
    return np.asarray(np.greater(f_pm, 0.5))


def find_bins(values: ArrayLike, edges: ArrayLike) -> Int64Array:
    """Find the bin of each value.

    Parameters
    ----------
    values
        (n,) numbers; NaN lies in no bin.
    edges
        (n_bins + 1,) finite and increasing; all bins, including the last, are half-open: [low, high).

    Returns
    -------
    (n,) int64: 0 to n_bins - 1, or -1 outside.

    Raises
    ------
    ValueError
        If the edges are fewer than two, not finite or not increasing.

    Examples
    --------
    >>> find_bins([0.5, 1.5, 3.0, np.nan], [0.5, 1.5, 3.0]).tolist()
    [0, 1, -1, -1]
    """
    limits = np.asarray(edges, np.float64)
    if limits.ndim != 1 or len(limits) < 2 or not np.isfinite(limits).all() or (np.diff(limits) <= 0).any():
        raise ValueError(f"edges must be two or more finite, increasing numbers, not {limits.tolist()}")
    places = np.searchsorted(limits, np.asarray(values, np.float64), side="right") - 1  # NaN sorts last
    return np.where(places < len(limits) - 1, places, -1)


def count(bins: Int64Array, groups: Int64Array, n_bins: int, n_groups: int, weights: ArrayLike | None = None) -> Float64Array:
    """Count galaxies, or sum their weights, by bin and group.

    Parameters
    ----------
    bins
        (n,) from `find_bins`; galaxies outside the bins are left out.
    groups
        (n,) int64, 0 to ``n_groups - 1``.
    n_bins, n_groups
        Number of bins and groups.
    weights
        (n,) weights to sum; 1 for each galaxy if left out.

    Returns
    -------
    (n_bins, n_groups) float64.
    """
    inside = bins >= 0
    added = None if weights is None else np.asarray(weights, np.float64)[inside]
    cells = bins[inside] * n_groups + groups[inside]
    return np.bincount(cells, added, minlength=n_bins * n_groups).reshape(n_bins, n_groups).astype(np.float64)


def proportion(n_called: ArrayLike, n_galaxies: ArrayLike, confidence: float) -> Estimate:
    """Estimate a proportion from counts, with Wilson's binomial interval.

    Parameters
    ----------
    n_called
        Numbers of galaxies classified as post-merger, of any shape.
    n_galaxies
        Numbers of galaxies, of the same shape.
    confidence
        Probability that the interval holds the truth, in (0, 1).

    Raises
    ------
    ValueError
        If the confidence lies outside (0, 1).

    Examples
    --------
    >>> one_of_ten = proportion([1], [10], 0.95)
    >>> round(float(one_of_ten.low[0]), 3), round(float(one_of_ten.high[0]), 3)
    (0.018, 0.404)
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
    from astropy.stats import binom_conf_interval

    called, total = np.asarray(n_called, np.float64), np.asarray(n_galaxies, np.float64)
    counted = total > 0
    value, low, high = np.full((3, *total.shape), np.nan)
    value[counted] = called[counted] / total[counted]
    low[counted], high[counted] = binom_conf_interval(called[counted], total[counted], confidence, interval="wilson")
    return Estimate(value, np.minimum(low, value), np.maximum(high, value))  # rounding may cross at 0 and 1


def drawn_fraction(sum_f: ArrayLike, sum_f_squared: ArrayLike, n_galaxies: ArrayLike) -> tuple[Float64Array, Float64Array]:
    """Mean and standard deviation of the fraction if each galaxy takes the class of one of its draws, chosen at random.

    Draws of different galaxies are independent, so the number of post-mergers is Poisson-binomial with the galaxies' ``f_pm``:
    its mean is the sum of f, and its variance the sum of f (1 - f).

    Parameters
    ----------
    sum_f, sum_f_squared
        Sums of ``f_pm`` and of its square over the galaxies.
    n_galaxies
        Number of galaxies, of the same shape.

    Returns
    -------
    mean, std
        Both float64; NaN where there are no galaxies.
    """
    total = np.asarray(n_galaxies, np.float64)
    total = np.where(total > 0, total, np.nan)
    variance = np.maximum(np.subtract(sum_f, sum_f_squared), 0)
    return np.asarray(np.divide(sum_f, total)), np.asarray(np.sqrt(variance) / total)


def effective_number(weight: ArrayLike, weight_squared: ArrayLike) -> Float64Array:
    """The number of galaxies of equal weight whose share has the noise of weighted ones (Kish 1965).

    Parameters
    ----------
    weight, weight_squared
        Sums of the weights and of their squares, of the same shape.

    Returns
    -------
    float64: the first squared over the second; 0 where there are no galaxies.

    Examples
    --------
    >>> effective_number([3.0, 3.0], [3.0, 5.0]).tolist()
    [3.0, 1.8]
    """
    total, squares = np.asarray(weight, np.float64), np.asarray(weight_squared, np.float64)
    return np.divide(np.square(total), squares, out=np.zeros(total.shape), where=squares > 0)


def corrected_fraction(
    n_called: Float64Array,
    n_galaxies: Float64Array,
    matrices: Sequence[ConfusionMatrix],
    confidence: float,
    sizes: Float64Array | None = None,
) -> Estimate:
    """Correct the fraction of galaxies classified as post-mergers for misclassifications.

    If a fraction f are true post-mergers, a fraction q = c f + e (1 - f) is classified as such, with completeness c and false
    positive rate e; so f = (q - e) / (c - e) (Rogan & Gladen 1978). Groups with different matrices are corrected separately and
    summed. The interval includes the binomial noise of the galaxies and of the test. It is meant for groups of about ten
    galaxies or more, and is too short for groups of a few.

    Parameters
    ----------
    n_called, n_galaxies
        (n_bins, n_groups): galaxies classified as post-mergers, and all galaxies, by bin and by matrix.
    matrices
        One for each group.
    confidence
        Probability that the interval holds the truth, in (0, 1), if the galaxies of the test are like these.
    sizes
        (n_bins, n_groups): what each group counts for in its bin, if that is not its number of galaxies.

    Returns
    -------
    (n_bins,) estimates, not clipped at 0 and 1. Values beyond are noise, or the matrix does not hold for these galaxies.

    Examples
    --------
    A classifier that finds 80 % of the post-mergers, and misclassifies 20 % of the others, calls 27 % post-mergers:

    >>> tested = ConfusionMatrix(np.array([[800, 200], [200, 800]]))
    >>> estimate = corrected_fraction(np.array([[270.0]]), np.array([[1000.0]]), [tested], 0.6827)
    >>> round(float(estimate.value[0]), 3)
    0.117
    """
    called = proportion(n_called, n_galaxies, confidence)
    found, mistaken = _tested(matrices, 0, confidence), _tested(matrices, 1, confidence)
    span = found.value - mistaken.value
    fraction = (called.value - mistaken.value) / span
    down, up = _distances(called, found, mistaken, fraction)
    weights = _weights(n_galaxies if sizes is None else sizes)
    value = _total(weights * fraction)
    return Estimate(value, value - _root_sum(weights * down / span), value + _root_sum(weights * up / span))


def corrected_drawn_std(
    sum_f: Float64Array, sum_f_squared: Float64Array, n_galaxies: Float64Array, matrices: Sequence[ConfusionMatrix]
) -> Float64Array:
    """Standard deviation of `drawn_fraction`, scaled as `corrected_fraction` scales fractions.

    Parameters
    ----------
    sum_f, sum_f_squared, n_galaxies
        (n_bins, n_groups): as in `drawn_fraction`, by bin and by matrix.
    matrices
        One for each group.

    Returns
    -------
    (n_bins,) float64; NaN without galaxies.
    """
    _, std = drawn_fraction(sum_f, sum_f_squared, n_galaxies)
    span = np.array([matrix.completeness - matrix.false_positive_rate for matrix in matrices])
    return _root_sum(_weights(n_galaxies) * std / span)


def purity(fraction: Float64Array, n_galaxies: Float64Array, matrices: Sequence[ConfusionMatrix]) -> Float64Array:
    """Share of true post-mergers among galaxies classified as such, at the population's own fraction of post-mergers.

    Parameters
    ----------
    fraction
        (n_bins,) true fractions of post-mergers, clipped to [0, 1].
    n_galaxies
        (n_bins, n_groups): galaxies by bin and by matrix.
    matrices
        One for each group.

    Returns
    -------
    (n_bins,) float64; NaN without galaxies.

    Examples
    --------
    The published test of the EGS classifier was balanced. If one galaxy in ten is a post-merger, two in three classified as
    post-mergers are not:

    >>> egs = ConfusionMatrix(np.array([[1804, 432], [467, 1981]]))
    >>> round(egs.test_purity, 2), round(float(purity(np.array([0.1]), np.array([[1.0]]), [egs])[0]), 2)
    (0.79, 0.32)
    """
    weights = _weights(n_galaxies)
    true = np.clip(fraction, 0, 1) * _total(weights * [matrix.completeness for matrix in matrices])
    false = (1 - np.clip(fraction, 0, 1)) * _total(weights * [matrix.false_positive_rate for matrix in matrices])
    called = true + false
    shares: Float64Array = np.divide(true, called, out=np.full(called.shape, np.nan), where=called > 0)
    return shares


def jackknife_error(left_out: Float64Array) -> Float64Array:
    """Standard error of a quantity over k independent parts, by leaving out each in turn (Tukey 1958).

    Parameters
    ----------
    left_out
        (k, n_bins): the quantity without each part; NaN where the part has no galaxies, and then it does not count.

    Returns
    -------
    (n_bins,) float64: the square root of (k - 1) / k times the sum of squared distances from the mean; NaN for fewer than two
    parts.

    Examples
    --------
    The standard error of a mean is that of the textbook:

    >>> values = np.array([1.0, 2.0, 4.0, 9.0])
    >>> left_out = ((values.sum() - values) / 3)[:, None]
    >>> jackknife_error(left_out).round(6), (values.std(ddof=1) / 2).round(6)
    (array([1.779513]), np.float64(1.779513))
    """
    known = np.isfinite(left_out)
    k = known.sum(axis=0)
    mean = np.divide(np.where(known, left_out, 0).sum(axis=0), k, out=np.full(k.shape, np.nan), where=k > 0)
    squares = np.where(known, np.square(left_out - mean), 0).sum(axis=0)
    error: Float64Array = np.sqrt(np.divide(k - 1, k, out=np.full(k.shape, np.nan), where=k > 1) * squares)
    return error


def _tested(matrices: Sequence[ConfusionMatrix], truth: int, confidence: float) -> Estimate:
    """(n_groups,) share of a class that the test classified as post-merger."""
    rows = np.array([matrix.counts[truth] for matrix in matrices]).reshape(-1, 2)
    return proportion(rows[:, 0], rows.sum(axis=1), confidence)


def _distances(
    called: Estimate, found: Estimate, mistaken: Estimate, fraction: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Distances of each group's q - e - f (c - e) to its lower and upper limit: each term's own limit, added in quadrature."""
    down = np.hypot(
        called.value - called.low, np.hypot(_reach(fraction, found, up=True), _reach(1 - fraction, mistaken, up=True))
    )
    up = np.hypot(
        called.high - called.value, np.hypot(_reach(fraction, found, up=False), _reach(1 - fraction, mistaken, up=False))
    )
    return down, up


def _reach(slope: Float64Array, rate: Estimate, *, up: bool) -> Float64Array:
    """Distance by which a rate at its limit moves slope x rate in one direction; a negative slope takes the other limit."""
    above, below = slope * (rate.high - rate.value), slope * (rate.value - rate.low)
    return np.maximum(above, -below) if up else np.maximum(below, -above)


def _weights(n_galaxies: Float64Array) -> Float64Array:
    """(n_bins, n_groups) share of each group in its bin; NaN in empty bins."""
    totals = n_galaxies.sum(axis=1, keepdims=True)
    return n_galaxies / np.where(totals > 0, totals, np.nan)


def _total(values: Float64Array) -> Float64Array:
    """(n_bins,) sums over groups. Groups without galaxies are NaN and do not count; bins without galaxies are NaN."""
    sums: Float64Array = np.where(np.isnan(values).all(axis=1), np.nan, np.nansum(values, axis=1))
    return sums


def _root_sum(values: Float64Array) -> Float64Array:
    root: Float64Array = np.sqrt(_total(np.square(values)))
    return root
