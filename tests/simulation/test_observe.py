"""PSF and noise have the size of Hubble's."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy.optimize import curve_fit

from surveyflow.errors import InputError
from surveyflow.simulation.galaxies import draw_star, render
from surveyflow.simulation.observe import F160W, F814W, PSF_SIZE_PIX, PsfShape, blur, psf, shot_noise, sky_noise
from surveyflow.simulation.profiles import Grid


def star(band, row: float, column: float, shape: PsfShape | None = None) -> np.ndarray:
    return blur(render(draw_star(), 1.0, Grid.around(row, column, (161, 161), band.pixel_scale_arcsec)), band, shape)


def fwhm_of_a_star_arcsec(band, shape: PsfShape | None = None) -> float:
    """From a Moffat profile fitted to an observed star off the pixels' grid, as one would measure it on a mosaic."""
    row, column = 80.2, 79.7
    image = star(band, row, column, shape)
    rows, columns = np.mgrid[74:87, 74:87]
    distance = np.hypot(rows - row, columns - column).ravel()

    def moffat(r, peak, alpha, beta):
        return peak * (1 + (r / alpha) ** 2) ** -beta

    (_, alpha, beta), _ = curve_fit(moffat, distance, image[74:87, 74:87].ravel(), p0=(0.05, 3.0, 2.5))
    return 2 * abs(alpha) * np.sqrt(2 ** (1 / beta) - 1) * band.pixel_scale_arcsec


@pytest.mark.parametrize(("band", "fwhm_arcsec"), [(F814W, 0.10), (F160W, 0.18)], ids=["F814W", "F160W"])
def test_a_star_in_a_mosaic_has_the_measured_width(band, fwhm_arcsec):
    assert fwhm_of_a_star_arcsec(band) == pytest.approx(fwhm_arcsec, rel=0.06)


@pytest.mark.parametrize("band", [F814W, F160W], ids=["F814W", "F160W"])
@pytest.mark.parametrize("factor", [0.95, 1.2])
def test_a_psf_of_another_width_has_it(band, factor):
    assert fwhm_of_a_star_arcsec(band, PsfShape(factor)) / fwhm_of_a_star_arcsec(band) == pytest.approx(factor, rel=0.03)


@pytest.mark.parametrize("angle", [0.3, 2.2])
def test_an_elliptical_psf_is_longest_along_its_angle_and_keeps_the_flux(angle):
    round_one, long_one = star(F814W, 80, 80), star(F814W, 80, 80, PsfShape(1.0, 0.05, angle))
    assert long_one.sum() == pytest.approx(round_one.sum(), rel=1e-4)
    y, x = np.mgrid[-6:7, -6:7]
    along = np.cos(angle) * x + np.sin(angle) * y
    across = np.cos(angle) * y - np.sin(angle) * x
    window = np.exp(-(x**2 + y**2) / (2 * 2.0**2)) * long_one[74:87, 74:87]
    ratio = np.sqrt((window * across**2).sum() / (window * along**2).sum())
    # The window is round, so it halves the ellipticity of the moments, or nearly so.
    assert 0.92 < ratio < 0.98


@pytest.mark.parametrize("band", [F814W, F160W], ids=["F814W", "F160W"])
def test_the_psf_is_centred_symmetric_and_of_sum_one(band):
    kernel = psf(band)
    middle = PSF_SIZE_PIX // 2
    assert kernel.sum() == pytest.approx(1.0, abs=1e-5)
    assert np.unravel_index(kernel.argmax(), kernel.shape) == (middle, middle)
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-6)
    # Small enough at its border that a star of 19 mag shows no square.
    assert kernel[0].max() * band.flux(19.0) < 0.003


def test_blurring_conserves_flux_and_keeps_the_centre():
    image = render(draw_star(), 3.0, Grid.around(90, 70, (160, 140), 0.03))
    blurred = blur(image, F814W)
    assert blurred.dtype == np.float32
    assert blurred.sum() == pytest.approx(3.0, rel=1e-4)
    assert np.unravel_index(blurred.argmax(), blurred.shape) == (90, 70)


def test_an_image_smaller_than_the_psf_is_refused():
    with pytest.raises(ValueError, match="at least 129 pixels"):
        blur(np.zeros((200, 64), np.float32), F814W)


def test_sky_noise_has_the_asked_rms_and_the_correlation_of_a_drizzled_mosaic():
    noise = sky_noise(np.random.default_rng(1), (600, 500), 0.0007)
    assert noise.dtype == np.float32
    assert noise.std() == pytest.approx(0.0007, rel=0.02)
    lag_one = np.mean(noise[:, 1:] * noise[:, :-1]) / noise.var()
    assert lag_one == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("correlation", [0.3, 0.7])
def test_sky_noise_can_have_another_correlation(correlation):
    noise = sky_noise(np.random.default_rng(1), (600, 500), 0.0007, correlation)
    assert noise.std() == pytest.approx(0.0007, rel=0.02)
    assert np.mean(noise[:, 1:] * noise[:, :-1]) / noise.var() == pytest.approx(correlation, abs=0.03)


def test_photon_noise_grows_with_flux_and_shrinks_with_exposure():
    image = np.full((300, 300), 0.04, np.float32)
    assert shot_noise(np.random.default_rng(2), image, 100.0).std() == pytest.approx(0.02, rel=0.02)
    assert np.all(shot_noise(np.random.default_rng(2), -image, 100.0) == 0)


def test_the_zero_point_is_the_magnitude_of_one_electron_a_second():
    assert F814W.flux(25.947) == pytest.approx(1.0)
    assert F160W.flux(25.9463 - 2.5) == pytest.approx(10.0)


def test_without_galsim_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "galsim", None)
    with pytest.raises(InputError, match=r"surveyflow-mergers\[simulate\]"):
        psf.__wrapped__(F814W)
