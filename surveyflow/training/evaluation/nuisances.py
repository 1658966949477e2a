"""What must not change the answer about a galaxy: each nuisance, its range, and a function that does it to stamps.

A nuisance is a property of the observation, such as the position of the galaxy in the stamp, and not of the galaxy. An evaluation
changes test stamps by each nuisance at each of its levels, and compares the answers. A model passes if accuracy falls by at most
2 points, or if at least 80 % of the stamps that are classified wrongly because of the change are flagged as a catalog would flag
them (OUT_OF_DOMAIN, PARTIAL_COVERAGE), and at most a tenth of the unchanged stamps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d, rotate

from surveyflow.simulation.observe import FWHM_OF_SIGMA, SKY_NOISE_SIGMA_PIX, sky_noise
from surveyflow.training.records.labelled import LabelledStamps
from surveyflow.values.arrays import Float32Array

MOST_LOST = 0.02
LEAST_FLAGGED = 0.8
MOST_FLAGGED_BEFORE = 0.1
"""A nuisance may cost this much accuracy, unless such a share of the stamps that it spoils is flagged, and few unchanged ones."""
MOST_STRESSED = 2_000
"""Number of stamps of each set, the first ones, that an evaluation changes."""

HOT_PIXEL = 5.0
"""e-/s."""
_CORRELATION_RMS = 0.7
_NEIGHBOUR_SKY = 3.0

Change = Callable[[LabelledStamps, float, np.random.Generator], Float32Array]
"""Makes the pixels of changed stamps; takes the level and a random generator."""


@dataclass(frozen=True, slots=True)
class Nuisance:
    """Something that must not change an answer.

    Parameters
    ----------
    name
        Its name in ``evaluation.json``.
    words
        The change in words, with the level in braces.
    levels
        The levels at which stamps are changed.
    change
        Makes the changed pixels.
    varied_in
        Where training varies it: a table and a key of the simulation file or of the training file.
    quantity
        The key of a card's ``[domain]`` that limits it, see `surveyflow.training.evaluation.limits.LIMITED`; None if none does.
    """

    name: str
    words: str
    levels: tuple[float, ...]
    change: Change
    varied_in: str
    quantity: str | None = None

    def told(self, level: float) -> str:
        """The change at one level, in words."""
        return self.words.format(f"{level:g}")

    def applied(self, stamps: LabelledStamps, level: float, seed: int) -> LabelledStamps:
        """Change stamps; the same seed gives the same pixels. Pixels without data stay so, and the truth stays that of before.

        Only a gain changes the sky rms and the true flux, which are in the pixels' unit. Whoever widens the PSF also states its
        new width.
        """
        rng = np.random.default_rng([seed, *self.name.encode(), self.levels.index(level)])
        pixels = np.where(stamps.valid, self.change(stamps, level, rng), np.float32(0))
        changed = replace(stamps, pixels=pixels)
        if self.change is gain:
            return replace(changed, flux_pp=stamps.flux_pp * level, sky_rms=stamps.sky_rms * level)
        if self.change is psf_width:
            return replace(changed, psf_fwhm_pix=np.hypot(stamps.psf_fwhm_pix, FWHM_OF_SIGMA * level))
        return changed


def position(stamps: LabelledStamps, level: float, rng: np.random.Generator) -> Float32Array:
    """Move each galaxy by whole pixels, in one of eight directions; the missing edge is mirrored."""
    distance, side = round(level), stamps.pixels.shape[-1]
    padded = np.pad(stamps.pixels, ((0, 0), *[(distance, distance)] * 2), mode="reflect")
    corners = distance * (1 + _DIRECTIONS[rng.integers(0, len(_DIRECTIONS), len(stamps))])
    return _stacked((image[y : y + side, x : x + side] for image, (y, x) in zip(padded, corners, strict=True)), stamps)


def rotation(stamps: LabelledStamps, level: float, rng: np.random.Generator) -> Float32Array:  # noqa: ARG001 - one signature
    """Rotate each stamp about its middle with cubic splines, which smooth the noise by a few per cent."""
    rotated = rotate(stamps.pixels, level, axes=(1, 2), reshape=False, order=3, mode="reflect")
    return np.asarray(rotated, np.float32)


def psf_width(stamps: LabelledStamps, level: float, rng: np.random.Generator) -> Float32Array:
    """Convolve with a round Gaussian, and restore the noise."""
    share = SKY_NOISE_SIGMA_PIX**2 / (SKY_NOISE_SIGMA_PIX**2 + level**2)
    return _with_noise(stamps, gaussian_filter(stamps.pixels, (0, level, level), mode="reflect"), np.sqrt(1 - share), rng)


def psf_shape(stamps: LabelledStamps, level: float, rng: np.random.Generator) -> Float32Array:
    """Convolve with a Gaussian along one axis only, and restore the noise."""
    share = SKY_NOISE_SIGMA_PIX / np.hypot(SKY_NOISE_SIGMA_PIX, level)
    longer = gaussian_filter1d(stamps.pixels, level, axis=1, mode="reflect")
    return _with_noise(stamps, longer, np.sqrt(1 - share), rng)


def depth(stamps: LabelledStamps, level: float, rng: np.random.Generator) -> Float32Array:
    """Add sky noise, correlated as that of the simulations, until it is stronger by a factor; neighbours' masks stay."""
    return _with_noise(stamps, stamps.pixels, np.sqrt(level**2 - 1), rng)


