"""Estimates against the truth."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import r2_score

from surveyflow.stats.regression import interval_coverage, regression_scores

RNG = np.random.default_rng(5)
TRUTH = RNG.gamma(2, size=400)


def test_r2_is_that_of_scikit_learn():
    estimate = 0.7 * TRUTH + RNG.normal(scale=0.3, size=400)
    assert regression_scores(TRUTH, estimate).r2 == pytest.approx(r2_score(TRUTH, estimate))


def test_bias_and_scatter_are_moments_of_the_errors():
    scores = regression_scores(TRUTH, TRUTH + RNG.normal(0.2, 0.1, 400))
    assert scores.n == 400
    assert scores.bias == pytest.approx(0.2, abs=0.02)
    assert scores.scatter == pytest.approx(0.1, abs=0.01)


def test_the_mean_of_the_truths_explains_nothing():
    assert regression_scores(TRUTH, np.full(400, TRUTH.mean())).r2 == pytest.approx(0)
    assert regression_scores(TRUTH, np.full(400, TRUTH.mean() + 5)).r2 < 0


def test_a_constant_truth_has_no_r2_and_no_truth_no_scores():
    assert np.isnan(regression_scores([1, 1], [0, 2]).r2)
    assert np.isnan([regression_scores([], []).bias, interval_coverage([], [], [])]).all()


def test_one_sigma_holds_68_percent_of_gaussian_truths():
    truth = RNG.normal(size=20_000)
    assert interval_coverage(truth, np.full(20_000, -1), np.full(20_000, 1)) == pytest.approx(0.683, abs=0.015)


def test_the_ends_belong_to_an_interval():
    assert interval_coverage([0, 1], [0, 0], [1, 1]) == 1.0


def test_lists_of_two_lengths_are_refused():
    with pytest.raises(ValueError, match="equally long"):
        regression_scores([1, 2], [1])
    with pytest.raises(ValueError, match="equally long"):
        interval_coverage([1, 2], [1, 2], [1])
