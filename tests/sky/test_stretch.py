import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from oracles import stretched
from surveyflow.sky.stretch import Stretch, prepare

SIDE = 4
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
MODERATE = st.floats(-100, 100, width=32)
SOFTENINGS = st.sampled_from([1e-30, 1e-3, 1.0, 7.5, 1e30])


@st.composite
def cutouts(draw, values):
    n = draw(st.integers(1, 3))
    pixels = draw(hnp.arrays(np.float32, (n, SIDE, SIDE), elements=values))
    valid = draw(hnp.arrays(np.bool_, (n, SIDE, SIDE)))
    return pixels, valid


@settings(max_examples=200)
@given(cutouts(FINITE) | cutouts(MODERATE), st.sampled_from(Stretch), SOFTENINGS)
def test_prepared_cutouts_equal_a_plain_float64_loop(stack, stretch, softening):
    pixels, valid = stack
    prepared = prepare(pixels, valid, stretch, softening)
    assert prepared.dtype == np.float32
    assert np.isfinite(prepared).all()
    for i in range(len(pixels)):
        expected = np.clip(stretched(pixels[i], valid[i], stretch, softening), -3.4028235e38, 3.4028235e38)
        np.testing.assert_allclose(prepared[i], expected, rtol=2e-7, atol=1e-9 if stretch != "linear" else 1e-44)


@pytest.mark.parametrize(
    ("stretch", "scale"),
    [(stretch, scale) for stretch in (Stretch.ASINH_MINMAX, Stretch.MINMAX) for scale in (1e-44, 1e-38, 1e-30, 1.0, 1e30, 1.1e38)]
    + [(Stretch.LOG_MINMAX, scale) for scale in (1e-30, 1.0, 1e30, 1.1e38)],
)
def test_min_max_reaches_0_and_1_at_any_scale(stretch, scale):
    ramp = (np.linspace(-3, 3, 64).reshape(1, 8, 8) * scale).astype(np.float32)
    prepared = prepare(ramp, np.ones(ramp.shape, dtype=bool), stretch, softening=max(scale / 10, 1.2e-38))
    assert prepared.min() == 0
    assert prepared.max() == 1


@pytest.mark.parametrize("stretch", Stretch)
def test_a_constant_cutout_becomes_0(stretch):
    pixels = np.full((1, 4, 4), 3.5, dtype=np.float32)
    assert not prepare(pixels, np.ones(pixels.shape, dtype=bool), stretch, 1.0).any()


@pytest.mark.parametrize("stretch", Stretch)
def test_a_cutout_without_data_becomes_0_whatever_its_pixels_hold(stretch):
    pixels = np.array([[[np.nan, np.inf], [-np.inf, 1e38]]], dtype=np.float32)
    assert not prepare(pixels, np.zeros(pixels.shape, dtype=bool), stretch, 1.0).any()


@pytest.mark.parametrize("stretch", Stretch)
def test_invalid_pixels_become_0_and_set_no_limits(stretch):
    pixels = np.array([[[1.0, 2.0], [4.0, 1e9]]], dtype=np.float32)
    valid = np.array([[[True, True], [True, False]]])
    prepared = prepare(pixels, valid, stretch, 0.5)
    assert prepared[0, 1, 1] == 0
    pixels[0, 1, 1] = np.nan
    np.testing.assert_array_equal(prepare(pixels, valid, stretch, 0.5), prepared)


@pytest.mark.parametrize("stretch", Stretch)
def test_the_batch_does_not_change_a_bit(stretch):
    rng = np.random.default_rng(3)
    pixels = (rng.normal(size=(9, 33, 33)) * 10 ** rng.uniform(-6, 6, (9, 1, 1))).astype(np.float32)
    valid = rng.random(pixels.shape) > 0.1
    together = prepare(pixels, valid, stretch, 1e-2)
    for order in (rng.permutation(9), np.array([4])):
        assert prepare(pixels[order], valid[order], stretch, 1e-2).tobytes() == together[order].tobytes()


