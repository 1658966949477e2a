"""The evaluation of a contamination model on stamps whose truth is known.

Each part of the task (`surveyflow.tasks.contamination.parts`) is evaluated in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from surveyflow.sky.measurements import sky_rms
from surveyflow.stats.ranking import Cut, area_under_roc, best_cut, cut_at
from surveyflow.stats.regression import RegressionScores, interval_coverage, regression_scores
from surveyflow.tasks.card import Model
from surveyflow.tasks.contamination.parts import AMOUNTS, PARTS, REGRESSIONS
from surveyflow.tasks.task import Columns
from surveyflow.training.evaluation.baseline import TreeClassifier, TreeRegressor, annulus_features
from surveyflow.training.evaluation.limits import Effect, Limits, following_limits, outside
from surveyflow.training.evaluation.merger_scores import coverage_bins, magnitude_bins
from surveyflow.training.evaluation.nuisances import MOST_STRESSED, Nuisance, changes, neighbours
from surveyflow.training.evaluation.predict_contamination import predict_contamination
from surveyflow.training.records.labelled import LabelledStamps, pooled
from surveyflow.values.arrays import BoolArray, Float32Array, Float64Array
from surveyflow.values.jobs import SamplingSettings

HEAVY = "heavy"
"""The name of heavy contamination, which ``coverage_pct`` predicts, beside the presence of each part."""
HEAVY_PCT = 20.0
"""Coverage above which a galaxy counts as heavily contaminated."""
GAIN = np.float32(3.0)
"""Factor on all pixels in the test of equivariance."""
MOST_POINTS = 1_500
"""Number of pairs of truth and estimate that are kept for a figure."""
STATED_EDGES_PCT = (0.0, 5.0, 10.0, 20.0, 40.0, 100.0)
"""Edges of the ranges of ``coverage_pct_mean`` in which statements are compared with the truth."""


@dataclass(frozen=True, slots=True)
class Change:
    """How far an estimate moves when every pixel is multiplied by 3, in units of its own spread; 0 is perfect."""

    median: float
    largest: float


@dataclass(frozen=True, slots=True)
class ContaminationScores:
    """Scores of network and baseline on the same stamps; the baseline has no intervals.

    Parameters
    ----------
    n
        Number of stamps.
    areas, baseline_areas
        Areas under the ROC curve for the presence of each part, and for ``heavy``, a coverage over 20 %.
    regressions, baseline_regressions
        Scores of each transformed amount by name, for contaminated galaxies. If its presence is another one,
        ``AMOUNT_of_PRESENCE`` is for all stamps that have it.
    intervals
        Shares of truths in the central 68 % intervals. By name of amount: for stamps that have the amount, given that they do.
        ``AMOUNT_of_all``: for the catalog's q16 to q84 of all stamps, in which 0 has its own probability; 0 holds more than its
        share.
    """

    n: int
    areas: Mapping[str, float]
    baseline_areas: Mapping[str, float]
    regressions: Mapping[str, RegressionScores]
    baseline_regressions: Mapping[str, RegressionScores]
    intervals: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class AreaBin:
    """How well network and baseline detect a neighbour on the galaxy, for some of the galaxies.

    Parameters
    ----------
    quantity
        ``magnitude_ab``; or ``coverage_pct``, where the galaxies of the bin are compared with those without a neighbour.
    label
        Name of the bin.
    n
        Number of stamps in the bin.
    network, baseline
        Areas under the ROC curve; NaN if all of them, or none, have a neighbour.
    """

    quantity: str
    label: str
    n: int
    network: float
    baseline: float


@dataclass(frozen=True, slots=True)
class TunedCut:
    """A cut that finds heavily contaminated galaxies: it is tuned on other stamps, and evaluated on the test stamps."""

    tuned: Cut
    judged: Cut


@dataclass(frozen=True, slots=True)
class ContaminationStress:
    """The change of the scores when stamps are changed by a nuisance at one of its levels.

    Parameters
    ----------
    name, level
        One of `surveyflow.training.evaluation.nuisances.NUISANCES`, and its level.
    words
        The change in words.
    scores
        Scores on the changed stamps, flagged or not.
    area_lost
        Loss of the area for a neighbour on the galaxy, compared with the same stamps unchanged.
    flagged, flagged_before
        Share of the changed stamps, and of the same stamps unchanged, that a catalog would flag: those that domain checks
        exclude, and those with pixels that hold no data.
    """

    name: str
    level: float
    words: str
    scores: ContaminationScores
    area_lost: float
    flagged: float
    flagged_before: float


@dataclass(frozen=True, slots=True)
class StatedCoverage:
    """Galaxies whose ``coverage_pct_mean`` lies in one range, and their truth.

    Parameters
    ----------
    low, high
        The range (low, high], percent; the first one holds its low end, too.
    n
        Number of galaxies.
    stated, true
        Mean of ``coverage_pct_mean``, and of the true coverage, percent; NaN without galaxies.
    inside
        Share of true coverages between q16 and q84, as in the catalog; NaN without galaxies.
    """

    low: float
    high: float
    n: int
    stated: float
    true: float
    inside: float


@dataclass(frozen=True, slots=True)
class Points:
    """Pairs of truth and estimate of a transformed quantity: a subset of all stamps."""

    truth: tuple[float, ...]
    estimate: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ContaminationEvaluation:
    """The results of evaluating a contamination model.

    Parameters
    ----------
    scores
        Scores on all test stamps whose galaxy has a mask.
    bins
        Areas by magnitude and by true coverage.
    statements
        The truth of galaxies by the coverage that is stated for them.
    n_without_truth
        Number of test stamps whose galaxy has no mask; they are left out.
    changes
        The test of equivariance, by amount.
    cut
        A cut in ``coverage_pct_mean`` that finds coverage over 20 %; None without stamps to tune it on.
    points
        Points of a figure, by amount.
    stresses
        Scores on stamps that are changed by nuisances; not by neighbours, which are what the model measures.
    limits
        What follows from these scores for the limits in the model's card: lowest and highest value by key.
    narrowed
        Whether stamps outside these limits count as flagged, as if the card stated them.
    """

    scores: ContaminationScores
    bins: Sequence[AreaBin]
    statements: Sequence[StatedCoverage]
    n_without_truth: int
    changes: Mapping[str, Change]
    cut: TunedCut | None
    points: Mapping[str, Points]
    stresses: Sequence[ContaminationStress]
    limits: Limits
    narrowed: bool

    def document(self) -> dict[str, Any]:
        """The evaluation in the form of ``evaluation.json``."""
        told = asdict(self)
        changes = {f"change_of_{name}": change for name, change in told["changes"].items()}
        points = {f"{amount.figure}_points": told["points"][amount.name] for _, amount in AMOUNTS}
        scores = {name: told[name] for name in ("scores", "bins", "statements", "n_without_truth")}
        return (
            scores | changes | {"cut": told["cut"]} | points | {name: told[name] for name in ("stresses", "limits", "narrowed")}
        )


@dataclass(frozen=True, slots=True)
class ContaminationBaseline:
    """Trees for each quantity that a contamination model estimates.

    Parameters
    ----------
    classes
        Trees for the probability of the presence of each part, and of ``heavy``.
    amounts
        Trees for the transformed amounts, fitted to stamps in which something is there.
    """

    classes: Mapping[str, TreeClassifier]
    amounts: Mapping[str, TreeRegressor]


@dataclass(frozen=True, slots=True)
class _Truth:
    """The truth of stamps.

    Parameters
    ----------
    columns
        Quantities of the records by name, each (n,): ``coverage_pct`` in percent, ``flux_pp`` in e-/s/pixel.
    presence
        (n,) bool, by part, and ``heavy``.
    transformed
        Transformed amounts by name, each (n,); 0 where they are undefined.
    """

    columns: Mapping[str, Float64Array]
    presence: Mapping[str, BoolArray]
    transformed: Mapping[str, Float64Array]

    @classmethod
    def of(cls, columns: Mapping[str, Float64Array], rms: Float32Array) -> _Truth:
        presence = {part.presence: np.asarray(columns[part.truth] > part.above) for part in PARTS}
        transformed = {amount.name: amount.transformed(columns[part.truth], rms) for part, amount in AMOUNTS}
        return cls(
            {part.truth: columns[part.truth] for part in PARTS},
            presence | {HEAVY: np.asarray(columns["coverage_pct"] > HEAVY_PCT)},
            {name: np.nan_to_num(amounts, nan=0.0) for name, amounts in transformed.items()},
        )

    @property
    def contaminated(self) -> BoolArray:
        return self.presence["contaminated"]

    @property
    def heavy(self) -> BoolArray:
        return self.presence[HEAVY]


def judge(
    model: Model,
    sets: Mapping[str, Sequence[LabelledStamps]],
    sampling: SamplingSettings,
    beside: Model | None,  # noqa: ARG001 - one signature for all
    narrow: bool,
) -> dict[str, Any]:
    """Fit the baseline and evaluate a contamination model; as `surveyflow.training.evaluation.evaluate.Judge`."""
    baseline = fit_contamination_baseline(sets["training"], sampling.seed)
    return evaluate_contamination(model, sets["test"], sets["tuning"], baseline, sampling, narrow=narrow).document()


def fit_contamination_baseline(training: Sequence[LabelledStamps], seed: int) -> ContaminationBaseline:
    """Fit trees to the annulus statistics of training stamps; those whose galaxy has no mask are left out."""
    known = [stamps.take(stamps.has_contamination_truth) for stamps in training]
    rms = np.concatenate([sky_rms(stamps.pixels, stamps.valid) for stamps in known])
    truth, features = _Truth.of(pooled(known), rms), _features(known)
    amounts = {amount.name: (truth.transformed[amount.name], truth.presence[part.presence]) for part, amount in AMOUNTS}
    return ContaminationBaseline(
        classes={name: TreeClassifier.fitted(features, member, seed) for name, member in truth.presence.items()},
        amounts={name: TreeRegressor.fitted(features[rows], values[rows], seed) for name, (values, rows) in amounts.items()},
    )


def evaluate_contamination(
    model: Model,
    test: Sequence[LabelledStamps],
    tuning: Sequence[LabelledStamps],
    baseline: ContaminationBaseline,
    sampling: SamplingSettings,
    *,
    narrow: bool = False,
) -> ContaminationEvaluation:
    """Evaluate a contamination model.

    Parameters
    ----------
    model
        The model.
    test
        Stamps with neighbours that were not used in training.
    tuning
        Other stamps, on which the cut is tuned; may be empty.
    baseline
        Trees that were fitted to the training stamps.
    sampling
        Number of draws, and seed.
    narrow
        Whether stamps count as flagged as if the card's limits were narrowed to those that follow from this evaluation.
    """
    known = [stamps.take(stamps.has_contamination_truth) for stamps in test]
    said, truth = _said_and_true(model, known, sampling)
    stresses, limits = _stresses(model, known, baseline, sampling, narrow)
    features = _features(known)
    scores = _scores(features, said, truth, baseline)
    by_baseline = baseline.classes["contaminated"].probability(features)
    return ContaminationEvaluation(
        scores=scores,
        bins=list(_bins(pooled(known)["magnitude_ab"], said, truth, by_baseline)),
        statements=_statements(truth.columns["coverage_pct"], said),
        n_without_truth=sum(map(len, test)) - scores.n,
        changes=_changes(model, known, said, sampling),
        cut=_tuned_cut(model, tuning, said, truth, sampling),
        points={
            amount.name: _points(truth.transformed[amount.name], said[f"{amount.name}_given"], truth.presence[part.presence])
            for part, amount in AMOUNTS
        },
        stresses=stresses,
        limits=limits,
        narrowed=narrow,
    )


def _said_and_true(model: Model, sets: Sequence[LabelledStamps], sampling: SamplingSettings) -> tuple[Columns, _Truth]:
    said = predict_contamination(model, sets, sampling)
    return said, _Truth.of(pooled(sets), said["sky_rms"])


def _scores(features: Float32Array, said: Columns, truth: _Truth, baseline: ContaminationBaseline) -> ContaminationScores:
    probability = {part.presence: said[f"p_{part.presence}_mean"] for part in PARTS} | {HEAVY: said["coverage_pct_mean"]}
    given = {amount.name: said[f"{amount.name}_given"] for _, amount in AMOUNTS}
    return ContaminationScores(
        n=len(truth.contaminated),
        areas=_areas(truth, probability),
        baseline_areas=_areas(truth, {name: trees.probability(features) for name, trees in baseline.classes.items()}),
        regressions=_regressions(truth, given),
        baseline_regressions=_regressions(truth, {name: trees.estimate(features) for name, trees in baseline.amounts.items()}),
        intervals=_intervals(truth, said),
    )


def _features(sets: Sequence[LabelledStamps]) -> Float32Array:
    return np.concatenate([annulus_features(stamps.pixels, stamps.valid) for stamps in sets])


def _areas(truth: _Truth, probability: Mapping[str, Float64Array]) -> dict[str, float]:
    return {name: area_under_roc(probability[name], member) for name, member in truth.presence.items()}


def _bins(magnitude_ab: Float64Array, said: Columns, truth: _Truth, baseline: Float64Array) -> Iterator[AreaBin]:
    def area_bin(quantity: str, label: str, n: int, rows: BoolArray) -> AreaBin:
        members = truth.contaminated[rows]
        scores = said["p_contaminated_mean"][rows], baseline[rows]
        return AreaBin(quantity, label, n, *(area_under_roc(score, members) for score in scores))

    for label, rows in magnitude_bins(magnitude_ab):
        yield area_bin("magnitude_ab", label, int(rows.sum()), rows)
    for label, rows in coverage_bins(truth.columns["coverage_pct"]):
        if (rows & truth.contaminated).any():
            yield area_bin("coverage_pct", label, int(rows.sum()), rows | ~truth.contaminated)


def _statements(coverage_pct: Float64Array, said: Columns) -> list[StatedCoverage]:
    stated = said["coverage_pct_mean"]
    ranges = np.digitize(stated, STATED_EDGES_PCT[1:-1], right=True)
    return [_statement(*edges, coverage_pct, said, ranges == number) for number, edges in enumerate(pairwise(STATED_EDGES_PCT))]


def _statement(low: float, high: float, coverage_pct: Float64Array, said: Columns, rows: BoolArray) -> StatedCoverage:
    mean, q16, q84 = (said[f"coverage_pct_{name}"][rows] for name in ("mean", "q16", "q84"))
    true = coverage_pct[rows]
    if not len(true):
        return StatedCoverage(low, high, 0, np.nan, np.nan, np.nan)
    return StatedCoverage(low, high, len(true), float(mean.mean()), float(true.mean()), interval_coverage(true, q16, q84))


def _regressions(truth: _Truth, estimate: Mapping[str, Float64Array]) -> dict[str, RegressionScores]:
    def scores(amount: str, rows: BoolArray) -> RegressionScores:
        return regression_scores(truth.transformed[amount][rows], estimate[amount][rows])

    return {name: scores(amount.name, truth.presence[part.presence]) for name, (amount, part) in REGRESSIONS.items()}


def _intervals(truth: _Truth, said: Columns) -> dict[str, float]:
    given, of_all = {}, {}
    for part, amount in AMOUNTS:
        rows, true, column = truth.presence[part.presence], truth.columns[part.truth], amount.column.name
        low, high = said[f"{amount.name}_given_q16"], said[f"{amount.name}_given_q84"]
        given[amount.name] = interval_coverage(true[rows], low[rows], high[rows])
        of_all[f"{amount.name}_of_all"] = interval_coverage(true, said[f"{column}_q16"], said[f"{column}_q84"])
    return given | of_all


def _changes(model: Model, sets: Sequence[LabelledStamps], said: Columns, sampling: SamplingSettings) -> dict[str, Change]:
    brighter = predict_contamination(model, [replace(one, pixels=one.pixels * GAIN) for one in sets], sampling)
    changes = {}
    for _, amount in AMOUNTS:
        mean, gain = f"{amount.column.name}_mean", float(GAIN) if amount.grows_with_gain else 1.0
        changes[amount.name] = _change(brighter[mean] / gain - said[mean], said[f"{amount.column.name}_std"])
    return changes


def _change(difference: Float64Array, spread: Float64Array) -> Change:
    moved = np.abs(difference)[spread > 0] / spread[spread > 0]
    return Change(float(np.median(moved)), float(moved.max())) if len(moved) else Change(0.0, 0.0)


def _tuned_cut(
    model: Model,
    tuning: Sequence[LabelledStamps],
    said: Columns,
    truth: _Truth,
    sampling: SamplingSettings,
) -> TunedCut | None:
    known = [stamps.take(stamps.has_contamination_truth) for stamps in tuning]
    if not sum(map(len, known)):
        return None
    said_of_others, truth_of_others = _said_and_true(model, known, sampling)
    if not truth_of_others.heavy.any():
        return None
    tuned = best_cut(said_of_others["coverage_pct_mean"], truth_of_others.heavy)
    return TunedCut(tuned, cut_at(said["coverage_pct_mean"], truth.heavy, tuned.threshold))


def _points(truth: Float64Array, estimate: Float64Array, rows: BoolArray) -> Points:
    some = np.flatnonzero(rows)[:MOST_POINTS]
    return Points(tuple(truth[some].round(3).tolist()), tuple(estimate[some].round(3).tolist()))


def _stresses(
    model: Model, sets: Sequence[LabelledStamps], baseline: ContaminationBaseline, sampling: SamplingSettings, narrow: bool
) -> tuple[list[ContaminationStress], Limits]:
    """Scores under each nuisance at each level, and the limits that follow, which count as the card's if they are to."""
    some = [stamps.take(slice(MOST_STRESSED)) for stamps in sets]
    before, truth = _said_and_true(model, some, sampling)
    area = area_under_roc(before["p_contaminated_mean"], truth.contaminated)
    after = []
    for nuisance, level in changes():
        if nuisance.change is not neighbours:
            changed = [nuisance.applied(stamps, level, sampling.seed) for stamps in some]
            said, truth = _said_and_true(model, changed, sampling)
            after.append((nuisance, level, _scores(_features(changed), said, truth, baseline), said))
    effects = [
        Effect(nuisance.quantity, area - scores.areas["contaminated"], said["measured"]) for nuisance, _, scores, said in after
    ]
    limits = following_limits(model.card.domain, before["measured"], effects)

    def flagged(said: Columns) -> float:
        excluded = said["out_of_domain"] | outside(said["measured"], limits if narrow else {})
        return float((excluded | said["partial_coverage"]).mean())

    unchanged = area, flagged(before)
    return [_stress(nuisance, level, scores, flagged(said), before=unchanged) for nuisance, level, scores, said in after], limits


def _stress(
    nuisance: Nuisance, level: float, scores: ContaminationScores, flagged: float, *, before: tuple[float, float]
) -> ContaminationStress:
    area, flagged_before = before
    lost = area - scores.areas["contaminated"]
    return ContaminationStress(nuisance.name, level, nuisance.told(level), scores, lost, flagged, flagged_before)
