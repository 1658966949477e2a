"""Cutouts around positions scattered over a mosaic that does not fit into memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from surveyflow.sky.tiling import corner, cut, owning_tiles
from surveyflow.values.arrays import Float64Array, Int64Array
from surveyflow.values.images import Box, CutoutStack, Window

CORE_SIZE = 2048
"""Side of a square, pixels; cutouts around the positions in one square are cut from one window."""


class StampReader(Protocol):
    """A mosaic that can be read by rectangles, of which only parts may be wanted."""

    @property
    def shape(self) -> tuple[int, int]: ...

    def read(self, box: Box, wanted: Sequence[Box] = ()) -> Window:
        """Read the part of ``box`` that lies on the mosaic; nothing is needed outside the wanted boxes, if there are any."""
        ...


def cut_from_mosaic(mosaic: StampReader, x_pix: Float64Array, y_pix: Float64Array, size: int) -> CutoutStack:
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
    return cut_from_all([mosaic], np.zeros(len(x_pix), np.int64), x_pix, y_pix, size)


def cut_from_all(
    mosaics: Sequence[StampReader], numbers: Int64Array, x_pix: Float64Array, y_pix: Float64Array, size: int
) -> CutoutStack:
    """Cut around any positions on several mosaics.

    Parameters
    ----------
    mosaics
        The mosaics.
    numbers
        (n,) int64: number of the mosaic of each position.
    x_pix, y_pix, size
        As for `cut_from_mosaic`.
    """
    n_sources = len(x_pix)
    stack = CutoutStack(
        pixels=np.zeros((n_sources, size, size), np.float32),
        valid=np.zeros((n_sources, size, size), bool),
        weight_median=np.full(n_sources, np.nan, np.float32),
        centre_valid=np.zeros(n_sources, bool),
        beyond_edge=np.ones(n_sources, bool),
    )
    for number in np.unique(numbers):
        own = np.flatnonzero(numbers == number)
        for neighbours in _neighbours(mosaics[number].shape, x_pix[own], y_pix[own]):
            members = own[neighbours]
            stamps = _boxes(x_pix[members], y_pix[members], size)
            window = mosaics[number].read(_enclosing(stamps), stamps)
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


def _boxes(x_pix: Float64Array, y_pix: Float64Array, size: int) -> list[Box]:
    corners = zip(corner(y_pix, size).tolist(), corner(x_pix, size).tolist(), strict=True)
    return [Box(y0, y0 + size, x0, x0 + size) for y0, x0 in corners]


def _enclosing(boxes: Sequence[Box]) -> Box:
    return Box(
        min(box.y0 for box in boxes), max(box.y1 for box in boxes), min(box.x0 for box in boxes), max(box.x1 for box in boxes)
    )
