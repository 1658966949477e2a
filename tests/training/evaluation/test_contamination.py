"""Everything that is asked of a contamination model."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from sklearn.metrics import r2_score, roc_auc_score

from fake_models import CornerModel
from labelled_stamps import SKY, contamination_card, labelled
from surveyflow.models.engines.choice import jury_of
from surveyflow.sky.measurements import sky_rms
from surveyflow.sky.stretch import Stretch
from surveyflow.tasks.card import ContaminationScale
from surveyflow.training.evaluation.contamination import evaluate_contamination, fit_contamination_baseline
from surveyflow.training.evaluation.predict_contamination import predict_contamination
from surveyflow.values.jobs import SamplingSettings

SAMPLING = SamplingSettings(n_draws=40, seed=7)
MODEL = CornerModel(contamination_card())
TEST = labelled(200, seed=3)


@cache
def baseline():
    return fit_contamination_baseline([labelled(300, seed=1)], seed=2)


@cache
def evaluation():
    return evaluate_contamination(MODEL, [TEST], [labelled(100, seed=2)], baseline(), SAMPLING)


@cache
def said():
    return predict_contamination(MODEL, [TEST], SAMPLING)


def test_scores_are_those_of_scikit_learn():
    areas, regressions = evaluation().scores.areas, evaluation().scores.regressions
    assert areas["contaminated"] == pytest.approx(roc_auc_score(TEST.coverage_pct > 0, said()["p_contaminated_mean"]))
    assert areas["heavy"] == pytest.approx(roc_auc_score(TEST.coverage_pct > 20, said()["coverage_pct_mean"]))
    on_galaxy = TEST.coverage_pct > 0
    assert regressions["coverage"].n == on_galaxy.sum()
    assert regressions["coverage"].r2 == pytest.approx(
        r2_score(np.log1p(TEST.coverage_pct[on_galaxy]), said()["coverage_given"][on_galaxy])
    )
    flux = np.arcsinh(TEST.flux_pp / sky_rms(TEST.pixels, TEST.valid))
    assert regressions["flux_pp"].r2 == pytest.approx(r2_score(flux[on_galaxy], said()["flux_pp_given"][on_galaxy]))


def test_areas_by_magnitude_and_by_coverage_are_those_of_their_galaxies():
    bins = {(one.quantity, one.label): one for one in evaluation().bins}
    assert sum(one.n for one in bins.values() if one.quantity == "magnitude_ab") == len(TEST)
    low = int(np.median(TEST.magnitude_ab))
    of_magnitude = np.floor(TEST.magnitude_ab) == low
    found = bins["magnitude_ab", f"{low} to {low + 1}"]
    expected = roc_auc_score(TEST.coverage_pct[of_magnitude] > 0, said()["p_contaminated_mean"][of_magnitude])
    assert (found.n, found.network) == (of_magnitude.sum(), pytest.approx(expected))
    heavy, none = TEST.coverage_pct > 30, TEST.coverage_pct == 0
    found = bins["coverage_pct", "30 to 100 %"]
    expected = roc_auc_score(heavy[heavy | none], said()["p_contaminated_mean"][heavy | none])
    assert (found.n, found.network) == (heavy.sum(), pytest.approx(expected))
    assert ("coverage_pct", "0 %") not in bins


def test_three_times_the_pixels_is_three_times_the_flux_and_the_same_coverage():
    assert evaluation().changes["coverage"].largest < 0.01
    assert evaluation().changes["flux_pp"].largest < 0.01
    fixed = CornerModel(contamination_card(stretch=Stretch.LINEAR, softening=10 * SKY))
    assert evaluate_contamination(fixed, [TEST], [], baseline(), SAMPLING).changes["flux_pp"].median > 0.05


def test_wider_intervals_hold_more_truths():
    narrow = CornerModel(contamination_card(contamination=ContaminationScale("sky_sigma", 6.0, interval_scale_coverage=0.05)))
    intervals = evaluate_contamination(narrow, [TEST], [], baseline(), SAMPLING).scores.intervals
    assert intervals["coverage"] < 0.3 < evaluation().scores.intervals["coverage"]
    assert intervals["flux_pp"] == evaluation().scores.intervals["flux_pp"]


def test_a_galaxy_without_a_mask_has_no_truth_and_is_left_out():
    coverage_pct = TEST.coverage_pct.copy()
    coverage_pct[:30] = np.nan
    found = evaluate_contamination(MODEL, [replace(TEST, coverage_pct=coverage_pct)], [], baseline(), SAMPLING)
    assert (found.scores.n, found.n_without_truth) == (170, 30)
    assert found.cut is None


def test_a_cut_is_tuned_on_other_stamps_than_it_is_evaluated_on():
    cut = evaluation().cut
    assert cut.judged.threshold == cut.tuned.threshold
    assert cut.judged.n_chosen == (said()["coverage_pct_mean"] >= cut.tuned.threshold).sum()
    assert cut.judged.purity > 0.6
    assert cut.judged.completeness > 0.6


def test_other_units_and_depths_are_flagged():
    flagged = {(one.name, one.level): one.flagged for one in evaluation().stresses}
    assert flagged["gain", 1000] == flagged["depth", 3.6] == flagged["missing_strip", 10] == 1
    assert not [name for name, _ in flagged if name == "neighbours"], "they are what is measured"
    assert evaluation().stresses[0].flagged_before < 0.1


def test_what_changes_no_pixel_that_the_model_sees_loses_nothing():
    area = evaluation().scores.areas["contaminated"]
    lost = {(one.name, one.level): one.area_lost for one in evaluation().stresses}
    assert lost["gain", 2] == pytest.approx(0, abs=1e-3)
    for one in evaluation().stresses:
        assert one.area_lost == pytest.approx(area - one.scores.areas["contaminated"])
    assert max(lost.values()) > 0.01


def test_what_is_stated_is_compared_with_the_truth():
    mean = said()["coverage_pct_mean"]
    found = evaluation().statements
    assert sum(one.n for one in found) == len(TEST)
    second = found[1]
    rows = (mean > second.low) & (mean <= second.high)
    assert (second.n, second.true) == (rows.sum(), pytest.approx(TEST.coverage_pct[rows].mean()))
    inside = (said()["coverage_pct_q16"] <= TEST.coverage_pct) & (TEST.coverage_pct <= said()["coverage_pct_q84"])
    assert second.inside == pytest.approx(inside[rows].mean())


def test_a_wrong_unit_changes_nothing_for_a_model_that_counts_in_sky():
    wrong_unit = next(one for one in evaluation().stresses if (one.name, one.level) == ("gain", 1000))
    assert wrong_unit.scores.regressions["flux_pp"].r2 == pytest.approx(evaluation().scores.regressions["flux_pp"].r2, abs=1e-3)


def test_a_model_without_a_scale_is_refused():
    with pytest.raises(ValueError, match="does not say what its outputs stand for"):
        predict_contamination(CornerModel(replace(MODEL.card, contamination=None)), [TEST], SAMPLING)


def test_members_of_a_jury_answer_by_their_own_scales():
    wider = contamination_card(weights_digest="9" * 64, contamination=ContaminationScale("sky_sigma", flux_range=12.0))
    found = predict_contamination(jury_of("jury", ("a", "b"), [MODEL, CornerModel(wider)]), [TEST], SAMPLING)
    alone, within = said(), said()["flux_pp_given"] < 0.99 * MODEL.card.contamination.flux_range
    assert within.sum() > 100
    np.testing.assert_allclose(found["flux_pp_given"][within], alone["flux_pp_given"][within], rtol=1e-5)
    np.testing.assert_allclose(found["coverage_given"], alone["coverage_given"], rtol=1e-5)
    assert np.corrcoef(found["coverage_pct_mean"], alone["coverage_pct_mean"])[0, 1] > 0.95
