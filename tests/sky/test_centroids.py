"""Offsets of the light from a position, against photutils and where they are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from photutils.centroids import centroid_2dg
from photutils.detection import find_peaks

from surveyflow.sky.measurements import centroid_offsets, measured_sky

SCALE = 0.03
IMAGES = Path(__file__).parents[3] / "shared" / "data" / "images"


def stars(places_yx, size=64, flux=100.0, noise=1.0, sigma=2.5, seed=0):
    """One star in each cutout, at a known place, on noise."""
    y, x = np.mgrid[:size, :size]
    radius = [np.hypot(y - row, x - column) for row, column in places_yx]
    light = flux * np.exp(-(np.reshape(radius, (len(places_yx), size, size)) ** 2) / (2 * sigma**2))
    return (light + np.random.default_rng(seed).normal(0, noise, light.shape)).astype(np.float32)


def offsets(pixels, places_yx, valid=None):
    valid = np.ones(pixels.shape, bool) if valid is None else valid
    return centroid_offsets(pixels, valid, measured_sky(pixels, valid), np.asarray(places_yx, float), SCALE)


@pytest.mark.parametrize("distance", [0.0, 0.4, 1.0, 3.0, 6.0])
def test_the_offset_is_that_from_the_exact_position(distance):
    turn = np.linspace(0, 2 * np.pi, 8)
    positions = np.random.default_rng(1).uniform(31, 32, (8, 2))
    places = positions + distance * np.stack([np.sin(turn), np.cos(turn)], axis=1)
    np.testing.assert_allclose(offsets(stars(places), positions), SCALE * distance, atol=SCALE * 0.1)


def test_sky_gain_and_a_neighbour_do_not_matter():
    positions = np.full((4, 2), 31.5)
    pixels = stars(positions + np.array([0, 1]))
    expected = offsets(pixels, positions)
    np.testing.assert_allclose(offsets(3 * pixels + 50, positions), expected, atol=1e-4)
    beside = pixels + stars(positions + np.array([0, 18]), noise=0)
    np.testing.assert_allclose(offsets(beside, positions), expected, atol=0.05 * SCALE)


def test_pixels_without_data_take_no_part():
    positions = np.full((2, 2), 31.5)
    pixels, valid = stars(positions), np.ones((2, 64, 64), bool)
    valid[:, :24] = False
    pixels[:, :24] = np.nan
    np.testing.assert_allclose(offsets(pixels, positions, valid), 0, atol=0.1 * SCALE)


def test_the_walk_ends_where_the_window_ends():
    assert offsets(stars([[31.5, 45.0]], flux=1e5), [[31.5, 31.5]]).tolist() == [pytest.approx(0.4)]


def test_without_light_noise_or_position_there_is_no_offset():
    pixels = stars(np.full((4, 2), 31.5))
    pixels[0] = np.random.default_rng(3).normal(0, 1, (64, 64))
    pixels[1] = 7
    found = offsets(pixels, [[31.5, 31.5], [31.5, 31.5], [31.5, 31.5], [np.nan, 31.5]])
    assert np.isnan(found).tolist() == [True, True, False, True]


def test_centroids_of_real_stars_and_galaxies_are_those_that_photutils_fits():
    if not IMAGES.is_dir():
        pytest.skip("the real images are not beside this checkout (../shared/data/images)")
    from astropy.io import fits

    image = fits.getdata(IMAGES / "cosmos_acs_f814w_a.fits").astype(np.float32)
    peaks = find_peaks(image[40:-40, 40:-40], 0, box_size=41, n_peaks=4)
    corners = np.stack([peaks["y_peak"], peaks["x_peak"]], axis=1) + 40 - 32
    stamps = np.stack([image[y : y + 64, x : x + 64] for y, x in corners])
    fitted = [centroid_2dg(stamp[28:37, 28:37].astype(float))[::-1] + 28 for stamp in stamps]
    np.testing.assert_allclose(offsets(stamps, fitted), 0, atol=0.5 * SCALE)
