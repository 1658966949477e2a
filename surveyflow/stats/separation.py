"""How well a score separates members of a class from others, at every threshold, with bootstrap intervals.

A bootstrap sample draws as many galaxies as there are, with replacement. Intervals of numbers are bias-corrected percentiles over
such samples (Efron & Tibshirani 1993, section 14.3, without acceleration), those of curves plain percentiles. Average precision
is the sum of precisions, weighted by the steps in recall.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri

from surveyflow.stats.ranking import checked_scores
from surveyflow.values.arrays import BoolArray, Float64Array

SHARES = np.linspace(0, 1, 101)
"""The false-positive rates, and the recalls, at which the curves are given."""
_SAMPLES_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class Measured:
    """A number with its bootstrap interval; NaN where it is not defined.

    Parameters
    ----------
    value, low, high
        The number, and the ends of its interval.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Curve:
    """A curve over `SHARES`, with the bootstrap interval at each of them.

    Parameters
    ----------
    value, low, high
        (101,) float64 each.
    """

    value: Float64Array
    low: Float64Array
    high: Float64Array


@dataclass(frozen=True, slots=True)
class Separation:
    """The separation of members by a score.

    Parameters
    ----------
    roc_area
        Probability that a member scores higher than another galaxy; ties count half.
    average_precision
        Mean purity (precision), weighted by the steps in completeness (recall). Chance gives the share of members.
    roc
        Completeness at each false-positive rate, linear between thresholds.
    precision
        Highest purity that is reached at each completeness or beyond, as in information retrieval.
    """

    roc_area: Measured
    average_precision: Measured
    roc: Curve
    precision: Curve


def separation(
    score: ArrayLike, member: ArrayLike, rng: np.random.Generator, n_samples: int = 1000, confidence: float = 0.6827
) -> Separation:
    """Measure how well a score separates members.

    Parameters
    ----------
    score
        (n,) numbers; members should score higher.
    member
        (n,) bool.
    rng
        Source of the bootstrap samples.
    n_samples
        Number of bootstrap samples.
    confidence
        Probability that an interval holds the truth, in (0, 1).

    Raises
    ------
    ValueError
        If the shapes differ, a score is NaN, the confidence is not in (0, 1), or members or others are absent.
    """
    scores, members = checked_scores(score, member)
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
    if members.all() or not members.any():
        raise ValueError("there must be members and others")
    order = np.argsort(-scores, kind="stable")
    last_of_ties = np.flatnonzero(np.diff(scores[order], append=-np.inf))
    once = _measure(members[order], np.ones((1, len(scores))), last_of_ties)
    drawn = [_measure(members[order], weights, last_of_ties) for weights in _samples(rng, len(scores), n_samples)]
    sampled = [np.concatenate([sample[number] for sample in drawn]) for number in range(4)]
    area, precision = (_with_interval(float(once[i][0]), sampled[i], confidence) for i in (0, 1))
    tails = [0.5 - confidence / 2, 0.5 + confidence / 2]
    return Separation(area, precision, *(Curve(once[i][0], *np.nanquantile(sampled[i], tails, axis=0)) for i in (2, 3)))


def bootstrap_ratio(
    part: BoolArray, whole: BoolArray, rng: np.random.Generator, n_samples: int = 1000, confidence: float = 0.6827
) -> Measured:
    """Measure the ratio of two counts, such as a completeness, with a bootstrap interval.

    Parameters
    ----------
    part, whole
        (n,) bool: the galaxies that are counted above and below the line.
    rng, n_samples, confidence
        As for `separation`.

    Returns
    -------
    The ratio; NaN if nothing is counted below the line.
    """
    if not whole.any():
        return Measured(float("nan"), float("nan"), float("nan"))
    sampled = []
    for weights in _samples(rng, len(whole), n_samples):
        below = weights @ whole
        sampled.append(np.divide(weights @ part, below, out=np.full(len(below), np.nan), where=below > 0))
    return _with_interval(float(part.sum() / whole.sum()), np.concatenate(sampled), confidence)


def _with_interval(value: float, sampled: Float64Array, confidence: float) -> Measured:
    """The bias-corrected percentile interval: where half of the samples lie below the value, the plain percentiles."""
    known = sampled[np.isfinite(sampled)]
    if not len(known):
        return Measured(value, float("nan"), float("nan"))
    below = (np.mean(known < value) + np.mean(known <= value)) / 2
    shift = 2 * ndtri(np.clip(below, 1 / (2 * len(known)), 1 - 1 / (2 * len(known))))
    low, high = np.quantile(known, ndtr(shift + ndtri([0.5 - confidence / 2, 0.5 + confidence / 2])))
    return Measured(value, float(low), float(high))


def _samples(rng: np.random.Generator, n: int, n_samples: int) -> list[Float64Array]:
    """How often each galaxy is in each bootstrap sample, (up to 50, n) at a time."""
    shares = np.full(n, 1 / n)
    starts = range(0, n_samples, _SAMPLES_AT_ONCE)
    return [rng.multinomial(n, shares, min(_SAMPLES_AT_ONCE, n_samples - start)).astype(np.float64) for start in starts]


def _measure(members: BoolArray, weights: Float64Array, last_of_ties: np.ndarray) -> tuple[Float64Array, ...]:
    """ROC area, average precision, and both curves of each sample; members and weights are in the order of falling score."""
    with np.errstate(invalid="ignore", divide="ignore"):  # a sample without members or others is NaN
        hits = np.cumsum(weights * members, axis=1)[:, last_of_ties]
        chosen = np.cumsum(weights, axis=1)[:, last_of_ties]
        recall, false_share = hits / hits[:, -1:], (chosen - hits) / (chosen - hits)[:, -1:]
        precision = hits / chosen
    zero = np.zeros((len(weights), 1))
    recall_from_0, false_from_0 = np.hstack([zero, recall]), np.hstack([zero, false_share])
    area = np.trapezoid(recall_from_0, false_from_0, axis=1)
    average = np.sum(np.diff(recall_from_0, axis=1) * np.nan_to_num(precision), axis=1)
    return area, average, _roc_curves(false_from_0, recall_from_0), _precision_curves(recall, np.nan_to_num(precision))


def _roc_curves(false_share: Float64Array, recall: Float64Array) -> Float64Array:
    return np.array([np.interp(SHARES, x, y) for x, y in zip(false_share, recall, strict=True)])


def _precision_curves(recall: Float64Array, precision: Float64Array) -> Float64Array:
    """The highest precision at each recall or beyond it."""
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    places = [np.minimum(np.searchsorted(row, SHARES - 1e-12), len(row) - 1) for row in recall]
    return np.array([row[place] for row, place in zip(best, places, strict=True)])
