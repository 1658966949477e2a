import numpy as np
import pytest

from surveyflow.training.fitting.scores import interval_scales, scores


def test_the_larger_mean_output_is_the_class():
    draws = np.array([[[0.9, 0.2]], [[0.6, 0.7]], [[0.2, 0.1]], [[0.1, 0.3]]], np.float32)
    targets = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], np.float32)
    told = scores("merger", draws, targets, 1.0)
    assert told["accuracy"] == told["upsilon"] == 0.5
    expected = -np.mean(np.log([0.9, 0.8, 0.6, 0.3, 0.8, 0.1, 0.9, 0.3]))
    assert (told["precision"], told["recall"]) == (0.5, 0.5)
    assert scores("merger", 1 - draws[:2], targets[:2], 1.0)["precision"] == 1.0
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
    for scale in interval_scales(draws, targets, 0.5, 8.0):
        assert scale == pytest.approx(scatter / 0.05, rel=0.05)


def test_how_much_is_judged_where_there_is_some():
    draws, targets = contaminated(scatter=0.1)
    targets[::2, 0], targets[::2, 1] = 0, np.nan
    draws[::2, :, 0] = 0.2
    told = scores("contamination", draws, targets, 8.0)
    assert told["auc"] == 1
    assert told["r2_flux_pp"] == pytest.approx(1 - 0.01 / (0.03 + 0.01), abs=0.05)
    assert told["r2"] == pytest.approx((told["r2_flux_pp"] + told["r2_coverage"]) / 2)
