"""Mosaics in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from astropy.io import fits

from surveyflow.inputs.astrometry import Astrometry, read_astrometry
from surveyflow.sky.scattered import StampReader
from surveyflow.values.arrays import Float32Array, Float64Array
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


@dataclass(frozen=True)
class SkyMosaic(ArrayMosaic):
    """A mosaic in memory with a tangent projection."""

    angle_deg: float = 0.0
    ra_deg: float = 150.1
    dec_deg: float = 2.2
    pixel_scale_arcsec: float = 0.06

    @property
    def astrometry(self) -> Astrometry:
        """Its projection; the reference position is the middle of the image."""
        step, angle = self.pixel_scale_arcsec / 3600, np.radians(self.angle_deg)
        header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": self.ra_deg, "CRVAL2": self.dec_deg})
        header.update({"CRPIX1": self.shape[1] / 2 + 0.5, "CRPIX2": self.shape[0] / 2 + 0.5})
        header.update({"CD1_1": -step * np.cos(angle), "CD1_2": step * np.sin(angle)})
        header.update({"CD2_1": step * np.sin(angle), "CD2_2": step * np.cos(angle)})
        return read_astrometry(header, self.shape, "memory")

    @property
    def corners_deg(self) -> tuple[Float64Array, Float64Array]:
        height, width = self.shape
        return self.astrometry.to_sky(np.array([0, width, width, 0]) - 0.5, np.array([0, 0, height, height]) - 0.5)

    def to_pixels(self, ra_deg: Float64Array, dec_deg: Float64Array) -> tuple[Float64Array, Float64Array]:
        return self.astrometry.to_pixels(ra_deg, dec_deg)


_: type[StampReader] = ArrayMosaic
