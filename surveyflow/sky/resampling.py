"""The resampling of a mosaic's windows to another pixel scale, without rotation: each new pixel gets its share of every old one.

The flux is conserved exactly. The new grid has the corner of the mosaic's first pixel in common with the old one, and its pixels
depend on no window, so that tiles agree where they overlap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from surveyflow.values.arrays import BoolArray, Float32Array, Float64Array
from surveyflow.values.images import Box, Window

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_WHOLE = 1 - 1e-6
"""Share of a new pixel that old pixels with data must cover."""


@dataclass(frozen=True, slots=True)
class NewGrid:
    """A grid of pixels of another size over a mosaic.

    Parameters
    ----------
    old_shape
        Rows and columns of the mosaic.
    step
        Side of an old pixel in new ones, above 0.
    """

    old_shape: tuple[int, int]
    step: float

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the new grid, which covers the mosaic; the last ones may be covered in part."""
        rows, columns = (int(np.ceil(length * self.step - 1e-9)) for length in self.old_shape)
        return rows, columns

    def new_pixels(self, old: Float64Array) -> Float64Array:
        """Positions along an axis in new pixels, of positions in old ones; 0-based, integers at pixel centres."""
        return (old + 0.5) * self.step - 0.5

    def old_pixels(self, new: Float64Array) -> Float64Array:
        """The inverse of `new_pixels`."""
        return (new + 0.5) / self.step - 0.5

    def old_box(self, box: Box) -> Box:
        """The old pixels that new pixels of a box touch."""
        low, high = (int(np.floor(edge / self.step)) for edge in (box.y0, box.x0)), (box.y1, box.x1)
        (y0, x0), (y1, x1) = low, (int(np.ceil(edge / self.step)) for edge in high)
        return Box(y0, max(y0, y1), x0, max(x0, x1)).clipped(self.old_shape)

    def resampled(self, window: Window, box: Box) -> Window:
        """Resample a window of the mosaic.

        Parameters
        ----------
        window
            Holds `old_box` of the box.
        box
            New pixels, inside `shape`.

        Returns
        -------
        The pixels of the box: flux per new pixel, 0 and not valid where less than the whole pixel has data. Weights are inverse
        variances of the new pixels if the noise of old ones is independent.
        """
        rows = _shares(window.box.y0, window.box.y1, box.y0, box.y1, self.step)
        columns = _shares(window.box.x0, window.box.x1, box.x0, box.x1, self.step)
        covered = _spread(rows, window.valid.astype(np.float64), columns) * self.step**2
        valid = covered >= _WHOLE
        pixels = np.where(valid, _spread(rows, np.where(window.valid, window.pixels, 0).astype(np.float64), columns), 0)
        weight = None if window.weight is None else self._weight(window, rows, columns, valid)
        return Window(pixels.astype(np.float32), valid, weight, (box.y0, box.x0), self.shape)

    def _weight(self, window: Window, rows: csr_array, columns: csr_array, valid: BoolArray) -> Float32Array:
        assert window.weight is not None
        variance = np.where(window.valid, 1 / np.where(window.valid, window.weight, 1).astype(np.float64), 0)
        summed = _spread(rows.power(2), variance, columns.power(2))
        return np.where(valid & (summed > 0), 1 / np.where(summed > 0, summed, 1), 0).astype(np.float32)


def _spread(rows: csr_array, values: Float64Array, columns: csr_array) -> Float64Array:
    # Products of sparse matrices add in the order of the old pixels, so that a sum does not depend on the window.
    return np.asarray((columns @ (rows @ values).T).T, np.float64)


def _shares(old0: int, old1: int, new0: int, new1: int, step: float) -> csr_array:
    """(new, old): the share of each old pixel along an axis that lies in each new one."""
    from scipy.sparse import csr_array

    new = np.arange(new0, new1)[:, None]
    first = np.floor(new / step).astype(np.int64)
    old = first + np.arange(int(np.ceil(1 / step)) + 2)
    overlap = np.minimum((old + 1) * step, new + 1) - np.maximum(old * step, new)
    inside = (overlap > 0) & (old >= old0) & (old < old1)
    row = np.broadcast_to(np.arange(new1 - new0)[:, None], old.shape)
    return csr_array((overlap[inside] / step, (row[inside], old[inside] - old0)), shape=(new1 - new0, old1 - old0))
