"""The Python interface of the native core: its structs, functions and usable instruction sets.

The library is built with the package if there is a C++ compiler; its source is in ``native/``. The structs mirror those of
``native/network.hpp`` and ``native/kernels.hpp``.
"""

from __future__ import annotations

import ctypes
import math
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surveyflow.errors import ModelError
from surveyflow.sky.stretch import ArcsinhKernel
from surveyflow.sky.tiling import PositiveMedians
from surveyflow.stats.posterior import AmountOutputs, AmountStatistics, DrawStatistics, bin_edges, order_ranks
from surveyflow.values import remedies
from surveyflow.values.arrays import BoolArray, Float32Array, Float64Array, Int64Array, UInt64Array
from surveyflow.values.images import Box, KeptParts, PixelFile, StampCopier

_NATIVE = Path(__file__).parent / "native"
LIBRARY = _NATIVE / "libsurveyflow.so"

_ABI = 9
_OUT_OF_MEMORY = 1
_END_OF_FILE = -1

MOST_THREADS = 256
"""The core starts at most so many threads."""


class InstructionSet(IntEnum):
    """The instruction sets that the core is compiled for."""

    PORTABLE = 0
    AVX2 = 1
    AVX512 = 2


class ConvolutionSpec(ctypes.Structure):
    """One convolution."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("points", "kernel_size", "input_size", "tile_step", "n_tiles")),
        *((name, ctypes.c_int32) for name in ("n_inputs", "n_outputs", "pooled")),
        *((name, ctypes.c_void_p) for name in ("spectrum", "bias", "scale", "shift")),
    )


class TrunkSpec(ctypes.Structure):
    """All layers up to the first dense one."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("n_convolutions", "n_features", "n_real_features")),
        ("convolutions", ctypes.POINTER(ConvolutionSpec)),
        ("dense_kernel", ctypes.c_void_p),
        ("dense_bias", ctypes.c_void_p),
    )


