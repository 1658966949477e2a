"""The stretches that bring a cutout's pixels to the range that a network was trained on.

Every cutout is prepared in float64 from its own valid pixels alone. So the result depends neither on the other cutouts of its
batch nor on the exponent range of float32.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Protocol

import numpy as np

from surveyflow.sky.measurements import Sky, measured_sky
from surveyflow.values.arrays import BoolArray, Float32Array, Float64Array
from surveyflow.values.codes import Code

_LEAST, _MOST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


def _asinh(x: Float64Array, softening: float) -> Float64Array:
    return np.zeros_like(x) if x.min() == x.max() else np.arcsinh(x / softening)


def _asinh_minmax(x: Float64Array, softening: float) -> Float64Array:
    return _minmax(np.arcsinh(x / softening))


def _minmax(x: Float64Array, _: float = 1.0) -> Float64Array:
    lowest, highest = x.min(), x.max()
    return (x - lowest) / (highest - lowest) if highest > lowest else np.zeros_like(x)


def _linear(x: Float64Array, softening: float) -> Float64Array:
    if x.min() == x.max():
        return np.zeros_like(x)
    return np.clip(x / softening, -_MOST, _MOST)


def _log_minmax(x: Float64Array, softening: float) -> Float64Array:
    return _minmax(np.log10(np.maximum(x, softening)))


class Softening(Enum):
    """The unit of a stretch's softening."""

    IN_FLUX = "the images' unit"
    IN_NOISE = "the cutout's sky rms"
    WITHOUT_EFFECT = "no unit: it has no effect"


class Stretch(Code):
    """A formula that brings a cutout's pixels to the range that a network was trained on.

    One line below defines a stretch completely. In the meanings, ``x`` are the valid pixels of a cutout, ``s`` is the softening,
    ``sky`` and ``rms`` are the level and the rms that `surveyflow.sky.measurements.measured_sky` finds in the cutout, and
    ``minmax(y) = (y - min(y)) / (max(y) - min(y))``.

    Attributes
    ----------
    formula
        Takes (n,) float64, the valid pixels of one cutout, and the softening in their unit; returns (n,) float64, all 0 if the
        pixels are equal.
    softening
        The unit of the softening.
    subtracts_sky
        Whether the sky's level is subtracted first.
    """

    def __init__(
        self,
        value: str,
        meaning: str = "",
        formula: Callable[[Float64Array, float], Float64Array] = _minmax,
        softening: Softening = Softening.IN_FLUX,
        subtracts_sky: bool = False,
    ) -> None:
        super().__init__(value, meaning)
        self.formula = formula
        self.softening = softening
        self.subtracts_sky = subtracts_sky

    ASINH_MINMAX = "asinh_minmax", "minmax(arcsinh(x / s))", _asinh_minmax
    MINMAX = "minmax", "minmax(x)", _minmax, Softening.WITHOUT_EFFECT
    LINEAR = "linear", "x / s", _linear
    LOG_MINMAX = "log_minmax", "minmax(log10(max(x, s)))", _log_minmax
    ASINH_NOISE = "asinh_noise", "arcsinh(x / (s * rms))", _asinh, Softening.IN_NOISE
    ASINH_SKY = "asinh_sky", "arcsinh((x - sky) / (s * rms))", _asinh, Softening.IN_NOISE, True

    @property
    def is_arcsinh(self) -> bool:
        """Whether the formula is an arcsinh, with or without ``minmax``."""
        return self.formula in (_asinh, _asinh_minmax)

    @property
    def softened(self) -> bool:
        """Whether the softening has an effect."""
        return self.softening is not Softening.WITHOUT_EFFECT


class ArcsinhKernel(Protocol):
    """A program for the stretches that are an arcsinh, faster than NumPy and with the same results."""

    def __call__(
        self, pixels: Float32Array, valid: BoolArray, levels: Float64Array, softenings: Float64Array, *, minmax: bool
    ) -> Float32Array:
        """Compute ``arcsinh((x - level) / softening)`` of cutouts' valid pixels in float64; see `prepare`.

        Parameters
        ----------
        pixels, valid
            As for `prepare`.
        levels, softenings
            (n,) float64 in the pixels' unit; all pixels of a cutout become 0 unless its softening is above 0.
        minmax
            Whether ``minmax`` is applied, too.
        """
        ...


def prepare(
    pixels: Float32Array,
    valid: BoolArray,
    stretch: Stretch,
    softening: float,
    *,
    sky: Sky | None = None,
    arcsinh: ArcsinhKernel | None = None,
) -> Float32Array:
    """Stretch cutouts as a model's card prescribes.

    Invalid pixels become 0. All pixels of a cutout become 0 if its stretched valid pixels are equal, or if the stretch needs the
    sky rms and that is 0 or unknown. Multiplying a cutout by a positive number changes nothing under ``minmax``,
    ``asinh_noise`` and ``asinh_sky``; adding a number changes nothing under ``minmax`` and ``asinh_sky``.

    Parameters
    ----------
    pixels
        (n, size, size) float32 in the unit of the card's softening; invalid pixels may have any value.
    valid
        (n, size, size) bool; where it is True, pixels must be finite.
    stretch
        The formula: see `Stretch`.
    softening
        Softening in the unit that `Softening` states for this stretch; a positive normal float32.
    sky
        The sky of these cutouts, if it has been measured already.
    arcsinh
        The program for stretches that are an arcsinh; None for NumPy.

    Returns
    -------
    prepared
        (n, size, size) float32, finite; within [0, 1] unless the stretch is ``linear``, ``asinh_noise`` or
        ``asinh_sky``.

    Raises
    ------
    ValueError
        If the shapes differ or the softening is out of range.

    Examples
    --------
    >>> cutout = np.array([[[0.0, 1.0], [3.0, 5.0]]], dtype=np.float32)
    >>> prepare(cutout, cutout > 0, Stretch.MINMAX, softening=1.0)
    array([[[0. , 0. ],
            [0.5, 1. ]]], dtype=float32)
    """
    if pixels.shape != valid.shape:
        raise ValueError(f"valid has shape {valid.shape}, pixels {pixels.shape}")
    if not _LEAST <= softening <= _MOST:
        raise ValueError(f"softening must lie between {_LEAST:.2g} and {_MOST:.2g}, not {softening}")
    levels, units = _levels_and_units(pixels, valid, stretch, sky)
    softenings = softening * units
    if arcsinh is not None and stretch.is_arcsinh:
        return arcsinh(pixels, valid, levels, softenings, minmax=stretch.formula is _asinh_minmax)
    prepared = np.zeros(pixels.shape, dtype=np.float32)
    for target, cutout, has_data, level, own in zip(prepared, pixels, valid, levels, softenings.tolist(), strict=True):
        if own > 0 and has_data.any():
            target[has_data] = stretch.formula(cutout[has_data].astype(np.float64) - level, own)
    return prepared


def _levels_and_units(
    pixels: Float32Array, valid: BoolArray, stretch: Stretch, sky: Sky | None
) -> tuple[Float64Array, Float64Array]:
    """(n,) level that is subtracted from each cutout, and the unit of its softening, in its pixels' unit; NaN if unknown."""
    if stretch.softening is not Softening.IN_NOISE:
        return np.zeros(len(pixels)), np.ones(len(pixels))
    sky = measured_sky(pixels, valid) if sky is None else sky
    level = sky.level if stretch.subtracts_sky else np.zeros_like(sky.level)
    return level.astype(np.float64), sky.rms.astype(np.float64)
