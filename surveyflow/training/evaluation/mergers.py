"""The evaluation of a merger model on stamps whose truth is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surveyflow.models.engines.choice import Jury
from surveyflow.tasks.card import Model
from surveyflow.training.evaluation.baseline import TreeClassifier, annulus_features
from surveyflow.training.evaluation.juries import Area, JuryScores, areas_of_change, found_changes, jury_scores
from surveyflow.training.evaluation.limits import Effect, Limits, following_limits, outside
from surveyflow.training.evaluation.merger_scores import (
    PREVALENCES,
    BinScores,
    Calibration,
    CalibrationScores,
    ClassScores,
    CutScores,
    Lead,
    ProbabilitySample,
    Purity,
    Roc,
    Stated,
    calibration,
    calibration_scores,
    class_scores,
    coverage_bins,
    lead,
    magnitude_bins,
    purities,
    redshift_bins,
    roc,
    scores_after_cuts,
    scores_by_bin,
)
from surveyflow.training.evaluation.nuisances import (
    LEAST_FLAGGED,
    MOST_FLAGGED_BEFORE,
    MOST_LOST,
    MOST_STRESSED,
    Nuisance,
    changes,
)
from surveyflow.training.evaluation.predict_contamination import predict_contamination
from surveyflow.training.evaluation.predict_mergers import MergerPredictions, merged, predict_mergers
from surveyflow.training.records.labelled import LabelledStamps, pooled
from surveyflow.values.arrays import BoolArray, Float32Array, Float64Array
from surveyflow.values.jobs import SamplingSettings

MOST_FAILURES = 12
_UNKNOWN_SHARE = 0.5
_LEAST_SHARE = 1e-6
_LEAST_CUT = 20
LEAST_UPSILON = 0.65
LEAST_LEAD = 0.03
"""A good model recognises this share of either class, and is right this much more often than the baseline."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Scores of the network and of the baseline on the same stamps, and the difference of their accuracies."""

    network: ClassScores
    baseline: ClassScores
    lead: Lead


