"""Cutouts around positions scattered over a mosaic that does not fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np

from surveyflow.sky.tiling import corner, cut, owning_tiles, stacked
from surveyflow.values.arrays import Float64Array, Int64Array
from surveyflow.values.images import Box, CutoutStack, Stamps, Window

CORE_SIZE = 2048
"""Side of a square, pixels; cutouts around the positions in one square are cut from one window."""


class StampReader(Protocol):
    """A mosaic that can be read by rectangles, of which only parts may be wanted."""

    @property
    def shape(self) -> tuple[int, int]: ...

    def read(self, box: Box, wanted: Sequence[Box] = ()) -> Window:
        """Read the part of ``box`` that lies on the mosaic; nothing is needed outside the wanted boxes, if there are any."""
        ...


CopyStamps = Callable[[Int64Array, Int64Array, int], Stamps | None]
"""Copies squares of a mosaic by their first rows and columns and their size; None if not all of them are in memory."""


def cut_from_mosaic(
    mosaic: StampReader, x_pix: Float64Array, y_pix: Float64Array, size: int, copy: CopyStamps | None = None
) -> CutoutStack:
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
    copy
        Copies cutouts out of the mosaic, where that is faster than reading windows; None for windows alone.
    """
    chosen = _sparse(mosaic.shape, x_pix, y_pix, size)
    copied = None if copy is None else _copied(mosaic.shape, x_pix[chosen], y_pix[chosen], size, copy)
    if copied is not None and len(chosen) == len(x_pix):
        return copied
    stack, rest = _empty(len(x_pix), size), np.arange(len(x_pix))
    if copied is not None:
        _fill(stack, chosen, copied)
        rest = np.setdiff1d(rest, chosen)
    _cut_from_windows(stack, mosaic, rest, x_pix, y_pix)
    return stack


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
    stack = _empty(len(x_pix), size)
    for number in np.unique(numbers):
        _cut_from_windows(stack, mosaics[number], np.flatnonzero(numbers == number), x_pix, y_pix)
    return stack


def _empty(n_sources: int, size: int) -> CutoutStack:
    return CutoutStack(
        pixels=np.zeros((n_sources, size, size), np.float32),
        valid=np.zeros((n_sources, size, size), bool),
        weight_median=np.full(n_sources, np.nan, np.float32),
        centre_valid=np.zeros(n_sources, bool),
        beyond_edge=np.ones(n_sources, bool),
    )


def _cut_from_windows(
    stack: CutoutStack, mosaic: StampReader, rows: Int64Array, x_pix: Float64Array, y_pix: Float64Array
) -> None:
    """Fill some rows of a stack."""
    size = stack.pixels.shape[-1]
    for neighbours in _neighbours(mosaic.shape, x_pix[rows], y_pix[rows]):
        members = rows[neighbours]
        stamps = _boxes(x_pix[members], y_pix[members], size)
        window = mosaic.read(_enclosing(stamps), stamps)
        _fill(stack, members, cut(window, x_pix[members], y_pix[members], size))


def _sparse(shape: tuple[int, int], x_pix: Float64Array, y_pix: Float64Array, size: int) -> Int64Array:
    """Numbers of the positions that do not lie so close together that the window around them has fewer pixels than they."""
    rows, columns = owning_tiles(x_pix, y_pix, shape, CORE_SIZE)
    _, inverse, counts = np.unique(np.stack([rows, columns]), axis=1, return_inverse=True, return_counts=True)
    return np.flatnonzero(counts[inverse.ravel()] * size**2 <= CORE_SIZE**2)


def _copied(shape: tuple[int, int], x_pix: Float64Array, y_pix: Float64Array, size: int, copy: CopyStamps) -> CutoutStack | None:
    stamps = copy(corner(y_pix, size), corner(x_pix, size), size) if size > 1 else None
    return None if stamps is None else stacked(stamps, x_pix, y_pix, shape)


def _fill(stack: CutoutStack, members: Int64Array, part: CutoutStack) -> None:
    for name in ("pixels", "valid", "weight_median", "centre_valid", "beyond_edge"):
        getattr(stack, name)[members] = getattr(part, name)


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
