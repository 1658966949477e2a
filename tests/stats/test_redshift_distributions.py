"""Shares and medians of redshift distributions are those of their integral, and samples of a distribution agree with its grid."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from surveyflow.stats.redshift_distributions import GriddedRedshifts, SampledRedshifts, range_shares

RANGES = {"F125W_F160W": (1.5, 3.0), "F814W": (0.5, 1.5)}
GRID = np.linspace(0, 6, 601)


def bell(z, centre, width):
    return np.exp(-0.5 * ((z - centre) / width) ** 2)


@pytest.mark.parametrize("centre", [0.2, 0.9, 1.48, 2.2, 3.1])
@pytest.mark.parametrize("width", [0.03, 0.4])
def test_the_share_of_a_range_is_its_integral(centre, width):
    found = range_shares(GriddedRedshifts(GRID, 7 * bell(GRID, centre, width)[None]), RANGES)
    whole = quad(bell, 0, 6, (centre, width), points=[centre], limit=200)[0]
    expected = [quad(bell, *RANGES[name], (centre, width), points=[centre], limit=200)[0] / whole for name in found.instruments]
    assert found.instruments == ("F814W", "F125W_F160W")
    np.testing.assert_allclose(found.shares[0], expected, atol=2e-3)


def test_samples_of_a_distribution_agree_with_its_grid():
    rng = np.random.default_rng(5)
    centres, widths = rng.uniform(0.2, 3.5, (20, 1)), rng.uniform(0.05, 0.5, (20, 1))
    gridded = range_shares(GriddedRedshifts(GRID, bell(GRID, centres, widths)), RANGES)
    samples = rng.normal(centres, widths, (20, 20_000))
    sampled = range_shares(SampledRedshifts(np.where(samples >= 0, samples, np.nan)), RANGES)
    np.testing.assert_allclose(sampled.shares, gridded.shares, atol=0.02)
    clear = gridded.p_range > 0.55
    assert clear.sum() >= 8
    np.testing.assert_array_equal(sampled.chosen[clear], gridded.chosen[clear])
    np.testing.assert_allclose(sampled.redshift[clear], gridded.redshift[clear], atol=0.03)


def test_the_most_probable_range_chooses_and_its_median_is_the_redshift():
    samples = np.array([[0.6, 0.7, 2.0, 2.0], [0.6, 2.0, 2.1, 2.5], [0.1, 3.5, 4.0, 2.0], [0.1, 0.2, 3.5, 2.0]])
    found = range_shares(SampledRedshifts(samples), RANGES)
    np.testing.assert_array_equal(found.chosen, [0, 1, -1, -1])  # the lower of two that are equally probable
    np.testing.assert_allclose(found.redshift, [0.65, 2.1, 3.75, 0.15])
    np.testing.assert_allclose(found.p_range, [0.5, 0.75, np.nan, np.nan])
    np.testing.assert_allclose(found.medians[:, 1], [2.0, 2.1, 2.0, 2.0])


def test_a_source_without_distribution_has_neither_redshift_nor_share():
    for distributions in (
        SampledRedshifts(np.full((1, 3), np.nan)),
        GriddedRedshifts(GRID, np.zeros((1, 601))),
    ):
        found = range_shares(distributions, RANGES)
        assert np.isnan(found.redshift).all()
        assert np.isnan(found.shares).all()
        assert found.chosen.tolist() == [-1]
        assert np.isnan(found.p_range).all()


densities = st.lists(st.floats(0, 1e6), min_size=4, max_size=12)


@given(density=densities, start=st.floats(0, 2), step=st.floats(0.01, 1), low=st.floats(0, 4), width=st.floats(0.01, 4))
def test_shares_add_up_and_medians_halve_what_is_in_the_range(density, start, step, low, width):
    grid = start + step * np.arange(len(density))
    found = GriddedRedshifts(grid, np.array([density]))
    parts = [(-math.inf, low), (low, low + width), (low + width, math.inf)]
    shares = [found.share(part)[0] for part in parts]
    if not sum(density[1:-1]) + (density[0] + density[-1]) / 2 > 0:
        assert np.isnan(shares).all()
        return
    np.testing.assert_allclose(sum(shares), 1)
    assert min(shares) >= 0
    median = found.median(parts[1])[0]
    if shares[1] < 1e-9:
        return
    assert low <= median < low + width
    np.testing.assert_allclose(found.share((low, median))[0], shares[1] / 2, atol=1e-6)


@given(st.lists(st.floats(0, 5) | st.just(math.nan), min_size=1, max_size=12))
def test_every_sample_is_in_exactly_one_part(samples):
    found = SampledRedshifts(np.array([samples]))
    parts = [(-math.inf, 0.5), *sorted(RANGES.values()), (3.0, math.inf)]
    shares = np.array([found.share(part)[0] for part in parts])
    assert np.isnan(shares).all() if np.isnan(samples).all() else abs(shares.sum() - 1) < 1e-12
    for part, share in zip(parts, shares, strict=True):
        inside = [sample for sample in samples if part[0] <= sample < part[1]]
        expected = np.median(inside) if share > 0 else math.nan
        np.testing.assert_allclose(found.median(part)[0], expected)
