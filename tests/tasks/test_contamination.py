"""From the outputs of a contamination network to percent and flux, held against plain Python."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from networks import card, reference_philox
from surveyflow.models.cards import jury_card
from surveyflow.stats.philox import predictive_noise
from surveyflow.tasks.card import Architecture, ContaminationScale, Member, ModelKey
from surveyflow.tasks.contamination.parts import OUTPUTS, can_be_measured, physical_draws, summarise_contamination
from surveyflow.tasks.contamination.task import CONTAMINATION
from surveyflow.tasks.task import Draws

SCALE = ContaminationScale("sky_sigma", 8.0, interval_scale_coverage=1.3, interval_scale_flux_pp=0.8)
KEYS = np.array([0, 1, 2**64 - 1, 0x0123456789ABCDEF], np.uint64)
RMS = np.array([1e-3, 2e-3, 5e-4, 1.0], np.float32)


def random_outputs(n_sources=4, n_draws=30, seed=0):
    return np.random.default_rng(seed).random((n_sources, n_draws, 6)).astype(np.float32)


def expected_draw(outputs, rms, scale, normal, uniform):
    """One draw by the definition, number by number."""
    contaminated, coverage, coverage_scatter, neighbours, flux, flux_scatter = map(float, outputs)
    t_c = coverage + coverage_scatter * scale.scatter_limit * scale.interval_scale_coverage * normal[0]
    t_f = flux + flux_scatter * scale.scatter_limit * scale.interval_scale_flux_pp * normal[1]
    covered = math.expm1(min(max(t_c, 0), 1) * math.log(101)) if uniform < contaminated else 0
    bright = float(rms) * math.sinh(scale.flux_range * min(max(t_f, 0), 1)) if uniform < neighbours else 0
    return covered, bright


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    scale=st.builds(
        ContaminationScale,
        st.sampled_from(["sky_sigma", "self_sigma"]),
        st.floats(0.5, 20),
        st.floats(0.01, 1),
        st.floats(0.1, 5),
        st.floats(0.1, 5),
    ),
)
def test_physical_draws_follow_their_definition(seed, scale):
    outputs = random_outputs(seed=seed)
    normal, uniform = predictive_noise(KEYS, 30, seed, 99, 2)
    draws = physical_draws(outputs, RMS, scale, normal, uniform)
    for source, draw in np.ndindex(4, 30):
        expected = expected_draw(outputs[source, draw], RMS[source], scale, normal[source, draw], uniform[source, draw])
        found = draws["coverage_pct"][source, draw], draws["flux_pp"][source, draw]
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_a_certain_answer_comes_back_whatever_the_random_numbers():
    coverage_pct, flux_pp = 37.0, 0.02
    location = math.log1p(coverage_pct) / math.log(101), math.asinh(flux_pp / 1e-3) / 8
    outputs = np.tile(np.array([1, location[0], 0, 1, location[1], 0], np.float32), (1, 50, 1))
    draws = physical_draws(outputs, RMS[:1], SCALE, *predictive_noise(KEYS[:1], 50, 1, 2, 2))
    np.testing.assert_allclose(draws["coverage_pct"], coverage_pct, rtol=1e-5)
    np.testing.assert_allclose(draws["flux_pp"], flux_pp, rtol=1e-5)


def test_nothing_is_there_with_the_probability_that_nothing_is():
    outputs = np.tile(np.array([0.3, 0.5, 0.1, 0.6, 0.5, 0.1], np.float32), (1, 20_000, 1))
    draws = physical_draws(outputs, RMS[:1], SCALE, *predictive_noise(KEYS[3:], 20_000, 5, 6, 2))
    assert np.mean(draws["coverage_pct"] > 0) == pytest.approx(0.3, abs=0.015)
    assert np.mean(draws["flux_pp"] > 0) == pytest.approx(0.6, abs=0.015)
    assert (draws["flux_pp"][draws["coverage_pct"] > 0] > 0).all()
    sure = outputs.copy()
    sure[..., [0, 3]] = 1, 0
    draws = physical_draws(sure, RMS[:1], SCALE, *predictive_noise(KEYS[3:], 20_000, 5, 6, 2))
    assert (draws["coverage_pct"] > 0).all()
    assert (draws["flux_pp"] == 0).all()


def test_three_times_the_gain_gives_three_times_the_flux_and_the_same_coverage():
    outputs, noise = random_outputs(), predictive_noise(KEYS, 30, 1, 2, 2)
    once, thrice = (physical_draws(outputs, np.float32(gain) * RMS, SCALE, *noise) for gain in (1, 3))
    np.testing.assert_allclose(thrice["flux_pp"], 3 * once["flux_pp"], rtol=1e-6)
    np.testing.assert_array_equal(thrice["coverage_pct"], once["coverage_pct"])


def test_intervals_of_a_well_calibrated_network_hold_the_truths_that_they_claim():
    rng = np.random.default_rng(3)
    location, scatter = rng.uniform(0.4, 0.6, 800), 0.1
    truths = location + scatter / 2 * rng.standard_normal(800)
    outputs = np.empty((800, 400, 6), np.float32)
    outputs[:] = np.stack([np.ones(800), location, np.full(800, scatter), np.ones(800), location, np.full(800, scatter)], 1)[
        :, None
    ]
    scale = ContaminationScale("sky_sigma", 8.0)
    noise = predictive_noise(np.arange(800, dtype=np.uint64), 400, 1, 2, 2)
    found = summarise_contamination(outputs, physical_draws(outputs, np.ones(800, np.float32), scale, *noise))
    coverage_pct, flux_pp = np.expm1(truths * np.log(101)), np.sinh(8 * truths)
    claimed = 0.68
    for name, truth in (("coverage_pct", coverage_pct), ("flux_pp", flux_pp)):
        held = (found[f"{name}_q16"] <= truth) & (truth <= found[f"{name}_q84"])
        assert held.mean() == pytest.approx(claimed, abs=0.05)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), n_draws=st.integers(1, 60))
def test_summaries_are_numpy_s(seed, n_draws):
    outputs = random_outputs(n_draws=n_draws, seed=seed)
    draws = physical_draws(outputs, RMS, SCALE, *predictive_noise(KEYS, n_draws, seed, 99, 2))
    found = summarise_contamination(outputs, draws)
    p_contaminated = outputs[..., 0].astype(np.float64)
    np.testing.assert_allclose(found["p_contaminated_mean"], p_contaminated.mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(found["p_contaminated_std"], p_contaminated.std(axis=1), rtol=1e-5, atol=1e-8)
    for name in ("coverage_pct", "flux_pp"):
        values = draws[name]
        np.testing.assert_allclose(found[f"{name}_mean"], values.mean(axis=1), rtol=1e-6)
        np.testing.assert_allclose(found[f"{name}_std"], values.std(axis=1), rtol=1e-5, atol=1e-8)
        for key, level in (("q16", 0.16), ("q50", 0.5), ("q84", 0.84)):
            np.testing.assert_allclose(found[f"{name}_{key}"], np.quantile(values, level, axis=1), rtol=1e-6, atol=1e-12)


def test_a_summary_does_not_depend_on_the_batch():
    outputs, noise = random_outputs(), predictive_noise(KEYS, 30, 1, 2, 2)
    whole = summarise_contamination(outputs, physical_draws(outputs, RMS, SCALE, *noise))
    parts = []
    for rows in (slice(0, 1), slice(1, 4), slice(4, 4)):
        own = predictive_noise(KEYS[rows], 30, 1, 2, 2)
        parts.append(summarise_contamination(outputs[rows], physical_draws(outputs[rows], RMS[rows], SCALE, *own)))
    for name, values in whole.items():
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), values, err_msg=name)


@given(source=st.integers(0, 2**64 - 1), seed=st.integers(0, 2**32 - 1), model_word=st.integers(0, 2**32 - 1))
def test_random_numbers_are_those_of_the_documented_counter(source, seed, model_word):
    normal, uniform = predictive_noise(np.array([source], np.uint64), 3, seed, model_word, 2)
    words = reference_philox((source % 2**32, source >> 32, 2, 2**32 - 1), (seed, model_word))
    radius, angle = math.sqrt(-2 * math.log((words[0] + 1) / 2**32)), 2 * math.pi * words[1] / 2**32
    assert normal[0, 2] == pytest.approx((radius * math.cos(angle), radius * math.sin(angle)), rel=1e-12, abs=1e-12)
    assert uniform[0, 2] == words[2] / 2**32


def test_random_numbers_have_their_distributions_and_no_correlation():
    normal, uniform = predictive_noise(np.arange(200, dtype=np.uint64), 100, 7, 8, 2)
    assert kstest(normal[..., 0].ravel(), "norm").pvalue > 0.01
    assert kstest(normal[..., 1].ravel(), "norm").pvalue > 0.01
    assert kstest(uniform.ravel(), "uniform").pvalue > 0.01
    together = np.stack([normal[..., 0].ravel(), normal[..., 1].ravel(), uniform.ravel()])
    assert np.abs(np.corrcoef(together) - np.eye(3)).max() < 0.03
    between_sources = np.corrcoef(normal[..., 0])
    assert np.abs(between_sources - np.eye(200)).mean() < 0.1


def test_without_measurable_noise_there_is_no_flux():
    rms = np.array([1e-3, 0, np.nan, -1], np.float32)
    assert can_be_measured(rms).tolist() == [True, False, False, False]
    outputs = np.ones((4, 30, 6), np.float32)
    draws = physical_draws(outputs, rms, SCALE, *predictive_noise(KEYS, 30, 1, 2, 2))
    assert np.isnan(draws["flux_pp"]).all(axis=1).tolist() == [False, False, True, False]
    assert np.isfinite(draws["coverage_pct"]).all()


@pytest.mark.parametrize("bad", [np.nan, -0.01, 1.01])
def test_an_output_outside_its_range_is_refused_and_named(bad):
    outputs = random_outputs()
    outputs[2, 3, 4] = bad
    with pytest.raises(ValueError, match="flux_pp of source 2"):
        physical_draws(outputs, RMS, SCALE, *predictive_noise(KEYS, 30, 1, 2, 2))


def test_shapes_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match="must have shapes"):
        physical_draws(random_outputs(), RMS[:3], SCALE, *predictive_noise(KEYS, 30, 1, 2, 2))


@pytest.mark.parametrize(
    "wrong",
    [
        {"truth": "two_sigma"},
        {"flux_range": 0.0},
        {"flux_range": 51.0},
        {"scatter_limit": 1.5},
        {"interval_scale_coverage": 0.0},
        {"interval_scale_flux_pp": float("inf")},
    ],
)
def test_an_impossible_scale_cannot_be_made(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(SCALE, **wrong)


def test_the_draws_of_a_jury_are_taken_together_each_by_its_own_member_s_scale():
    cards = [
        card(
            Architecture(n_outputs=len(OUTPUTS)),
            key=ModelKey("contamination", "EGS", "F814W"),
            class_names=OUTPUTS,
            contamination=own,
        )
        for own in (SCALE, replace(SCALE, flux_range=4.0, interval_scale_coverage=2.0))
    ]
    cards = [replace(one, weights_digest=digit * 64) for one, digit in zip(cards, "3a", strict=True)]
    jury = jury_card([Member(name, one) for name, one in zip("ab", cards, strict=True)], "jury")
    outputs = np.random.default_rng(8).random((5, 9, len(OUTPUTS)), np.float32)
    keys, rms = np.arange(5, dtype=np.uint64), np.full(5, 2e-3, np.float32)
    found = CONTAMINATION.summarise(Draws(outputs, keys, 7, jury, rms))
    drawn = []
    for number, one in enumerate(cards):
        noise = predictive_noise(keys, (5, 4)[number], 7, one.model_word, 2)
        drawn.append(physical_draws(outputs[:, number::2], rms, one.contamination, *noise)["flux_pp"])
    together = np.concatenate(drawn, axis=1)
    np.testing.assert_allclose(found["flux_pp_mean"], together.mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(found["flux_pp_q84"], np.quantile(together, 0.84, axis=1), rtol=1e-6)
    np.testing.assert_allclose(found["p_contaminated_mean"], outputs[..., 0].mean(axis=1, dtype=np.float64), rtol=1e-6)
