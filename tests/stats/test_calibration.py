"""Stated probabilities against frequencies."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from surveyflow.stats.calibration import calibration_error, perfect_error, reliability

statements = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=80)


def test_bins_are_those_of_scikit_learn():
    rng = np.random.default_rng(1)
    stated = rng.random(500)
    came_true = rng.random(500) < stated**2
    diagram = reliability(stated, came_true)
    observed, mean_stated = calibration_curve(came_true, stated, n_bins=10)
    np.testing.assert_allclose(diagram.observed, observed)
    np.testing.assert_allclose(diagram.stated, mean_stated)


@given(statements)
def test_the_error_is_the_mean_gap_over_statements(pairs):
    stated, came_true = np.array([p for p, _ in pairs]), np.array([t for _, t in pairs])
    bins = [min(int(p * 10), 9) for p in stated]
    gap = {b: abs(np.mean([t - p for (p, t), c in zip(pairs, bins, strict=True) if c == b])) for b in set(bins)}
    assert calibration_error(stated, came_true) == pytest.approx(np.mean([gap[b] for b in bins]))


def test_right_probabilities_err_by_chance_alone():
    rng = np.random.default_rng(2)
    stated = rng.beta(0.6, 0.6, 2_000)
    by_chance = perfect_error(stated, rng)
    assert 0.01 < by_chance < 0.03
    assert calibration_error(stated, rng.random(2_000) < stated) == pytest.approx(by_chance, abs=0.012)


def test_votes_are_bolder_than_the_probabilities_behind_them():
    rng = np.random.default_rng(3)
    stated = rng.uniform(0.2, 0.8, 5_000)
    votes = (rng.normal(stated[:, None], 0.05, (5_000, 100)) > 0.5).mean(axis=1)
    came_true = rng.random(5_000) < stated
    assert calibration_error(votes, came_true) > 5 * calibration_error(stated, came_true)


def test_nothing_stated_has_no_error():
    assert np.isnan(calibration_error([], []))


@pytest.mark.parametrize(("stated", "came_true"), [([1.1], [True]), ([np.nan], [True]), ([-0.1], [False]), ([0.5, 0.5], [True])])
def test_what_is_no_probability_is_refused(stated, came_true):
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]|equally long"):
        reliability(stated, came_true)
