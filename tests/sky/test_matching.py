"""Positions of two lists are matched one to one, and what is ambiguous is counted."""

from __future__ import annotations

import numpy as np
import pytest

from surveyflow.sky.matching import match_sky

ARCSEC = 1 / 3600


def positions(n=200, seed=0, ra=214.8, dec=52.8, width_deg=0.1):
    rng = np.random.default_rng(seed)
    return ra + rng.uniform(-width_deg, width_deg, n), dec + rng.uniform(-width_deg, width_deg, n)


def test_a_shifted_and_shuffled_copy_is_matched_row_by_row():
    ra, dec = positions()
    order = np.random.default_rng(1).permutation(200)
    other_ra, other_dec = (ra + 0.1 * ARCSEC / np.cos(np.radians(dec)))[order][20:], (dec - 0.2 * ARCSEC)[order][20:]
    found = match_sky(ra, dec, other_ra, other_dec, 0.5)
    assert len(found.first) == 180
    assert (order[20:][found.second] == found.first).all()
    np.testing.assert_allclose(found.separation_arcsec, np.hypot(0.1, 0.2), atol=1e-3)
    assert found.offset_arcsec == pytest.approx((0.1, -0.2), abs=1e-3)
    assert not found.ambiguous.any()


def test_two_that_claim_one_source_leave_it_to_the_nearer_and_are_counted():
    ra, dec = np.array([10.0, 10.0 + 0.3 * ARCSEC]), np.zeros(2)
    found = match_sky(ra, dec, np.array([10.0 + 0.1 * ARCSEC]), np.zeros(1), 0.5)
    assert (found.first.tolist(), found.second.tolist(), found.ambiguous.tolist(), found.n_shared) == ([0], [0], [True], 1)


def test_one_with_two_sources_within_the_limit_takes_the_nearer_and_is_ambiguous():
    found = match_sky(np.array([10.0]), np.zeros(1), np.array([10.0, 10.0]), np.array([0.4, -0.1]) * ARCSEC, 0.5)
    assert (found.second.tolist(), found.ambiguous.tolist(), found.n_shared) == ([1], [True], 0)


def test_the_limit_is_kept_and_positions_around_0_hours_match():
    found = match_sky(np.array([359.99999]), np.zeros(1), np.array([0.00001]), np.zeros(1), 0.1)
    assert found.first.tolist() == [0]
    assert not len(match_sky(np.array([359.99999]), np.zeros(1), np.array([0.00001]), np.zeros(1), 0.05).first)


@pytest.mark.parametrize(("n", "m"), [(0, 3), (3, 0), (0, 0)])
def test_empty_lists_have_no_pairs(n, m):
    found = match_sky(*positions(n), *positions(m), 0.5)
    assert len(found.first) == len(found.second) == 0
    assert np.isnan(found.offset_arcsec).all()
