"""The evaluation of a merger model on stamps whose truth is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from surveyflow.tasks.card import Model
from surveyflow.training.evaluation.baseline import TreeClassifier, annulus_features
from surveyflow.training.evaluation.merger_scores import (
    BinScores,
    Calibration,
    ClassScores,
    CutScores,
    calibration,
    class_scores,
    coverage_bins,
    magnitude_bins,
    redshift_bins,
    scores_after_cuts,
    scores_by_bin,
)
from surveyflow.training.evaluation.predict_contamination import predict_contamination
from surveyflow.training.evaluation.predict_mergers import MergerPredictions, merged, predict_mergers
from surveyflow.training.evaluation.stress import STRESSES, stressed
from surveyflow.training.records.labelled import LabelledStamps, pooled
from surveyflow.values.arrays import BoolArray, Float32Array, Float64Array
from surveyflow.values.jobs import SamplingSettings


@dataclass(frozen=True, slots=True)
class Judged:
    """Scores of the network and of the baseline on the same stamps."""

    network: ClassScores
    baseline: ClassScores


@dataclass(frozen=True, slots=True)
class StressScores:
    """The change of the scores when stamps are degraded.

    Parameters
    ----------
    name
        One of `surveyflow.training.evaluation.stress.STRESSES`.
    network, baseline
        Scores on the degraded stamps, flagged or not.
    accuracy_lost
        The network's loss of accuracy, compared with the original stamps.
    flagged
        Share of the degraded stamps that domain checks flag.
    flagged_before
        Share of the original ones.
    """

    name: str
    network: ClassScores
    baseline: ClassScores
    accuracy_lost: float
    flagged: float
    flagged_before: float


@dataclass(frozen=True, slots=True)
class MergerEvaluation:
    """The results of evaluating a merger model.

    Parameters
    ----------
    pooled
        Scores on all test stamps.
    fields
        The same by field.
    clean
        Scores on stamps without neighbours; None if none were given.
    calibration_of_mean, calibration_of_votes, calibration_of_baseline
        Calibration of ``p_pm_mean``, of ``f_pm``, and of the trees' probability, as probabilities of a post-merger.
    bins
        Scores by magnitude, redshift and true contamination.
    cuts
        Scores after cuts in true and, with a contamination model, predicted contamination.
    stresses
        Scores on degraded stamps.
    """

    pooled: Judged
    fields: Mapping[str, Judged]
    clean: Judged | None
    calibration_of_mean: Calibration
    calibration_of_votes: Calibration
    calibration_of_baseline: Calibration
    bins: Sequence[BinScores]
    cuts: Sequence[CutScores]
    stresses: Sequence[StressScores]


@dataclass(frozen=True, slots=True)
class _Called:
    """Stamps with the classifications of network and trees."""

    is_post_merger: BoolArray
    predictions: MergerPredictions
    tree_probability: Float64Array

    @property
    def network(self) -> BoolArray:
        return self.predictions.called_post_merger

    @property
    def baseline(self) -> BoolArray:
        return np.asarray(self.tree_probability > 0.5)

    def judged(self, rows: BoolArray | slice = slice(None)) -> Judged:
        truth = self.is_post_merger[rows]
        return Judged(class_scores(truth, self.network[rows]), class_scores(truth, self.baseline[rows]))


def evaluate_mergers(
    model: Model,
    test: Sequence[LabelledStamps],
    clean: Sequence[LabelledStamps],
    baseline: TreeClassifier,
    sampling: SamplingSettings,
    *,
    contamination_model: Model | None = None,
) -> MergerEvaluation:
    """Evaluate a merger model.

    Parameters
    ----------
    model
        The model.
    test
        Stamps with neighbours, one set for each field, that were not used in training.
    clean
        Stamps without neighbours, of the same fields; may be empty.
    baseline
        Trees that were fitted to the training stamps.
    sampling
        Number of draws, and seed.
    contamination_model
        A contamination model of the same instrument, for cuts in predicted contamination.
    """
    called, columns = _call(model, test, baseline, sampling), pooled(test)
    truth = called.is_post_merger
    return MergerEvaluation(
        pooled=called.judged(),
        fields=_by_field(test, called),
        clean=_call(model, clean, baseline, sampling).judged() if clean else None,
        calibration_of_mean=calibration(called.predictions.p_pm_mean, truth, sampling.seed),
        calibration_of_votes=calibration(called.predictions.f_pm, truth, sampling.seed),
        calibration_of_baseline=calibration(called.tree_probability, truth, sampling.seed),
        bins=_bins(model, columns, called),
        cuts=_cuts(test, columns, called, sampling, contamination_model),
        stresses=[_stress(name, model, test, called, baseline, sampling=sampling) for name in STRESSES],
    )


def judge(
    model: Model, sets: Mapping[str, Sequence[LabelledStamps]], sampling: SamplingSettings, beside: Model | None
) -> dict[str, Any]:
    """Fit the baseline and evaluate a merger model; as `surveyflow.training.evaluation.evaluate.Judge`."""
    baseline = fit_merger_baseline(sets["training"], sampling.seed)
    return asdict(evaluate_mergers(model, sets["test"], sets["clean"], baseline, sampling, contamination_model=beside))


def fit_merger_baseline(training: Sequence[LabelledStamps], seed: int) -> TreeClassifier:
    """Fit trees to the annulus statistics of training stamps."""
    return TreeClassifier.fitted(_features(training), pooled(training)["is_post_merger"], seed)


def _features(sets: Sequence[LabelledStamps]) -> Float32Array:
    return np.concatenate([annulus_features(stamps.pixels, stamps.valid) for stamps in sets])


def _call(model: Model, sets: Sequence[LabelledStamps], baseline: TreeClassifier, sampling: SamplingSettings) -> _Called:
    return _Called(
        is_post_merger=pooled(sets)["is_post_merger"],
        predictions=merged([predict_mergers(model, stamps, sampling) for stamps in sets]),
        tree_probability=baseline.probability(_features(sets)),
    )


def _by_field(test: Sequence[LabelledStamps], called: _Called) -> dict[str, Judged]:
    field = np.concatenate([np.full(len(stamps), stamps.field) for stamps in test])
    return {name: called.judged(field == name) for name in dict.fromkeys(field.tolist())}


def _bins(model: Model, columns: Mapping[str, Float64Array], called: _Called) -> list[BinScores]:
    bins = {
        "magnitude_ab": list(magnitude_bins(columns["magnitude_ab"])),
        "redshift": list(redshift_bins(columns["redshift"], model.card.redshift_range)),
        "coverage_pct": list(coverage_bins(columns["coverage_pct"])),
    }
    return scores_by_bin(bins, called.is_post_merger, called.network, called.baseline)


def _cuts(
    test: Sequence[LabelledStamps],
    columns: Mapping[str, Float64Array],
    called: _Called,
    sampling: SamplingSettings,
    contamination_model: Model | None,
) -> list[CutScores]:
    """Score cuts that keep the same number of galaxies, so that they can be compared; galaxies without a mask are left out."""
    known = np.isfinite(columns["coverage_pct"])
    orders = {"true": columns["coverage_pct"] + _tie_break(columns["flux_pp"])}
    if contamination_model is not None:
        orders["predicted"] = predict_contamination(contamination_model, test, sampling)["coverage_pct_mean"]
    calls = called.is_post_merger[known], called.network[known], called.baseline[known]
    return [cut for by, order in orders.items() for cut in scores_after_cuts(by, order[known], *calls)]


def _tie_break(flux_pp: Float64Array) -> Float64Array:
    """Far less than any difference of coverage: it orders galaxies of equal coverage, such as 0, by their neighbours' flux."""
    return 1e-9 * np.argsort(np.argsort(flux_pp, kind="stable")) / max(len(flux_pp), 1)


def _stress(
    name: str,
    model: Model,
    test: Sequence[LabelledStamps],
    called: _Called,
    baseline: TreeClassifier,
    *,
    sampling: SamplingSettings,
) -> StressScores:
    degraded = _call(model, [stressed(stamps, name, sampling.seed) for stamps in test], baseline, sampling)
    scores = degraded.judged()
    return StressScores(
        name=name,
        network=scores.network,
        baseline=scores.baseline,
        accuracy_lost=called.judged().network.accuracy - scores.network.accuracy,
        flagged=float(degraded.predictions.out_of_domain.mean()),
        flagged_before=float(called.predictions.out_of_domain.mean()),
    )
