"""The spectra of a model's kernels, stored in a file beside the model or in a cache.

They are computed once for a model, in float64: the first worker computes them, while the others wait for it. The file's header
holds the weights' digest and the tiling. A worker reads the file into its own memory and then checks what it has read, so that
nobody can change the numbers afterwards, and a file that is cut short ends no process. A seal shows damage. Whoever can
write the file can also seal it, so random sums over all frequencies are compared with sums over the kernels themselves; if
anything disagrees, the spectra are computed again. All instruction sets use the same file.

The file consists of a header (a line of JSON, padded with spaces to a multiple of 4096 bytes), one float32 array for each
convolution, beginning at a multiple of 4096 bytes, and the SHA-256 of everything before it. A spectrum is

    [frequency along x][frequency along y][group of 16 outputs][input][re 16 | im 16]

and that of the first convolution, which is transformed along rows only, is

    [frequency along x][group of 16 outputs][kernel row][re 16 | im 16]
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import math
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from surveyflow.models.engines.fft_tiling import GROUP_SIZE, Convolution, Tiling, convolutions, padded, tilings
from surveyflow.models.weights import Weights
from surveyflow.tasks.card import ModelCard
from surveyflow.values.arrays import Float32Array, Float64Array

_log = logging.getLogger(__name__)

LAYOUT_VERSION = 1
CACHE_VARIABLE = "SURVEYFLOW_CACHE"
_PAGE = 4096
_SEAL = 32
_INPUTS_AT_ONCE = 8
_DAY_S = 86_400.0
_UNUSED_DAYS = 30
_LONGEST_WAIT_S = 60.0
_WAIT_S = 0.05
_UNFINISHED = re.compile(r"\.spectra-.*\.bin\.([0-9a-f]{32}|lock)")
_LARGEST_ERROR = 1e-4
"""Of a random sum over frequencies, in units of the norm that the kernel gives it; rounding to float32 makes 2e-7 of it."""


def open_spectra(
    card: ModelCard, weights: Weights, folders: Sequence[Path], weights_file: Path | None = None
) -> tuple[Float32Array, ...]:
    """The spectra of a model's kernels, one array for each convolution, from a file that is written if necessary.

    A file is used only if it belongs to this user, to root or to the owner of the weights, if nobody else may write it, and if
    its numbers are those of the weights, because whoever can change it can change results. Files that no worker has used for 30
    days are removed.

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
    trusted = _Trusted(card, weights, _trusted_owners(weights_file))
    for folder in folders:
        _sweep(folder, name)
        content = trusted.content_of(folder / name)
        if content is not None:
            return _views(content, card)
    for folder in folders:
        content = _made(folder / name, trusted)
        if content is not None:
            return _views(content, card)
    return tuple(_spectra(card, weights))


def _made(file: Path, trusted: _Trusted) -> NDArray[np.uint8] | None:
    """Write the file, unless another worker does so meanwhile, and read it; None if it cannot be written."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with _alone(file):
            if (content := trusted.content_of(file)) is not None:
                return content
            _write(file, trusted)
            return trusted.content_of(file)
    except OSError as error:
        _log.info("event=spectra_not_kept file=%s reason=%r", file, error.strerror)
        return None


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Wait while another worker computes the same spectra, but no longer than a minute; where nothing can be locked, go on."""
    lock = file.with_name(f"{file.name}.lock")
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    try:
        _wait_for(descriptor)
        yield
    finally:
        lock.unlink(missing_ok=True)  # whoever waits holds this file open, and finds the spectra when it gets the lock
        os.close(descriptor)


def _wait_for(descriptor: int) -> None:
    end = time.monotonic() + _LONGEST_WAIT_S
    while time.monotonic() < end:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_WAIT_S)
        except OSError:  # a file system without locks
            return None
    return None


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


