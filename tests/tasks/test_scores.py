import numpy as np
import pytest

from surveyflow.tasks.card import ContaminationScale
from surveyflow.tasks.registry import TASKS
from surveyflow.tasks.task import Skill

SCALE = ContaminationScale("sky_sigma", flux_range=8.0, scatter_limit=0.5)


def test_the_larger_mean_output_is_the_class():
    draws = np.array([[[0.9, 0.2]], [[0.6, 0.7]], [[0.2, 0.1]], [[0.1, 0.3]]], np.float32)
    targets = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], np.float32)
    told = TASKS["merger"].scores(draws, targets, None)
    assert told["accuracy"] == told["upsilon"] == 0.5
    expected = -np.mean(np.log([0.9, 0.8, 0.6, 0.3, 0.8, 0.1, 0.9, 0.3]))
    assert (told["precision"], told["recall"]) == (0.5, 0.5)
    assert TASKS["merger"].scores(1 - draws[:2], targets[:2], None)["precision"] == 1.0
    assert told["loss"] == pytest.approx(expected, rel=1e-5)


def contaminated(n=4000, scatter=0.1):
    """Draws of a network that states a scatter of 0.1 x 0.5, and truths that scatter by ``scatter``."""
    rng = np.random.default_rng(3)
    location = rng.uniform(0.2, 0.8, n)
    draws = np.zeros((n, 5, 6), np.float32)
    draws[..., 0] = draws[..., 3] = 0.9
    draws[..., 1] = draws[..., 4] = location[:, None]
    draws[..., 2] = draws[..., 5] = 0.1
    truth = rng.normal(location, scatter)
    targets = np.stack([np.ones(n), truth, np.ones(n), 8 * truth], axis=1).astype(np.float32)
    return draws, targets


@pytest.mark.parametrize("scatter", [0.02, 0.05, 0.2])
def test_intervals_are_widened_to_what_truths_scatter(scatter):
    draws, targets = contaminated(scatter=scatter)
    found = TASKS["contamination"].scaling.calibrated(SCALE, draws, targets)
    for factor in (found.interval_scale_coverage, found.interval_scale_flux_pp):
        assert factor == pytest.approx(scatter / 0.05, rel=0.05)


def test_amounts_are_scored_where_something_is_there():
    draws, targets = contaminated(scatter=0.1)
    targets[::2, 0], targets[::2, 1] = 0, np.nan
    draws[::2, :, 0] = 0.2
    told = TASKS["contamination"].scores(draws, targets, SCALE)
    assert told["auc"] == 1
    assert told["r2_flux_pp"] == pytest.approx(1 - 0.01 / (0.03 + 0.01), abs=0.05)
    assert told["r2"] == pytest.approx((told["r2_flux_pp"] + told["r2_coverage"]) / 2)


def test_the_best_of_many_epochs_of_a_network_that_knows_nothing_is_not_shown():
    rng = np.random.default_rng(1)
    n_images, n_epochs = 200, 100
    best = rng.binomial(n_images, 0.5, (2_000, n_epochs)).max(axis=1) / n_images
    error = np.sqrt(0.25 / n_images)
    shown = {tried: np.mean([Skill("accuracy", one, 0.5, error, tried).is_shown for one in best]) for tried in (1, n_epochs)}
    assert shown[1] > 0.1
    assert shown[n_epochs] < 0.005
    assert Skill("accuracy", 0.8, 0.5, error, n_epochs).is_shown
