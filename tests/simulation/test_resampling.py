"""Images on other pixels: sums are kept, and places."""

from __future__ import annotations

import galsim
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surveyflow.simulation.resampling import half_light_radius, resampled

LENGTHS = st.integers(1, 40)


@given(LENGTHS, LENGTHS, st.floats(0.05, 1.0), st.floats(-0.5, 0.5), st.floats(-0.5, 0.5))
def test_flux_is_conserved_where_the_new_image_holds_the_old(rows, columns, step, dy, dx):
    image = np.random.default_rng(1).random((rows, columns)).astype(np.float32)
    new = resampled(image, step, 1.0, 48, (24 + dy, 24 + dx))
    assert new.sum(dtype=np.float64) == pytest.approx(image.sum(dtype=np.float64), rel=1e-5)
    assert new.min() >= 0


@given(st.integers(1, 5))
def test_whole_ratios_bin_pixels(ratio):
    image = np.random.default_rng(2).random((6 * ratio, 4 * ratio)).astype(np.float32)
    binned = image.reshape(6, ratio, 4, ratio).sum(axis=(1, 3))
    new = resampled(image, 1.0, ratio, 8, (3.5, 3.5))
    np.testing.assert_allclose(new[1:7, 2:6], binned, rtol=1e-5)


def test_the_same_pixels_stay_as_they_are():
    image = np.random.default_rng(3).random((15, 15)).astype(np.float32)
    np.testing.assert_allclose(resampled(image, 0.03, 0.03, 15, (7, 7)), image, rtol=1e-6)


def test_the_middle_of_the_old_image_lies_where_it_was_asked_for():
    rows, columns = np.indices((81, 81)) - 40.0
    image = np.exp(-0.5 * (rows**2 + columns**2) / 6**2).astype(np.float32)
    new = resampled(image, 0.01, 0.03, 64, (31.25, 32.5))
    share = new / new.sum()
    assert share.sum(axis=1) @ np.arange(64) == pytest.approx(31.25, abs=0.01)
    assert share.sum(axis=0) @ np.arange(64) == pytest.approx(32.5, abs=0.01)


def test_a_profile_looks_as_galsim_draws_it():
    profile = galsim.Exponential(half_light_radius=0.4, flux=100.0).shear(g1=0.2, g2=0.1)
    fine = profile.drawImage(nx=600, ny=600, scale=0.01, method="no_pixel").array
    coarse = profile.drawImage(nx=64, ny=64, scale=0.06).array
    new = resampled(np.asarray(fine, np.float32), 0.01, 0.06, 64, (31.5, 31.5))
    np.testing.assert_allclose(new, coarse, atol=0.01 * coarse.max())


def test_half_of_the_light_lies_within_its_radius():
    image = np.asarray(galsim.Gaussian(half_light_radius=0.5).drawImage(nx=100, ny=100, scale=0.05).array, np.float32)
    assert half_light_radius(image) == pytest.approx(10, abs=0.4)
    assert half_light_radius(np.zeros((5, 5), np.float32)) == 0
