"""The irregular footprints of the simulated mosaics: unions of rotated rectangles, different for each camera.

They contain everything that the trap sources need: every edge and corner in F814W, a notch without data that ends inside the
image, and a strip narrower than a cutout.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from surveyflow.values.arrays import BoolArray


@dataclass(frozen=True, slots=True)
class Exposure:
    """A rectangle on the sky, in units of the image's sides: (0, 0) is its lower left corner, (1, 1) its upper right.

    Parameters
    ----------
    centre_x, centre_y
        Position of its centre.
    width, height
        Lengths of its sides.
    angle_deg
        Rotation angle, counterclockwise.
    """

    centre_x: float
    centre_y: float
    width: float
    height: float
    angle_deg: float

    def covers(self, x: np.ndarray, y: np.ndarray) -> BoolArray:
        """Whether each point lies inside the rectangle."""
        cosine, sine = np.cos(np.radians(self.angle_deg)), np.sin(np.radians(self.angle_deg))
        dx, dy = x - np.float32(self.centre_x), y - np.float32(self.centre_y)
        along, across = dx * np.float32(cosine) + dy * np.float32(sine), dy * np.float32(cosine) - dx * np.float32(sine)
        return np.asarray((abs(along) < self.width / 2) & (abs(across) < self.height / 2))


FOOTPRINTS: Mapping[str, tuple[Exposure, ...]] = MappingProxyType(
    {
        "F814W": (
            Exposure(0.50, 0.52, 1.40, 0.50, 4.0),
            Exposure(0.12, 0.50, 0.36, 1.40, 4.0),
            Exposure(0.47, 0.50, 0.22, 1.40, 4.0),
            Exposure(0.93, 0.50, 0.26, 1.40, 4.0),
            Exposure(0.71, 0.25, 0.06, 0.30, 4.0),
        ),
        "F125W_F160W": (
            Exposure(0.50, 0.50, 1.40, 0.56, -6.0),
            Exposure(0.10, 0.50, 0.40, 1.40, -6.0),
            Exposure(0.55, 0.80, 0.26, 0.70, -6.0),
            Exposure(0.90, 0.55, 0.44, 1.40, -6.0),
        ),
    }
)


def footprint(instrument: str, shape: tuple[int, int]) -> BoolArray:
    """Whether an instrument observed each pixel of an image of this shape; (rows, columns) bool."""
    y = ((np.arange(shape[0]) + 0.5) / shape[0]).astype(np.float32)[:, None]
    x = ((np.arange(shape[1]) + 0.5) / shape[1]).astype(np.float32)[None, :]
    covered = np.zeros(shape, bool)
    for exposure in FOOTPRINTS[instrument]:
        covered |= exposure.covers(x, y)
    return covered
