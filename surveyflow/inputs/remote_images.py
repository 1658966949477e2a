"""The pixels of images at addresses: only the ranges of bytes that hold wanted pixels are read, and each pixel once a run."""

from __future__ import annotations

import hashlib
import io
import logging
import math
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from surveyflow.errors import OutputError
from surveyflow.files.durable import write_over
from surveyflow.files.remote import Extent, RemoteFile
from surveyflow.files.transfers import Unreachable
from surveyflow.values.arrays import BoolArray, Float32Array
from surveyflow.values.images import Box

logger = logging.getLogger(__name__)

BLOCK_PIXELS = 64
"""Side of the blocks of pixels that are kept: half a cutout, which is the margin of a window."""
KEPT_PIXELS = "windows"
"""Name of the folder, in the output folder, that holds pixels while a run needs them."""
BAND_ROWS = 512
"""Number of rows that are in memory, in the full width of the image if necessary, while a window is read."""
SHORT_ROW_BYTES = 2**13
"""Rows up to this size are read whole: a request for a part costs as much."""
LEAST_FREE_BYTES = 2**31
"""Nothing is kept on a disk with less room."""
_MOST_COMPRESSED_BYTES = 2**31
_KEPT = re.compile(r"(\d{1,9})-(\d{1,9})_(\d{1,9})-(\d{1,9})\.npy")
_COMPRESSED_COLUMNS = ("COMPRESSED_DATA", "GZIP_COMPRESSED_DATA", "UNCOMPRESSED_DATA")
_ITEM_BYTES = {"B": 1, "I": 2, "J": 4, "E": 4, "K": 8, "D": 8}


class Decoder(Protocol):
    """An encoding of pixels in a file."""

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def decoded(self, raw: NDArray[Any]) -> Float32Array: ...


class Source(Protocol):
    """Pixels at an address."""

    @property
    def by_rows(self) -> bool:
        """Whether a part of a row costs as much as the row."""
        ...

    def fill(self, box: Box, wanted: BoolArray) -> Float32Array:
        """Read those pixels of a box that are wanted; the others are 0."""
        ...


@dataclass(frozen=True, slots=True)
class RangedPlane:
    """An uncompressed image: runs of wanted pixels in its rows are ranges of bytes."""

    stream: RemoteFile
    offset_bytes: int
    width: int
    encoding: Decoder

    @property
    def by_rows(self) -> bool:
        return self.width * self.encoding.dtype.itemsize <= SHORT_ROW_BYTES

    def fill(self, box: Box, wanted: BoolArray) -> Float32Array:
        rows, columns = _runs(wanted)
        item = self.encoding.dtype.itemsize
        starts = self.offset_bytes + ((box.y0 + rows)[:, None] * self.width + box.x0 + columns) * item
        pieces = self.stream.read_extents([(int(start), int(stop)) for start, stop in starts])
        pixels = np.zeros(box.shape, np.float32)
        pixels[wanted] = self.encoding.decoded(np.frombuffer(b"".join(pieces), self.encoding.dtype))
        return pixels


@dataclass(slots=True)
class SelectedTiles:
    """A tile-compressed image: the tiles that hold wanted pixels are read at the same time, and unpacked by astropy."""

    hdu: Any
    number: int
    stream: RemoteFile
    _table: _TileTable | None = field(default=None, init=False)

    @property
    def by_rows(self) -> bool:
        return bool(self.hdu.tile_shape[1] >= self.hdu.shape[1])

    def fill(self, box: Box, wanted: BoolArray) -> Float32Array:
        pixels = np.zeros(box.shape, np.float32)
        if self._table is None:
            self._table = _TileTable.of(self.stream, self.number, self.hdu.header["NAXIS1"], self.hdu.tile_shape)
        parts = list(_rectangles(wanted))
        with self.stream.holding(self._table.extents([_moved(part, box.y0, box.x0) for part in parts])):
            for part in parts:
                place = _moved(part, box.y0, box.x0)
                pixels[part.y0 : part.y1, part.x0 : part.x1] = self.hdu.section[place.y0 : place.y1, place.x0 : place.x1]
        return pixels


