"""The spectra of a model's kernels, stored in a file beside the model or in a cache, and mapped into memory.

They are computed once for a model, in float64. Every worker of a machine maps the same file, read-only, so that the workers
share one copy. The file's header holds the weights' digest and the tiling; if they do not agree, the spectra are computed again.
All instruction sets use the same file.

The file consists of a header (a line of JSON, padded with spaces to a multiple of 4096 bytes), one float32 array for each
convolution, beginning at a multiple of 4096 bytes, and the SHA-256 of everything before it. A spectrum is

    [frequency along x][frequency along y][group of 16 outputs][input][re 16 | im 16]

and that of the first convolution, which is transformed along rows only, is

    [frequency along x][group of 16 outputs][kernel row][re 16 | im 16]
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from surveyflow.models.engines.fft_tiling import GROUP_SIZE, Convolution, Tiling, convolutions, padded, tilings
from surveyflow.models.weights import Weights
from surveyflow.tasks.card import ModelCard
from surveyflow.values.arrays import Float32Array

_log = logging.getLogger(__name__)

LAYOUT_VERSION = 1
CACHE_VARIABLE = "SURVEYFLOW_CACHE"
_PAGE = 4096
_SEAL = 32
_INPUTS_AT_ONCE = 8
_ABANDONED_AFTER_S = 86_400.0


def open_spectra(
    card: ModelCard, weights: Weights, folders: Sequence[Path], weights_file: Path | None = None
) -> tuple[Float32Array, ...]:
    """The spectra of a model's kernels, one array for each convolution, mapped from a file that is written if necessary.

    A file is used only if it belongs to this user, to root or to the owner of the weights, and if not everybody may write it,
    because whoever can change it can change results.

    Parameters
    ----------
    card, weights
        Card and weights of the model.
    folders
        Folders that may hold the file: the first that has it is used, otherwise the first that can be written. If no folder can
        be written, the spectra are computed and kept in this process alone.
    weights_file
        The file that holds the weights; None if there is no such file.
    """
    name = f".spectra-{card.weights_digest[:16]}-v{LAYOUT_VERSION}.bin"
    header, owners = _header(card), _trusted_owners(weights_file)
    for folder in folders:
        _sweep(folder)
        content = _verified(folder / name, header, owners)
        if content is not None:
            return _views(content, card)
    for folder in folders:
        try:
            _write(folder / name, header, card, weights)
        except OSError as error:
            _log.info("event=spectra_not_kept file=%s reason=%r", folder / name, error.strerror)
        content = _verified(folder / name, header, owners)
        if content is not None:
            return _views(content, card)
    return tuple(_spectra(card, weights))


def cache_folder() -> Path:
    """The folder for spectra if the store cannot be written.

    It is ``$SURVEYFLOW_CACHE``, or a folder in the user's cache, or in the temporary folder for a user without a home directory.
    """
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "surveyflow"
    except RuntimeError:
        return Path(tempfile.gettempdir(), f"surveyflow-{os.geteuid()}")


def spectrum(kernel: Float32Array, layer: Convolution, tiling: Tiling) -> Float32Array:
    """The spectrum of one convolution's kernel, as the native code reads it.

    It is the complex conjugate of the transform, because a network's "convolution" is a correlation, divided by twice the number
    of points: the native transforms are not normalised, and those of two real rows in one lack a factor of one half.

    Parameters
    ----------
    kernel
        (height, width, in, out) float32.
    layer, tiling
        Its convolution, and the tiling of it.
    """
    if layer.is_first:
        return _row_spectrum(kernel.transpose(0, 2, 1, 3).reshape(-1, *kernel.shape[1::2]), tiling.points)
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
        return frequencies, n_outputs // GROUP_SIZE, layer.kernel_size * layer.n_inputs, 2, GROUP_SIZE
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


def _trusted_owners(weights_file: Path | None) -> set[int]:
    """Ids of the users whose files are trusted."""
    owners = {os.geteuid(), 0}
    if weights_file is not None:
        with suppress(OSError):
            owners.add(weights_file.stat().st_uid)
    return owners


def _verified(file: Path, header: bytes, owners: set[int]) -> NDArray[np.uint8] | None:
    """The file's mapped content, if the file exists, fits model and tiling, is undamaged and has a trusted owner; else None."""
    try:
        with open(file, "rb", opener=_open_at_once) as stream:
            status = os.fstat(stream.fileno())
            if not _is_trusted(status, owners):
                _log.warning("event=spectra_distrusted file=%s owner=%d mode=%o", file, status.st_uid, status.st_mode)
                return None
            content = np.memmap(stream, np.uint8, "r")
    except (OSError, ValueError):
        return None
    body, seal = content[:-_SEAL], content[-_SEAL:]
    sound = bytes(body[: len(header)]) == header and hashlib.sha256(body.data).digest() == bytes(seal)
    return content if sound else None


def _open_at_once(path: str, flags: int) -> int:
    """Open a file without blocking; a pipe of this name would block otherwise."""
    return os.open(path, flags | os.O_NONBLOCK)


def _is_trusted(status: os.stat_result, owners: set[int]) -> bool:
    return stat.S_ISREG(status.st_mode) and status.st_uid in owners and not status.st_mode & stat.S_IWOTH


def _views(content: NDArray[np.uint8], card: ModelCard) -> tuple[Float32Array, ...]:
    return tuple(
        content[offset : offset + 4 * int(np.prod(shape))].view(np.dtype("<f4")).reshape(shape) for offset, shape in _places(card)
    )


def _sweep(folder: Path) -> None:
    """Remove unfinished files of writers that were killed."""
    before = time.time() - _ABANDONED_AFTER_S
    with suppress(OSError):
        for file in folder.glob(f".spectra-*.bin.{'[0-9a-f]' * 32}"):
            if file.lstat().st_mtime < before:
                file.unlink(missing_ok=True)


def _write(file: Path, header: bytes, card: ModelCard, weights: Weights) -> None:
    """Write the file completely or not at all; another process may write the same content at the same time."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f"{file.name}.{uuid4().hex}")
    try:
        with open(unfinished, "xb", opener=_create_for_reading) as stream:
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


def _create_for_reading(path: str, flags: int) -> int:
    """Create a file that nobody else may write, whatever the umask allows."""
    return os.open(path, flags, 0o644)


def _padded_bytes(values: Float32Array) -> bytes:
    content = values.astype("<f4", copy=False).tobytes()
    return content.ljust(-(-len(content) // _PAGE) * _PAGE, b"\0")