@dataclass(frozen=True, slots=True)
class StressScores:
    """The change of the scores when stamps are changed by a nuisance.

    Parameters
    ----------
    name, level
        One of `surveyflow.training.evaluation.nuisances.NUISANCES`, and its level.
    words
        The change in words.
    network, baseline
        Scores on the changed stamps, flagged or not.
    accuracy_lost
        The network's loss of accuracy, compared with the same stamps unchanged.
    flagged
        Share of the changed stamps that domain checks flag.
    flagged_before
        Share of the unchanged ones.
    spoiled
        Share of the stamps that are classified correctly unchanged, and wrongly changed.
    spoiled_flagged
        Share of these that are flagged; NaN if there are none.
    passed
        Whether at most 2 points of accuracy are lost, or at least 80 % of the spoiled stamps are flagged and at most a tenth of
        the unchanged ones.
    areas
        Areas under the ROC curves with which quantities of the draws tell changed stamps from unchanged ones, by column.
    """

    name: str
    level: float
    words: str
    network: ClassScores
    baseline: ClassScores
    accuracy_lost: float
    flagged: float
    flagged_before: float
    spoiled: float
    spoiled_flagged: float
    passed: bool
    areas: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Failure:
    """A stamp of which the network is wrong and sure.

    Parameters
    ----------
    field, source_id
        The stamp.
    is_post_merger
        The truth.
    p_pm_mean
        What the network says.
    magnitude_ab, coverage_pct
        Magnitude, and true coverage by neighbours.
    """

    field: str
    source_id: int
    is_post_merger: bool
    p_pm_mean: float
    magnitude_ab: float
    coverage_pct: float


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
    other
        Scores on stamps of another simulation; None if none were given.
    roc, roc_of_baseline
        How well ``p_pm_mean`` and the trees' probability order the stamps.
    purities
        Purity at stated shares of post-mergers.
    calibration_of_mean, calibration_of_votes, calibration_of_baseline
        Calibration of ``p_pm_mean``, of ``f_pm``, and of the trees' probability, as probabilities of a post-merger.
    calibration_of_calibrated
        Calibration of ``p_pm_calibrated`` at the test's own share of post-mergers; None for a model without a map.
    calibrations
        Calibration errors with and without neighbours, by magnitude, and at stated shares of post-mergers.
    bins
        Scores by magnitude, redshift and true contamination.
    cuts
        Scores after cuts in true and, with a contamination model, predicted contamination.
    stresses
        Scores on stamps that are changed by nuisances.
    limits
        What follows from these scores for the limits in the model's card: lowest and highest value by key.
    narrowed
        Whether stamps outside these limits count as flagged, as if the card stated them.
    shifts
        How well the columns of `UNCERTAINTIES` tell unchanged stamps from those of all nuisances at the last of their levels.
    jury
        The members' scores beside the jury's; None for a model that is alone.
    failures
        Stamps of which the network is wrong and most sure, at most 12.
    verdict
        Sentences that say whether the model is good, and what speaks against it.
    """

    pooled: Judged
    fields: Mapping[str, Judged]
    clean: Judged | None
    other: Judged | None
    roc: Roc
    roc_of_baseline: Roc
    purities: Sequence[Purity]
    calibration_of_mean: Calibration
    calibration_of_votes: Calibration
    calibration_of_baseline: Calibration
    calibration_of_calibrated: Calibration | None
    calibrations: Sequence[CalibrationScores]
    bins: Sequence[BinScores]
    cuts: Sequence[CutScores]
    stresses: Sequence[StressScores]
    limits: Limits
    narrowed: bool
    shifts: Mapping[str, Area]
    jury: JuryScores | None
    failures: Sequence[Failure]
    verdict: Sequence[str]


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
        truth, network, baseline = self.is_post_merger[rows], self.network[rows], self.baseline[rows]
        return Judged(class_scores(truth, network), class_scores(truth, baseline), lead(truth, network, baseline))


def evaluate_mergers(
    model: Model,
    test: Sequence[LabelledStamps],
    clean: Sequence[LabelledStamps],
    baseline: TreeClassifier,
    sampling: SamplingSettings,
    *,
    contamination_model: Model | None = None,
    other: Sequence[LabelledStamps] = (),
    narrow: bool = False,
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
    other
        Stamps of another simulation.
    narrow
        Whether stamps count as flagged as if the card's limits were narrowed to those that follow from this evaluation.
    """
    called, columns = _call(model, test, baseline, sampling), pooled(test)
    called_clean = _call(model, clean, baseline, sampling) if clean else None
    elsewhere = _call(model, other, baseline, sampling).judged() if other else None
    both = {"with neighbours": called, "no neighbours": called_clean}
    samples = {name: _probabilities(model, one) for name, one in both.items() if one is not None}
    truth, stated = called.is_post_merger, called.predictions.p_pm_mean
    stressed = _stressed(model, test, baseline, sampling)
    stresses = stressed.scores(narrow)
    return MergerEvaluation(
        pooled=called.judged(),
        fields=_by_field(test, called),
        clean=None if called_clean is None else called_clean.judged(),
        other=elsewhere,
        roc=roc(stated, truth),
        roc_of_baseline=roc(called.tree_probability, truth),
        purities=purities(stated, called.network, truth),
        calibration_of_mean=calibration(stated, truth, sampling.seed),
        calibration_of_votes=calibration(called.predictions.f_pm, truth, sampling.seed),
        calibration_of_baseline=calibration(called.tree_probability, truth, sampling.seed),
        calibration_of_calibrated=_calibration_of_calibrated(samples["with neighbours"], sampling.seed),
        calibrations=list(_calibrations(samples, columns["magnitude_ab"], sampling.seed)),
        bins=_bins(model, columns, called),
        cuts=_cuts(test, columns, called, sampling, contamination_model),
        stresses=stresses,
        limits=stressed.limits,
        narrowed=narrow,
        shifts=stressed.shifts(),
        jury=_jury(model, test, called, sampling),
        failures=_failures(test, columns, called),
        verdict=_verdict(called.judged(), elsewhere, stresses),
    )


def judge(
    model: Model,
    sets: Mapping[str, Sequence[LabelledStamps]],
    sampling: SamplingSettings,
    beside: Model | None,
    narrow: bool,
) -> dict[str, Any]:
    """Fit the baseline and evaluate a merger model; as `surveyflow.training.evaluation.evaluate.Judge`."""
    baseline = fit_merger_baseline(sets["training"], sampling.seed)
    test, clean, other = (sets.get(name, ()) for name in ("test", "clean", "other"))
    found = evaluate_mergers(model, test, clean, baseline, sampling, contamination_model=beside, other=other, narrow=narrow)
    return asdict(found)


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
    field = _field_of_each(test)
    return {name: called.judged(field == name) for name in dict.fromkeys(field.tolist())}


