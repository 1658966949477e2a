"""How well a score tells members of a class from others, and where to cut it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from surveyflow.values.arrays import BoolArray, Float64Array


@dataclass(frozen=True, slots=True)
class Cut:
    """What choosing by ``score >= threshold`` gives.

    Parameters
    ----------
    threshold
        Lowest score that is chosen.
    n_chosen
        How many are chosen.
    completeness
        Share of the members that are chosen (recall); NaN without members.
    purity
        Share of the chosen that are members (precision); NaN where nothing is chosen.
    """

    threshold: float
    n_chosen: int
    completeness: float
    purity: float


def area_under_roc(score: ArrayLike, member: ArrayLike) -> float:
    """Probability that a member scores higher than another, ties counting half.

    Parameters
    ----------
    score
        (n,) numbers; higher means a member, rather.
    member
        (n,) bool.

    Returns
    -------
    In [0, 1]; 0.5 is chance. NaN if there are only members, or none.

    Raises
    ------
    ValueError
        If the shapes differ, or a score is NaN.

    Examples
    --------
    >>> area_under_roc([0.1, 0.4, 0.35, 0.8], [False, False, True, True])
    0.75
    """
    scores, members = _checked(score, member)
    n_members, n_others = int(members.sum()), int((~members).sum())
    if not n_members or not n_others:
        return float("nan")
    rank_sum = float(rankdata(scores)[members].sum())
    return (rank_sum - n_members * (n_members + 1) / 2) / (n_members * n_others)


def cut_at(score: ArrayLike, member: ArrayLike, threshold: float) -> Cut:
    """Choose by a threshold that is given; parameters as in `area_under_roc`."""
    scores, members = _checked(score, member)
    chosen = scores >= threshold
    hits = int((chosen & members).sum())
    return Cut(float(threshold), int(chosen.sum()), _ratio(hits, int(members.sum())), _ratio(hits, int(chosen.sum())))


def best_cut(score: ArrayLike, member: ArrayLike) -> Cut:
    """Choose by the threshold with the highest harmonic mean of completeness and purity.

    Tune it on other data than it is judged by.

    Parameters
    ----------
    score, member
        As in `area_under_roc`; at least one member.

    Raises
    ------
    ValueError
        If the shapes differ, a score is NaN, or there is no member.
    """
    scores, members = _checked(score, member)
    if not members.any():
        raise ValueError("a cut can be tuned only where there is at least one member")
    thresholds, first = np.unique(-scores, return_inverse=True)
    hits = np.cumsum(np.bincount(first, weights=members))
    chosen = np.cumsum(np.bincount(first))
    harmonic_means = 2 * hits / (chosen + members.sum())
    return cut_at(scores, members, float(-thresholds[np.argmax(harmonic_means)]))


def _checked(score: ArrayLike, member: ArrayLike) -> tuple[Float64Array, BoolArray]:
    scores, members = np.asarray(score, np.float64), np.asarray(member, bool)
    if scores.ndim != 1 or scores.shape != members.shape:
        raise ValueError(f"score and member must be two lists of one length, not of shapes {scores.shape} and {members.shape}")
    if np.isnan(scores).any():
        raise ValueError("scores must not be NaN")
    return scores, members


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
