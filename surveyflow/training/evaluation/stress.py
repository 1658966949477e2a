"""The degradation of stamps: what goes wrong with real images, done on purpose."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from surveyflow.simulation.observe import sky_noise
from surveyflow.training.records.labelled import LabelledStamps

HOT_PIXEL = 5.0
"""e-/s."""
UNIT_FACTOR = 1000.0
DEPTH_FACTOR = 3.6
"""Noise of a shallower mosaic, in units of the field's own."""
STRIP_PIX = 20
Stress = Callable[[LabelledStamps, np.random.Generator], LabelledStamps]
"""Degrades stamps, with a random generator."""


def hot_pixel(stamps: LabelledStamps, rng: np.random.Generator) -> LabelledStamps:
    """Set one pixel of each stamp, anywhere, to 5 e-/s."""
    pixels = stamps.pixels.copy()
    rows, columns = rng.integers(0, pixels.shape[-1], (2, len(pixels)))
    pixels[np.arange(len(pixels)), rows, columns] = HOT_PIXEL
    return replace(stamps, pixels=pixels)


def wrong_unit(stamps: LabelledStamps, rng: np.random.Generator) -> LabelledStamps:  # noqa: ARG001 - one signature for all
    """Multiply every pixel, and the truth in the same unit, by 1000."""
    return replace(
        stamps,
        pixels=stamps.pixels * np.float32(UNIT_FACTOR),
        flux_pp=stamps.flux_pp * UNIT_FACTOR,
        sky_rms=stamps.sky_rms * UNIT_FACTOR,
    )


def other_depth(stamps: LabelledStamps, rng: np.random.Generator) -> LabelledStamps:
    """Add sky noise, correlated as that of the stamps, until it is 3.6 times the simulated noise; the neighbours' masks stay."""
    shape = stamps.pixels.shape[1:]
    added_rms = stamps.sky_rms * np.sqrt(DEPTH_FACTOR**2 - 1)
    noise = np.stack([sky_noise(rng, shape, float(rms)) for rms in added_rms])
    pixels = np.where(stamps.valid, stamps.pixels + noise, np.float32(0))
    return replace(stamps, pixels=pixels, sky_rms=stamps.sky_rms * DEPTH_FACTOR)


def zero_strip(stamps: LabelledStamps, rng: np.random.Generator) -> LabelledStamps:
    """Empty 20 pixels along one edge of each stamp, as at the border of a mosaic."""
    pixels = stamps.pixels.copy()
    for image, edge in zip(pixels, rng.integers(0, 4, len(pixels)), strict=True):
        np.rot90(image, edge)[:STRIP_PIX] = 0
    return replace(stamps, pixels=pixels)


def _shifted(distance_pix: int) -> Stress:
    """Make the function that moves each galaxy by some whole pixels in one of eight directions, and mirrors the missing edge."""

    def shift(stamps: LabelledStamps, rng: np.random.Generator) -> LabelledStamps:
        padded = np.pad(stamps.pixels, ((0, 0), *[(distance_pix, distance_pix)] * 2), mode="reflect")
        side = stamps.pixels.shape[-1]
        corners = distance_pix * (1 + _DIRECTIONS[rng.integers(0, len(_DIRECTIONS), len(stamps))])
        moved = [image[y : y + side, x : x + side] for image, (y, x) in zip(padded, corners, strict=True)]
        return replace(stamps, pixels=np.stack(moved))

    return shift


def _on_pedestal(height: float) -> Stress:
    """Make the function that adds a constant, in units of each stamp's simulated sky rms, to every pixel that holds data."""

    def add(stamps: LabelledStamps, rng: np.random.Generator) -> LabelledStamps:  # noqa: ARG001 - one signature for all
        pedestal = (height * stamps.sky_rms).astype(np.float32)[:, None, None]
        return replace(stamps, pixels=np.where(stamps.valid, stamps.pixels + pedestal, np.float32(0)))

    return add


_DIRECTIONS = np.array([(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)])

STRESSES: Mapping[str, Stress] = {
    "hot_pixel": hot_pixel,
    "wrong_unit": wrong_unit,
    "other_depth": other_depth,
    "zero_strip": zero_strip,
    "shift_1_pixel": _shifted(1),
    "shift_2_pixels": _shifted(2),
    "shift_3_pixels": _shifted(3),
    "pedestal_minus_1_sigma": _on_pedestal(-1.0),
    "pedestal_plus_5_sigma": _on_pedestal(5.0),
}
"""The functions that degrade stamps, by name; each takes a random generator."""


def stressed(stamps: LabelledStamps, name: str, seed: int) -> LabelledStamps:
    """Degrade stamps in one of the ways of `STRESSES`; the same seed gives the same pixels."""
    return STRESSES[name](stamps, np.random.default_rng([seed, list(STRESSES).index(name)]))
