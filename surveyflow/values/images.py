"""Rectangles of pixels and the images inside them.

Images are ``[y, x]``, 0-based, with integer coordinates at pixel centres; boxes are half-open. FITS's 1-based, x-first
world ends in ``surveyflow.inputs.mosaics``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np

from surveyflow.values.arrays import BoolArray, Float32Array, Int64Array
from surveyflow.values.codes import WeightKind
from surveyflow.values.notebooks import notebook_cutouts

ELECTRONS_A_SECOND = "electron/s"
"""The name that mosaics, cards and workflows have for the unit of the training images, whatever a header's spelling of it."""


@dataclass(frozen=True, slots=True)
class Stated:
    """What the user states about a mosaic beside its headers, and the unit to which its pixels are brought.

    Parameters
    ----------
    unit
        Unit of the pixels, for images without BUNIT; None if it is not stated.
    weight_kind
        What the numbers of the weight map are; None if it is not stated, and then they are inverse variances.
    zero_point_ab
        AB magnitude of a source of 1 in all, in the image's unit, for images whose header states none.
    wanted_zero_point_ab
        AB magnitude of a source of 1 e-/s in the training images; None if pixels are not to be converted.
    wanted_scale_arcsec
        Side of a pixel of the training images, arcsec, if the image is to be resampled to it; None to leave its pixels.
    psf_fwhm_arcsec
        Full width at half maximum of a star, arcsec; None if it is not stated.
    """

    unit: str | None = None
    weight_kind: WeightKind | None = None
    zero_point_ab: float | None = None
    wanted_zero_point_ab: float | None = None
    wanted_scale_arcsec: float | None = None
    psf_fwhm_arcsec: float | None = None


@dataclass(frozen=True, slots=True, order=True)
class Box:
    """A half-open rectangle of pixels: rows ``y0 <= y < y1``, columns ``x0 <= x < x1``. It may reach outside an image."""

    y0: int
    y1: int
    x0: int
    x1: int

    def __post_init__(self) -> None:
        if self.y1 < self.y0 or self.x1 < self.x0:
            raise ValueError(f"a box must not be inside out: {self}")

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.y1 - self.y0, self.x1 - self.x0

    def grown(self, margin: int) -> Box:
        """The box with ``margin`` more pixels on each side."""
        return Box(self.y0 - margin, self.y1 + margin, self.x0 - margin, self.x1 + margin)

    def clipped(self, shape: tuple[int, int]) -> Box:
        """The part inside an image of this shape; empty if there is none."""
        y0, x0 = min(max(self.y0, 0), shape[0]), min(max(self.x0, 0), shape[1])
        y1, x1 = max(min(self.y1, shape[0]), y0), max(min(self.x1, shape[1]), x0)
        return Box(y0, y1, x0, x1)

    def overlap(self, other: Box) -> Box:
        """The part that lies in another box, too, which it must touch."""
        return Box(max(self.y0, other.y0), min(self.y1, other.y1), max(self.x0, other.x0), min(self.x1, other.x1))

    def holds(self, other: Box) -> bool:
        """Whether every pixel of another box is in this one."""
        return self.y0 <= other.y0 and other.y1 <= self.y1 and self.x0 <= other.x0 and other.x1 <= self.x1

    def within(self, other: Box) -> tuple[slice, slice]:
        """Rows and columns of this box in the pixels of another, which holds it."""
        return slice(self.y0 - other.y0, self.y1 - other.y0), slice(self.x0 - other.x0, self.x1 - other.x0)


