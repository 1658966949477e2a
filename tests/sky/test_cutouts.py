import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from oracles import cutout2d
from strategies import images, positions, window_of
from surveyflow.sky.tiling import corner, cut, cut_pixels
from surveyflow.values.images import Box, Window

SIZES = st.integers(1, 40)


@settings(max_examples=300)
@given(st.data(), images(), SIZES)
def test_raw_cutouts_equal_astropys_bit_for_bit(data, image, size):
    x, y = data.draw(positions(image.shape, beyond=50))
    cutouts = cut_pixels(window_of(image), x, y, size)
    for i in range(len(x)):
        assert cutouts[i].tobytes() == cutout2d(image, x[i], y[i], size).tobytes()


@given(st.data(), images(), SIZES)
def test_a_stack_holds_astropys_pixels_where_valid_and_0_elsewhere(data, image, size):
    x, y = data.draw(positions(image.shape, beyond=50))
    weight = np.where(np.arange(image.size).reshape(image.shape) % 3 > 0, 1 + np.abs(np.nan_to_num(image)), 0).astype(np.float32)
    window = window_of(image, weight=weight)
    stack = cut(window, x, y, size)
    for i in range(len(x)):
        valid = cutout2d(window.valid.astype(np.uint8), x[i], y[i], size).astype(bool)
        expected = np.where(valid, cutout2d(image, x[i], y[i], size), np.float32(0))
        np.testing.assert_array_equal(stack.valid[i], valid)
        np.testing.assert_array_equal(stack.pixels[i], expected)
        weights = cutout2d(weight, x[i], y[i], size)[valid].astype(np.float64)
        median = np.float32(np.median(weights)) if weights.size else np.float32(np.nan)
        np.testing.assert_array_equal(stack.weight_median[i], median)


@given(st.data(), images(), SIZES)
def test_centre_and_edge_are_flagged(data, image, size):
    x, y = data.draw(positions(image.shape))
    window = window_of(image)
    stack = cut(window, x, y, size)
    on_mosaic = np.ones(image.shape, dtype=np.uint8)
    for i in range(len(x)):
        assert stack.beyond_edge[i] == (cutout2d(on_mosaic, x[i], y[i], size).sum() < size**2)
        column, row = int(np.floor(x[i] + 0.5)), int(np.floor(y[i] + 0.5))
        inside = 0 <= row < image.shape[0] and 0 <= column < image.shape[1]
        assert stack.centre_valid[i] == (inside and window.valid[row, column])


@pytest.mark.parametrize(("x", "first"), [(200.0, 136), (199.5, 136), (200.4, 137), (199.50000000000003, 136), (200.6, 137)])
def test_even_cutouts_begin_where_cutout2d_begins(x, first):
    assert corner([x], 128).tolist() == [first]
    image = np.arange(400 * 400, dtype=np.float32).reshape(400, 400)
    np.testing.assert_array_equal(cut_pixels(window_of(image), [x], [200.0], 128)[0], cutout2d(image, x, 200.0, 128))


def test_a_rotated_mosaic_is_cut_as_astropy_cuts_it_by_sky_position():
    header = fits.Header(
        {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 214.9, "CRVAL2": 52.8, "CRPIX1": 150.5, "CRPIX2": 90.25}
    )
    angle, step = np.radians(49.7), 0.03 / 3600
    header.update({"CD1_1": -step * np.cos(angle), "CD1_2": step * np.sin(angle)})
    header.update({"CD2_1": step * np.sin(angle), "CD2_2": step * np.cos(angle)})
    rng = np.random.default_rng(497)
    image = rng.normal(size=(180, 300)).astype(np.float32)
    wcs = WCS(header)
    ra, dec = wcs.all_pix2world(rng.uniform(-5, 305, 60), rng.uniform(-5, 185, 60), 0)
    x, y = wcs.all_world2pix(ra, dec, 0)
    cutouts = cut_pixels(window_of(image), x, y, 32)
    for i in range(len(x)):
        np.testing.assert_array_equal(cutouts[i], cutout2d(image, x[i], y[i], 32))


def test_a_position_that_is_not_finite_gives_a_cutout_without_data():
    image = np.ones((20, 20), dtype=np.float32)
    stack = cut(window_of(image, weight=image), [np.nan, 5.0, np.inf, -1e300], [5.0, np.nan, 5.0, 5.0], 4)
    assert not stack.pixels.any()
    assert not stack.valid.any()
    assert not stack.centre_valid.any()
    assert stack.beyond_edge.all()
    assert np.isnan(stack.weight_median).all()


