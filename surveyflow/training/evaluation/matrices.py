"""The confusion matrices of an evaluated merger model, each with the selection of galaxies for which it holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from surveyflow.settings.matrices import ClassifierTests, SelectedTest
from surveyflow.stats.fractions import ConfusionMatrix, called_post_merger
from surveyflow.stats.metrics import confusion_matrix
from surveyflow.tasks.card import Model, ModelCard
from surveyflow.tasks.domains import measured_facts
from surveyflow.training.evaluation.predict_contamination import predict_contamination
from surveyflow.training.evaluation.predict_mergers import MergerPredictions, predict_mergers
from surveyflow.training.records.labelled import LabelledStamps
from surveyflow.values.arrays import BoolArray, Float32Array
from surveyflow.values.codes import ClassRule, Flag
from surveyflow.values.jobs import SamplingSettings

LIMITS: Mapping[str, tuple[float, ...]] = {
    "p_contaminated_mean": (0.1, 0.2, 0.3, 0.5, 0.7),
    "coverage_pct_mean": (5.0, 10.0, 20.0, 30.0),
}
"""The contamination cuts after which matrices are measured."""
_EXCLUDED = ((), (Flag.OUT_OF_DOMAIN.name or "",))


@dataclass(frozen=True, slots=True)
class _Tested:
    """The stamps of one field, as a catalog would describe them."""

    card: ModelCard
    stamps: LabelledStamps
    predictions: MergerPredictions
    contamination: Mapping[str, Float32Array]
    contamination_model_id: str | None
    offset_arcsec: Float32Array


def selected_tests(
    model: Model, test: Sequence[LabelledStamps], sampling: SamplingSettings, contamination_model: Model | None
) -> dict[str, ClassifierTests]:
    """Measure the confusion matrices of a model, by class rule.

    There is one for each field, with and without flagged galaxies, at all magnitudes and in bins of one magnitude, and after each
    of `LIMITS`. Those that could not correct a fraction, because a class is missing or is not told apart, are left out.

    Parameters
    ----------
    model
        A merger model.
    test
        Stamps that it was not trained on, one set for each field.
    sampling
        Number of draws, and seed.
    contamination_model
        The contamination model of the cuts; None for no cuts.
    """
    tested = [_tested(model, stamps, sampling, contamination_model) for stamps in test]
    records = ", ".join(stamps.digest[:12] for stamps in test)
    source = f"{sum(map(len, test)):,} stamps with known truth (records {records}) by an evaluation"
    found = {rule: tuple(one for each in tested for one in _tests(each, rule)) for rule in ClassRule}
    return {rule.value: ClassifierTests(model.card.origin, rule, source, tests=tests) for rule, tests in found.items() if tests}


def _tested(model: Model, stamps: LabelledStamps, sampling: SamplingSettings, beside: Model | None) -> _Tested:
    middle = np.full((len(stamps), 2), (stamps.pixels.shape[-1] - 1) / 2)
    facts = measured_facts(stamps.pixels, stamps.valid, middle, model.card.pixel_scale_arcsec)
    return _Tested(
        card=model.card,
        stamps=stamps,
        predictions=predict_mergers(model, stamps, sampling),
        contamination={} if beside is None else predict_contamination(beside, [stamps], sampling),
        contamination_model_id=None if beside is None else beside.card.model_id,
        offset_arcsec=facts.offset_arcsec,
    )


def _tests(tested: _Tested, rule: ClassRule) -> Iterator[SelectedTest]:
    cuts: list[dict[str, float]] = [{}]
    if tested.contamination_model_id is not None:
        cuts += [{column: limit} for column, limits in LIMITS.items() for limit in limits]
    for excluded in _EXCLUDED:
        for limits in cuts:
            for magnitude in (None, *_magnitudes(tested.stamps)):
                test = _test(tested, rule, excluded, limits, magnitude)
                if test is not None:
                    yield test


def _magnitudes(stamps: LabelledStamps) -> Iterator[tuple[float, float]]:
    """Bins of one magnitude that hold galaxies."""
    for low in np.unique(np.floor(stamps.magnitude_ab[np.isfinite(stamps.magnitude_ab)])).tolist():
        yield low, low + 1


def _test(
    tested: _Tested,
    rule: ClassRule,
    excluded: tuple[str, ...],
    limits: Mapping[str, float],
    magnitude: tuple[float, float] | None,
) -> SelectedTest | None:
    """The test of a selection; None if it cannot correct a fraction."""
    rows = _selected(tested, excluded, limits, magnitude)
    said = tested.predictions
    called = called_post_merger(said.p_pm_mean, said.p_sf_mean, said.f_pm, rule)
    counts = confusion_matrix(~tested.stamps.is_post_merger[rows], ~called[rows], 2)
    try:
        matrix = ConfusionMatrix(counts)
    except ValueError:
        return None
    known = tested.offset_arcsec[rows & np.isfinite(tested.offset_arcsec)]
    return SelectedTest(
        field=tested.stamps.field,
        instrument=tested.stamps.instrument,
        model_id=tested.card.model_id,
        counts=matrix,
        magnitude=magnitude,
        excluded_flags=excluded,
        limits=limits,
        contamination_model_id=tested.contamination_model_id if limits else None,
        offset_arcsec=float(f"{np.median(known):.3g}") if len(known) else None,
    )


def _selected(
    tested: _Tested, excluded: tuple[str, ...], limits: Mapping[str, float], magnitude: tuple[float, float] | None
) -> BoolArray:
    rows = np.ones(len(tested.stamps), bool)
    if excluded:
        rows &= ~tested.predictions.out_of_domain
    for column, limit in limits.items():
        rows &= tested.contamination[column] <= limit
    if magnitude is not None:
        rows &= (tested.stamps.magnitude_ab >= magnitude[0]) & (tested.stamps.magnitude_ab < magnitude[1])
    return rows
