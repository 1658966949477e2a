"""Is a contamination model good? Everything that is asked of it, on stamps whose truth is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from surveyflow.sky.noise import sky_rms
from surveyflow.stats.ranking import Cut, area_under_roc, best_cut, cut_at
from surveyflow.stats.regression import RegressionScores, interval_coverage, regression_scores
from surveyflow.tasks.card import Model
from surveyflow.training.evaluation.baseline import TreeClassifier, TreeRegressor, annulus_features
from surveyflow.training.evaluation.merger_scores import coverage_bins, magnitude_bins
from surveyflow.training.evaluation.predict_contamination import ContaminationPredictions, predict_contamination
from surveyflow.training.evaluation.predict_mergers import merged
from surveyflow.training.evaluation.stress import STRESSES, stressed
from surveyflow.training.records.labelled import LabelledStamps, pooled
from surveyflow.values.arrays import BoolArray, Float32Array, Float64Array
from surveyflow.values.sampling import SamplingSettings

HEAVY_PCT = 20.0
"""Coverage above which a galaxy counts as heavily contaminated."""
GAIN = np.float32(3.0)
"""Factor of the test of equivariance."""
MOST_POINTS = 1_500
"""Pairs of truth and estimate that are kept for a figure."""


@dataclass(frozen=True, slots=True)
class Areas:
    """Areas under the ROC curve: how well presence is told.

    Parameters
    ----------
    contaminated
        Any neighbour on the galaxy: coverage over 0.
    neighbours
        Any neighbour detected on the stamp: flux_pp over 0.
    heavy
        Coverage over 20 %.
    """

    contaminated: float
    neighbours: float
    heavy: float


@dataclass(frozen=True, slots=True)
class Regressions:
    """Scores of the transformed quantities, where there is something to measure.

    Parameters
    ----------
    coverage
        Of contaminated galaxies: log1p(coverage_pct).
    flux_pp
        Of contaminated galaxies: arcsinh(flux_pp / sky rms).
    flux_pp_of_neighbours
        The same of every stamp with a neighbour detected, on the galaxy or not.
    """

    coverage: RegressionScores
    flux_pp: RegressionScores
    flux_pp_of_neighbours: RegressionScores


@dataclass(frozen=True, slots=True)
class Intervals:
    """Shares of truths in the central 68 % intervals.

    Parameters
    ----------
    coverage, flux_pp
        Of the contaminated, and of those with a neighbour: intervals given that there is something.
    coverage_of_all, flux_pp_of_all
        Of all stamps: the catalog's q16 to q84, in which 0 has its own probability; 0 holds more than its share.
    """

    coverage: float
    flux_pp: float
    coverage_of_all: float
    flux_pp_of_all: float


@dataclass(frozen=True, slots=True)
class Change:
    """How far an answer moves when every pixel is multiplied by 3, in units of its own spread; 0 is perfect."""

    median: float
    largest: float


@dataclass(frozen=True, slots=True)
class ContaminationScores:
    """Network and baseline on the same stamps; the baseline has no intervals."""

    n: int
    areas: Areas
    baseline_areas: Areas
    regressions: Regressions
    baseline_regressions: Regressions
    intervals: Intervals


@dataclass(frozen=True, slots=True)
class AreaBin:
    """How well a neighbour on the galaxy is told, for some of the galaxies: network and baseline.

    Parameters
    ----------
    quantity
        ``magnitude_ab``; or ``coverage_pct``, where those of the bin are told from those without any.
    label
        Of the bin.
    n
        Stamps in the bin.
    network, baseline
        Areas under the ROC curve; NaN where all of them, or none, have a neighbour.
    """

    quantity: str
    label: str
    n: int
    network: float
    baseline: float


@dataclass(frozen=True, slots=True)
class TunedCut:
    """A cut that finds heavily contaminated galaxies: tuned on other stamps, judged on the test's."""

    tuned: Cut
    judged: Cut


@dataclass(frozen=True, slots=True)
class ContaminationStress:
    """What becomes of the scores when the stamps are spoilt."""

    name: str
    scores: ContaminationScores
    flagged: float
    flagged_before: float


@dataclass(frozen=True, slots=True)
class Points:
    """Pairs of truth and estimate of a transformed quantity, some of many."""

    truth: tuple[float, ...]
    estimate: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ContaminationEvaluation:
    """Everything that was found out about a contamination model.

    Parameters
    ----------
    scores
        On all test stamps whose galaxy has a mask.
    bins
        Areas by magnitude and by true coverage.
    n_without_truth
        Test stamps whose galaxy has none; they are left out.
    change_of_coverage, change_of_flux_pp
        The test of equivariance.
    cut
        A cut in ``coverage_pct_mean`` that finds coverage over 20 %; None without stamps to tune it on.
    coverage_points, flux_points
        For a figure.
    stresses
        Scores on spoilt stamps.
    """

    scores: ContaminationScores
    bins: Sequence[AreaBin]
    n_without_truth: int
    change_of_coverage: Change
    change_of_flux_pp: Change
    cut: TunedCut | None
    coverage_points: Points
    flux_points: Points
    stresses: Sequence[ContaminationStress]


