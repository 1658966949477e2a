"""The separation of a class by a score: area under the ROC curve and thresholds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from surveyflow.values.arrays import BoolArray, Float64Array


@dataclass(frozen=True, slots=True)
class Cut:
    """The selection ``score >= threshold`` and its quality.

    Parameters
    ----------
    threshold
        Lowest score that is selected.
    n_chosen
        Number selected.
    completeness
        Completeness (recall): share of the members that are selected; NaN without members.
    purity
        Purity (precision): share of the selected that are members; NaN if nothing is selected.
    """

    threshold: float
    n_chosen: int
    completeness: float
    purity: float


def area_under_roc(score: ArrayLike, member: ArrayLike) -> float:
    """Probability that a member scores higher than a non-member; ties count half.

    Parameters
    ----------
    score
        (n,) numbers; members should score higher.
    member
        (n,) bool.

    Returns
    -------
    A number in [0, 1]; 0.5 is chance. NaN without members or without non-members.

    Raises
    ------
    ValueError
        If the shapes differ, or a score is NaN.

    Examples
    --------
    >>> area_under_roc([0.1, 0.4, 0.35, 0.8], [False, False, True, True])
    0.75
    """
    scores, members = checked_scores(score, member)
    n_members, n_others = int(members.sum()), int((~members).sum())
    if not n_members or not n_others:
        return float("nan")
    from scipy.stats import rankdata

    rank_sum = float(rankdata(scores)[members].sum())
    return (rank_sum - n_members * (n_members + 1) / 2) / (n_members * n_others)


def cut_at(score: ArrayLike, member: ArrayLike, threshold: float) -> Cut:
    """Select by a given threshold; parameters as in `area_under_roc`."""
    scores, members = checked_scores(score, member)
    chosen = scores >= threshold
    hits = int((chosen & members).sum())
    return Cut(float(threshold), int(chosen.sum()), _ratio(hits, int(members.sum())), _ratio(hits, int(chosen.sum())))


def best_cut(score: ArrayLike, member: ArrayLike) -> Cut:
    """Select by the threshold with the highest harmonic mean of completeness and purity.

    Do not judge the threshold with the data that tuned it.

    Parameters
    ----------
    score, member
        As in `area_under_roc`; at least one member.

    Raises
    ------
    ValueError
        If the shapes differ, a score is NaN, or there is no member.
    """
    scores, members = checked_scores(score, member)
    if not members.any():
        raise ValueError("a cut can be tuned only where there is at least one member")
    thresholds, first = np.unique(-scores, return_inverse=True)
    hits = np.cumsum(np.bincount(first, weights=members))
    chosen = np.cumsum(np.bincount(first))
    harmonic_means = 2 * hits / (chosen + members.sum())
    return cut_at(scores, members, float(-thresholds[np.argmax(harmonic_means)]))


def checked_scores(score: ArrayLike, member: ArrayLike) -> tuple[Float64Array, BoolArray]:
    """Scores and members as arrays; parameters and errors as in `area_under_roc`."""
    scores, members = np.asarray(score, np.float64), np.asarray(member, bool)
    if scores.ndim != 1 or scores.shape != members.shape:
        raise ValueError(f"score and member must be 1-D and equally long, not of shapes {scores.shape} and {members.shape}")
    if np.isnan(scores).any():
        raise ValueError("scores must not be NaN")
    return scores, members


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
