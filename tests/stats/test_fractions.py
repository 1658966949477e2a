"""Fractions of a class: counted, drawn, corrected, and whether their intervals hold the truth as often as they say."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surveyflow.stats.fractions import (
    ConfusionMatrix,
    called_post_merger,
    corrected_drawn_std,
    corrected_fraction,
    count,
    drawn_fraction,
    find_bins,
    jackknife_error,
    proportion,
    purity,
)
from surveyflow.values.codes import ClassRule

EGS = ConfusionMatrix(np.array([[1804, 432], [467, 1981]]))
UDS = ConfusionMatrix(np.array([[1779, 457], [447, 2001]]))

fractions = st.floats(0, 1)


def matrix_of(completeness, false_positive_rate, n_each=1_000_000):
    found, mistaken = round(completeness * n_each), round(false_positive_rate * n_each)
    return ConfusionMatrix(np.array([[found, n_each - found], [mistaken, n_each - mistaken]]))


def column(*values):
    return np.array(values, float).reshape(-1, 1)


def test_rates_of_a_published_matrix_have_the_truth_in_rows():
    assert EGS.completeness == pytest.approx(1804 / 2236)
    assert EGS.false_positive_rate == pytest.approx(467 / 2448)
    assert EGS.test_purity == pytest.approx(1804 / 2271)


@pytest.mark.parametrize(
    "counts",
    [
        np.array([[432, 1804], [1981, 467]]),
        np.array([[1, 1], [1, 1]]),
        np.array([[0, 0], [1, 5]]),
        np.array([[5, 1], [0, 0]]),
        np.array([[5, -1], [1, 5]]),
        np.array([[0.8, 0.2], [0.2, 0.8]]),
        np.array([5, 1, 1, 5]),
        np.array([[5, 1, 0], [1, 5, 0], [0, 0, 5]]),
    ],
)
def test_a_matrix_that_cannot_correct_is_refused(counts):
    with pytest.raises(ValueError, match=r"cannot correct a fraction|must have been tested|2 x 2"):
        ConfusionMatrix(counts)


def test_the_two_rules_can_disagree_and_a_tie_is_no_post_merger():
    p_pm, p_sf, f_pm = [0.6, 0.4, 0.5], [0.4, 0.6, 0.5], [0.4, 0.6, 0.5]
    assert called_post_merger(p_pm, p_sf, f_pm, ClassRule.MEAN_OUTPUT).tolist() == [True, False, False]
    assert called_post_merger(p_pm, p_sf, f_pm, ClassRule.MAJORITY_VOTE).tolist() == [False, True, False]


def test_outputs_below_one_half_still_have_a_class():
    assert called_post_merger([0.3], [0.2], [0.5], ClassRule.MEAN_OUTPUT).tolist() == [True]


@given(
    st.lists(st.floats(allow_nan=True) | st.integers(-3, 3).map(float), max_size=30),
    st.lists(st.integers(-3, 3), min_size=2, max_size=6, unique=True).map(sorted),
)
def test_a_value_lies_in_the_half_open_bin_that_holds_it(values, edges):
    expected = [next((i for i in range(len(edges) - 1) if edges[i] <= value < edges[i + 1]), -1) for value in values]
    assert find_bins(values, edges).tolist() == expected


@pytest.mark.parametrize("edges", [[], [1.0], [1.0, 1.0], [2.0, 1.0], [0.0, np.nan], [0.0, np.inf], [[0.0, 1.0]]])
def test_edges_that_make_no_bins_are_refused(edges):
    with pytest.raises(ValueError, match="edges must be"):
        find_bins([0.5], edges)


def test_counts_are_added_up_by_bin_and_group():
    bins, groups, weights = np.array([0, 1, 1, -1, 0]), np.array([0, 1, 1, 0, 1]), [1.0, 2.0, 4.0, 8.0, 16.0]
    np.testing.assert_array_equal(count(bins, groups, 2, 2), [[1, 1], [0, 2]])
    np.testing.assert_array_equal(count(bins, groups, 2, 2, weights), [[1, 16], [0, 6]])


def test_wilson_s_interval_is_the_textbook_s():
    z, n, k = 1.959963984540054, 10, 1
    centre, half = (k + z**2 / 2) / (n + z**2), z / (n + z**2) * sqrt(k * (n - k) / n + z**2 / 4)
    estimate = proportion([k], [n], 0.95)
    np.testing.assert_allclose([estimate.value[0], estimate.low[0], estimate.high[0]], [0.1, centre - half, centre + half])


@given(st.integers(0, 50), st.integers(0, 50), st.floats(0.01, 0.999))
def test_an_interval_holds_its_estimate_and_stays_in_zero_to_one(n_called, n_others, confidence):
    estimate = proportion([n_called], [n_called + n_others], confidence)
    if n_called + n_others == 0:
        assert np.isnan([estimate.value, estimate.low, estimate.high]).all()
    else:
        assert 0 <= estimate.low[0] <= estimate.value[0] <= estimate.high[0] <= 1


@pytest.mark.parametrize("confidence", [0, 1, 68.27, np.nan])
def test_an_impossible_confidence_is_refused(confidence):
    with pytest.raises(ValueError, match="confidence must lie between 0 and 1"):
        proportion([1], [2], confidence)


def test_drawn_fraction_is_that_of_classes_drawn_one_by_one():
    rng = np.random.default_rng(1)
    f_pm = rng.beta(0.3, 0.6, 60)
    realisations = (rng.random((40_000, 60)) < f_pm).mean(axis=1)
    mean, std = drawn_fraction(f_pm.sum(), (f_pm**2).sum(), 60)
    assert mean == pytest.approx(realisations.mean(), abs=5 * std / sqrt(40_000))
    assert std == pytest.approx(realisations.std(), rel=0.02)


@given(st.lists(fractions, min_size=1, max_size=40))
def test_drawn_spread_never_exceeds_binomial_noise(f_pm):
    mean, std = drawn_fraction(sum(f_pm), sum(f**2 for f in f_pm), len(f_pm))
    assert std <= sqrt(max(mean * (1 - mean), 0) / len(f_pm)) + 1e-7


@given(fractions, st.floats(0.55, 1), st.floats(0, 0.45))
def test_correction_undoes_what_the_classifier_did(fraction, completeness, false_positive_rate):
    matrix = matrix_of(completeness, false_positive_rate)
    n_galaxies = column(1e6)
    n_called = n_galaxies * (fraction * matrix.completeness + (1 - fraction) * matrix.false_positive_rate)
    estimate = corrected_fraction(n_called, n_galaxies, [matrix], 0.6827)
    assert estimate.value[0] == pytest.approx(fraction, abs=1e-9)
    assert estimate.low[0] <= estimate.value[0] <= estimate.high[0]


def test_groups_are_corrected_apart_and_weighted_by_their_galaxies():
    n_galaxies, n_called = np.array([[300.0, 100.0]]), np.array([[90.0, 60.0]])
    both = corrected_fraction(n_called, n_galaxies, [EGS, UDS], 0.9)
    alone = [corrected_fraction(n_called[:, [i]], n_galaxies[:, [i]], [m], 0.9) for i, m in enumerate((EGS, UDS))]
    assert both.value[0] == pytest.approx(0.75 * alone[0].value[0] + 0.25 * alone[1].value[0])
    half_widths = [0.75 * (alone[0].value - alone[0].low)[0], 0.25 * (alone[1].value - alone[1].low)[0]]
    assert both.value[0] - both.low[0] == pytest.approx(np.hypot(*half_widths))


def test_a_matrix_whose_field_has_no_galaxies_changes_nothing():
    alone = corrected_fraction(column(30, 0), column(100, 0), [EGS], 0.9)
    beside = corrected_fraction(np.array([[30.0, 0], [0, 0]]), np.array([[100.0, 0], [0, 0]]), [EGS, UDS], 0.9)
    for name in ("value", "low", "high"):
        np.testing.assert_array_equal(getattr(alone, name), getattr(beside, name))
        assert np.isnan(getattr(alone, name)[1])


def test_fewer_calls_than_false_positives_give_a_negative_fraction_not_a_silent_zero():
    estimate = corrected_fraction(column(100), column(1000), [EGS], 0.6827)
    assert estimate.high[0] < 0


def test_a_small_test_widens_the_interval():
    n_called, n_galaxies = column(3000), column(10_000)
    small, large = (corrected_fraction(n_called, n_galaxies, [matrix_of(0.8, 0.2, n)], 0.9) for n in (50, 5000))
    assert (small.high - small.low)[0] > 3 * (large.high - large.low)[0]


def test_drawn_spread_is_stretched_like_the_fraction():
    sums = column(30.0), column(12.0), column(100)
    _, std = drawn_fraction(*sums)
    stretched = corrected_drawn_std(*sums, [EGS])
    assert stretched == pytest.approx(std[0] / (EGS.completeness - EGS.false_positive_rate))


@given(st.floats(0.001, 1))
def test_purity_is_the_share_of_true_ones_among_those_called(fraction):
    true, false = fraction * EGS.completeness, (1 - fraction) * EGS.false_positive_rate
    assert purity(np.array([fraction]), column(7), [EGS])[0] == pytest.approx(true / (true + false))


def test_purity_without_galaxies_or_calls_is_unknown():
    perfect = ConfusionMatrix(np.array([[5, 0], [0, 5]]))
    assert np.isnan(purity(np.array([np.nan, 0.0]), column(0, 5), [perfect])).all()


def test_leaving_out_each_part_gives_the_error_of_a_mean_and_parts_without_galaxies_do_not_count():
    values = np.random.default_rng(4).normal(size=7)
    left_out = (values.sum() - values) / 6
    np.testing.assert_allclose(jackknife_error(left_out[:, None]), values.std(ddof=1) / sqrt(7))
    np.testing.assert_allclose(jackknife_error(np.append(left_out, np.nan)[:, None]), values.std(ddof=1) / sqrt(7))
    assert np.isnan(jackknife_error(np.array([[0.1, np.nan], [np.nan, np.nan]]))).all()


def share_of_intervals_that_hold(true_fraction, n_galaxies, rates, n_tested, confidence, n_trials=1500):
    """Simulate truths, classify them at known rates, correct with matrices from finite tests of the same classifiers."""
    rng = np.random.default_rng([len(n_galaxies), n_tested, int(1000 * true_fraction)])
    held = np.zeros(n_trials, bool)
    for trial in range(n_trials):
        n_called, matrices = [], []
        for n, (completeness, false_positive_rate) in zip(n_galaxies, rates, strict=True):
            n_true = rng.binomial(n, true_fraction)
            n_called.append(rng.binomial(n_true, completeness) + rng.binomial(n - n_true, false_positive_rate))
            hits = rng.binomial(n_tested, (completeness, false_positive_rate))
            matrices.append(ConfusionMatrix(np.stack([hits, n_tested - hits], axis=1)))
        estimate = corrected_fraction(np.array([n_called], float), np.array([n_galaxies], float), matrices, confidence)
        held[trial] = estimate.low[0] <= true_fraction <= estimate.high[0]
    return held.mean()


@pytest.mark.parametrize(("confidence", "tolerance"), [(0.6827, 0.035), (0.95, 0.018)])
@pytest.mark.parametrize("true_fraction", [0.02, 0.1, 0.5])
@pytest.mark.parametrize(("n_galaxies", "n_tested"), [((50,), 2300), ((2000,), 60), ((300, 100, 40), 400)])
def test_corrected_interval_holds_the_truth_as_often_as_it_says(confidence, tolerance, true_fraction, n_galaxies, n_tested):
    rates = [(0.8, 0.2), (0.7, 0.1), (0.9, 0.25)][: len(n_galaxies)]
    share = share_of_intervals_that_hold(true_fraction, n_galaxies, rates, n_tested, confidence)
    assert share == pytest.approx(confidence, abs=tolerance)


def test_corrected_interval_is_too_short_for_groups_of_a_few_galaxies_as_its_docstring_says():
    share = share_of_intervals_that_hold(0.1, [4] * 5, [(0.8, 0.2)] * 5, 2300, 0.6827)
    assert 0.5 < share < 0.64