def gain(stamps: LabelledStamps, level: float, rng: np.random.Generator) -> Float32Array:  # noqa: ARG001 - one signature
    """Multiply every pixel."""
    return stamps.pixels * np.float32(level)


def sky(stamps: LabelledStamps, level: float, rng: np.random.Generator) -> Float32Array:  # noqa: ARG001 - one signature
    """Add a constant, in units of each stamp's simulated sky rms."""
    return stamps.pixels + (level * stamps.sky_rms).astype(np.float32)[:, None, None]


def noise_correlation(stamps: LabelledStamps, level: float, rng: np.random.Generator) -> Float32Array:
    """Add noise of 0.7 times the sky rms that is smoothed by a Gaussian of so many pixels; 0 is white noise."""
    noise = gaussian_filter(rng.standard_normal(stamps.pixels.shape, np.float32), (0, level, level), mode="wrap")
    scaled = noise / noise.std(axis=(1, 2), keepdims=True) * _rms(stamps, _CORRELATION_RMS)
    return np.asarray(stamps.pixels + scaled, np.float32)


def neighbours(stamps: LabelledStamps, level: float, rng: np.random.Generator) -> Float32Array:
    """Put galaxies of other stamps onto the edges: their light above three times the sky rms."""
    pixels, side = stamps.pixels.copy(), stamps.pixels.shape[-1]
    light = np.where(pixels > _rms(stamps, _NEIGHBOUR_SKY), pixels, np.float32(0))
    for _ in range(round(level)):
        along = rng.integers(0, side, len(stamps))
        quarter = rng.integers(0, 4, len(stamps))
        for image, other, place, turns in zip(pixels, rng.permutation(light), along, quarter, strict=True):
            edge = np.rot90(image, turns)
            edge[: side // 2] += np.roll(other, int(place) - side // 2, axis=1)[side - side // 2 :]
    return pixels


def missing_strip(stamps: LabelledStamps, level: float, rng: np.random.Generator) -> Float32Array:
    """Empty rows along one edge of each stamp, as at the border of a mosaic."""
    pixels = stamps.pixels.copy()
    for image, edge in zip(pixels, rng.integers(0, 4, len(pixels)), strict=True):
        np.rot90(image, edge)[: round(level)] = 0
    return pixels


def hot_pixels(stamps: LabelledStamps, level: float, rng: np.random.Generator) -> Float32Array:
    """Set pixels of each stamp, anywhere, to 5 e-/s."""
    pixels = stamps.pixels.copy()
    for _ in range(round(level)):
        rows, columns = rng.integers(0, pixels.shape[-1], (2, len(pixels)))
        pixels[np.arange(len(pixels)), rows, columns] = HOT_PIXEL
    return pixels


def bit_depth(stamps: LabelledStamps, level: float, rng: np.random.Generator) -> Float32Array:  # noqa: ARG001 - one signature
    """Round to multiples of a fraction of the sky rms, as lossy compression does."""
    step = _rms(stamps, level)
    return np.asarray((np.floor(stamps.pixels / step) + np.float32(0.5)) * step, np.float32)


_DIRECTIONS = np.array([(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)])

NUISANCES = (
    Nuisance(
        "position",
        "the galaxy moved by {} px on one or both axes",
        (1, 2, 3, 5),
        position,
        "[simulation.nuisances] position_sigma_arcsec",
        "offset_arcsec",
    ),
    Nuisance("rotation", "a rotation by {} deg", (45, 90), rotation, "[augmentation] orientations"),
    Nuisance(
        "psf_width",
        "the PSF widened by a Gaussian of {} px",
        (0.5, 0.75, 1.0, 1.5),
        psf_width,
        "[simulation.nuisances] psf_fwhm",
        "psf_fwhm_arcsec",
    ),
    Nuisance(
        "psf_shape", "the PSF lengthened by a Gaussian of {} px", (0.5, 1.0), psf_shape, "[simulation.nuisances] psf_ellipticity"
    ),
    Nuisance("depth", "noise stronger by a factor of {}", (1.25, 1.5, 3.6), depth, "[simulation] depth_range", "sky_rms"),
    Nuisance("gain", "all pixels multiplied by {}", (0.5, 2, 1000), gain, "[augmentation] gain"),
    Nuisance("sky", "the sky raised by {} sigma", (-1, 1, 5, 20), sky, "[simulation.nuisances] sky_pedestal", "sky_sigma"),
    Nuisance(
        "noise_correlation",
        "more noise, smoothed by {} px",
        (0, 1.0, 1.5),
        noise_correlation,
        "[simulation.nuisances] noise_correlation",
        "noise_correlation",
    ),
    Nuisance(
        "neighbours",
        "more galaxies on the edges: {}",
        (1, 3),
        neighbours,
        "[augmentation] neighbour_chance",
        "edge_light_fraction",
    ),
    Nuisance("missing_strip", "rows without data along an edge: {}", (10, 20, 40), missing_strip, "[augmentation] strip_chance"),
    Nuisance("hot_pixels", "hot pixels: {}", (1, 5), hot_pixels, "[augmentation] hot_pixel_chance"),
    Nuisance("bit_depth", "all pixels rounded to {} sigma", (0.25, 1), bit_depth, "[augmentation] quantum"),
)
"""Everything that must not change an answer."""


def changes() -> Iterator[tuple[Nuisance, float]]:
    """Every nuisance at each of its levels."""
    return ((nuisance, level) for nuisance in NUISANCES for level in nuisance.levels)


def _with_noise(stamps: LabelledStamps, pixels: Float32Array, factor: float, rng: np.random.Generator) -> Float32Array:
    """Pixels with sky noise of so many times each stamp's sky rms."""
    shape = stamps.pixels.shape[1:]
    noise = _stacked((sky_noise(rng, shape, float(factor * rms)) for rms in stamps.sky_rms), stamps)
    return pixels + noise


def _rms(stamps: LabelledStamps, factor: float) -> Float32Array:
    return np.asarray(factor * stamps.sky_rms, np.float32)[:, None, None]


def _stacked(images: Iterator[Float32Array], stamps: LabelledStamps) -> Float32Array:
    return np.array(list(images), np.float32).reshape(stamps.pixels.shape)
