"""Cutouts around positions scattered over a mosaic that does not fit into memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from surveyflow.sky.cutouts import corner, cut
from surveyflow.sky.tiling import owning_tiles
from surveyflow.values.arrays import Float64Array, Int64Array
from surveyflow.values.images import Box, CutoutStack, WindowReader

CORE_SIZE = 2048
"""Side of a square, pixels; cutouts around the positions in one square are cut from one window."""


def cut_from_mosaic(mosaic: WindowReader, x_pix: Float64Array, y_pix: Float64Array, size: int) -> CutoutStack:
    """Cut around any positions, reading the mosaic window by window.

    Parameters
    ----------
    mosaic
        The mosaic, of which windows are read.
    x_pix, y_pix
        (n,) float64, 0-based. The cutout around a position outside the image holds the part of the image that it reaches; the
        cutout of a position that is not finite is empty.
    size
        Side of the cutouts, pixels.
    """
    n_sources = len(x_pix)
    stack = CutoutStack(
        pixels=np.zeros((n_sources, size, size), np.float32),
        valid=np.zeros((n_sources, size, size), bool),
        weight_median=np.full(n_sources, np.nan, np.float32),
        centre_valid=np.zeros(n_sources, bool),
        beyond_edge=np.ones(n_sources, bool),
    )
    for members in _neighbours(mosaic.shape, x_pix, y_pix):
        window = mosaic.read(_enclosing_box(x_pix[members], y_pix[members], size))
        part = cut(window, x_pix[members], y_pix[members], size)
        for name in ("pixels", "valid", "weight_median", "centre_valid", "beyond_edge"):
            getattr(stack, name)[members] = getattr(part, name)
    return stack


def _neighbours(shape: tuple[int, int], x_pix: Float64Array, y_pix: Float64Array) -> Iterator[Int64Array]:
    """Groups of positions that share a window; each position outside the image has its own."""
    rows, columns = owning_tiles(x_pix, y_pix, shape, CORE_SIZE)
    on_image = rows >= 0
    for row, column in np.unique(np.stack([rows[on_image], columns[on_image]], axis=1), axis=0):
        yield np.flatnonzero((rows == row) & (columns == column))
    for number in np.flatnonzero(~on_image & np.isfinite(x_pix) & np.isfinite(y_pix)):
        yield np.array([number])


def _enclosing_box(x_pix: Float64Array, y_pix: Float64Array, size: int) -> Box:
    x0, y0 = corner(x_pix, size), corner(y_pix, size)
    return Box(int(y0.min()), int(y0.max()) + size, int(x0.min()), int(x0.max()) + size)
