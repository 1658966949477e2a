"""Calibrated probabilities, and probabilities at another share of post-mergers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from surveyflow.errors import InputError
from surveyflow.stats.calibration import calibration_error
from surveyflow.tasks.calibration import STEEPEST, at_prevalence, calibrated, fitted_calibration

shares = st.floats(0.001, 0.999)
probabilities = st.floats(0, 1)


def seen(n_post_mergers, n_others, seed):
    """Outputs of a network that is too sure of itself, and the truth."""
    rng = np.random.default_rng(seed)
    truth = np.repeat([True, False], [n_post_mergers, n_others])
    evidence = rng.normal(np.where(truth, 1.0, -1.0), 1.3)
    return 1 / (1 + np.exp(-(2.5 * evidence + 0.4))), truth


@given(probabilities, shares, shares)
def test_the_odds_change_as_those_of_the_shares_do(p, prior, training_share):
    found = at_prevalence(p, prior, training_share)
    odds = prior / (1 - prior) * (1 - training_share) / training_share
    assert found == pytest.approx(p * odds / (p * odds + 1 - p))


@given(probabilities, shares, shares)
def test_going_to_another_share_and_back_changes_nothing(p, prior, training_share):
    assert at_prevalence(at_prevalence(p, prior, training_share), training_share, prior) == pytest.approx(p, abs=1e-9)


def test_arrays_keep_their_shape_and_gaps():
    found = at_prevalence([[0.0, 0.5, 1.0], [np.nan, 0.2, 0.8]], [0.1, 0.2, 0.5], training_share=0.5)
    np.testing.assert_allclose(found, [[0, 0.2, 1], [np.nan, 0.2 * 0.2 / (0.2 * 0.2 + 0.8 * 0.8), 0.8]])
    assert found.dtype == np.float64


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ((1.2, 0.1, 0.5), "p must hold probabilities in"),
        ((-0.1, 0.1, 0.5), "p must hold probabilities in"),
        ((0.5, 0.0, 0.5), "prior must be a share between 0 and 1"),
        ((0.5, 10, 0.5), "prior must be a share"),
        ((0.5, np.nan, 0.5), "prior must be a share"),
        ((0.5, 0.1, 1.0), "training_share must be a share"),
        (([0.5, 0.5], [0.1, 0.2, 0.3], 0.5), "do not fit"),
        (("half", 0.1, 0.5), "p must hold numbers, not 'half'"),
    ],
)
def test_what_cannot_be_a_probability_or_a_share_is_refused(asked, words):
    with pytest.raises(InputError, match=words):
        at_prevalence(*asked)


@pytest.mark.parametrize("prevalence", [0.05, 0.1, 0.3])
def test_calibrated_probabilities_hold_on_fresh_sets_of_another_prevalence(prevalence):
    n = 20_000
    map_ = fitted_calibration(*seen(2000, 2000, seed=1))
    raw, truth = seen(round(n * prevalence), round(n * (1 - prevalence)), seed=2)
    assert calibration_error(at_prevalence(calibrated(raw, *map_), prevalence, 0.5), truth) < 0.02
    assert calibration_error(raw, truth) > 0.05


def test_the_map_is_that_of_logistic_regression_in_both_logarithms():
    output, truth = seen(700, 900, seed=3)
    found = calibrated(output, *fitted_calibration(output, truth))
    inside = np.clip(output, 1e-6, 1 - 1e-6)
    columns = np.stack([np.log(inside), -np.log1p(-inside)], axis=1)
    expected = LogisticRegression(C=np.inf, max_iter=10_000, tol=1e-10).fit(columns, truth).predict_proba(columns)[:, 1]
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert found.mean() == pytest.approx(700 / 1600, abs=1e-3)


@given(st.integers(0, 50))
def test_the_map_never_decreases(seed):
    rng = np.random.default_rng(seed)
    output, truth = rng.random(60), np.arange(60) % 2 == 0
    assert (np.diff(calibrated(np.linspace(0, 1, 101), *fitted_calibration(output, truth))) >= 0).all()


def test_classes_that_are_told_apart_completely_give_a_finite_map():
    a, b, c = fitted_calibration([0.1, 0.2, 0.8, 0.9], [False, False, True, True])
    assert max(a, b) <= STEEPEST
    found = calibrated([0.0, 0.1, 0.9, 1.0, np.nan], a, b, c)
    assert np.isfinite(found[:4]).all()
    assert np.isnan(found[4])
