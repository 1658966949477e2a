"""The scores of a merger classifier: overall, by observed quantity, after a cut, and beside the baseline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from surveyflow.stats.calibration import Reliability, perfect_error, reliability, weighted_error
from surveyflow.stats.metrics import accuracy, confusion_matrix, precision, recall, upsilon
from surveyflow.stats.ranking import area_under_roc
from surveyflow.tasks.calibration import at_prevalence
from surveyflow.values.arrays import BoolArray, Float64Array

PREVALENCES = (0.5, 0.3, 0.1, 0.05)
"""Shares of post-mergers at which the purity of those classified as such is stated; nature's is far below the half of a test."""
KEPT_SHARES = (1.0, 0.9, 0.75, 0.5, 0.25)
"""Shares of the sample that a contamination cut keeps, the cleanest galaxies first."""
COVERAGE_EDGES_PCT = (0.0, 10.0, 30.0, 100.0)
N_REDSHIFT_BINS = 4
_N_CHANCE = 100


@dataclass(frozen=True, slots=True)
class ClassScores:
    """The completeness and purity of each class; the first class is post-merger, the second star-forming.

    Parameters
    ----------
    n
        Number of galaxies.
    confusion
        2 x 2 counts; rows are the truth.
    accuracy, accuracy_error
        Fraction of correct classifications, and its binomial standard error.
    upsilon
        The smaller of the two completenesses.
    completeness, purity
        Completeness (recall) and purity (precision) of each class; purity is that of the mixture tested.
    """

    n: int
    confusion: tuple[tuple[int, ...], ...]
    accuracy: float
    accuracy_error: float
    upsilon: float
    completeness: tuple[float, ...]
    purity: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far stated probabilities of a post-merger are from frequencies.

    Parameters
    ----------
    error
        Expected calibration error in 10 equal bins.
    perfect
        The error that perfect probabilities would show by chance alone.
    diagram
        The reliability diagram.
    """

    error: float
    perfect: float
    diagram: Reliability


@dataclass(frozen=True, slots=True)
class Stated:
    """Probabilities of a post-merger, with the share of post-mergers for which they hold.

    Parameters
    ----------
    probability
        (n,) in [0, 1].
    share
        The share, in (0, 1).
    """

    probability: Float64Array
    share: float

    def at(self, share: float) -> Float64Array:
        """The probabilities at another share of post-mergers."""
        return at_prevalence(self.probability, share, self.share)

    def take(self, rows: BoolArray) -> Stated:
        """Those of the chosen galaxies."""
        return Stated(self.probability[rows], self.share)


@dataclass(frozen=True, slots=True)
class ProbabilitySample:
    """A sample of galaxies with their probabilities and the truth.

    Parameters
    ----------
    raw, calibrated
        ``p_pm_mean``, and the calibrated probability; None for a model without a map.
    is_post_merger
        (n,) bool.
    share
        Share of post-mergers in the population from which the sample was drawn, in (0, 1).
    """

    raw: Stated
    calibrated: Stated | None
    is_post_merger: BoolArray
    share: float

    def take(self, rows: BoolArray) -> ProbabilitySample:
        """Those of the chosen galaxies."""
        calibrated = None if self.calibrated is None else self.calibrated.take(rows)
        return ProbabilitySample(self.raw.take(rows), calibrated, self.is_post_merger[rows], self.share)


@dataclass(frozen=True, slots=True)
class CalibrationScores:
    """How far probabilities are from frequencies in a sample, if post-mergers have a stated share of it.

    Parameters
    ----------
    sample
        The sample, in words.
    n
        Number of galaxies.
    prevalence
        The share; the galaxies are weighted by class to have it.
    raw, calibrated
        Expected calibration error of ``p_pm_mean`` and of the calibrated probability, both converted to this share; the second
        is NaN for a model without a map.
    by_chance
        The error that right probabilities would show in a sample of this size.
    """

    sample: str
    n: int
    prevalence: float
    raw: float
    calibrated: float
    by_chance: float


@dataclass(frozen=True, slots=True)
class BinScores:
    """Scores of the galaxies of one bin.

    Parameters
    ----------
    quantity
        ``magnitude_ab``, ``redshift`` or ``coverage_pct``.
    label
        The bin, in words.
    network, baseline
        Scores of both on the same galaxies.
    """

    quantity: str
    label: str
    network: ClassScores
    baseline: ClassScores


@dataclass(frozen=True, slots=True)
class CutScores:
    """Scores of the galaxies that a contamination cut keeps.

    Parameters
    ----------
    by
        What the galaxies were ordered by: ``true`` or ``predicted`` contamination.
    kept
        Share that is kept, the cleanest galaxies first.
    network, baseline
        Scores of both on the galaxies that are kept.
    """

    by: str
    kept: float
    network: ClassScores
    baseline: ClassScores


@dataclass(frozen=True, slots=True)
class Lead:
    """How much more often the network is right than the baseline, on the same galaxies.

    Parameters
    ----------
    accuracy
        The network's accuracy minus the baseline's.
    error
        Its standard error, from the differences galaxy by galaxy.
    """

    accuracy: float
    error: float


@dataclass(frozen=True, slots=True)
class Roc:
    """The receiver operating characteristic of a probability of a post-merger.

    Parameters
    ----------
    area
        Area under the curve: 0.5 for chance, 1 for perfect order.
    false_share, true_share
        Shares of star-forming galaxies and of post-mergers above each of 101 thresholds, from 1 down to 0; NaN for a class
        without galaxies.
    """

    area: float
    false_share: tuple[float, ...]
    true_share: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Purity:
    """The share of true post-mergers among the galaxies classified as such, if post-mergers have a stated prevalence.

    Parameters
    ----------
    prevalence
        Share of post-mergers among all galaxies.
    called
        Purity of those that the network classifies as post-mergers.
    above_80
        Purity of those with ``p_pm_mean`` above 0.8; NaN if there are none.
    """

    prevalence: float
    called: float
    above_80: float


def lead(truth: BoolArray, network: BoolArray, baseline: BoolArray) -> Lead:
    """Compare two classifications of the same (n,) galaxies."""
    difference = (network == truth).astype(np.int64) - (baseline == truth)
    n = len(truth)
    return Lead(float(difference.mean()), float(difference.std() / np.sqrt(n))) if n else Lead(float("nan"), float("nan"))


def roc(probability: ArrayLike, is_post_merger: BoolArray) -> Roc:
    """Order galaxies by their probability of being post-mergers."""
    stated = np.asarray(probability, np.float64)
    above = stated[:, None] >= np.linspace(1, 0, 101)
    shares = (_share(above[~is_post_merger]), _share(above[is_post_merger]))
    return Roc(area_under_roc(stated, is_post_merger), *shares)


def purities(probability: ArrayLike, called: BoolArray, is_post_merger: BoolArray) -> list[Purity]:
    """The purity at each of `PREVALENCES`, from the completeness of both classes: it does not depend on the mixture tested."""
    confident = np.asarray(probability) > 0.8
    return [Purity(share, *(_purity(chosen, is_post_merger, share) for chosen in (called, confident))) for share in PREVALENCES]


def _share(above: BoolArray) -> tuple[float, ...]:
    return tuple(above.mean(axis=0).round(4).tolist() if len(above) else [float("nan")] * above.shape[1])


def _purity(chosen: BoolArray, is_post_merger: BoolArray, prevalence: float) -> float:
    right, wrong = prevalence * _fraction(chosen[is_post_merger]), (1 - prevalence) * _fraction(chosen[~is_post_merger])
    return right / (right + wrong) if right + wrong > 0 else float("nan")


def _fraction(rows: BoolArray) -> float:
    return float(rows.mean()) if len(rows) else float("nan")


def class_scores(is_post_merger: BoolArray, called_post_merger: BoolArray) -> ClassScores:
    """Compare (n,) truths with (n,) classifications."""
    matrix = confusion_matrix(~is_post_merger, ~called_post_merger, 2)
    n, correct = int(matrix.sum()), accuracy(matrix)
    return ClassScores(
        n=n,
        confusion=tuple(tuple(row) for row in matrix.tolist()),
        accuracy=correct,
        accuracy_error=float(np.sqrt(correct * (1 - correct) / n)) if n else float("nan"),
        upsilon=upsilon(matrix),
        completeness=tuple(recall(matrix).tolist()),
        purity=tuple(precision(matrix).tolist()),
    )


def calibration(probability: ArrayLike, is_post_merger: BoolArray, seed: int) -> Calibration:
    """Compare stated probabilities of a post-merger with the truth; the seed draws the effect of chance alone."""
    diagram = reliability(probability, is_post_merger)
    return Calibration(diagram.error, perfect_error(probability, np.random.default_rng(seed)), diagram)


def calibration_scores(name: str, sample: ProbabilitySample, prevalence: float, seed: int) -> CalibrationScores:
    """Score the probabilities of a sample, weighted by class so that post-mergers have a stated share; the seed draws chance."""
    best, rng = sample.calibrated or sample.raw, np.random.default_rng(seed)
    drawn = (rng.random(sample.is_post_merger.shape) < best.at(sample.share) for _ in range(_N_CHANCE))
    by_chance = [_error_at(best, truth, sample.share, prevalence) for truth in drawn]
    raw, calibrated = (
        float("nan") if stated is None else _error_at(stated, sample.is_post_merger, sample.share, prevalence)
        for stated in (sample.raw, sample.calibrated)
    )
    return CalibrationScores(name, len(sample.is_post_merger), prevalence, raw, calibrated, float(np.mean(by_chance)))


def _error_at(stated: Stated, truth: BoolArray, share: float, prevalence: float) -> float:
    weights = np.where(truth, prevalence / share, (1 - prevalence) / (1 - share))
    return weighted_error(stated.at(prevalence), truth, weights)


def scores_by_bin(
    bins: Mapping[str, Sequence[tuple[str, BoolArray]]], truth: BoolArray, network: BoolArray, baseline: BoolArray
) -> list[BinScores]:
    """Score the galaxies of every bin that is not empty.

    Parameters
    ----------
    bins
        By quantity: label and (n,) members of each bin.
    truth, network, baseline
        (n,) bool: whether a galaxy is a post-merger, and whether each classifies it as one.
    """
    return [
        BinScores(quantity, label, *_both(rows, truth, network, baseline))
        for quantity, of_quantity in bins.items()
        for label, rows in of_quantity
        if rows.any()
    ]


def scores_after_cuts(by: str, order: Float64Array, truth: BoolArray, network: BoolArray, baseline: BoolArray) -> list[CutScores]:
    """Score the galaxies that are left when the most contaminated are cut.

    Parameters
    ----------
    by
        Name of the order.
    order
        (n,) contamination, true or predicted; ties are ordered by row. The galaxies with the lowest values are kept.
    truth, network, baseline
        As in `scores_by_bin`.
    """
    cleanest_first = np.argsort(order, kind="stable")
    kept = [(share, cleanest_first[: round(share * len(order))]) for share in KEPT_SHARES]
    return [CutScores(by, share, *_both(rows, truth, network, baseline)) for share, rows in kept]


def magnitude_bins(magnitude_ab: Float64Array) -> Iterator[tuple[str, BoolArray]]:
    """Bins of one magnitude; galaxies without a magnitude are in none of them."""
    known = magnitude_ab[np.isfinite(magnitude_ab)]
    for low in map(int, np.unique(np.floor(known))):
        yield f"{low} to {low + 1}", (magnitude_ab >= low) & (magnitude_ab < low + 1)


def redshift_bins(redshift: Float64Array, limits: tuple[float, float]) -> Iterator[tuple[str, BoolArray]]:
    """Four equal bins of the model's range of redshifts."""
    edges = np.linspace(*limits, N_REDSHIFT_BINS + 1)
    for low, high in pairwise(edges):
        yield f"{low:.2f} to {high:.2f}", (redshift >= low) & (redshift < high)


def coverage_bins(coverage_pct: Float64Array) -> Iterator[tuple[str, BoolArray]]:
    """Bins of coverage: 0 %, up to 10 %, up to 30 %, and above."""
    yield "0 %", coverage_pct == 0
    for low, high in pairwise(COVERAGE_EDGES_PCT):
        yield f"{low:.0f} to {high:.0f} %", (coverage_pct > low) & (coverage_pct <= high)


def _both(rows: np.ndarray, truth: BoolArray, network: BoolArray, baseline: BoolArray) -> tuple[ClassScores, ClassScores]:
    return class_scores(truth[rows], network[rows]), class_scores(truth[rows], baseline[rows])
