"""Pictures of cutouts as PNG: several stretches, the image that the network receives, and the pixels that hold data."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from surveyflow.errors import InputError
from surveyflow.inputs.published_mosaics import SkyCutout
from surveyflow.models.framing import framed
from surveyflow.sky.measurements import measured_sky
from surveyflow.sky.stretch import Stretch, prepare
from surveyflow.tasks.card import Architecture
from surveyflow.values.arrays import BoolArray, Float32Array, Float64Array
from surveyflow.values.codes import Code

_ARCHITECTURE: TypeAdapter[Architecture] = TypeAdapter(Architecture)
_DARKEST, _BRIGHTEST = 0.5, 99.7
_SOFTENING_RMS = 3.0
_Formula = Callable[[Float64Array, float], Float64Array]


class View(Code):
    """What of a cutout is shown."""

    ASINH = "asinh", "arcsinh((x - sky) / 3 rms): faint and bright parts together"
    LINEAR = "linear", "linear, from 0.5 to 99.7 % of the pixels: cores and bright parts"
    LOG = "log", "logarithm above the sky: the faintest parts"
    INPUT = "input", "stretched as the merger model's card says"
    NETWORK = "network", "what the first layer of the network receives: centred, cropped and binned"
    ASYMMETRY = "asymmetry", "the second channel: the image minus itself rotated by 180 degrees"
    VALID = "valid", "pixels that hold data are light, all others dark"


OF_THE_SKY = (View.ASINH, View.LINEAR, View.LOG, View.INPUT, View.VALID)
"""Views with the cutout's own pixels, on which scale bar and compass hold."""


def picture(cutout: SkyCutout, view: View, model: Mapping[str, Any] | None) -> bytes | None:
    """Draw a cutout.

    Parameters
    ----------
    cutout
        The pixels.
    view
        What is shown.
    model
        The merger model as the manifest describes it; None if that is unknown.

    Returns
    -------
    A PNG with the first row at the bottom, in which pixels without data are transparent; None if the view needs a model whose
    description is missing or cannot be used, or a second channel that the model does not have.
    """
    if view is View.VALID:
        return _png(np.where(cutout.valid, 0.85, 0.1).astype(np.float32), np.ones_like(cutout.valid))
    if view in _STRETCHES:
        return _png(_stretched(cutout.pixels, cutout.valid, _STRETCHES[view]), cutout.valid)
    prepared = _prepared(cutout, model)
    if prepared is None:
        return None
    return _png(_between_quantiles(prepared, cutout.valid), cutout.valid) if view is View.INPUT else _seen(prepared, view, model)


def input_size(model: Mapping[str, Any] | None) -> int:
    """Side of the cutouts that a model receives, pixels; that of the published network if it is unknown."""
    architecture = architecture_of(model)
    return Architecture().input_size if architecture is None else architecture.input_size


def architecture_of(model: Mapping[str, Any] | None) -> Architecture | None:
    """The network of a model that a manifest describes; None if the description cannot be used."""
    if model is None:
        return None
    try:
        return _ARCHITECTURE.validate_python(model.get("architecture"))
    except ValidationError:
        return None


def _prepared(cutout: SkyCutout, model: Mapping[str, Any] | None) -> Float32Array | None:
    """(size, size) as the network receives it; None if the model's card cannot be used."""
    if model is None:
        return None
    try:
        stretch, softening = Stretch(str(model.get("stretch"))), float(model.get("softening", 1.0))
        (prepared,) = prepare(cutout.pixels[None], cutout.valid[None], stretch, softening)
    except (InputError, TypeError, ValueError):
        return None
    return np.asarray(prepared, np.float32)


def _seen(prepared: Float32Array, view: View, model: Mapping[str, Any] | None) -> bytes | None:
    architecture = architecture_of(model)
    if architecture is None or architecture.input_size != len(prepared):
        return None
    channels = framed(prepared[None], architecture)[0]
    channel = 1 if view is View.ASYMMETRY else 0
    if channel >= channels.shape[-1]:
        return None
    shown = channels[..., channel]
    everywhere = np.ones(shown.shape, bool)
    return _png(_between_quantiles(shown, everywhere), everywhere)


def _stretched(pixels: Float32Array, valid: BoolArray, formula: _Formula) -> Float32Array:
    sky = measured_sky(pixels[None], valid[None])
    level, rms = float(np.nan_to_num(sky.level[0])), float(sky.rms[0])
    shown = formula(pixels.astype(np.float64) - level, rms if rms > 0 else float(np.std(pixels)) or 1.0)
    return _between_quantiles(shown.astype(np.float32), valid)


def _between_quantiles(values: Float32Array, valid: BoolArray) -> Float32Array:
    """The values brought to [0, 1]; all 0 if they are equal."""
    if not valid.any():
        return np.zeros_like(values)
    low, high = np.percentile(values[valid], [_DARKEST, _BRIGHTEST])
    return np.clip((values - low) / (high - low), 0, 1) if high > low else np.zeros_like(values)


_STRETCHES: Mapping[View, _Formula] = {
    View.ASINH: lambda x, rms: np.arcsinh(x / (_SOFTENING_RMS * rms)),
    View.LINEAR: lambda x, _: x,
    View.LOG: lambda x, rms: np.log10(np.maximum(x / rms, 0.3)),
}


def _png(shown: Float32Array, valid: BoolArray) -> bytes:
    """A PNG of values in [0, 1], the first row at the bottom."""
    grey = (255 * np.nan_to_num(shown)).astype(np.uint8)
    layers = np.stack([grey, np.where(valid, 255, 0).astype(np.uint8)], axis=-1)[::-1]
    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(layers), "LA").save(content, "PNG", compress_level=1)
    return content.getvalue()
