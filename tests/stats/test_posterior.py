from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import entropy

from surveyflow.stats.posterior import QUANTILES, summarise

probabilities = st.floats(0, 1, width=32) | st.sampled_from([np.float32(k / 50) for k in range(51)])
draw_arrays = st.tuples(st.integers(1, 3), st.integers(1, 40)).flatmap(
    lambda shape: arrays(np.float32, (*shape, 2), elements=probabilities)
)


def random_draws(n_sources, n_draws, seed=1):
    return np.random.default_rng(seed).beta(2, 3, (n_sources, n_draws, 2)).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(draws=draw_arrays)
def test_moments_and_quantiles_are_numpy_s_in_float64(draws):
    summary = summarise(draws)
    for output, name in enumerate(("p_pm", "p_sf")):
        values = draws[:, :, output].astype(np.float64)
        np.testing.assert_allclose(getattr(summary, f"{name}_mean"), values.mean(axis=1), rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(getattr(summary, f"{name}_std"), values.std(axis=1), rtol=1e-6, atol=1e-9)
        for key, level in QUANTILES.items():
            np.testing.assert_allclose(getattr(summary, f"{name}_{key}"), np.quantile(values, level, axis=1), rtol=1e-6)


@settings(max_examples=60, deadline=None)
@given(draws=draw_arrays)
def test_histogram_is_numpy_s(draws):
    expected = [np.histogram(source[:, 0], bins=50, range=(0, 1))[0] for source in draws]
    np.testing.assert_array_equal(summarise(draws).p_pm_hist, expected)


def test_a_probability_of_exactly_one_lies_in_the_last_bin():
    hist = summarise(np.ones((1, 7, 2), np.float32)).p_pm_hist[0]
    assert hist[-1] == 7
    assert hist.sum() == 7


@settings(max_examples=60, deadline=None)
@given(draws=draw_arrays)
def test_votes_and_their_entropy_are_counted_one_by_one(draws):
    summary = summarise(draws)
    for source, f_pm, vote_entropy in zip(draws, summary.f_pm, summary.vote_entropy, strict=True):
        votes = sum(float(pm) > float(sf) for pm, sf in source) / len(source)
        assert f_pm == pytest.approx(votes, rel=1e-6)
        assert vote_entropy == pytest.approx(entropy([votes, 1 - votes]), rel=1e-5, abs=1e-7)


def test_a_tie_is_no_vote_for_post_merger():
    assert summarise(np.full((1, 4, 2), 0.5, np.float32)).f_pm[0] == 0


def test_entropy_is_largest_for_a_split_vote_and_zero_for_a_unanimous_one():
    split = np.array([[[0.9, 0.1], [0.1, 0.9]], [[0.9, 0.1], [0.8, 0.1]]], np.float32)
    np.testing.assert_allclose(summarise(split).vote_entropy, [np.log(2), 0], rtol=1e-7)


def entropies_one_by_one(source):
    """Predictive and expected entropy of one source's draws in exact fractions, logarithms with 40 digits."""
    with localcontext(prec=40):
        pairs = [(Decimal(float(pm)), Decimal(float(sf))) for pm, sf in source]
        shares = [pm / (pm + sf) if pm + sf else Decimal("0.5") for pm, sf in pairs]
        mean = sum(shares) / len(shares)
        return float(exact_entropy(mean)), float(sum(map(exact_entropy, shares)) / len(shares))


def exact_entropy(share):
    return -sum((part * part.ln() for part in (share, 1 - share) if part), Decimal(0))


@settings(max_examples=40, deadline=None)
@given(draws=draw_arrays)
def test_the_three_entropies_are_those_of_exact_arithmetic(draws):
    summary = summarise(draws)
    for i, source in enumerate(draws):
        predictive, expected = entropies_one_by_one(source)
        assert summary.entropy_predictive[i] == pytest.approx(predictive, rel=1e-6, abs=1e-14)
        assert summary.entropy_expected[i] == pytest.approx(expected, rel=1e-6, abs=1e-14)
        assert summary.mutual_information[i] == pytest.approx(predictive - expected, rel=1e-6, abs=1e-14)
        assert summary.mutual_information[i] >= 0


def test_mutual_information_tells_a_divided_network_from_an_undecided_one():
    divided = [[1, 0], [0, 1], [1, 0], [0, 1]]
    undecided = [[0.5, 0.5], [0.1, 0.1], [1, 1], [0, 0]]  # the last: neither output says anything
    decided = [[0.9, 0], [0.8, 0], [0.01, 0], [1, 0]]
    summary = summarise(np.array([divided, undecided, decided], np.float32))
    np.testing.assert_allclose(summary.entropy_predictive, [np.log(2), np.log(2), 0], rtol=1e-7)
    np.testing.assert_allclose(summary.entropy_expected, [0, np.log(2), 0], rtol=1e-7)
    np.testing.assert_allclose(summary.mutual_information, [np.log(2), 0, 0], rtol=1e-7)


def test_an_entropy_of_nothing_is_zero_without_a_sign():
    agreed = np.tile(np.array([[0.9, 0.0]], np.float32), (2, 6, 1))
    agreed[1] = agreed[1, :, ::-1]
    summary = summarise(agreed).columns()
    for name in ("vote_entropy", "entropy_predictive", "entropy_expected", "mutual_information"):
        assert not summary[name].any()
        assert not np.signbit(summary[name]).any(), name


def test_the_two_outputs_are_not_swapped():
    draws = np.stack([np.full((1, 5), 0.9), np.full((1, 5), 0.2)], axis=-1).astype(np.float32)
    summary = summarise(draws)
    assert summary.p_pm_mean[0] == np.float32(0.9)
    assert summary.p_sf_mean[0] == np.float32(0.2)
    assert summary.f_pm[0] == 1


@settings(max_examples=20, deadline=None)
@given(n_draws=st.integers(1, 400), cut=st.integers(0, 17), seed=st.integers(0, 2**32 - 1))
def test_a_source_s_summary_depends_on_neither_its_batch_nor_the_order_of_draws(n_draws, cut, seed):
    draws = random_draws(17, n_draws, seed)
    whole = summarise(draws).columns()
    shuffled = draws[:, np.random.default_rng(seed).permutation(n_draws)]
    for part, rows in ((draws[:cut], slice(None, cut)), (shuffled[cut:], slice(cut, None))):
        for name, values in summarise(part).columns().items():
            np.testing.assert_array_equal(values, whole[name][rows], err_msg=name)


def test_sums_do_not_lose_small_numbers_over_many_draws():
    draws = np.full((1, 60_000, 2), 0.1, np.float32)
    assert summarise(draws).p_pm_mean[0] == np.float32(0.1)
    assert summarise(draws).p_pm_std[0] < 1e-9


def test_no_sources_give_empty_columns():
    summary = summarise(np.empty((0, 10, 2), np.float32))
    assert {len(values) for values in summary.columns().values()} == {0}
    assert summary.p_pm_hist.shape == (0, 50)


@pytest.mark.parametrize("bad", [np.nan, -0.01, 1.01, np.inf])
@pytest.mark.parametrize("output", [0, 1])
def test_a_draw_that_is_no_probability_is_refused_and_named(bad, output):
    draws = random_draws(3, 8)
    draws[1, 5, output] = bad
    with pytest.raises(ValueError, match=f"output {output} of source 1"):
        summarise(draws)


@pytest.mark.parametrize("shape", [(2, 5), (2, 5, 3), (2, 0, 2), (1, 65_536, 2)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="shape"):
        summarise(np.zeros(shape, np.float32))
