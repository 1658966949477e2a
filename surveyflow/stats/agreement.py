"""The agreement of people who sort the same things into classes, beyond what chance would give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from surveyflow.values.arrays import Float64Array, Int64Array


@dataclass(frozen=True, slots=True)
class Kappa:
    """A coefficient of agreement.

    Parameters
    ----------
    value
        1 for complete agreement, 0 for as much as chance gives, below 0 for less; NaN if everybody always gave the same class,
        so that chance gives complete agreement too.
    low, high
        The interval of the bootstrap over the things that were sorted; NaN where there is none.
    n
        Number of things.
    """

    value: float
    low: float
    high: float
    n: int


def cohen_kappa(first: ArrayLike, second: ArrayLike, n_classes: int) -> float:
    """The agreement of two people (Cohen 1960).

    Parameters
    ----------
    first, second
        (n,) integers, 0 to ``n_classes - 1``: the class that each of them gave to each thing.
    n_classes
        Number of classes.

    Returns
    -------
    kappa
        (p_o - p_e) / (1 - p_e), where p_o is the share of equal classes and p_e the share that is expected if both choose
        independently; NaN without things, and if p_e is 1.

    Examples
    --------
    >>> round(cohen_kappa([0, 0, 1, 1], [0, 0, 1, 0], 2), 2)
    0.5
    """
    one, other = (np.asarray(classes, np.int64) for classes in (first, second))
    if not len(one):
        return float("nan")
    shares = [np.bincount(classes, minlength=n_classes) / len(one) for classes in (one, other)]
    return _beyond_chance(float(np.mean(one == other)), float(shares[0] @ shares[1]))


def fleiss_kappa(counts: ArrayLike) -> float:
    """The agreement of any number of people (Fleiss 1971).

    Parameters
    ----------
    counts
        (n, n_classes) integers: how many people gave each class to each thing; every row has the same sum of at least 2.

    Returns
    -------
    kappa
        NaN without things, and if chance gives complete agreement.

    Raises
    ------
    ValueError
        If the rows' sums differ, or are below 2.
    """
    table = np.asarray(counts, np.float64)
    if not len(table):
        return float("nan")
    n_people = table.sum(axis=1)
    if (n_people != n_people[0]).any() or n_people[0] < 2:
        raise ValueError("every row of counts must have the same sum, at least 2")
    shares = table.sum(axis=0) / table.sum()
    agreeing = (np.square(table).sum(axis=1) - n_people) / (n_people * (n_people - 1))
    return _beyond_chance(float(agreeing.mean()), float(np.square(shares).sum()))


def with_interval(
    kappa: Callable[[Int64Array], float], n: int, rng: np.random.Generator, n_samples: int, confidence: float
) -> Kappa:
    """A coefficient with its bootstrap interval.

    Parameters
    ----------
    kappa
        The coefficient of the things at some places, which may repeat.
    n
        Number of things.
    rng, n_samples
        Source of the samples, and their number.
    confidence
        Probability that the interval holds the truth.
    """
    everything = np.arange(n)
    sampled: Float64Array = np.array([kappa(rng.integers(0, n, n)) for _ in range(n_samples)]) if n > 1 else np.zeros(0)
    known = sampled[np.isfinite(sampled)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(known, [tail, 1 - tail]) if len(known) else (np.nan, np.nan)
    return Kappa(kappa(everything), float(low), float(high), n)


def _beyond_chance(observed: float, expected: float) -> float:
    return (observed - expected) / (1 - expected) if expected < 1 else float("nan")
