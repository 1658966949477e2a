"""Where are the spectra of a model's kernels? In a file beside the model, or in a cache, mapped into memory.

They are computed once for a model, in float64; every worker of a machine maps the same file, read-only, so that the workers
share one copy. The file's header holds the weights' digest and the tiling; whatever does not agree is computed again. It is the
same file for all instruction sets.

The file: a header (a line of JSON, padded with spaces to a multiple of 4096 bytes), then one float32 array a convolution, each
beginning at a multiple of 4096 bytes, and at the end the SHA-256 of all that. A spectrum is

    [frequency along x][frequency along y][group of 16 outputs][input][re 16 | im 16]

and the first convolution's, which is transformed along rows only,

    [frequency along x][group of 16 outputs][kernel row][re 16 | im 16]
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from surveyflow.models.fft_tiling import GROUP_SIZE, Convolution, Tiling, convolutions, padded, tilings
from surveyflow.models.weights import Weights
from surveyflow.types import Float32Array, ModelCard

_log = logging.getLogger(__name__)

LAYOUT_VERSION = 1
CACHE_VARIABLE = "SURVEYFLOW_CACHE"
_PAGE = 4096
_SEAL = 32
_INPUTS_AT_ONCE = 8


def open_spectra(card: ModelCard, weights: Weights, folders: Sequence[Path]) -> tuple[Float32Array, ...]:
    """The spectra of a model's kernels, one array a convolution, mapped from a file that is written if there is none yet.

    Parameters
    ----------
    card, weights
        What the model's folder holds.
    folders
        Where the file may lie: the first that has it, else the first that can be written. If none can, the spectra are computed
        and kept in this process alone.
    """
    name = f".spectra-{card.weights_digest[:16]}-v{LAYOUT_VERSION}.bin"
    header = _header(card)
    for folder in folders:
        if _is_sound(folder / name, header):
            return _mapped(folder / name, card)
    for folder in folders:
        try:
            _write(folder / name, header, card, weights)
        except OSError as error:
            _log.info("event=spectra_not_kept file=%s reason=%r", folder / name, error.strerror)
        else:
            return _mapped(folder / name, card)
    return tuple(_spectra(card, weights))


def cache_folder() -> Path:
    """Where spectra are kept if the store cannot be written: ``$SURVEYFLOW_CACHE``, or a folder below the user's cache."""
    if CACHE_VARIABLE in os.environ:
        return Path(os.environ[CACHE_VARIABLE])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "surveyflow"


def spectrum(kernel: Float32Array, layer: Convolution, tiling: Tiling) -> Float32Array:
    """The spectrum of one convolution's kernel, as the native code reads it.

    It is the complex conjugate of the transform, because a network's "convolution" is a correlation, over twice the number of
    points: the native transforms are not normalised, and those of two real rows in one lack a factor of one half.

    Parameters
    ----------
    kernel
        (height, width, in, out) float32.
    layer, tiling
        Its convolution, and how that is done.
    """
    if layer.is_first:
        return _row_spectrum(kernel[:, :, 0], tiling.points)
    return _plane_spectrum(kernel, tiling.points)


def _row_spectrum(kernel: Float32Array, points: int) -> Float32Array:
    values = np.conj(np.fft.rfft(kernel.astype(np.float64), points, axis=1)) / (2 * points)  # (ky, k, out)
    return _by_groups(values.transpose(1, 0, 2))


