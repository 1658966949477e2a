"""A mosaic in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from surveyflow.sky.scattered import StampReader
from surveyflow.values.arrays import Float32Array
from surveyflow.values.images import Box, Window


@dataclass(frozen=True)
class ArrayMosaic:
    """A mosaic in memory that notes which boxes were read."""

    pixels: Float32Array
    weight: Float32Array | None = None
    read_boxes: list[Box] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, int]:
        n_rows, n_columns = self.pixels.shape
        return n_rows, n_columns

    def read(self, box: Box, wanted: Sequence[Box] = ()) -> Window:
        part = box.clipped(self.shape)
        self.read_boxes.append(part)
        rows, columns = slice(part.y0, part.y1), slice(part.x0, part.x1)
        pixels = self.pixels[rows, columns]
        weight = None if self.weight is None else self.weight[rows, columns]
        valid = np.isfinite(pixels) & (pixels != 0 if weight is None else weight > 0)
        return Window(pixels, valid, weight, (part.y0, part.x0), self.shape)


_: type[StampReader] = ArrayMosaic
