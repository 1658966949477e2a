"""Everything that is asked of a merger model."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from fake_models import NucleusModel
from labelled_stamps import labelled, merger_card
from surveyflow.training.evaluation.merger_scores import (
    class_scores,
    coverage_bins,
    magnitude_bins,
    redshift_bins,
    scores_after_cuts,
)
from surveyflow.training.evaluation.mergers import evaluate_mergers, fit_merger_baseline
from surveyflow.training.evaluation.predict_mergers import predict_mergers
from surveyflow.training.evaluation.stress import STRESSES, stressed
from surveyflow.values.jobs import SamplingSettings

SAMPLING = SamplingSettings(n_draws=20, seed=7)
MODEL = NucleusModel(merger_card())


@cache
def evaluation():
    baseline = fit_merger_baseline([labelled(300, seed=1)], seed=2)
    test = [labelled(150, seed=3), labelled(100, seed=4, field="EGS")]
    return evaluate_mergers(MODEL, test, [labelled(100, seed=5, neighbours=False)], baseline, SAMPLING)


def test_fields_add_up_to_the_whole():
    fields = evaluation().fields
    assert list(fields) == ["COSMOS", "EGS"]
    total = sum(np.array(judged.network.confusion) for judged in fields.values())
    np.testing.assert_array_equal(total, evaluation().pooled.network.confusion)


def test_scores_are_those_of_the_model_asked_directly():
    stamps = labelled(150, seed=3)
    called = predict_mergers(MODEL, stamps, SAMPLING).called_post_merger
    scores = evaluation().fields["COSMOS"].network
    assert scores.accuracy == pytest.approx(np.mean(called == stamps.is_post_merger))
    assert scores.completeness[0] == pytest.approx(np.mean(called[stamps.is_post_merger]))
    assert scores.purity[0] == pytest.approx(np.mean(stamps.is_post_merger[called]))
    assert scores.upsilon == min(scores.completeness)


def test_predictions_do_not_depend_on_the_batch():
    stamps = labelled(300, seed=6)
    together, alone = predict_mergers(MODEL, stamps, SAMPLING), predict_mergers(MODEL, stamps.take(slice(270, 300)), SAMPLING)
    np.testing.assert_array_equal(together.p_pm_mean[270:], alone.p_pm_mean)


def test_every_bin_counts_its_own_galaxies():
    counted = {}
    for one in evaluation().bins:
        counted[one.quantity] = counted.get(one.quantity, 0) + one.network.n
        assert one.network.n == one.baseline.n
    assert counted == {"magnitude_ab": 250, "redshift": 250, "coverage_pct": 250}


def test_votes_are_no_probabilities():
    assert evaluation().calibration_of_votes.error > evaluation().calibration_of_mean.error > 0
    assert 0 < evaluation().calibration_of_mean.perfect < 0.1


@pytest.mark.parametrize("distance_pix", [1, 2, 3])
def test_a_shift_moves_every_pixel_as_far_in_all_directions(distance_pix):
    stamps = labelled(40)
    name = "shift_1_pixel" if distance_pix == 1 else f"shift_{distance_pix}_pixels"
    moved, seen = stressed(stamps, name, seed=1), set()
    inside = slice(distance_pix, -distance_pix)
    for before, after in zip(stamps.pixels, moved.pixels, strict=True):
        offsets = [
            (y, x)
            for y in (-distance_pix, 0, distance_pix)
            for x in (-distance_pix, 0, distance_pix)
            if np.array_equal(np.roll(before, (y, x), (0, 1))[inside, inside], after[inside, inside])
        ]
        assert len(offsets) == 1
        seen.add(offsets[0])
    assert len(seen) == 8
    assert (0, 0) not in seen


def test_a_pedestal_is_in_units_of_the_stamps_own_noise():
    stamps = labelled(5)
    for name, height in {"pedestal_minus_1_sigma": -1, "pedestal_plus_5_sigma": 5}.items():
        added = stressed(stamps, name, seed=1).pixels - stamps.pixels
        np.testing.assert_allclose(added, (height * stamps.sky_rms)[:, None, None] + 0 * added, rtol=1e-3, atol=1e-7)


def test_a_wrong_unit_is_flagged_and_a_zero_strip_costs_little():
    stresses = {one.name: one for one in evaluation().stresses}
    assert list(stresses) == list(STRESSES)
    assert stresses["wrong_unit"].flagged == 1
    assert stresses["other_depth"].flagged == 1
    assert stresses["zero_strip"].flagged_before < 0.05
    assert abs(stresses["zero_strip"].accuracy_lost) < 0.05


def test_a_cut_keeps_the_cleanest():
    contamination = np.array([0.0, 50.0, 10.0, 90.0])
    truth = np.array([True, True, False, False])
    called = np.array([True, False, False, True])
    half = next(cut for cut in scores_after_cuts("true", contamination, truth, called, truth) if cut.kept == 0.5)
    assert half.network.confusion == ((1, 0), (0, 1))
    assert half.baseline.accuracy == 1


def test_bins_hold_their_low_end():
    assert [(label, rows.tolist()) for label, rows in magnitude_bins(np.array([20.0, 21.0, 21.9]))] == [
        ("20 to 21", [True, False, False]),
        ("21 to 22", [False, True, True]),
    ]
    assert [rows.sum() for _, rows in redshift_bins(np.array([0.5, 0.75, 1.49]), (0.5, 1.5))] == [1, 1, 0, 1]
    assert [rows.sum() for _, rows in coverage_bins(np.array([0.0, 5.0, 10.0, 30.0, 31.0, np.nan]))] == [1, 2, 1, 1]


def test_no_galaxies_have_no_accuracy():
    nothing = class_scores(np.zeros(0, bool), np.zeros(0, bool))
    assert nothing.n == 0
    assert np.isnan(nothing.accuracy)