def test_without_a_weight_map_the_weight_is_unknown():
    assert np.isnan(cut(window_of(np.ones((9, 9), dtype=np.float32)), [4.0], [4.0], 3).weight_median).all()


@pytest.mark.parametrize("scale", [1e-45, 1e-38, 1.0, 3e38])
def test_weight_medians_are_exact_at_any_scale(scale):
    weight = np.array([[1, 2, 1.5], [1.25, 0, np.nan], [np.inf, -1, 3]], dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        weight = (weight * np.float32(scale)).astype(np.float32)
    window = window_of(np.ones((3, 3), dtype=np.float32), weight=weight)
    expected = np.median(weight[window.valid].astype(np.float64))
    assert cut(window, [1.0], [1.0], 3).weight_median[0] == np.float32(expected)


def test_a_batch_does_not_change_a_cutout():
    rng = np.random.default_rng(1)
    image = rng.normal(size=(80, 80)).astype(np.float32)
    weight = rng.random((80, 80), dtype=np.float32)
    weight[rng.random((80, 80)) < 0.1] = 0
    window = window_of(image, weight=weight)
    x, y = rng.uniform(-5, 85, (2, 50))
    together = cut(window, x, y, 16)
    for i in range(50):
        alone = cut(window, x[i : i + 1], y[i : i + 1], 16)
        np.testing.assert_array_equal(alone.pixels[0], together.pixels[i])
        np.testing.assert_array_equal(alone.weight_median[0], together.weight_median[i])


def test_out_is_filled_and_returned_whatever_it_held():
    image = np.arange(100, dtype=np.float32).reshape(10, 10)
    out = np.full((2, 4, 4), np.nan, dtype=np.float32)
    assert cut_pixels(window_of(image), [0.0, 5.0], [0.0, 5.0], 4, out=out) is out
    np.testing.assert_array_equal(out, cut_pixels(window_of(image), [0.0, 5.0], [0.0, 5.0], 4))


@pytest.mark.parametrize("out", [np.empty((2, 4, 4)), np.empty((1, 4, 4), dtype=np.float32)])
def test_out_of_another_kind_is_refused(out):
    with pytest.raises(ValueError, match=r"out must be float32 of shape \(2, 4, 4\)"):
        cut_pixels(window_of(np.ones((9, 9), dtype=np.float32)), [1.0, 2.0], [1.0, 2.0], 4, out=out)


def test_a_window_that_does_not_suffice_is_refused_rather_than_padded():
    image = np.ones((40, 40), dtype=np.float32)
    window = window_of(image, Box(10, 30, 10, 30))
    with pytest.raises(ValueError, match=r"lacks pixels of cutout 1, which needs .*y0=7.*read a larger window"):
        cut(window, [20.0, 20.0], [20.0, 11.0], 8)


def test_a_window_need_not_hold_what_lies_off_the_mosaic():
    image = np.ones((40, 40), dtype=np.float32)
    corner_window = window_of(image, Box(0, 10, 0, 10))
    assert cut(corner_window, [2.0], [2.0], 8).pixels.sum() == 36
    assert not cut(corner_window, [-100.0], [20.0], 8).pixels.any()


def test_no_positions_give_no_cutouts():
    stack = cut(window_of(np.ones((9, 9), dtype=np.float32)), [], [], 4)
    assert stack.pixels.shape == (0, 4, 4)
    assert stack.weight_median.shape == (0,)


@pytest.mark.parametrize(("x", "y", "size"), [([1.0], [1.0, 2.0], 4), (1.0, 1.0, 4), ([1.0], [1.0], 0)])
def test_malformed_requests_are_refused(x, y, size):
    with pytest.raises(ValueError, match=r"1-D and equally long|at least 1 pixel"):
        cut(window_of(np.ones((9, 9), dtype=np.float32)), x, y, size)


def test_the_mosaic_is_left_as_it_was():
    image = np.array([[1, np.nan], [0, -2]], dtype=np.float32)
    weight = np.array([[4, 3], [2, 1]], dtype=np.float32)
    window = Window(image, np.isfinite(image), weight, (0, 0), (2, 2))
    cut(window, [0.5], [0.5], 2)
    np.testing.assert_array_equal(image, np.array([[1, np.nan], [0, -2]], dtype=np.float32))
    np.testing.assert_array_equal(weight, [[4, 3], [2, 1]])
