"""Resampling conserves flux, knows what it covers, and depends on no window."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surveyflow.sky.resampling import NewGrid
from surveyflow.values.images import Box, Window


def window_of(image, valid=None, weight=None):
    valid = np.ones(image.shape, bool) if valid is None else valid
    return Window(image.astype(np.float32), valid, weight, (0, 0), image.shape)


def whole(grid):
    return Box(0, grid.shape[0], 0, grid.shape[1])


def part(window, box):
    cut = (slice(box.y0, box.y1), slice(box.x0, box.x1))
    weight = None if window.weight is None else window.weight[cut]
    return Window(window.pixels[cut], window.valid[cut], weight, (box.y0, box.x0), window.mosaic_shape)


def image_of(shape, seed=1):
    return np.random.default_rng(seed).normal(1, 0.3, shape).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(step=st.floats(0.25, 4), rows=st.integers(20, 60), columns=st.integers(20, 60))
def test_flux_is_conserved_up_to_the_last_pixels_that_are_covered_in_part(step, rows, columns):
    image = image_of((rows, columns))
    grid = NewGrid(image.shape, step)
    new = grid.resampled(window_of(image), whole(grid))
    height, width = (int(np.count_nonzero(new.valid.any(axis=axis))) for axis in (1, 0))
    assert height >= grid.shape[0] - 1
    assert width >= grid.shape[1] - 1
    fraction_y = np.clip(height / step - np.arange(rows), 0, 1)
    fraction_x = np.clip(width / step - np.arange(columns), 0, 1)
    expected = fraction_y @ image.astype(float) @ fraction_x
    assert new.pixels.sum(dtype=float) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("binning", [2, 3])
def test_whole_numbers_of_pixels_are_added(binning):
    image = image_of((12 * binning, 10 * binning))
    grid = NewGrid(image.shape, 1 / binning)
    new = grid.resampled(window_of(image, weight=np.full(image.shape, 4.0, np.float32)), whole(grid))
    np.testing.assert_allclose(new.pixels, image.reshape(12, binning, 10, binning).sum(axis=(1, 3)), rtol=1e-6)
    np.testing.assert_allclose(new.weight, 4.0 / binning**2, rtol=1e-6)
    assert new.valid.all()


def test_a_pixel_without_data_takes_the_new_pixels_that_it_touches():
    valid = np.ones((20, 20), bool)
    valid[7, 9] = False
    image = image_of((20, 20))
    image[7, 9] = np.nan
    grid = NewGrid(valid.shape, 0.5)
    new = grid.resampled(window_of(image, valid, np.ones(valid.shape, np.float32)), whole(grid))
    assert np.argwhere(~new.valid).tolist() == [[3, 4]]
    assert new.pixels[3, 4] == new.weight[3, 4] == 0
    assert np.isfinite(new.pixels).all()


@settings(max_examples=40, deadline=None)
@given(step=st.floats(0.25, 4), y0=st.integers(0, 30), x0=st.integers(0, 30), size=st.integers(1, 40))
def test_windows_agree_bit_for_bit(step, y0, x0, size):
    image = image_of((40, 50))
    valid = image > 0.6
    weight = image_of((40, 50), 2) ** 2
    grid, old = NewGrid(image.shape, step), window_of(image, valid, weight)
    complete = grid.resampled(old, whole(grid))
    box = Box(y0, y0 + size, x0, x0 + size).clipped(grid.shape)
    if 0 in box.shape:
        return
    alone = grid.resampled(part(old, grid.old_box(box)), box)
    same = part(complete, box)
    np.testing.assert_array_equal(alone.pixels, same.pixels)
    np.testing.assert_array_equal(alone.valid, same.valid)
    np.testing.assert_array_equal(alone.weight, same.weight)


@pytest.mark.parametrize("step", [0.5, 0.97, 1.6])
def test_a_star_stays_where_it_is(step):
    y, x = np.mgrid[:60, :60]
    star = np.exp(-((x - 23.4) ** 2 + (y - 31.7) ** 2) / 18)
    grid = NewGrid(star.shape, step)
    new = grid.resampled(window_of(star), whole(grid)).pixels.astype(float)
    rows, columns = np.mgrid[: new.shape[0], : new.shape[1]]
    found = np.array([(new * columns).sum(), (new * rows).sum()]) / new.sum()
    np.testing.assert_allclose(found, grid.new_pixels(np.array([23.4, 31.7])), atol=0.01)
    np.testing.assert_allclose(grid.old_pixels(grid.new_pixels(np.array([23.4, 31.7]))), [23.4, 31.7], rtol=1e-12)
