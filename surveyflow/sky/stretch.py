"""How a cutout's pixels are brought to the range that a network was trained on.

Every cutout is prepared from its own valid pixels alone, in float64, so its result depends neither on the others of its batch nor
on the exponent range of float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum

import numpy as np

from surveyflow.sky.noise import sky_rms
from surveyflow.values.arrays import BoolArray, Float32Array, Float64Array


class Stretch(StrEnum):
    """How a cutout's pixels are brought to the range that a network was trained on."""

    ASINH_MINMAX = "asinh_minmax"
    MINMAX = "minmax"
    LINEAR = "linear"
    LOG_MINMAX = "log_minmax"
    ASINH_NOISE = "asinh_noise"


_LEAST, _MOST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


def prepare(pixels: Float32Array, valid: BoolArray, stretch: Stretch, softening: float) -> Float32Array:
    """Stretch cutouts as a model's card says.

    With ``s`` for the softening, ``minmax(y) = (y - min(y)) / (max(y) - min(y))`` over the valid pixels, and ``rms`` for
    `surveyflow.sky.noise.sky_rms` of the cutout:

    ============  ===============================
    asinh_minmax  ``minmax(arcsinh(x / s))``
    minmax        ``minmax(x)``
    linear        ``x / s``
    log_minmax    ``minmax(log10(max(x, s)))``
    asinh_noise   ``arcsinh(x / (s * rms))``
    ============  ===============================

    Invalid pixels become 0, and so does all of a cutout whose stretched valid pixels are equal, or whose ``rms`` is needed and
    is 0 or unknown. Multiplying a cutout by a positive number changes nothing under ``minmax`` and ``asinh_noise``.

    Parameters
    ----------
    pixels
        (n, size, size) float32 in the unit of the card's softening; may hold anything where invalid.
    valid
        (n, size, size) bool; where it is True, pixels must be finite.
    stretch
        Which formula.
    softening
        In the pixels' unit, or, for ``asinh_noise``, a number; a positive normal float32.

    Returns
    -------
    prepared
        (n, size, size) float32, finite; within [0, 1] unless ``linear`` or ``asinh_noise``.

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
    formula = _FORMULAS[stretch]
    scales = softening * _units(pixels, valid, stretch)
    prepared = np.zeros(pixels.shape, dtype=np.float32)
    for target, cutout, has_data, scale in zip(prepared, pixels, valid, scales, strict=True):
        if scale > 0 and has_data.any():
            target[has_data] = formula(cutout[has_data].astype(np.float64), float(scale))
    return prepared


def _units(pixels: Float32Array, valid: BoolArray, stretch: Stretch) -> Float64Array:
    """(n,) what each cutout's softening is counted in; NaN where it cannot be measured."""
    if stretch is Stretch.ASINH_NOISE:
        return sky_rms(pixels, valid).astype(np.float64)
    return np.ones(len(pixels))


def _asinh(x: Float64Array, softening: float) -> Float64Array:
    return np.zeros_like(x) if x.min() == x.max() else np.arcsinh(x / softening)


def _asinh_minmax(x: Float64Array, softening: float) -> Float64Array:
    return _minmax(np.arcsinh(x / softening))


def _minmax(y: Float64Array) -> Float64Array:
    lowest, highest = y.min(), y.max()
    return (y - lowest) / (highest - lowest) if highest > lowest else np.zeros_like(y)


def _linear(x: Float64Array, softening: float) -> Float64Array:
    if x.min() == x.max():
        return np.zeros_like(x)
    return np.clip(x / softening, -_MOST, _MOST)


def _log_minmax(x: Float64Array, softening: float) -> Float64Array:
    return _minmax(np.log10(np.maximum(x, softening)))


_FORMULAS: Mapping[Stretch, Callable[[Float64Array, float], Float64Array]] = {
    Stretch.ASINH_MINMAX: _asinh_minmax,
    Stretch.MINMAX: lambda x, _: _minmax(x),
    Stretch.LINEAR: _linear,
    Stretch.LOG_MINMAX: _log_minmax,
    Stretch.ASINH_NOISE: _asinh,
}