class DenseSpec(ctypes.Structure):
    """One dense layer after the features."""

    _fields_ = (
        ("n_inputs", ctypes.c_int32),
        ("n_outputs", ctypes.c_int32),
        ("kernel", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
    )


class HeadSpec(ctypes.Structure):
    """All layers after the features, and the layout of their masks."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("n_layers", "n_units", "n_blocks", "one_bit")),
        ("threshold", ctypes.c_uint32),
        ("model_word", ctypes.c_uint32),
        ("layers", ctypes.POINTER(DenseSpec)),
    )


class _StampsTask(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("tops", "lefts")),
        *((name, ctypes.c_int64) for name in ("n_stamps", "size", "offset", "n_rows", "n_columns")),
        ("pixels", ctypes.c_void_p),
        *((name, ctypes.c_int32) for name in ("file", "n_threads")),
    )


class _FeaturesTask(ctypes.Structure):
    _fields_ = (
        ("trunk", ctypes.POINTER(TrunkSpec)),
        ("cutouts", ctypes.c_void_p),
        ("n_cutouts", ctypes.c_int64),
        ("features", ctypes.c_void_p),
        ("n_threads", ctypes.c_int),
    )


class _DrawTask(ctypes.Structure):
    _fields_ = (
        ("head", ctypes.POINTER(HeadSpec)),
        ("features", ctypes.c_void_p),
        ("source_keys", ctypes.c_void_p),
        ("n_sources", ctypes.c_int64),
        ("n_draws", ctypes.c_uint32),
        ("seed", ctypes.c_uint32),
        ("draws", ctypes.c_void_p),
        ("n_threads", ctypes.c_int),
    )


class _StatisticsTask(ctypes.Structure):
    _fields_ = (
        ("n_members", ctypes.c_int32),
        ("heads", ctypes.POINTER(ctypes.POINTER(HeadSpec))),
        *((name, ctypes.c_void_p) for name in ("features", "source_keys")),
        ("n_sources", ctypes.c_int64),
        *((name, ctypes.c_uint32) for name in ("n_draws", "seed")),
        ("outputs", ctypes.c_int32 * 2),
        ("n_ranks", ctypes.c_int32),
        ("ranks", ctypes.c_void_p),
        ("n_bins", ctypes.c_int32),
        *((name, ctypes.c_void_p) for name in ("edges", "ranked", "member_sums", "squares")),
        *((name, ctypes.c_void_p) for name in ("wins", "shares", "entropies", "histogram")),
        ("n_threads", ctypes.c_int),
    )


class _AmountSpec(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_double) for name in ("sigma", "reach")),
        *((name, ctypes.c_int32) for name in ("presence", "location", "scatter", "curve")),
    )


class _AmountsTask(ctypes.Structure):
    _fields_ = (
        ("n_members", ctypes.c_int32),
        ("heads", ctypes.POINTER(ctypes.POINTER(HeadSpec))),
        *((name, ctypes.c_void_p) for name in ("features", "source_keys")),
        ("n_sources", ctypes.c_int64),
        *((name, ctypes.c_uint32) for name in ("n_draws", "seed")),
        ("n_amounts", ctypes.c_int32),
        ("amounts", ctypes.POINTER(_AmountSpec)),
        ("n_ranks", ctypes.c_int32),
        *((name, ctypes.c_void_p) for name in ("ranks", "presences", "moments", "ranked")),
        ("n_threads", ctypes.c_int),
    )


class _StretchTask(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("pixels", "valid")),
        *((name, ctypes.c_int64) for name in ("n_cutouts", "n_pixels")),
        *((name, ctypes.c_void_p) for name in ("levels", "softenings")),
        ("minmax", ctypes.c_int32),
        ("prepared", ctypes.c_void_p),
        ("n_threads", ctypes.c_int),
    )


class _MediansTask(ctypes.Structure):
    _fields_ = (
        ("images", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("n_images", "n_pixels")),
        ("medians", ctypes.c_void_p),
        ("n_threads", ctypes.c_int),
    )


class _DigestsTask(ctypes.Structure):
    _fields_ = (("states", ctypes.c_void_p), ("streams", ctypes.c_void_p * 2), ("n_blocks", ctypes.c_int64))


class _RowsTask(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("states", "rests")),
        ("n_rest", ctypes.c_int64),
        ("files", ctypes.c_int32 * 2),
        ("offsets", ctypes.c_int64 * 2),
        *((name, ctypes.c_int64) for name in ("n_columns", "y0", "y1", "x0", "x1")),
        *((name, ctypes.c_void_p) for name in ("tops", "lefts")),
        *((name, ctypes.c_int64) for name in ("n_parts", "height", "width")),
        ("parts", ctypes.c_void_p * 2),
        ("failed_row", ctypes.c_int64),
        ("failed_image", ctypes.c_int32),
    )


def absence() -> str | None:
    """Why there is no usable native core here; None if there is one. A library built from other sources is not usable."""
    if not LIBRARY.is_file():
        build = remedies.build_native_core(_NATIVE / "build.py")
        return f"it was not built: there was no C++ compiler when surveyflow was installed; where there is one: `{build}`"
    try:
        library = _library()
    except OSError as error:
        return f"it cannot be loaded: {error}"
    if _source_digest() not in {None, _digest_of(library)}:
        return f"it was built from other sources; build it again: `{remedies.build_native_core(_NATIVE / 'build.py')}`"
    found = library.surveyflow_abi()
    return None if found == _ABI else f"it has another version ({found}, not {_ABI}); install surveyflow again"


def usable_instruction_sets() -> tuple[InstructionSet, ...]:
    """The instruction sets that this processor can run, the fastest last. There must be a native core."""
    return tuple(one for one in InstructionSet if _library().surveyflow_usable(one))


def thread_count() -> int:
    """``OMP_NUM_THREADS``, as for any other library; without it, or if it is not a number, `usable_processors`; at most 256."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(MOST_THREADS, max(1, int(first)) if re.fullmatch("[0-9]{1,9}", first) else usable_processors())


def usable_processors() -> int:
    """Number of processors that this process may use: those of its affinity, or fewer by the CPU quota of its container."""
    return max(1, min(len(os.sched_getaffinity(0)), math.ceil(cpu_quota())))


def cpu_quota(groups: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> float:
    """The processors' time that Linux allows this process, in processors; the number of processors where there is no limit.

    Parameters
    ----------
    groups
        The folder with the control groups: of version 2, or of version 1 with a folder for each controller.
    membership
        The file that names the process's groups. The limits of the groups around them count, too.
    """
    limits = [float(os.cpu_count() or 1)]
    with suppress(OSError, ValueError):
        for line in membership.read_text(errors="surrogateescape").splitlines():
            _, controllers, group = line.split(":", 2)
            places = [place for folder in _hierarchies(groups, controllers) for place in _around(folder, group)]
            limits += [limit for place in places if (limit := _limit_of(place)) is not None]
    return min(limits)


def _hierarchies(groups: Path, controllers: str) -> list[Path]:
    """The folders in which the groups of these controllers may be; none if they do not limit the processors' time.

    Where versions 1 and 2 are used together, the folder of version 2 is called ``unified``. A folder of version 1 may name its
    controllers in another order than the kernel does; there is a link ``cpu`` to it.
    """
    if not controllers:
        return [groups, groups / "unified"]
    return [groups / controllers, groups / "cpu"] if "cpu" in controllers.split(",") else []


def _around(folder: Path, group: str) -> list[Path]:
    """The folder of a group, and those of the groups around it. In a container, only the last of them may be visible."""
    names = [name for name in group.split("/") if name not in ("", ".", "..")]
    return [folder.joinpath(*names[:depth]) for depth in range(len(names), -1, -1)]


def _limit_of(group: Path) -> float | None:
    """The limit of one control group, in processors; None if there is none."""
    for files in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        with suppress(OSError, ValueError, ZeroDivisionError):
            quota, period = " ".join((group / file).read_text() for file in files).split()
            if quota != "max" and int(quota) > 0:
                return int(quota) / int(period)
    return None


def run_features(
    instruction_set: InstructionSet, trunk: TrunkSpec, cutouts: Float32Array, *, features: Float32Array, n_threads: int
) -> None:
    """Compute the features of C-contiguous ``cutouts`` into C-contiguous ``features``."""
    task = _FeaturesTask(ctypes.pointer(trunk), cutouts.ctypes.data, len(cutouts), features.ctypes.data, n_threads)
    _check(_library().surveyflow_features(instruction_set, ctypes.byref(task)))


def run_draw(
    instruction_set: InstructionSet,
    head: HeadSpec,
    features: Float32Array,
    source_keys: UInt64Array,
    *,
    seed: int,
    draws: Float32Array,
    n_threads: int,
) -> None:
    """Draw from C-contiguous ``features`` and ``source_keys`` into C-contiguous ``draws``."""
    task = _DrawTask(
        ctypes.pointer(head),
        features.ctypes.data,
        source_keys.ctypes.data,
        len(features),
        draws.shape[1],
        seed,
        draws.ctypes.data,
        n_threads,
    )
    _check(_library().surveyflow_draw(instruction_set, ctypes.byref(task)))


def run_statistics(
    instruction_set: InstructionSet,
    heads: Sequence[HeadSpec],
    features: Sequence[Float32Array],
    source_keys: UInt64Array,
    *,
    seed: int,
    outputs: tuple[int, int],
    statistics: DrawStatistics,
    n_threads: int,
) -> None:
    """Draw from heads in turn, each with its C-contiguous ``features``, and write the statistics of two outputs."""
    ranks, edges = order_ranks(statistics.n_draws), np.append(bin_edges()[:-1], np.float32(np.inf))
    task = _StatisticsTask(
        len(heads),
        _pointers_to(heads),
        ctypes.cast(_places(features), ctypes.c_void_p),
        source_keys.ctypes.data,
        len(source_keys),
        statistics.n_draws,
        seed,
        outputs,
        len(ranks),
        ranks.ctypes.data,
        len(edges) - 1,
        edges.ctypes.data,
        statistics.ranked.ctypes.data,
        statistics.member_sums.ctypes.data,
        statistics.squares.ctypes.data,
        statistics.wins.ctypes.data,
        statistics.shares.ctypes.data,
        statistics.entropies.ctypes.data,
        statistics.histogram.ctypes.data,
        n_threads,
    )
    _check(_library().surveyflow_statistics(instruction_set, ctypes.byref(task)))


def run_amounts(
    instruction_set: InstructionSet,
    heads: Sequence[HeadSpec],
    features: Sequence[Float32Array],
    source_keys: UInt64Array,
    *,
    seed: int,
    amounts: Sequence[Sequence[AmountOutputs]],
    statistics: AmountStatistics,
    n_threads: int,
) -> None:
    """Draw from heads in turn, each with its C-contiguous ``features`` and its amounts, and write the statistics of these."""
    ranks = order_ranks(statistics.n_draws)
    specs = [
        _AmountSpec(one.sigma, one.reach, one.presence, one.location, one.scatter, one.curve.number)
        for own in amounts
        for one in own
    ]
    task = _AmountsTask(
        len(heads),
        _pointers_to(heads),
        ctypes.cast(_places(features), ctypes.c_void_p),
        source_keys.ctypes.data,
        len(source_keys),
        statistics.n_draws,
        seed,
        statistics.moments.shape[1],
        array_of(_AmountSpec, specs),
        len(ranks),
        ranks.ctypes.data,
        statistics.presences.ctypes.data,
        statistics.moments.ctypes.data,
        statistics.ranked.ctypes.data,
        n_threads,
    )
    _check(_library().surveyflow_amounts(instruction_set, ctypes.byref(task)))


def arcsinh_kernel() -> ArcsinhKernel | None:
    """The native code for `surveyflow.sky.stretch.prepare`; None if there is no native core."""
    return None if absence() else run_stretch


def run_stretch(
    pixels: Float32Array, valid: BoolArray, levels: Float64Array, softenings: Float64Array, *, minmax: bool
) -> Float32Array:
    """Compute the arcsinh of cutouts; see `surveyflow.sky.stretch.ArcsinhKernel`."""
    images, has_data = np.ascontiguousarray(pixels, np.float32), np.ascontiguousarray(valid, np.bool_)
    levels, softenings = (np.ascontiguousarray(values, np.float64) for values in (levels, softenings))
    prepared = np.empty(images.shape, np.float32)
    task = _StretchTask(
        images.ctypes.data,
        has_data.ctypes.data,
        len(images),
        images.shape[1] * images.shape[2],
        levels.ctypes.data,
        softenings.ctypes.data,
        minmax,
        prepared.ctypes.data,
        thread_count(),
    )
    _check(_library().surveyflow_stretch(usable_instruction_sets()[-1], ctypes.byref(task)))
    return prepared


def positive_medians() -> PositiveMedians | None:
    """The native code for `surveyflow.sky.tiling.stacked`; None if there is no native core."""
    return None if absence() else run_medians


def run_medians(images: Float32Array) -> Float32Array:
    """Find the medians of images' positive pixels; see `surveyflow.sky.tiling.PositiveMedians`."""
    images = np.ascontiguousarray(images, np.float32)
    medians = np.empty(len(images), np.float32)
    n_pixels = images.shape[1] * images.shape[2]
    task = _MediansTask(images.ctypes.data, len(images), n_pixels, medians.ctypes.data, thread_count())
    _check(_library().surveyflow_medians(usable_instruction_sets()[-1], ctypes.byref(task)))
    return medians


def stamp_copier() -> StampCopier | None:
    """The native code that copies scattered cutouts out of a file; None if there is no native core."""
    return None if absence() else run_stamps


def run_stamps(
    file: int, offset_bytes: int, shape: tuple[int, int], *, tops: Int64Array, lefts: Int64Array, pixels: Float32Array
) -> bool:
    """Copy squares out of an image in a file; see `surveyflow.values.images.StampCopier`."""
    tops, lefts = np.ascontiguousarray(tops, np.int64), np.ascontiguousarray(lefts, np.int64)
    task = _StampsTask(
        tops.ctypes.data,
        lefts.ctypes.data,
        len(tops),
        pixels.shape[1],
        offset_bytes,
        *shape,
        pixels.ctypes.data,
        file,
        thread_count(),
    )
    return bool(_library().surveyflow_stamps(ctypes.byref(task)))


_FIRST_STATE = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
_BLOCK_BYTES = 64


class PairedSha256:
    """SHA-256 of two streams of bytes; a `surveyflow.values.images.PairedDigester`.

    A processor with instructions for SHA-256 has to wait for most of a round. Meanwhile it computes the other stream: both take
    little more time than one alone. The digests are those of `hashlib`.
    """

    def __init__(self) -> None:
        self._states = np.array([_FIRST_STATE, _FIRST_STATE], np.uint32)
        self._rests = [b"", b""]
        self._n_bytes = 0

    def update(self, parts: Sequence[Float32Array]) -> None:
        """Carry on with the next bytes of each stream: arrays of the same shape, C-contiguous."""
        if self._rests[0]:
            streams = [np.frombuffer(rest + part.tobytes(), np.uint8) for rest, part in zip(self._rests, parts, strict=True)]
        else:
            streams = [part.reshape(-1).view(np.uint8) for part in parts]
        self._n_bytes += parts[0].nbytes
        whole = len(streams[0]) // _BLOCK_BYTES * _BLOCK_BYTES
        _digest_blocks(self._states, streams, whole // _BLOCK_BYTES)
        self._rests = [stream[whole:].tobytes() for stream in streams]

    def read(self, files: Sequence[PixelFile], rows: Box, kept: Sequence[KeptParts]) -> tuple[int, str] | None:
        """Carry on with rows of two images in files; see `surveyflow.values.images.PairedDigester`."""
        rests, n_rest = np.zeros((2, _BLOCK_BYTES), np.uint8), len(self._rests[0])
        rests[:, :n_rest] = [np.frombuffer(rest, np.uint8) for rest in self._rests]
        task = _rows_task(files, rows, kept)
        task.states, task.rests, task.n_rest = self._states.ctypes.data, rests.ctypes.data, n_rest
        failure = int(_library().surveyflow_rows(ctypes.byref(task)))
        if failure:
            reason = "the file ends" if failure == _END_OF_FILE else os.strerror(failure)
            return task.failed_image, f"{reason} in row {task.failed_row}"
        self._n_bytes += 4 * rows.shape[0] * rows.shape[1]
        self._rests = [rest[: task.n_rest].tobytes() for rest in rests]
        return None

    def hexdigests(self) -> list[str]:
        """The digest of each stream up to now, hexadecimal."""
        n_zeros = -(len(self._rests[0]) + 9) % _BLOCK_BYTES
        end = b"\x80" + bytes(n_zeros) + (8 * self._n_bytes).to_bytes(8, "big")
        states, streams = self._states.copy(), [np.frombuffer(rest + end, np.uint8) for rest in self._rests]
        _digest_blocks(states, streams, len(streams[0]) // _BLOCK_BYTES)
        return [state.astype(">u4").tobytes().hex() for state in states]


def _rows_task(files: Sequence[PixelFile], rows: Box, kept: Sequence[KeptParts]) -> _RowsTask:
    """The images, their rows, and the parts that are kept of them."""
    task = _RowsTask(n_columns=files[0].n_columns, y0=rows.y0, y1=rows.y1, x0=rows.x0, x1=rows.x1)
    task.files[:], task.offsets[:] = [file.number for file in files], [file.offset_bytes for file in files]
    for number, parts in enumerate(kept):
        task.tops, task.lefts = parts.tops.ctypes.data, parts.lefts.ctypes.data
        task.n_parts, task.height, task.width = parts.pixels.shape
        task.parts[number] = parts.pixels.ctypes.data
    return task


def _digest_blocks(states: NDArray[np.uint32], streams: Sequence[NDArray[np.uint8]], n_blocks: int) -> bool:
    """Carry on the states of two streams with their next blocks; False if this processor has no instructions for it."""
    task = _DigestsTask(states.ctypes.data, _places(streams), n_blocks)
    return bool(_library().surveyflow_digest(ctypes.byref(task)))


@cache
def paired_digests() -> type[PairedSha256] | None:
    """The native code that digests two streams at once; None if there is none, or this processor has no instructions for it."""
    if absence():
        return None
    nothing = np.zeros(0, np.uint8)
    return PairedSha256 if _digest_blocks(np.zeros((2, 8), np.uint32), [nothing, nothing], 0) else None


def _pointers_to(heads: Sequence[HeadSpec]) -> Any:
    return (ctypes.POINTER(HeadSpec) * len(heads))(*map(ctypes.pointer, heads))


def _places(arrays: Sequence[NDArray[Any]]) -> Any:
    """A C array of the arrays' addresses."""
    return (ctypes.c_void_p * len(arrays))(*(each.ctypes.data for each in arrays))


def array_of(kind: type[ctypes.Structure], specs: Sequence[ctypes.Structure]) -> Any:
    """A C array of structs."""
    return (kind * len(specs))(*specs)


def _check(outcome: int) -> None:
    if outcome == _OUT_OF_MEMORY:
        raise MemoryError("the FFT engine could not allocate its scratch memory, about 30 MB per thread")
    if outcome:
        raise ModelError(f"the native core rejected the network (code {outcome}). Use engine = 'keras', and report this.")


@cache
def _source_digest() -> str | None:
    """Digest of the sources beside the library, which a wheel also contains; None if they were removed."""
    if not (_NATIVE / "library.cpp").is_file():
        return None
    from surveyflow.models.engines.native.build import source_digest

    return source_digest()


def _digest_of(library: ctypes.CDLL) -> str:
    """Digest of the sources that a library was built from; empty if the library does not report it."""
    try:
        digest = library.surveyflow_source_digest
    except AttributeError:
        return ""
    digest.restype = ctypes.c_char_p
    return str(digest().decode())


@cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(str(LIBRARY))
