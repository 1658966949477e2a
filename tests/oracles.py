"""What the answers must be, from code that shares nothing with surveyflow's."""

from __future__ import annotations

import math

import numpy as np
from astropy.nddata import Cutout2D, NoOverlapError


def cutout2d(image, x_pix, y_pix, size):
    """The cutout that astropy makes; zeros where it refuses because nothing of the image is in it."""
    try:
        return Cutout2D(image, (x_pix, y_pix), size, mode="partial", fill_value=0).data
    except NoOverlapError:
        return np.zeros((size, size), dtype=image.dtype)


def stretched(cutout, valid, stretch, softening):
    """One cutout prepared in float64, number by number, with plain Python; too small a one has no noise to count in."""
    if stretch in ("asinh_noise", "asinh_sky"):
        return np.zeros(cutout.shape)
    formulas = {
        "asinh_minmax": lambda x: math.asinh(x / softening),
        "minmax": lambda x: x,
        "linear": lambda x: x / softening,
        "log_minmax": lambda x: math.log10(max(x, softening)),
    }
    values = {place: formulas[stretch](float(cutout[place])) for place in zip(*np.nonzero(valid), strict=True)}
    lowest, highest = min(values.values(), default=0.0), max(values.values(), default=0.0)
    prepared = np.zeros(cutout.shape)
    if highest > lowest:
        for place, value in values.items():
            prepared[place] = value if stretch == "linear" else (value - lowest) / (highest - lowest)
    return prepared