@dataclass(frozen=True, slots=True)
class Tile:
    """One core of a mosaic's grid, with the window that holds every cutout centred in it.

    Parameters
    ----------
    row, column
        Position in the grid.
    core
        The pixels whose sources this tile owns; a mosaic's cores partition the mosaic.
    window
        The core and half a cutout around it, clipped to the mosaic.
    """

    row: int
    column: int
    core: Box
    window: Box

    @property
    def name(self) -> str:
        """``y003x014``."""
        return f"y{self.row:03d}x{self.column:03d}"


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of a mosaic, in memory.

    Parameters
    ----------
    pixels
        (height, width) float32, native byte order, exactly as in the file (e-/s in CANDELS); NaN and 0 included.
    valid
        (height, width) bool. True where the pixel holds data: finite and, with a weight map, of finite positive weight;
        without one, not exactly 0.
    weight
        (height, width) float32, or None if the mosaic has no weight map.
    origin_yx
        Row and column of ``pixels[0, 0]`` in the mosaic.
    mosaic_shape
        Rows and columns of the complete mosaic.
    """

    pixels: Float32Array
    valid: BoolArray
    weight: Float32Array | None
    origin_yx: tuple[int, int]
    mosaic_shape: tuple[int, int]

    def __post_init__(self) -> None:
        if self.pixels.ndim != 2 or self.pixels.dtype != np.float32 or not self.pixels.dtype.isnative:
            raise ValueError(f"pixels must be 2-D native float32, not {self.pixels.ndim}-D {self.pixels.dtype}")
        for name, other in (("valid", self.valid), ("weight", self.weight)):
            if other is not None and other.shape != self.pixels.shape:
                raise ValueError(f"{name} has shape {other.shape}, pixels {self.pixels.shape}")

    @property
    def box(self) -> Box:
        """The window's rectangle in the mosaic."""
        y0, x0 = self.origin_yx
        return Box(y0, y0 + self.pixels.shape[0], x0, x0 + self.pixels.shape[1])


class StampCopier(Protocol):
    """A program that copies squares out of an uncompressed image of big-endian float32 in a file, from the page cache alone.

    Each row of a stamp lies somewhere else in the file. From the page cache that costs less than reading the window around
    scattered stamps. From a disk, and even more from a file system on the network, it would cost more.
    """

    def __call__(
        self, file: int, offset_bytes: int, shape: tuple[int, int], *, tops: Int64Array, lefts: Int64Array, pixels: Float32Array
    ) -> bool:
        """Copy the squares; False, with any pixels, if a part of them is not in the page cache.

        Parameters
        ----------
        file
            Descriptor of the open file.
        offset_bytes
            Where the image's first pixel is in the file.
        shape
            Rows and columns of the image.
        tops, lefts
            (n,) int64: first row and column of each square, which may lie outside the image.
        pixels
            (n, size, size) float32, C-contiguous, to write to: 0 beyond the image.
        """
        ...


class Digester(Protocol):
    """SHA-256 of streams of pixels of the same length."""

    def update(self, parts: Sequence[Float32Array]) -> None:
        """Carry on with the next pixels of each stream: C-contiguous little-endian float32 of the same shape."""
        ...

    def hexdigests(self) -> list[str]:
        """The digest of each stream, hexadecimal."""
        ...


@dataclass(frozen=True, slots=True)
class PixelFile:
    """An uncompressed image of big-endian float32 in an open file.

    Parameters
    ----------
    number
        Descriptor of the file.
    offset_bytes
        Where the image's first pixel is in the file.
    n_columns
        Number of the image's columns.
    """

    number: int
    offset_bytes: int
    n_columns: int


@dataclass(frozen=True, slots=True)
class KeptParts:
    """Rectangles of one size, whose pixels are kept while the image around them is read some rows at a time.

    Parameters
    ----------
    tops, lefts
        (n,) int64, C-contiguous: first row and column of each rectangle in the image.
    pixels
        Their pixels, (n, height, width) float32, C-contiguous, to write to; those that are not read stay as they are.
    """

    tops: Int64Array
    lefts: Int64Array
    pixels: Float32Array

    @classmethod
    def squares(cls, tops: Int64Array, lefts: Int64Array, size: int) -> Self:
        """Squares of this size that are 0 where nothing is read."""
        tops, lefts = np.ascontiguousarray(tops, np.int64), np.ascontiguousarray(lefts, np.int64)
        return cls(tops, lefts, np.zeros((len(tops), size, size), np.float32))

    @classmethod
    def whole(cls, box: Box) -> Self:
        """The whole of a box that will be read, as the only rectangle."""
        return cls(np.array([box.y0]), np.array([box.x0]), np.empty((1, *box.shape), np.float32))

    def take(self, rows: Box, pixels: Float32Array) -> None:
        """Keep what rectangles have of some rows of the image."""
        _, height, width = self.pixels.shape
        in_rows = (self.tops < rows.y1) & (self.tops + height > rows.y0)
        near = np.flatnonzero(in_rows & (self.lefts < rows.x1) & (self.lefts + width > rows.x0))
        # With Python integers and no boxes, the copy takes most of the time.
        for number, top, left in zip(near.tolist(), self.tops[near].tolist(), self.lefts[near].tolist(), strict=True):
            y0, y1, x0, x1 = max(top, rows.y0), min(top + height, rows.y1), max(left, rows.x0), min(left + width, rows.x1)
            part = pixels[y0 - rows.y0 : y1 - rows.y0, x0 - rows.x0 : x1 - rows.x0]
            self.pixels[number, y0 - top : y1 - top, x0 - left : x1 - left] = part