def noisy_galaxy(rms, size=64):
    y, x = np.mgrid[:size, :size] - size // 2
    noise = np.random.default_rng(5).normal(scale=rms, size=(1, size, size))
    return (40 * rms * np.exp(-np.hypot(x, y) / 6) + noise).astype(np.float32)


def test_noise_units_are_those_of_the_cutouts_own_sky():
    pixels = noisy_galaxy(rms=0.002)
    prepared = prepare(pixels, np.ones(pixels.shape, dtype=bool), Stretch.ASINH_NOISE, 2.0)
    np.testing.assert_allclose(prepared, np.arcsinh(pixels / 2.0 / 0.002), rtol=0.1, atol=0.1)


@pytest.mark.parametrize("pedestal", [-0.05, 0.002, 0.5])
def test_the_level_of_the_sky_is_not_seen_above_the_sky(pedestal):
    pixels, valid = noisy_galaxy(rms=0.002), np.ones((1, 64, 64), dtype=bool)
    prepared = [prepare(image, valid, Stretch.ASINH_SKY, 1.0) for image in (pixels, pixels + np.float32(pedestal))]
    np.testing.assert_allclose(prepared[0], prepared[1], atol=1e-3)
    np.testing.assert_allclose(np.median(prepared[0][:, :8, :8]), 0, atol=0.3)


@pytest.mark.parametrize("stretch", [Stretch.ASINH_NOISE, Stretch.ASINH_SKY])
@pytest.mark.parametrize("gain", [1e-20, 3.0, 1000.0, 1e20])
def test_a_gain_is_not_seen_in_units_of_noise(gain, stretch):
    pixels, valid = noisy_galaxy(rms=0.002), np.ones((1, 64, 64), dtype=bool)
    louder = (pixels.astype(np.float64) * gain).astype(np.float32)
    prepared = [prepare(image, valid, stretch, 1.0) for image in (pixels, louder)]
    np.testing.assert_allclose(prepared[0], prepared[1], rtol=1e-5, atol=1e-6)


def test_one_hot_pixel_moves_no_other_in_units_of_noise():
    pixels, valid = noisy_galaxy(rms=0.002), np.ones((1, 64, 64), dtype=bool)
    hot = pixels.copy()
    hot[0, 10, 50] = 5.0
    change = abs(prepare(hot, valid, Stretch.ASINH_NOISE, 1.0) - prepare(pixels, valid, Stretch.ASINH_NOISE, 1.0))
    change[0, 10, 50] = 0
    assert change.max() < 0.01


def test_cutouts_without_measurable_noise_become_0_in_its_units():
    few = np.random.default_rng(1).normal(size=(1, 64, 64)).astype(np.float32)
    valid = np.zeros(few.shape, dtype=bool)
    valid[0, :5, :5] = True
    assert not prepare(few, valid, Stretch.ASINH_NOISE, 1.0).any()
    assert not prepare(np.zeros_like(few), np.ones_like(valid), Stretch.ASINH_NOISE, 1.0).any()


def test_a_sky_pedestal_does_not_cost_precision():
    signal = np.linspace(0, 1, 64).reshape(1, 8, 8)
    pedestal = (1000 + signal).astype(np.float32)
    prepared = prepare(pedestal, np.ones(pedestal.shape, dtype=bool), Stretch.ASINH_MINMAX, 1.0)
    exact = np.arcsinh(pedestal.astype(np.float64))
    np.testing.assert_allclose(prepared, (exact - exact.min()) / np.ptp(exact), atol=1e-7)


@pytest.mark.parametrize("softening", [0.0, -1.0, np.nan, np.inf, 1e-40, 1e39])
def test_a_softening_out_of_range_is_refused(softening):
    pixels = np.ones((1, 2, 2), dtype=np.float32)
    with pytest.raises(ValueError, match="softening must lie between"):
        prepare(pixels, np.ones(pixels.shape, dtype=bool), Stretch.LINEAR, softening)


def test_masks_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="valid has shape"):
        prepare(np.ones((2, 2, 2), dtype=np.float32), np.ones((1, 2, 2), dtype=bool), Stretch.LINEAR, 1.0)