def _file_size(card: ModelCard) -> int:
    *_, (offset, shape) = _places(card)
    return offset + -(-4 * math.prod(shape) // _PAGE) * _PAGE + _SEAL


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


@dataclass(frozen=True, slots=True)
class _Trusted:
    """What a file must hold to be used: the spectra of these weights, in a file of one of these owners."""

    card: ModelCard
    weights: Weights
    owners: set[int]

    def content_of(self, file: Path) -> NDArray[np.uint8] | None:
        """A copy of the file's content, if the file exists and can be trusted; otherwise None."""
        try:
            with open(file, "rb", opener=_open_at_once) as stream:
                status = os.fstat(stream.fileno())
                if not _is_trusted(status, self.owners):
                    _log.warning("event=spectra_distrusted file=%s owner=%d mode=%o", file, status.st_uid, status.st_mode)
                    return None
                content = _read(stream, status.st_size) if status.st_size == _file_size(self.card) else None
                if content is None or not self._is_sound(content):
                    _log.warning("event=spectra_unsound file=%s bytes=%d", file, status.st_size)
                    return None
                _note_use(stream.fileno(), status)
                return content
        except (OSError, ValueError):
            return None

    def _is_sound(self, content: NDArray[np.uint8]) -> bool:
        header, body, seal = _header(self.card), content[:-_SEAL], content[-_SEAL:]
        if bytes(body[: len(header)]) != header or hashlib.sha256(body.data).digest() != bytes(seal):
            return False
        layers = zip(convolutions(self.card.architecture), tilings(self.card.architecture), strict=True)
        kernels = (self.weights[f"conv.{i}.kernel"] for i in range(len(_shapes(self.card))))
        checks = zip(kernels, layers, _views(content, self.card), strict=True)
        return all(is_spectrum_of(kernel, layer, tiling, values) for kernel, (layer, tiling), values in checks)


def is_spectrum_of(kernel: Float32Array, layer: Convolution, tiling: Tiling, values: Float32Array) -> bool:
    """Whether an array is the spectrum of a kernel, by random sums over its frequencies.

    The weights of the sums are drawn anew in each call, so that nobody can prepare numbers that pass. A number in the array that
    is wrong by more than about a thousandth of the array's typical numbers is found.

    Parameters
    ----------
    kernel, layer, tiling
        As for `spectrum`.
    values
        (...) float32: what may be the spectrum.
    """
    rng = np.random.default_rng()
    shape = values.shape[: 1 if layer.is_first else 2]
    factors = rng.uniform(0.5, 1, shape).astype(np.float32) * rng.choice(np.array([-1, 1], np.float32), shape)
    found = factors.reshape(1, -1) @ values.reshape(factors.size, -1)
    expected = _sums(kernel.astype(np.float64), layer, tiling, factors.astype(np.float64))
    largest = np.sqrt(np.square(kernel, dtype=np.float64).sum(axis=(0, 1)).max()) or 1.0
    # A sum of n numbers whose squares add up to that of the kernel, by Parseval's theorem, and their norm of 1 / 2 points.
    error = np.abs(found.reshape(expected.shape) - expected).max()
    return bool(error <= _LARGEST_ERROR * largest / tiling.points)


def _sums(kernel: Float64Array, layer: Convolution, tiling: Tiling, factors: Float64Array) -> Float64Array:
    """The sums of `is_spectrum_of` over the frequencies of a kernel, by the definition of the transform."""
    points = tiling.points
    places = np.arange(layer.kernel_size)
    along_x = np.exp(2j * np.pi * np.outer(np.arange(points // 2 + 1), places) / points)  # (kx, x)
    if layer.is_first:
        rows = kernel.transpose(0, 2, 1, 3).reshape(-1, *kernel.shape[1::2])  # (row and input, x, out)
        values = np.einsum("f,fx,rxo->ro", factors, along_x, rows) / (2 * points)
        return np.asarray(_by_groups(values), np.float64)
    along_y = np.exp(2j * np.pi * np.outer(np.arange(points), places) / points)
    wave = along_y.T @ (factors.T @ along_x)  # (y, x)
    values = np.tensordot(wave, kernel, axes=2) / (2 * points**2)
    n_inputs, n_outputs = layer.padded_channels
    padded_values = np.zeros((n_inputs, n_outputs), np.complex128)
    padded_values[: values.shape[0], : values.shape[1]] = values
    return np.asarray(_by_groups(padded_values), np.float64)


def _read(stream: BinaryIO, size: int) -> NDArray[np.uint8] | None:
    """The file's content in memory that begins at a cache line; None if the file is shorter by now."""
    room = np.empty(size + _PAGE, np.uint8)
    first = -room.ctypes.data % _PAGE
    content = room[first : first + size]
    done = 0
    while done < size:
        n_bytes = stream.readinto(content[done:].data)  # type: ignore[attr-defined]
        if not n_bytes:
            return None
        done += n_bytes
    content.flags.writeable = False
    return content


def _note_use(descriptor: int, status: os.stat_result) -> None:
    """Record in the file's time that it is in use, once a day."""
    if status.st_mtime < time.time() - _DAY_S:
        with suppress(OSError):  # a file of somebody else
            os.utime(descriptor)


def _open_at_once(path: str, flags: int) -> int:
    """Open a file without blocking; a pipe of this name would block otherwise."""
    return os.open(path, flags | os.O_NONBLOCK)


def _is_trusted(status: os.stat_result, owners: set[int]) -> bool:
    return stat.S_ISREG(status.st_mode) and status.st_uid in owners and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _views(content: NDArray[np.uint8], card: ModelCard) -> tuple[Float32Array, ...]:
    return tuple(
        content[offset : offset + 4 * int(np.prod(shape))].view(np.dtype("<f4")).reshape(shape) for offset, shape in _places(card)
    )


def _sweep(folder: Path, name: str) -> None:
    """Remove unfinished files of writers that were killed, and spectra of other models that no worker has used for 30 days."""
    for file in _found(folder):
        finished = file.suffix == ".bin"
        if file.name == name or not (finished or _UNFINISHED.fullmatch(file.name)):
            continue
        with suppress(OSError):  # somebody else's, or a folder; the others are removed all the same
            if file.lstat().st_mtime < time.time() - _DAY_S * (_UNUSED_DAYS if finished else 1):
                file.unlink()


def _found(folder: Path) -> list[Path]:
    try:
        return list(folder.glob(".spectra-*.bin*"))
    except OSError:
        return []


def _write(file: Path, trusted: _Trusted) -> None:
    """Write the file completely or not at all; another process may write the same content at the same time."""
    unfinished = file.with_name(f"{file.name}.{uuid4().hex}")
    try:
        with open(unfinished, "xb", opener=_create_for_reading) as stream:
            digest = hashlib.sha256()
            for part in chain([_header(trusted.card)], map(_padded_bytes, _spectra(trusted.card, trusted.weights))):
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