def _field_of_each(test: Sequence[LabelledStamps]) -> NDArray[np.str_]:
    return np.concatenate([np.full(len(stamps), stamps.field) for stamps in test])


def _probabilities(model: Model, called: _Called) -> ProbabilitySample:
    """Stamps with ``p_pm_mean``, taken for a probability at the training set's share, and what the card's map makes of it."""
    stated, facts, map_ = called.predictions.p_pm_mean, model.card.each[0].training, model.card.calibration
    return ProbabilitySample(
        raw=Stated(stated.astype(np.float64), facts.positive / facts.n_images if facts else _UNKNOWN_SHARE),
        calibrated=None if map_ is None else Stated(map_.probability(stated), map_.share),
        is_post_merger=called.is_post_merger,
        share=float(np.clip(called.is_post_merger.mean(), _LEAST_SHARE, 1 - _LEAST_SHARE)),
    )


def _calibration_of_calibrated(sample: ProbabilitySample, seed: int) -> Calibration | None:
    if sample.calibrated is None:
        return None
    return calibration(sample.calibrated.at(sample.share), sample.is_post_merger, seed)


def _calibrations(samples: Mapping[str, ProbabilitySample], magnitude_ab: Float64Array, seed: int) -> Iterator[CalibrationScores]:
    """Calibration errors of samples at their own and at stated shares; and of the first sample by magnitude."""
    for name, sample in samples.items():
        for prevalence in dict.fromkeys((sample.share, *PREVALENCES)):
            yield calibration_scores(name, sample, prevalence, seed)
    first = next(iter(samples.values()))
    for label, rows in magnitude_bins(magnitude_ab):
        yield calibration_scores(f"magnitude {label}", first.take(rows), first.share, seed)


def _failures(test: Sequence[LabelledStamps], columns: Mapping[str, Any], called: _Called) -> list[Failure]:
    """The stamps whose stated probability is farthest from the truth, among those that are classified wrongly."""
    field, stated = _field_of_each(test), called.predictions.p_pm_mean
    wrong = np.flatnonzero(called.network != called.is_post_merger)
    surest = wrong[np.argsort(-np.abs(stated[wrong] - called.is_post_merger[wrong]), kind="stable")][:MOST_FAILURES]
    return [
        Failure(
            field=str(field[row]),
            source_id=int(columns["source_id"][row]),
            is_post_merger=bool(called.is_post_merger[row]),
            p_pm_mean=float(stated[row]),
            magnitude_ab=float(columns["magnitude_ab"][row]),
            coverage_pct=float(columns["coverage_pct"][row]),
        )
        for row in surest
    ]


def _verdict(judged: Judged, other: Judged | None, stresses: Sequence[StressScores]) -> list[str]:
    """Sentences that say whether a model is good."""
    ahead, upsilon = judged.lead, judged.network.upsilon
    failed = [one.words for one in stresses if not one.passed]
    good = ahead.accuracy - 2 * ahead.error > 0 and ahead.accuracy >= LEAST_LEAD and upsilon >= LEAST_UPSILON and not failed
    return [
        f"This model is {'good' if good else 'not good'} by the rules of this evaluation.",
        f"It is right {100 * ahead.accuracy:+.1f} +- {100 * ahead.error:.1f} points more often than the baseline; "
        f"expected {100 * LEAST_LEAD:.0f} or more.",
        f"It recognises {100 * upsilon:.1f} % of the class that it recognises less well; "
        f"expected {100 * LEAST_UPSILON:.0f} or more.",
        *([_loss(judged, other)] if other else []),
        *(
            [f"Its answer depends on {len(failed)} of {len(stresses)} nuisances, unflagged: {'; '.join(failed)}."]
            if failed
            else []
        ),
        "These are simulations or the stamps that you gave: they do not say how well real galaxies are classified.",
    ]


