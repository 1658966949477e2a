import numpy as np
import pytest

from surveyflow.simulation.observe import sky_noise
from surveyflow.sky.measurements import measured_noise, measured_sky, sky_rms


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
    assert np.median(measured.level / measured.rms) == pytest.approx(height, abs=0.1 + 0.02 * abs(height))


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
    assert np.isnan(noise_of(pixels).rms).all()
    assert np.isnan(noise_of(pixels).correlation).all()


def noise_of(pixels, valid=None):
    valid = np.ones(pixels.shape, dtype=bool) if valid is None else valid
    return measured_noise(pixels, valid, measured_sky(pixels, valid))


def correlated(n, correlation, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([sky_noise(rng, (128, 128), 2e-3, correlation) for _ in range(n)])


@pytest.mark.parametrize("correlation", [0.1, 0.5, 0.85])
@pytest.mark.parametrize("height", [0.0, 8.0])
def test_rms_and_correlation_of_known_noise_are_found_whatever_the_level_of_the_sky(correlation, height):
    found = noise_of(correlated(40, correlation) + np.float32(2e-3 * height))
    assert found.rms.dtype == found.correlation.dtype == np.float32
    assert found.correlation.mean() == pytest.approx(correlation, abs=0.02)
    assert found.correlation.std() < 0.025
    assert found.rms.mean() == pytest.approx(2e-3, rel=0.08)


def test_white_noise_has_no_correlation():
    found = noise_of(sky(100))
    assert found.correlation.mean() == pytest.approx(0, abs=0.01)
    assert found.rms.mean() == pytest.approx(1, rel=0.02)
    assert found.rms.std() < 0.03


def test_a_large_galaxy_that_doubles_the_rms_of_the_sky_hardly_changes_that_of_the_noise():
    y, x = np.mgrid[-64:64, -64:64]
    empty = correlated(40, 0.5)
    galaxy = (0.3 * np.exp(-np.hypot(y, x) / 15)).astype(np.float32)
    found, expected = noise_of(empty + galaxy), noise_of(empty)
    assert np.median(sky_rms(empty + galaxy, np.ones(empty.shape, bool))) > 1.7 * np.median(expected.rms)
    assert np.median(found.rms / expected.rms) == pytest.approx(1, abs=0.15)
    assert np.median(found.correlation - expected.correlation) == pytest.approx(0, abs=0.12)


def test_noise_depends_neither_on_the_unit_nor_on_other_cutouts():
    pixels = correlated(70, 0.4)
    found, brighter = noise_of(pixels), noise_of(pixels * np.float32(2.0**40))
    np.testing.assert_array_equal(brighter.correlation, found.correlation)
    np.testing.assert_array_equal(brighter.rms, found.rms * np.float32(2.0**40))
    for row in (0, 66):
        alone = noise_of(pixels[row : row + 1])
        assert (alone.rms[0], alone.correlation[0]) == (found.rms[row], found.correlation[row])


def test_invalid_and_huge_pixels_take_no_part_in_the_noise():
    pixels = correlated(3, 0.4)
    valid = np.ones(pixels.shape, dtype=bool)
    valid[:, :50] = False
    expected = noise_of(np.where(valid, pixels, 0), valid)
    pixels[:, :50:2], pixels[:, 1:50:2] = np.nan, np.inf
    found = noise_of(pixels, valid)
    np.testing.assert_array_equal(found.rms, expected.rms)
    np.testing.assert_array_equal(found.correlation, expected.correlation)
    pixels[:, 70, 70] = 3e38
    assert noise_of(pixels, valid).correlation == pytest.approx(expected.correlation, abs=0.03)


def test_no_cutout_has_no_noise_and_too_few_pixels_give_nan():
    assert noise_of(sky(0)).rms.shape == (0,)
    few = np.zeros((2, 128, 128), dtype=bool)
    few[1, 60:70, 60:75] = True
    assert np.isnan(noise_of(sky(2), few).correlation).all()