@dataclass(frozen=True, slots=True)
class _TileTable:
    """Where each tile of a compressed image is in the file.

    Parameters
    ----------
    starts, stops
        (n_tiles, n_columns) int64: bytes of the file; equal where a column does not hold the tile.
    width_tiles
        Number of tiles beside each other.
    tile_shape
        Rows and columns of a tile.
    """

    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    width_tiles: int
    tile_shape: tuple[int, int]

    @classmethod
    def of(cls, stream: RemoteFile, number: int, width: int, tile_shape: tuple[int, int]) -> _TileTable:
        """Read the table; astropy reads it, too, and gets the same bytes."""
        stream.seek(0)
        table = fits.open(stream, memmap=False, disable_image_compression=True)[number]  # not closed: that would close the stream
        first, row, n_rows = table.fileinfo()["datLoc"], int(table.header["NAXIS1"]), int(table.header["NAXIS2"])
        heap = first + int(table.header.get("THEAP", row * n_rows))
        content = np.frombuffer(stream.hold((first, first + row * n_rows)), np.uint8).reshape(n_rows, row)
        columns = [_descriptors(table.columns, name, content) for name in _COMPRESSED_COLUMNS if name in table.columns.names]
        starts = heap + np.stack([offsets for offsets, _ in columns], axis=1)
        stops = starts + np.stack([lengths for _, lengths in columns], axis=1)
        return cls(starts, stops, math.ceil(width / tile_shape[1]), tile_shape)

    def extents(self, boxes: Sequence[Box]) -> list[Extent]:
        """The ranges of bytes of all tiles that boxes touch, ordered and without overlap."""
        tiles = np.unique(np.concatenate([self._tiles(box) for box in boxes]))
        found = sorted(
            {
                (int(start), int(stop))
                for start, stop in zip(self.starts[tiles].ravel(), self.stops[tiles].ravel(), strict=True)
                if start < stop
            }
        )
        joined: list[Extent] = []
        for start, stop in found:
            if joined and start <= joined[-1][1]:
                joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
            else:
                joined.append((start, stop))
        if sum(stop - start for start, stop in joined) > _MOST_COMPRESSED_BYTES:
            raise Unreachable("its table of tiles claims more than a window can hold. Fetch it again")
        return joined

    def _tiles(self, box: Box) -> NDArray[np.int64]:
        height, width = self.tile_shape
        rows = np.arange(box.y0 // height, (box.y1 - 1) // height + 1)
        columns = np.arange(box.x0 // width, (box.x1 - 1) // width + 1)
        tiles: NDArray[np.int64] = (rows[:, None] * self.width_tiles + columns).ravel()
        return tiles


def _descriptors(columns: Any, name: str, content: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Offset in the heap, and length in bytes, of each row's variable-length array."""
    stated, (kind, offset) = re.search(r"([PQ])([BIJEKD])", columns[name].format), columns.dtype.fields[name][:2]
    if stated is None:
        raise Unreachable(f"column {name} of its compressed image is not one of arrays. Fetch it again")
    width = kind.itemsize
    pairs = np.ascontiguousarray(content[:, offset : offset + width]).view(">i8" if stated[1] == "Q" else ">i4")
    return pairs[:, 1].astype(np.int64), pairs[:, 0].astype(np.int64) * _ITEM_BYTES[stated[2]]


class KeptBlocks:
    """Pixels at an address, kept in a folder that all processes of a run share, so that no pixel is fetched twice.

    A file there holds the pixels of a rectangle of whole blocks. It is complete or absent, and whoever fetches more writes a new
    one. While the output folder does not exist yet, pixels are kept in memory.

    Parameters
    ----------
    source
        The pixels at the address.
    shape
        Rows and columns of the image.
    folder
        The folder; None if nothing is to be kept.
    identity
        Everything that distinguishes the image and its state from others.
    """

    def __init__(self, source: Source, shape: tuple[int, int], folder: Path | None, identity: str) -> None:
        self._source, self._shape = source, shape
        self._folder = None if folder is None else folder / hashlib.sha256(identity.encode()).hexdigest()[:32]
        self._waiting: dict[Box, Float32Array] = {}

    def read(self, box: Box, wanted: Sequence[Box] = ()) -> Float32Array:
        """Read a box inside the image; only the parts of it that lie in the wanted boxes, if there are any."""
        if self._folder is None:
            return self._source.fill(box, _mask(box, wanted or [box]))
        pixels = np.zeros(box.shape, np.float32)
        for part in [one.clipped(self._shape) for one in wanted] or [box]:
            for band in _bands(part):
                pixels[_slices(_moved(band, -box.y0, -box.x0))] = self._of_blocks(band)
        return pixels

    def _of_blocks(self, box: Box) -> Float32Array:
        """Read a box by whole blocks, of which each is fetched once."""
        wide = _of_whole_blocks(box, self._shape, by_rows=self._source.by_rows)
        pixels, missing = self._known(wide)
        if missing.any():
            pixels = np.where(missing, self._source.fill(wide, missing), pixels)
            self._waiting[wide] = pixels
            self.keep()
        inner = _moved(box, -wide.y0, -wide.x0)
        return pixels[_slices(inner)]

    def keep(self) -> None:
        """Write what is in memory, if the output folder exists and its disk has room."""
        if self._folder is None or not (root := self._folder.parent.parent).is_dir():
            return
        try:
            while self._waiting and shutil.disk_usage(root).free > LEAST_FREE_BYTES:
                box, pixels = self._waiting.popitem()
                content = io.BytesIO()
                np.save(content, pixels, allow_pickle=False)
                write_over(self._folder / f"{box.y0}-{box.y1}_{box.x0}-{box.x1}.npy", content.getvalue())
        except (OutputError, OSError) as error:
            logger.info("folder=%s error=%r: pixels are not kept, and may be fetched again", self._folder, error)
        self._waiting.clear()

    def _known(self, wide: Box) -> tuple[Float32Array, BoolArray]:
        pixels, missing = np.zeros(wide.shape, np.float32), np.ones(wide.shape, np.bool_)
        for box, known in self._kept_in(wide):
            common = Box(max(box.y0, wide.y0), min(box.y1, wide.y1), max(box.x0, wide.x0), min(box.x1, wide.x1))
            inner = _slices(_moved(common, -wide.y0, -wide.x0))
            pixels[inner] = known[_slices(_moved(common, -box.y0, -box.x0))]
            missing[inner] = False
        return pixels, missing

    def _kept_in(self, wide: Box) -> Iterator[tuple[Box, Float32Array]]:
        yield from ((box, pixels) for box, pixels in self._waiting.items() if _overlap(box, wide))
        files = sorted(self._folder.iterdir()) if self._folder is not None and self._folder.is_dir() else []
        for file in files:
            name = _KEPT.fullmatch(file.name)
            if name is None or not _overlap(box := Box(*map(int, name.groups())), wide):
                continue
            pixels = _loaded(file, box.shape)
            if pixels is not None:
                yield box, pixels


def _loaded(file: Path, shape: tuple[int, int]) -> Float32Array | None:
    """The pixels in a file of this module; None, and no file any more, if it is damaged."""
    try:
        pixels = np.load(file, mmap_mode="r", allow_pickle=False)
        if pixels.shape == shape and pixels.dtype == np.float32:
            return np.asarray(pixels)
    except (OSError, ValueError, EOFError):
        pass
    file.unlink(missing_ok=True)
    return None


def _runs(wanted: BoolArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows, and first columns and the columns after the last, of the runs of wanted pixels, row by row."""
    edges = np.diff(np.pad(wanted, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, columns = np.nonzero(edges)
    return rows[::2], columns.reshape(-1, 2)


def _rectangles(wanted: BoolArray) -> Iterator[Box]:
    """Rectangles that cover the wanted pixels: runs of the same columns in adjacent rows are one."""
    rows, columns = _runs(wanted)
    open_at: dict[tuple[int, int], tuple[int, int]] = {}
    for y, (x0, x1) in zip(rows.tolist(), columns.tolist(), strict=True):
        first, last = open_at.get((x0, x1), (y, y))
        if last < y:
            yield Box(first, last, x0, x1)
            first = y
        open_at[x0, x1] = first, y + 1
    for (x0, x1), (first, last) in open_at.items():
        yield Box(first, last, x0, x1)


def _mask(box: Box, wanted: Sequence[Box]) -> BoolArray:
    mask = np.zeros(box.shape, np.bool_)
    for part in wanted:
        mask[_slices(_moved(part, -box.y0, -box.x0).clipped(box.shape))] = True
    return mask


def _of_whole_blocks(box: Box, shape: tuple[int, int], *, by_rows: bool) -> Box:
    y0, x0 = (start // BLOCK_PIXELS * BLOCK_PIXELS for start in (box.y0, box.x0))
    y1, x1 = (-(-stop // BLOCK_PIXELS) * BLOCK_PIXELS for stop in (box.y1, box.x1))
    return Box(y0, y1, 0 if by_rows else x0, shape[1] if by_rows else x1).clipped(shape)


def _bands(box: Box) -> Iterator[Box]:
    """The parts of a box in bands of rows that are the same for every box."""
    edges = [box.y0, *range((box.y0 // BAND_ROWS + 1) * BAND_ROWS, box.y1, BAND_ROWS), box.y1]
    return (Box(y0, y1, box.x0, box.x1) for y0, y1 in pairwise(edges))


def _moved(box: Box, rows: int, columns: int) -> Box:
    return Box(box.y0 + rows, box.y1 + rows, box.x0 + columns, box.x1 + columns)


def _slices(box: Box) -> tuple[slice, slice]:
    return slice(box.y0, box.y1), slice(box.x0, box.x1)


def _overlap(one: Box, other: Box) -> bool:
    return one.y0 < other.y1 and other.y0 < one.y1 and one.x0 < other.x1 and other.x0 < one.x1
