"""Everything that is asked of a merger model."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fake_models import NucleusModel
from labelled_stamps import SIZE, SKY, labelled, merger_card
from surveyflow.models.engines.choice import jury_of
from surveyflow.reports.evaluation_figures import roc_figure
from surveyflow.settings.simulation import NuisancesTable, SimulationTable
from surveyflow.settings.training import AugmentationTable
from surveyflow.simulation.observe import sky_noise
from surveyflow.stats.calibration import calibration_error
from surveyflow.tasks.calibration import at_prevalence
from surveyflow.training.evaluation.calibrate import fit_calibration, pooled_mean
from surveyflow.training.evaluation.merger_scores import (
    PREVALENCES,
    class_scores,
    coverage_bins,
    lead,
    magnitude_bins,
    purities,
    redshift_bins,
    roc,
    scores_after_cuts,
)
from surveyflow.training.evaluation.mergers import evaluate_mergers, fit_merger_baseline
from surveyflow.training.evaluation.nuisances import NUISANCES, changes
from surveyflow.training.evaluation.predict_mergers import predict_mergers
from surveyflow.training.records.labelled import pooled
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


BY_NAME = {nuisance.name: nuisance for nuisance in NUISANCES}
EVERY_CHANGE = list(changes())


def test_calibration_is_scored_with_and_without_neighbours_by_magnitude_and_at_stated_shares():
    found = {(one.sample, round(one.prevalence, 4)): one for one in evaluation().calibrations}
    samples = [sample for sample, _ in found]
    assert samples.count("with neighbours") == samples.count("no neighbours") == 1 + len(PREVALENCES)
    assert sum(one.n for one in found.values() if one.sample.startswith("magnitude")) == 250
    stamps = [labelled(150, seed=3), labelled(100, seed=4, field="EGS")]
    raw = pooled_mean([MODEL], stamps, SAMPLING).astype(np.float64)
    truth = pooled(stamps)["is_post_merger"]
    share = truth.mean()
    own = found["with neighbours", round(share, 4)]
    assert own.raw == pytest.approx(calibration_error(at_prevalence(raw, share, 0.5), truth))
    assert np.isnan(own.calibrated)
    rare = np.repeat(truth, np.where(truth, 1000 * (1 - share), 9000 * share).round().astype(int))
    stated = np.repeat(at_prevalence(raw, 0.1, 0.5), np.where(truth, 1000 * (1 - share), 9000 * share).round().astype(int))
    assert found["with neighbours", 0.1].raw == pytest.approx(calibration_error(stated, rare), abs=1e-3)


def test_a_map_is_scored_beside_the_raw_output():
    test, truth = [labelled(600, seed=3)], labelled(600, seed=3).is_post_merger
    map_ = fit_calibration([MODEL], [labelled(900, seed=8)], ("ab" * 32,), SAMPLING)
    baseline = fit_merger_baseline([labelled(300, seed=1)], seed=2)
    model = NucleusModel(merger_card(calibrations=(map_,)))
    found = evaluate_mergers(model, test, [], baseline, SAMPLING)
    assert found.calibration_of_calibrated.error == pytest.approx(found.calibrations[0].calibrated)
    assert found.calibration_of_calibrated.diagram.counts.sum() == len(truth)
    assert found.calibrations[0].calibrated < found.calibrations[0].raw / 2


@pytest.mark.parametrize("distance_pix", [1, 2, 3])
def test_a_galaxy_is_moved_as_far_in_all_directions(distance_pix):
    stamps, seen = labelled(40), set()
    moved = BY_NAME["position"].applied(stamps, distance_pix, seed=1)
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


@pytest.mark.parametrize("height", [-1, 5])
def test_a_pedestal_is_in_units_of_the_stamps_own_noise(height):
    stamps = labelled(5)
    added = BY_NAME["sky"].applied(stamps, height, seed=1).pixels - stamps.pixels
    np.testing.assert_allclose(added, (height * stamps.sky_rms)[:, None, None] + 0 * added, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("name", ["psf_width", "psf_shape"])
def test_a_wider_psf_keeps_the_noise(name):
    # The formula for the noise that smoothing leaves holds for noise that is correlated as that of the simulations.
    rng = np.random.default_rng(1)
    empty = replace(labelled(5), pixels=np.stack([sky_noise(rng, (SIZE, SIZE), SKY) for _ in range(5)]))
    for level in BY_NAME[name].levels:
        noise = BY_NAME[name].applied(empty, level, seed=1).pixels.std()
        assert noise == pytest.approx(SKY, rel=0.05)


def test_neighbours_lie_on_the_edges_and_spare_the_middle():
    stamps = labelled(60)
    added = BY_NAME["neighbours"].applied(stamps, 1, seed=1).pixels - stamps.pixels
    middle = slice(SIZE // 2 - 4, SIZE // 2 + 4)
    assert np.median(abs(added[:, middle, middle]).max(axis=(1, 2))) == 0
    outside = added.copy()
    outside[:, 6:-6, 6:-6] = 0
    assert (outside.max(axis=(1, 2)) > 10 * SKY).mean() > 0.9


@pytest.mark.parametrize(("nuisance", "level"), EVERY_CHANGE, ids=lambda one: getattr(one, "name", str(one)))
def test_every_change_is_made_as_stated_and_reproducible(nuisance, level):
    stamps = labelled(8)
    stamps.pixels[:, :3] = 0
    once, again = (nuisance.applied(stamps, level, seed=3).pixels for _ in range(2))
    assert once.tobytes() == again.tobytes()
    assert once.dtype == np.float32
    assert np.isfinite(once).all()
    assert not once[:, :3].any(), "where there is no data, there is none afterwards"
    assert not np.array_equal(once, stamps.pixels)
    assert f"{level:g}" in nuisance.told(level)
    assert nuisance.applied(stamps.take(slice(0)), level, seed=3).pixels.shape == (0, SIZE, SIZE)


@pytest.mark.parametrize("nuisance", NUISANCES, ids=lambda nuisance: nuisance.name)
def test_training_can_vary_every_nuisance(nuisance):
    table, key = nuisance.varied_in.split(" ")
    tables = {"simulation": SimulationTable, "simulation.nuisances": NuisancesTable, "augmentation": AugmentationTable}
    assert key in tables[table.strip("[]")].model_fields


def test_a_wrong_unit_is_flagged_and_a_zero_strip_costs_little():
    stresses = {(one.name, one.level): one for one in evaluation().stresses}
    assert list(stresses) == [(nuisance.name, level) for nuisance, level in EVERY_CHANGE]
    assert stresses["gain", 1000].flagged == 1
    assert stresses["depth", 3.6].flagged == 1
    assert stresses["missing_strip", 10].flagged_before < 0.05
    assert abs(stresses["missing_strip", 10].accuracy_lost) < 0.05
    assert stresses["missing_strip", 10].passed


def test_a_model_that_looks_at_the_middle_is_told_that_it_does():
    moved = {one.level: one for one in evaluation().stresses if one.name == "position"}
    assert not moved[5].passed
    assert moved[5].spoiled > 0.1 > moved[5].spoiled_flagged
    first, *others = evaluation().verdict
    assert first == "This model is not good by the rules of this evaluation."
    assert any("the galaxy moved by 5 px on one or both axes" in sentence for sentence in others)


def test_the_lead_has_the_error_of_a_paired_comparison():
    truth = np.array([True] * 50 + [False] * 50)
    network, baseline = truth.copy(), truth.copy()
    network[:5], baseline[:5] = ~truth[:5], ~truth[:5]  # both fail on the same: no error of the difference
    baseline[5:15] = ~truth[5:15]
    found = lead(truth, network, baseline)
    assert found.accuracy == pytest.approx(0.1)
    assert found.error == pytest.approx(np.sqrt(0.1 * 0.9 / 100))


def test_purity_follows_bayes_and_not_the_mixture():
    truth = np.arange(1000) % 2 == 0
    called = np.where(truth, np.arange(1000) % 10 < 8, np.arange(1000) % 10 == 1)  # completeness 80 %, false positives 20 %
    by_prevalence = {one.prevalence: one for one in purities(called * 0.9, called, truth)}
    assert by_prevalence[0.1].called == pytest.approx(0.1 * 0.8 / (0.1 * 0.8 + 0.9 * 0.2))
    assert by_prevalence[0.1].above_80 == by_prevalence[0.1].called
    assert by_prevalence[0.5].called == pytest.approx(np.mean(truth[called]))


def test_the_curve_and_its_area_agree():
    found = evaluation().roc
    assert found.area == pytest.approx(np.trapezoid(found.true_share, found.false_share), abs=0.02)
    assert 0.5 < found.area < 1


def test_a_test_of_one_class_has_a_curve_without_area():
    found = roc(np.array([0.2, 0.9]), np.array([True, True]))
    assert np.isnan(found.area)
    assert np.isnan(found.false_share).all()
    curve = {"false_share": [None] * 101, "true_share": list(found.true_share)}  # as JSON holds it
    assert roc_figure({"network": curve}, "simulated").axes[0].lines


def test_failures_are_wrong_and_the_surest_come_first():
    failures = evaluation().failures
    sureness = [abs(one.p_pm_mean - one.is_post_merger) for one in failures]
    assert sureness == sorted(sureness, reverse=True)
    assert min(sureness) > 0.5
    assert {one.field for one in failures} <= {"COSMOS", "EGS"}


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


class LeaningModel(NucleusModel):
    """A `NucleusModel` with an opinion of its own."""

    def __init__(self, card, lean):
        super().__init__(card)
        object.__setattr__(self, "lean", lean)

    def draw(self, features, source_keys, n_draws, seed):
        return super().draw(features + np.float32(self.lean), source_keys, n_draws, seed)


def jury_of_three():
    cards = [
        merger_card(weights_digest=digit * 64, architecture=replace(MODEL.card.architecture, dense=(1,)))
        for digit in ("1", "2", "3")
    ]
    return jury_of("jury", "abc", [LeaningModel(one, lean) for one, lean in zip(cards, (-1.0, 0.0, 2.0), strict=True)])


def test_a_jury_is_judged_beside_each_of_its_members():
    jury, test = jury_of_three(), [labelled(200, seed=3)]
    baseline = fit_merger_baseline([labelled(300, seed=1)], seed=2)
    found = evaluate_mergers(jury, test, [], baseline, SAMPLING)
    assert found.jury.jury.accuracy == found.pooled.network.accuracy
    assert list(found.jury.members) == ["a", "b", "c"]
    accuracies, errors = [], []
    for name, model in jury.members.items():
        alone = predict_mergers(model, test[0], SAMPLING)
        accuracies.append(np.mean(alone.called_post_merger == test[0].is_post_merger))
        errors.append(calibration_error(alone.p_pm_mean, test[0].is_post_merger))
        assert found.jury.members[name].accuracy == pytest.approx(accuracies[-1])
        assert found.jury.members[name].calibration_error == pytest.approx(errors[-1])
    assert len(set(accuracies)) > 1
    assert found.jury.mean.accuracy == pytest.approx(np.mean(accuracies))
    assert found.jury.scatter.accuracy == pytest.approx(np.std(accuracies, ddof=1))
    assert found.jury.gain.accuracy == pytest.approx(found.jury.jury.accuracy - np.mean(accuracies))
    assert found.jury.calibration_gain == pytest.approx(np.mean(errors) - found.jury.jury.calibration_error)
    assert found.jury.gain.error > 0


def test_a_model_that_is_alone_has_no_jury():
    assert evaluation().jury is None


@pytest.mark.parametrize("column", ["mutual_information", "p_pm_std"])
def test_areas_of_changed_stamps_are_those_of_scikit_learn(column):
    stamps = labelled(150, seed=3)
    before = getattr(predict_mergers(MODEL, stamps, SAMPLING), column)
    last = [(nuisance, nuisance.levels[-1]) for nuisance in NUISANCES]
    changed = [nuisance.applied(stamps, level, SAMPLING.seed) for nuisance, level in last]
    after = [getattr(predict_mergers(MODEL, one, SAMPLING), column) for one in changed]
    baseline = fit_merger_baseline([labelled(300, seed=1)], seed=2)
    found = evaluate_mergers(MODEL, [stamps], [], baseline, SAMPLING)
    areas = {(one.name, one.level): one.areas[column] for one in found.stresses}
    for (nuisance, level), values in zip(last, after, strict=True):
        expected = roc_auc_score(np.repeat([0, 1], 150), np.concatenate([before, values]))
        assert areas[nuisance.name, level] == pytest.approx(expected)
    together = np.concatenate([before, *after])
    assert found.shifts[column].area == pytest.approx(roc_auc_score(np.arange(len(together)) >= 150, together))
    assert 0 < found.shifts[column].error < 0.05
