import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import coordinates, images, positions, window_of
from surveyflow.sky.tiling import centre_pixels, corner, cut, cut_pixels, grid_shape, owning_tiles, tile

SHAPES = st.tuples(st.integers(1, 90), st.integers(1, 90))
CORE_SIZES = st.integers(1, 50)
GOODS_S = (81_000, 64_800)


def tiles_of(shape, core_size, cutout_size):
    n_rows, n_columns = grid_shape(shape, core_size)
    return [tile(shape, core_size, cutout_size, row, column) for row in range(n_rows) for column in range(n_columns)]


@given(SHAPES, CORE_SIZES)
def test_cores_partition_the_mosaic(shape, core_size):
    covered = np.zeros(shape, dtype=int)
    for each in tiles_of(shape, core_size, 8):
        covered[each.core.y0 : each.core.y1, each.core.x0 : each.core.x1] += 1
    assert np.all(covered == 1)


@given(st.data(), SHAPES, CORE_SIZES)
def test_a_source_belongs_to_the_tile_whose_core_holds_its_pixel(data, shape, core_size):
    x, y = data.draw(positions(shape))
    rows, columns = owning_tiles(x, y, shape, core_size)
    for i in range(len(x)):
        px, py = int(np.floor(x[i] + 0.5)), int(np.floor(y[i] + 0.5))
        owners = [
            (each.row, each.column)
            for each in tiles_of(shape, core_size, 8)
            if each.core.y0 <= py < each.core.y1 and each.core.x0 <= px < each.core.x1
        ]
        assert owners == ([] if rows[i] < 0 else [(rows[i], columns[i])])


def test_source_on_a_tile_edge_belongs_to_exactly_one_tile():
    rows, columns = owning_tiles([99.5, np.nextafter(99.5, 0), 100.0], [0.0, 0.0, 99.5], (200, 200), 100)
    assert columns.tolist() == [1, 0, 1]
    assert rows.tolist() == [0, 0, 1]


def test_sources_off_the_mosaic_belong_to_no_tile():
    x = [np.nan, np.inf, -np.inf, 1e300, -0.6, 199.5, 10.0, 10.0]
    y = [10.0, 10.0, 10.0, 10.0, 10.0, 10.0, -0.6, np.nan]
    rows, columns = owning_tiles(x, y, (100, 200), 64)
    assert rows.tolist() == columns.tolist() == [-1] * len(x)
    assert owning_tiles([-0.5, 199.4], [-0.5, 99.4], (100, 200), 64)[1].tolist() == [0, 3]


@given(st.data(), images(), CORE_SIZES, st.integers(1, 12))
def test_cutting_from_a_tiles_window_equals_cutting_from_the_whole_mosaic(data, image, core_size, size):
    x, y = data.draw(positions(image.shape))
    rows, columns = owning_tiles(x, y, image.shape, core_size)
    weight = np.abs(image) + 1
    for i in np.flatnonzero(rows >= 0):
        owner = tile(image.shape, core_size, size, rows[i], columns[i])
        tiled = cut(window_of(image, owner.window, weight), x[i : i + 1], y[i : i + 1], size)
        whole = cut(window_of(image, None, weight), x[i : i + 1], y[i : i + 1], size)
        for name in ("pixels", "valid", "weight_median", "centre_valid", "beyond_edge"):
            np.testing.assert_array_equal(getattr(tiled, name), getattr(whole, name))


@given(coordinates(10**6), st.integers(1, 200))
def test_a_cutout_stays_within_half_its_size_of_its_centre_pixel(position, size):
    (centre,), _ = centre_pixels([position], [0.0])
    first = int(corner([position], size)[0])
    assert centre - (size + 1) // 2 <= first
    assert first + size <= centre + 1 + (size + 1) // 2


def test_a_window_is_the_core_and_half_a_cutout_inside_the_mosaic():
    middle = tile(GOODS_S, 4096, 128, 3, 5)
    assert middle.window == middle.core.grown(64)
    last = tile(GOODS_S, 4096, 128, 19, 15)
    assert (last.core.y1, last.core.x1) == (last.window.y1, last.window.x1) == GOODS_S
    assert grid_shape(GOODS_S, 4096) == (20, 16)


def test_more_than_two_to_the_31_pixels_need_no_care():
    rows, columns = owning_tiles([64_799.0], [80_999.0], GOODS_S, 1)
    assert (rows[0], columns[0]) == (80_999, 64_799)
    assert rows[0] * GOODS_S[1] + columns[0] == GOODS_S[0] * GOODS_S[1] - 1 > 2**31


def test_a_core_must_have_pixels_and_a_tile_a_place():
    with pytest.raises(ValueError, match="core_size must be at least 1 pixel, not 0"):
        grid_shape((10, 10), 0)
    with pytest.raises(ValueError, match="core_size"):
        owning_tiles([1.0], [1.0], (10, 10), 0)
    with pytest.raises(ValueError, match="2 x 2 tiles, but not one at row 2, column 0"):
        tile((10, 10), 5, 4, 2, 0)


def test_cut_pixels_needs_no_copy_of_the_mosaic_to_place_a_window_far_out():
    pixels = np.arange(100, dtype=np.float32).reshape(10, 10)
    window = window_of(pixels)
    far = type(window)(pixels, window.valid, None, (80_990, 64_790), GOODS_S)
    np.testing.assert_array_equal(cut_pixels(far, [64_797.0], [80_996.0], 4)[0], pixels[4:8, 5:9])