@dataclass(frozen=True, slots=True)
class ContaminationBaseline:
    """Trees for each thing that a contamination model says.

    Parameters
    ----------
    contaminated, neighbours, heavy
        Probability of each class of `Areas`.
    coverage, flux_pp
        Transformed quantities, fitted where there is something.
    """

    contaminated: TreeClassifier
    neighbours: TreeClassifier
    heavy: TreeClassifier
    coverage: TreeRegressor
    flux_pp: TreeRegressor


@dataclass(frozen=True, slots=True)
class _Truth:
    """What is true of stamps: coverage in percent, flux_pp in e-/s/pixel, both also transformed."""

    coverage_pct: Float64Array
    flux_pp: Float64Array
    flux_in_sky: Float64Array

    @classmethod
    def of(cls, coverage_pct: Float64Array, flux_pp: Float64Array, rms: Float32Array) -> _Truth:
        scaled = np.divide(flux_pp, rms, out=np.zeros(len(rms)), where=rms > 0)
        return cls(coverage_pct, flux_pp, np.arcsinh(scaled))

    @property
    def contaminated(self) -> BoolArray:
        return np.asarray(self.coverage_pct > 0)

    @property
    def neighbours(self) -> BoolArray:
        return np.asarray(self.flux_pp > 0)

    @property
    def heavy(self) -> BoolArray:
        return np.asarray(self.coverage_pct > HEAVY_PCT)

    @property
    def log_coverage(self) -> Float64Array:
        return np.log1p(self.coverage_pct)


def fit_contamination_baseline(training: Sequence[LabelledStamps], seed: int) -> ContaminationBaseline:
    """Fit trees to the annulus statistics of training stamps; those whose galaxy has no mask are left out."""
    known = [stamps.take(stamps.has_contamination_truth) for stamps in training]
    columns, features = pooled(known), _features(known)
    rms = np.concatenate([sky_rms(stamps.pixels, stamps.valid) for stamps in known])
    truth = _Truth.of(columns["coverage_pct"], columns["flux_pp"], rms)
    return ContaminationBaseline(
        contaminated=TreeClassifier.fitted(features, truth.contaminated, seed),
        neighbours=TreeClassifier.fitted(features, truth.neighbours, seed),
        heavy=TreeClassifier.fitted(features, truth.heavy, seed),
        coverage=TreeRegressor.fitted(features[truth.contaminated], truth.log_coverage[truth.contaminated], seed),
        flux_pp=TreeRegressor.fitted(features[truth.neighbours], truth.flux_in_sky[truth.neighbours], seed),
    )


def evaluate_contamination(
    model: Model,
    test: Sequence[LabelledStamps],
    tuning: Sequence[LabelledStamps],
    baseline: ContaminationBaseline,
    sampling: SamplingSettings,
) -> ContaminationEvaluation:
    """Ask everything of a contamination model.

    Parameters
    ----------
    model
        The model.
    test
        Stamps with neighbours, never seen in training.
    tuning
        Other stamps, to tune the cut on; may be empty.
    baseline
        Trees that were fitted to the training stamps.
    sampling
        Draws and seed.
    """
    known = [stamps.take(stamps.has_contamination_truth) for stamps in test]
    said, truth = _said_and_true(model, known, sampling)
    features = _features(known)
    scores = _scores(features, said, truth, baseline)
    return ContaminationEvaluation(
        scores=scores,
        bins=list(_bins(pooled(known)["magnitude_ab"], said, truth, baseline.contaminated.probability(features))),
        n_without_truth=sum(map(len, test)) - scores.n,
        **_changes(model, known, said, sampling),
        cut=_tuned_cut(model, tuning, said, truth, sampling),
        coverage_points=_points(truth.log_coverage, said.coverage_given, truth.contaminated),
        flux_points=_points(truth.flux_in_sky, said.flux_given, truth.neighbours),
        stresses=[_stress(name, model, known, said, baseline, sampling=sampling) for name in STRESSES],
    )


def _said_and_true(
    model: Model, sets: Sequence[LabelledStamps], sampling: SamplingSettings
) -> tuple[ContaminationPredictions, _Truth]:
    said = merged([predict_contamination(model, stamps, sampling) for stamps in sets])
    columns = pooled(sets)
    return said, _Truth.of(columns["coverage_pct"], columns["flux_pp"], said.sky_rms)


def _scores(
    features: Float32Array, said: ContaminationPredictions, truth: _Truth, baseline: ContaminationBaseline
) -> ContaminationScores:
    probability = {name: getattr(baseline, name).probability(features) for name in ("contaminated", "neighbours", "heavy")}
    return ContaminationScores(
        n=len(truth.coverage_pct),
        areas=_areas(truth, said.p_contaminated_mean, said.p_neighbours_mean, said.coverage_pct_mean),
        baseline_areas=_areas(truth, **probability),
        regressions=_regressions(truth, said.coverage_given, said.flux_given),
        baseline_regressions=_regressions(truth, baseline.coverage.estimate(features), baseline.flux_pp.estimate(features)),
        intervals=_intervals(truth, said),
    )


