"""What a jury gains over its members, and whether the spread of draws finds images unlike those of the training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from surveyflow.stats.ranking import area_under_roc
from surveyflow.training.evaluation.merger_scores import Lead, calibration, class_scores
from surveyflow.training.evaluation.predict_mergers import MergerPredictions, merged
from surveyflow.values.arrays import BoolArray

UNCERTAINTIES = ("mutual_information", "p_pm_std")
"""The columns that are compared in how well they find images unlike those of the training."""


@dataclass(frozen=True, slots=True)
class MemberScores:
    """Scores of one network, or of a jury.

    Parameters
    ----------
    accuracy
        Share of correct classifications.
    upsilon
        The smaller completeness.
    calibration_error
        Expected calibration error of ``p_pm_mean`` in ten bins.
    """

    accuracy: float
    upsilon: float
    calibration_error: float


@dataclass(frozen=True, slots=True)
class JuryScores:
    """The scores of a jury beside those of its members, on the same stamps with the same number of draws.

    Parameters
    ----------
    jury
        The jury's scores.
    members
        Each member's, by name.
    mean
        The mean over the members.
    scatter
        Their standard deviation (divisor M - 1): what another seed changes.
    gain
        How much more often the jury is right than a member on average, with its error from the differences stamp by stamp.
    calibration_gain
        The members' mean calibration error minus the jury's.
    """

    jury: MemberScores
    members: Mapping[str, MemberScores]
    mean: MemberScores
    scatter: MemberScores
    gain: Lead
    calibration_gain: float


@dataclass(frozen=True, slots=True)
class Area:
    """An area under a ROC curve, 0.5 for chance, with its standard error (Hanley & McNeil 1982)."""

    area: float
    error: float


def jury_scores(jury: MergerPredictions, members: Mapping[str, MergerPredictions], truth: BoolArray, seed: int) -> JuryScores:
    """Compare a jury with its members.

    Parameters
    ----------
    jury, members
        Predictions for the same stamps; those of the members by name.
    truth
        (n,) bool: whether a stamp is a post-merger.
    seed
        Seed of the calibration's comparison with chance.
    """
    each = {name: _scores(one, truth, seed) for name, one in members.items()}
    table = np.array([(one.accuracy, one.upsilon, one.calibration_error) for one in each.values()])
    mean, own = MemberScores(*table.mean(axis=0).tolist()), _scores(jury, truth, seed)
    right = np.mean([one.called_post_merger == truth for one in members.values()], axis=0)
    difference = (jury.called_post_merger == truth) - right
    return JuryScores(
        jury=own,
        members=each,
        mean=mean,
        scatter=MemberScores(*(table.std(axis=0, ddof=1) if len(table) > 1 else np.full(3, np.nan)).tolist()),
        gain=Lead(float(difference.mean()), float(difference.std() / np.sqrt(len(truth)))),
        calibration_gain=mean.calibration_error - own.calibration_error,
    )


def areas_of_change(before: MergerPredictions, after: Sequence[MergerPredictions]) -> dict[str, float]:
    """Areas under the ROC curves with which `UNCERTAINTIES` tell changed stamps from unchanged ones."""
    return {name: one.area for name, one in found_changes(before, after).items()}


def found_changes(before: MergerPredictions, after: Sequence[MergerPredictions]) -> dict[str, Area]:
    """The same with standard errors; those of several changes are too small, since the stamps are the same each time."""
    changed = merged(after)
    return {name: area_between(getattr(before, name), getattr(changed, name)) for name in UNCERTAINTIES}


def area_between(unchanged: ArrayLike, changed: ArrayLike) -> Area:
    """The area under the ROC curve with which a number tells changed stamps from unchanged ones.

    Parameters
    ----------
    unchanged, changed
        (n,) and (m,) numbers that should be larger for changed stamps.
    """
    before, after = np.asarray(unchanged, np.float64), np.asarray(changed, np.float64)
    area = area_under_roc(np.concatenate([before, after]), np.repeat([False, True], [len(before), len(after)]))
    one, other = area / (2 - area), 2 * area**2 / (1 + area)
    within = (len(after) - 1) * (one - area**2) + (len(before) - 1) * (other - area**2)
    return Area(area, float(np.sqrt((area * (1 - area) + within) / (len(after) * len(before)))))


def _scores(predictions: MergerPredictions, truth: BoolArray, seed: int) -> MemberScores:
    scores = class_scores(truth, predictions.called_post_merger)
    return MemberScores(scores.accuracy, scores.upsilon, calibration(predictions.p_pm_mean, truth, seed).error)
