"""The tiles of a mosaic, and the tile that owns each source.

A grid of square cores covers a mosaic; cores at the top and right edges are cut short. So every pixel lies in exactly one core,
and every source on the mosaic belongs to exactly one tile. A tile's window is its core and half a cutout more on each side: the
cutouts of its sources touch no other pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from surveyflow.values.arrays import Float64Array, Int64Array
from surveyflow.values.images import Box, Tile

_FAR = 2.0**62


def centre_pixels(x_pix: ArrayLike, y_pix: ArrayLike) -> tuple[Int64Array, Int64Array]:
    """Column and row of the pixel that holds each position.

    Parameters
    ----------
    x_pix, y_pix
        Positions in mosaic pixels, 0-based, integers at pixel centres. The pixel of a position that is not finite lies far
        outside any image.

    Returns
    -------
    column, row
        ``floor(position + 0.5)``: the left and bottom edges of a pixel belong to it.
    """
    x, y = np.asarray(x_pix, dtype=np.float64), np.asarray(y_pix, dtype=np.float64)
    return whole_numbers(np.floor(x + 0.5)), whole_numbers(np.floor(y + 0.5))


def grid_shape(mosaic_shape: tuple[int, int], core_size: int) -> tuple[int, int]:
    """Rows and columns of the grid of tiles over a mosaic.

    Raises
    ------
    ValueError
        If ``core_size`` is not positive.
    """
    if core_size < 1:
        raise ValueError(f"core_size must be at least 1 pixel, not {core_size}")
    return -(-mosaic_shape[0] // core_size), -(-mosaic_shape[1] // core_size)


def tile(mosaic_shape: tuple[int, int], core_size: int, cutout_size: int, row: int, column: int) -> Tile:
    """Return the tile at one cell of the grid.

    Parameters
    ----------
    mosaic_shape
        Rows and columns of the mosaic, pixels.
    core_size
        Side of a core, pixels.
    cutout_size
        Side of the cutouts that the window must hold, pixels.
    row, column
        Row and column of the cell in the grid.

    Raises
    ------
    ValueError
        If the grid has no such cell.
    """
    n_rows, n_columns = grid_shape(mosaic_shape, core_size)
    if not (0 <= row < n_rows and 0 <= column < n_columns):
        raise ValueError(f"the grid has {n_rows} x {n_columns} tiles, but not one at row {row}, column {column}")
    y0, x0 = row * core_size, column * core_size
    core = Box(y0, y0 + core_size, x0, x0 + core_size).clipped(mosaic_shape)
    return Tile(row, column, core, core.grown((cutout_size + 1) // 2).clipped(mosaic_shape))


def owning_tiles(
    x_pix: ArrayLike, y_pix: ArrayLike, mosaic_shape: tuple[int, int], core_size: int
) -> tuple[Int64Array, Int64Array]:
    """Row and column of the tile whose core holds the pixel of each position; both are -1 outside the mosaic.

    Parameters
    ----------
    x_pix, y_pix
        (n,) positions in mosaic pixels, 0-based; NaN counts as outside.
    mosaic_shape
        Rows and columns of the mosaic, pixels.
    core_size
        Side of a core, pixels.

    Examples
    --------
    >>> owning_tiles([10.0, 300.0, float("nan")], [250.0, 10.0, 0.0], mosaic_shape=(300, 300), core_size=200)
    (array([ 1, -1, -1]), array([ 0, -1, -1]))
    """
    grid_shape(mosaic_shape, core_size)
    x, y = centre_pixels(x_pix, y_pix)
    inside = (x >= 0) & (x < mosaic_shape[1]) & (y >= 0) & (y < mosaic_shape[0])
    return np.where(inside, y // core_size, -1), np.where(inside, x // core_size, -1)


def whole_numbers(values: Float64Array) -> Int64Array:
    """Convert integral floats to integers, NaN to -2**62, and clip at +-2**62, because a plain cast of those is undefined."""
    return np.clip(np.nan_to_num(values, nan=-_FAR), -_FAR, _FAR).astype(np.int64)