def _features(sets: Sequence[LabelledStamps]) -> Float32Array:
    return np.concatenate([annulus_features(stamps.pixels, stamps.valid) for stamps in sets])


def _areas(truth: _Truth, contaminated: Float64Array, neighbours: Float64Array, heavy: Float64Array) -> Areas:
    return Areas(
        contaminated=area_under_roc(contaminated, truth.contaminated),
        neighbours=area_under_roc(neighbours, truth.neighbours),
        heavy=area_under_roc(heavy, truth.heavy),
    )


def _bins(magnitude_ab: Float64Array, said: ContaminationPredictions, truth: _Truth, baseline: Float64Array) -> Iterator[AreaBin]:
    def area_bin(quantity: str, label: str, n: int, rows: BoolArray) -> AreaBin:
        members = truth.contaminated[rows]
        scores = said.p_contaminated_mean[rows], baseline[rows]
        return AreaBin(quantity, label, n, *(area_under_roc(score, members) for score in scores))

    for label, rows in magnitude_bins(magnitude_ab):
        yield area_bin("magnitude_ab", label, int(rows.sum()), rows)
    for label, rows in coverage_bins(truth.coverage_pct):
        if (rows & truth.contaminated).any():
            yield area_bin("coverage_pct", label, int(rows.sum()), rows | ~truth.contaminated)


def _regressions(truth: _Truth, coverage: Float64Array, flux: Float64Array) -> Regressions:
    on_galaxy, somewhere = truth.contaminated, truth.neighbours
    return Regressions(
        coverage=regression_scores(truth.log_coverage[on_galaxy], coverage[on_galaxy]),
        flux_pp=regression_scores(truth.flux_in_sky[on_galaxy], flux[on_galaxy]),
        flux_pp_of_neighbours=regression_scores(truth.flux_in_sky[somewhere], flux[somewhere]),
    )


def _intervals(truth: _Truth, said: ContaminationPredictions) -> Intervals:
    on_galaxy, somewhere = truth.contaminated, truth.neighbours
    coverage = truth.coverage_pct, said.coverage_given_q16, said.coverage_given_q84
    flux = truth.flux_pp, said.flux_given_q16, said.flux_given_q84
    return Intervals(
        coverage=interval_coverage(*(values[on_galaxy] for values in coverage)),
        flux_pp=interval_coverage(*(values[somewhere] for values in flux)),
        coverage_of_all=interval_coverage(truth.coverage_pct, said.coverage_pct_q16, said.coverage_pct_q84),
        flux_pp_of_all=interval_coverage(truth.flux_pp, said.flux_pp_q16, said.flux_pp_q84),
    )


def _changes(
    model: Model, sets: Sequence[LabelledStamps], said: ContaminationPredictions, sampling: SamplingSettings
) -> dict[str, Change]:
    brighter = merged([predict_contamination(model, replace(s, pixels=s.pixels * GAIN), sampling) for s in sets])
    return {
        "change_of_coverage": _change(brighter.coverage_pct_mean - said.coverage_pct_mean, said.coverage_pct_std),
        "change_of_flux_pp": _change(brighter.flux_pp_mean / float(GAIN) - said.flux_pp_mean, said.flux_pp_std),
    }


def _change(difference: Float64Array, spread: Float64Array) -> Change:
    moved = np.abs(difference)[spread > 0] / spread[spread > 0]
    return Change(float(np.median(moved)), float(moved.max())) if len(moved) else Change(0.0, 0.0)


def _tuned_cut(
    model: Model,
    tuning: Sequence[LabelledStamps],
    said: ContaminationPredictions,
    truth: _Truth,
    sampling: SamplingSettings,
) -> TunedCut | None:
    known = [stamps.take(stamps.has_contamination_truth) for stamps in tuning]
    if not sum(map(len, known)):
        return None
    said_of_others, truth_of_others = _said_and_true(model, known, sampling)
    if not truth_of_others.heavy.any():
        return None
    tuned = best_cut(said_of_others.coverage_pct_mean, truth_of_others.heavy)
    return TunedCut(tuned, cut_at(said.coverage_pct_mean, truth.heavy, tuned.threshold))


def _points(truth: Float64Array, estimate: Float64Array, rows: BoolArray) -> Points:
    some = np.flatnonzero(rows)[:MOST_POINTS]
    return Points(tuple(truth[some].round(3).tolist()), tuple(estimate[some].round(3).tolist()))


def _stress(
    name: str,
    model: Model,
    sets: Sequence[LabelledStamps],
    said_before: ContaminationPredictions,
    baseline: ContaminationBaseline,
    *,
    sampling: SamplingSettings,
) -> ContaminationStress:
    spoilt = [stressed(stamps, name, sampling.seed) for stamps in sets]
    said, truth = _said_and_true(model, spoilt, sampling)
    return ContaminationStress(
        name=name,
        scores=_scores(_features(spoilt), said, truth, baseline),
        flagged=float(said.out_of_domain.mean()),
        flagged_before=float(said_before.out_of_domain.mean()),
    )
