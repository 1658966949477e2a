"""Shares and distances that exceed a limit by more than chance; the oracles are scipy's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, ks_2samp, kstwobign

from surveyflow.stats.limits import DISTANCE_BINS, counted_probabilities, ks_distance, ks_error, share_exceeds


@given(st.integers(1, 500), st.data(), st.floats(0.001, 0.999), st.floats(1e-9, 0.5))
def test_a_share_counts_if_the_binomial_tail_is_below_the_significance(total, data, limit, significance):
    count = data.draw(st.integers(0, total))
    tail = binom.sf(count - 1, total, limit)
    if abs(tail - significance) > 1e-9 * significance:
        assert share_exceeds(count, total, limit, significance) == (count > limit * total and tail < significance)


@pytest.mark.parametrize(("count", "total"), [(0, 0), (0, 1), (1, 1), (3, 3), (500, 500)])
def test_a_limit_of_0_allows_nothing_and_a_limit_of_1_everything(count, total):
    assert share_exceeds(count, total, 0.0, 0.001) == (count > 0)
    assert not share_exceeds(count, total, 1.0, 0.001)


@pytest.mark.filterwarnings("ignore:divide by zero")  # of scipy, in the probability of samples of one
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_the_distance_of_distributions_is_that_of_scipy(n_first, n_second, seed):
    rng = np.random.default_rng(seed)
    first, second = (np.round(rng.random(n), 1).astype(np.float32) for n in (n_first, n_second))
    # scipy's statistic has the precision of its samples.
    expected = ks_2samp(first.astype(np.float64), second.astype(np.float64), method="asymp").statistic
    assert binned_distance(first, second) == pytest.approx(expected, abs=1e-12)


def binned_distance(*samples):
    return ks_distance(*map(counted_probabilities, samples))


@given(st.integers(5, 3_000), st.floats(0.01, 100), st.integers(0, 2**32 - 1))
def test_bins_change_a_distance_by_the_largest_share_in_one_at_most(n_values, slope, seed):
    rng = np.random.default_rng(seed)
    first, second = (rng.beta(slope, 1, n_values).astype(np.float32) for _ in range(2))
    exact = ks_2samp(first.astype(np.float64), second.astype(np.float64), method="asymp").statistic
    largest = max(counted_probabilities(sample).max() / n_values for sample in (first, second))
    assert exact - largest - 1e-12 <= binned_distance(first, second) <= exact + 1e-12


def test_every_probability_is_counted_and_both_ends_are_apart():
    counts = counted_probabilities(np.array([0, 0, 1, 1 - 2**-24, 0.5], np.float32))
    assert counts.shape == (DISTANCE_BINS + 1,)
    assert (counts[0], counts[-1], counts[-2], counts[DISTANCE_BINS // 2]) == (2, 1, 1, 1)
    assert counts.sum() == 5


@pytest.mark.parametrize("significance", [0.05, 0.001, 1e-6])
def test_the_error_of_a_distance_is_the_quantile_of_its_limiting_distribution(significance):
    assert ks_error(300, 700, significance) == pytest.approx(kstwobign.isf(significance) * np.sqrt(1000 / 210_000), rel=1e-3)