def _loss(judged: Judged, other: Judged) -> str:
    found = other.network
    return (
        f"On another simulation it is right in {100 * found.accuracy:.1f} +- {100 * found.accuracy_error:.1f} %, "
        f"{100 * (judged.network.accuracy - found.accuracy):.1f} points less than on its own."
    )


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
    """Score cuts that keep the same number of galaxies, so that they can be compared; galaxies without a mask are left out.

    There are none if fewer than 20 galaxies have a mask.
    """
    known = np.isfinite(columns["coverage_pct"])
    if known.sum() < _LEAST_CUT:
        return []
    orders = {"true": columns["coverage_pct"] + _tie_break(columns["flux_pp"])}
    if contamination_model is not None:
        orders["predicted"] = predict_contamination(contamination_model, test, sampling)["coverage_pct_mean"]
    calls = called.is_post_merger[known], called.network[known], called.baseline[known]
    return [cut for by, order in orders.items() for cut in scores_after_cuts(by, order[known], *calls)]


def _tie_break(flux_pp: Float64Array) -> Float64Array:
    """Far less than any difference of coverage: it orders galaxies of equal coverage, such as 0, by their neighbours' flux."""
    return 1e-9 * np.argsort(np.argsort(flux_pp, kind="stable")) / max(len(flux_pp), 1)


@dataclass(frozen=True, slots=True)
class _Stressed:
    """Classifications of some stamps, unchanged and under each nuisance at each level, and the limits that follow."""

    before: _Called
    after: Sequence[tuple[Nuisance, float, _Called]]
    limits: Limits

    def scores(self, narrow: bool) -> list[StressScores]:
        """Scores under each nuisance at each level."""
        limits = self.limits if narrow else {}
        return [_stress(nuisance, level, self.before, after, limits) for nuisance, level, after in self.after]

    def shifts(self) -> dict[str, Area]:
        """How well uncertainties find the strongest changes, all taken together."""
        strongest = [after.predictions for nuisance, level, after in self.after if level == nuisance.levels[-1]]
        return found_changes(self.before.predictions, strongest)


def _stressed(model: Model, test: Sequence[LabelledStamps], baseline: TreeClassifier, sampling: SamplingSettings) -> _Stressed:
    some = [stamps.take(slice(MOST_STRESSED)) for stamps in test]
    before = _call(model, some, baseline, sampling)
    after = [
        (nuisance, level, _call(model, [nuisance.applied(stamps, level, sampling.seed) for stamps in some], baseline, sampling))
        for nuisance, level in changes()
    ]
    effects = [Effect(nuisance.quantity, _lost(before, one), one.predictions.measured) for nuisance, _, one in after]
    return _Stressed(before, after, following_limits(model.card.domain, before.predictions.measured, effects))


def _lost(before: _Called, after: _Called) -> float:
    return before.judged().network.accuracy - after.judged().network.accuracy


def _jury(model: Model, test: Sequence[LabelledStamps], called: _Called, sampling: SamplingSettings) -> JuryScores | None:
    """The scores of the members of a jury, of which each makes as many draws as the jury does."""
    if not isinstance(model, Jury):
        return None
    each = {name: merged([predict_mergers(one, stamps, sampling) for stamps in test]) for name, one in model.members.items()}
    return jury_scores(called.predictions, each, called.is_post_merger, sampling.seed)


def _stress(nuisance: Nuisance, level: float, before: _Called, after: _Called, limits: Limits) -> StressScores:
    scores, lost = after.judged(), _lost(before, after)
    flags, flags_before = (one.predictions.flagged | outside(one.predictions.measured, limits) for one in (after, before))
    spoiled = (before.network == before.is_post_merger) & (after.network != after.is_post_merger)
    spoiled_flagged = float(flags[spoiled].mean()) if spoiled.any() else float("nan")
    flagged_before = float(flags_before.mean())
    seen = spoiled_flagged >= LEAST_FLAGGED and flagged_before <= MOST_FLAGGED_BEFORE
    return StressScores(
        name=nuisance.name,
        level=level,
        words=nuisance.told(level),
        network=scores.network,
        baseline=scores.baseline,
        accuracy_lost=lost,
        flagged=float(flags.mean()),
        flagged_before=flagged_before,
        spoiled=float(spoiled.mean()),
        spoiled_flagged=spoiled_flagged,
        passed=bool(lost <= MOST_LOST or seen),
        areas=areas_of_change(before.predictions, [after.predictions]),
    )
