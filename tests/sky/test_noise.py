import numpy as np
import pytest

from surveyflow.sky.measurements import measured_sky, sky_rms


def sky(n, size=128, rms=1.0, seed=0):
    return np.random.default_rng(seed).normal(scale=rms, size=(n, size, size)).astype(np.float32)


@pytest.mark.parametrize("rms", [7.2e-4, 2.7e-3, 1.0, 1e30])
def test_empty_sky_gives_its_rms(rms):
    pixels = sky(200, rms=rms)
    estimates = sky_rms(pixels, np.ones(pixels.shape, dtype=bool))
    assert estimates.dtype == np.float32
    assert estimates.mean() == pytest.approx(rms, rel=0.01)
    assert estimates.astype(float).std() == pytest.approx(0.05 * rms, rel=0.3)


def test_a_bright_galaxy_and_hot_pixels_hardly_matter():
    pixels = sky(50, rms=2e-3)
    y, x = np.mgrid[-64:64, -64:64]
    pixels += (2.0 * np.exp(-np.hypot(y, x) / 6)).astype(np.float32)
    pixels[:, ::7, ::11] = 100
    assert np.median(sky_rms(pixels, np.ones(pixels.shape, dtype=bool))) == pytest.approx(2e-3, rel=0.15)


def test_invalid_pixels_take_no_part():
    pixels = sky(5)
    valid = np.ones(pixels.shape, dtype=bool)
    valid[:, :64] = False
    expected = sky_rms(pixels, valid)
    pixels[:, :64] = np.nan
    np.testing.assert_array_equal(sky_rms(pixels, valid), expected)
    assert expected == pytest.approx(np.ones(5), rel=0.25)


@pytest.mark.parametrize("height", [-3.0, 0.0, 5.0, 50.0])
def test_the_level_is_that_of_the_pedestal_whatever_lies_on_it(height):
    pixels = sky(50, rms=2e-3) + np.float32(2e-3 * height)
    pixels[:, 60:68, 60:68] = 1
    measured = measured_sky(pixels, np.ones(pixels.shape, dtype=bool))
    assert np.median(measured.level_in_rms) == pytest.approx(height, abs=0.1 + 0.02 * abs(height))


def test_the_zero_point_of_the_sky_does_not_matter():
    pixels = sky(5)
    valid = np.ones(pixels.shape, dtype=bool)
    np.testing.assert_allclose(sky_rms(pixels + np.float32(50), valid), sky_rms(pixels, valid), rtol=1e-4)


def test_too_few_samples_give_nan():
    pixels, valid = sky(3), np.zeros((3, 128, 128), dtype=bool)
    valid[1, :20, :20] = True
    valid[2] = True
    assert np.isnan(sky_rms(pixels, valid)).tolist() == [True, True, False]


def test_small_cutouts_are_sampled_wholly():
    pixels = sky(400, size=16)
    assert sky_rms(pixels, np.ones(pixels.shape, dtype=bool)).mean() == pytest.approx(1, rel=0.02)


def test_a_constant_cutout_has_no_noise():
    pixels = np.full((1, 32, 32), 3, dtype=np.float32)
    measured = measured_sky(pixels, np.ones(pixels.shape, dtype=bool))
    assert (measured.level.tolist(), measured.rms.tolist()) == ([3], [0])
    assert np.isnan(measured.level_in_rms).all()