def _plane_spectrum(kernel: Float32Array, points: int) -> Float32Array:
    n_inputs, n_outputs = kernel.shape[2:]
    shape = (points // 2 + 1, points, padded(n_outputs) // GROUP_SIZE, padded(n_inputs), 2, GROUP_SIZE)
    result = np.zeros(shape, np.float32)
    for first in range(0, n_inputs, _INPUTS_AT_ONCE):
        some = slice(first, min(first + _INPUTS_AT_ONCE, n_inputs))
        rows = np.fft.rfft(kernel[:, :, some].astype(np.float64), points, axis=1)
        values = np.conj(np.fft.fft(rows, points, axis=0)) / (2 * points**2)  # (ky, kx, in, out)
        result[:, :, :, some] = _by_groups(values.transpose(1, 0, 2, 3))
    return result


def _by_groups(values: NDArray[Any]) -> Float32Array:
    """(..., in, out) complex -> (..., group of outputs, in, 2, 16) float32, outputs padded with zeros."""
    *others, n_inputs, n_outputs = values.shape
    result = np.zeros((*others, n_inputs, 2, padded(n_outputs)), np.float32)
    result[..., 0, :n_outputs], result[..., 1, :n_outputs] = values.real, values.imag
    grouped = result.reshape(*others, n_inputs, 2, -1, GROUP_SIZE)
    return np.ascontiguousarray(np.moveaxis(grouped, -2, -4))


def _spectra(card: ModelCard, weights: Weights) -> Iterator[Float32Array]:
    for i, (layer, tiling) in enumerate(zip(convolutions(card.architecture), tilings(card.architecture), strict=True)):
        yield spectrum(weights[f"conv.{i}.kernel"], layer, tiling)


def _shape(layer: Convolution, tiling: Tiling) -> tuple[int, ...]:
    n_inputs, n_outputs = layer.padded_channels
    frequencies = tiling.points // 2 + 1
    if layer.is_first:
        return frequencies, n_outputs // GROUP_SIZE, layer.kernel_size, 2, GROUP_SIZE
    return frequencies, tiling.points, n_outputs // GROUP_SIZE, n_inputs, 2, GROUP_SIZE


def _header(card: ModelCard) -> bytes:
    content = {
        "format": "surveyflow kernel spectra",
        "layout_version": LAYOUT_VERSION,
        "byte_order": "little",
        "weights_digest": card.weights_digest,
        "tilings": [asdict(tiling) for tiling in tilings(card.architecture)],
        "shapes": [list(shape) for shape in _shapes(card)],
    }
    text = json.dumps(content).encode() + b"\n"
    return text.ljust(-(-len(text) // _PAGE) * _PAGE)


def _shapes(card: ModelCard) -> list[tuple[int, ...]]:
    return [_shape(*pair) for pair in zip(convolutions(card.architecture), tilings(card.architecture), strict=True)]


def _places(card: ModelCard) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Offset and shape of each array."""
    offset = len(_header(card))
    for shape in _shapes(card):
        yield offset, shape
        offset += -(-4 * int(np.prod(shape)) // _PAGE) * _PAGE


def _is_sound(file: Path, header: bytes) -> bool:
    """Whether the file is there, for this model and tiling, and as it was written."""
    try:
        content = np.memmap(file, np.uint8, "r")
    except (OSError, ValueError):
        return False
    body, seal = content[:-_SEAL], content[-_SEAL:]
    return bytes(body[: len(header)]) == header and hashlib.sha256(body.data).digest() == bytes(seal)


def _mapped(file: Path, card: ModelCard) -> tuple[Float32Array, ...]:
    return tuple(np.memmap(file, np.dtype("<f4"), "r", offset, shape) for offset, shape in _places(card))


def _write(file: Path, header: bytes, card: ModelCard, weights: Weights) -> None:
    """Write the file, whole or not at all; another process may do the same meanwhile, with the same content."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f"{file.name}.{uuid4().hex}")
    try:
        with unfinished.open("xb") as stream:
            digest = hashlib.sha256()
            for part in chain([header], map(_padded_bytes, _spectra(card, weights))):
                stream.write(part)
                digest.update(part)
            stream.write(digest.digest())
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


def _padded_bytes(values: Float32Array) -> bytes:
    content = values.astype("<f4", copy=False).tobytes()
    return content.ljust(-(-len(content) // _PAGE) * _PAGE, b"\0")