class PairedDigester(Digester, Protocol):
    """A `Digester` of two streams that can read them itself."""

    def read(self, files: Sequence[PixelFile], rows: Box, kept: Sequence[KeptParts]) -> tuple[int, str] | None:
        """Carry on with rows of two images of the same shape, and keep parts of them.

        Parameters
        ----------
        files
            The images.
        rows
            Rows of the images, or a part of them.
        kept
            For each image, the same rectangles, which take what lies in the rows; none to keep nothing.

        Returns
        -------
        None; or the number of the image that cannot be read, and the reason. Then the digests are of no use.
        """
        ...


class SeparateSha256:
    """A `Digester` that computes one stream after the other.

    Parameters
    ----------
    n_streams
        Number of streams.
    """

    def __init__(self, n_streams: int) -> None:
        self._digests = [hashlib.sha256() for _ in range(n_streams)]

    def update(self, parts: Sequence[Float32Array]) -> None:
        """Carry on with the next pixels of each stream."""
        for digest, part in zip(self._digests, parts, strict=True):
            digest.update(part.data)

    def hexdigests(self) -> list[str]:
        """The digest of each stream, hexadecimal."""
        return [digest.hexdigest() for digest in self._digests]


@dataclass(frozen=True, slots=True)
class Stamps:
    """Squares of a mosaic as `Window` has its pixels; those beyond the mosaic are 0 and not valid.

    Parameters
    ----------
    pixels, valid, weight
        (n, size, size), as for `Window`.
    tops, lefts
        (n,) int64: first row and column of each in the mosaic.
    """

    pixels: Float32Array
    valid: BoolArray
    weight: Float32Array | None
    tops: Int64Array
    lefts: Int64Array


@dataclass(frozen=True, slots=True)
class CutoutStack:
    """Square cutouts around sources, at their true offsets.

    Parameters
    ----------
    pixels
        (n, size, size) float32 in the mosaic's unit; 0 where there is no data.
    valid
        (n, size, size) bool; True where the pixel holds data.
    weight_median
        (n,) float32: median weight over the valid pixels; NaN without a weight map or without valid pixels.
    centre_valid
        (n,) bool: whether the pixel that holds the source's centre holds data.
    beyond_edge
        (n,) bool: whether the cutout reaches beyond the mosaic.
    """

    pixels: Float32Array
    valid: BoolArray
    weight_median: Float32Array
    centre_valid: BoolArray
    beyond_edge: BoolArray

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.shape[1] != self.pixels.shape[2]:
            raise ValueError(f"pixels must have shape (n, size, size), not {self.pixels.shape}")
        if self.valid.shape != self.pixels.shape:
            raise ValueError(f"valid has shape {self.valid.shape}, pixels {self.pixels.shape}")
        for name in ("weight_median", "centre_valid", "beyond_edge"):
            if getattr(self, name).shape != (len(self.pixels),):
                raise ValueError(f"{name} must have shape ({len(self.pixels)},), not {getattr(self, name).shape}")

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, rows: Int64Array | BoolArray | slice) -> CutoutStack:
        """The chosen cutouts, in that order."""
        return CutoutStack(
            pixels=self.pixels[rows],
            valid=self.valid[rows],
            weight_median=self.weight_median[rows],
            centre_valid=self.centre_valid[rows],
            beyond_edge=self.beyond_edge[rows],
        )

    @property
    def valid_fraction(self) -> Float32Array:
        """(n,) float32 in [0, 1]."""
        fraction: Float32Array = np.mean(self.valid, axis=(1, 2), dtype=np.float32)
        return fraction

    def _repr_html_(self) -> str:
        return notebook_cutouts(self.pixels, self.valid)


class WindowReader(Protocol):
    """A mosaic that can be read by rectangles."""

    @property
    def shape(self) -> tuple[int, int]: ...

    def read(self, box: Box) -> Window:
        """Read the part of ``box`` that lies on the mosaic."""
        ...
