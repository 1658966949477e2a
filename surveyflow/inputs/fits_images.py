"""The images of FITS files, read by rectangles.

Opening an image reads only headers, except that a ``.gz`` is unpacked completely. Reading a rectangle reads only its pixels,
however large the file, and wherever it is: on this machine or at an address.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Protocol, Self

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from surveyflow.errors import MosaicError
from surveyflow.files.addresses import Address
from surveyflow.files.paths import FileState, Place, place_of, problem_of_file, refusing, split_extension
from surveyflow.files.remote import RemoteFile, open_at
from surveyflow.inputs.packed_fits import NotUnpacked, Stream, check_end, data_bytes, unpack_fits
from surveyflow.inputs.remote_files import local_copy, reaching
from surveyflow.inputs.remote_images import KeptBlocks, RangedPlane, SelectedTiles
from surveyflow.values.arrays import Float32Array, Int64Array
from surveyflow.values.images import Box, PixelFile, StampCopier

logger = logging.getLogger(__name__)


MAX_HDUS = 1000
"""Number of HDUs up to which a file is searched for its image."""

SHORT_ROW_BYTES = 2**12
"""Rows up to this size, that of a page of memory, are read whole: the system reads no less."""
WHOLE_ROWS = 256
"""Number of short rows that are read at once."""
ROWS_AT_ONCE = 16
"""Number of longer rows that are read, and then decoded while they are in the cache of a core."""
BLOCK_ROWS = 64
"""Number of rows from which squares are copied while these are in the cache of a core."""

_GZIP_MAGIC, _FITS_MAGIC = b"\x1f\x8b", b"SIMPLE"
_LOOKUP_TABLES = {"WCSDVARR", "D2IMARR", "WCSCORR"}


class FitsImage:
    """One 2-D image of a FITS file, open for reading rectangles from one thread at a time.

    It is made by `open_image`, and is a context manager.

    Parameters
    ----------
    location
        As the user wrote it: ``mosaic.fits`` or ``mosaic.fits[SCI]``; an address without its secrets.
    header, primary_header
        Headers of the image and of the file.
    shape
        Rows and columns.
    place
        What opens the image again; an address has its secrets.
    file
        State of the file when it was opened.
    notices
        What the user should know about the file.
    """

    def __init__(
        self,
        *,
        location: str,
        place: str | Address,
        headers: tuple[fits.Header, fits.Header],
        shape: tuple[int, int],
        file: FileState,
        notices: tuple[str, ...],
        plane: _Plane | KeptBlocks,
        resources: ExitStack,
    ) -> None:
        self.location = location
        self.place = place
        self.header, self.primary_header = headers
        self.shape = shape
        self.file = file
        self.notices = notices
        self._plane = plane
        self._resources = resources

    def read(self, box: Box, wanted: Sequence[Box] = ()) -> Float32Array:
        """Read a box that lies inside the image: (height, width) float32, native byte order, with BLANK as NaN.

        Parameters
        ----------
        box
            The box.
        wanted
            The parts of it that are wanted, if not all of it is: from an address, nothing else is fetched, and the rest is 0.

        Raises
        ------
        MosaicError
            If the file was cut short since it was opened, its compressed data are damaged, or its server fails.
        """
        if 0 in box.shape:
            return np.empty(box.shape, dtype=np.float32)
        with refusing(lambda reason: self.unreadable(box, reason)):
            if isinstance(self._plane, KeptBlocks):
                with reaching(self.location, MosaicError):
                    return self._plane.read(box, wanted)
            return self._plane.read(box)

    def copy_stamps(self, copier: StampCopier, tops: Int64Array, lefts: Int64Array, size: int) -> Float32Array | None:
        """Copy squares of pixels that may reach beyond the image; None if this is not possible, or the file is not in memory.

        Parameters
        ----------
        copier, tops, lefts
            As for `StampCopier`.
        size
            Side of the squares.
        """
        if (file := self.pixel_file) is None:
            return None
        pixels = np.empty((len(tops), size, size), np.float32)
        return pixels if copier(file.number, file.offset_bytes, self.shape, tops=tops, lefts=lefts, pixels=pixels) else None

    @property
    def pixel_file(self) -> PixelFile | None:
        """Where the pixels are; None unless they lie in a file on this machine as big-endian float32."""
        plane = self._plane
        if not isinstance(plane, _PlainPlane) or not plane.encoding.plain:
            return None
        return PixelFile(plane.stream.fileno(), plane.offset_bytes, plane.width)

    def read_stamps(self, tops: Int64Array, lefts: Int64Array, size: int) -> Float32Array | None:
        """Read squares of pixels that may reach beyond the image, and are 0 there; None if the image is packed or at an address.

        Parameters
        ----------
        tops, lefts
            (n,) int64: first row and column of each square.
        size
            Side of the squares.

        Raises
        ------
        MosaicError
            If the file was cut short since it was opened.
        """
        if not isinstance(self._plane, _PlainPlane):
            return None
        stamps = np.zeros((len(tops), size, size), np.float32)
        squares = [Box(top, top + size, left, left + size) for top, left in zip(tops.tolist(), lefts.tolist(), strict=True)]
        for y0 in _block_starts(self.shape[0], tops, size):
            rows = Box(y0, y0 + BLOCK_ROWS, 0, self.shape[1]).clipped(self.shape)
            near = np.flatnonzero((tops < rows.y1) & (tops + size > rows.y0) & (lefts < rows.x1) & (lefts + size > 0))
            if len(near):
                box = Box(rows.y0, rows.y1, int(lefts[near].min()), int(lefts[near].max()) + size).clipped(self.shape)
                with refusing(partial(self.unreadable, box)):
                    self._plane.copy_parts(box, [(squares[number], stamps[number]) for number in near.tolist()])
        return stamps

    def keep(self) -> None:
        """Write pixels that were read from an address to the folder where they are kept, as soon as there is one."""
        if isinstance(self._plane, KeptBlocks):
            self._plane.keep()

    def unreadable(self, box: Box, reason: str) -> MosaicError:
        """The error that says why a box cannot be read."""
        return MosaicError(
            f"{self.location}: rows {box.y0} to {box.y1} cannot be read ({reason}). "
            f"The file is damaged or was changed while it was open; fetch it again and run again."
        )

    def close(self) -> None:
        """Close the file."""
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _block_starts(n_rows: int, tops: Int64Array, size: int) -> range:
    """First rows of blocks that cover every row of an image that squares touch."""
    touching = tops[(tops < n_rows) & (tops + size > 0)]
    return range(max(int(touching.min()), 0), min(int(touching.max()) + size, n_rows), BLOCK_ROWS) if len(touching) else range(0)


def open_image(location: str | Place, preferred: str, kept: Path | None = None) -> FitsImage:
    """Open the 2-D image of a FITS file.

    Parameters
    ----------
    location
        File (``.fits``, ``.fits.gz``, ``.fits.fz``), with the extension's name or number in brackets if it is not obvious.
    preferred
        EXTNAME of the image to take if there are several and the location names none: ``SCI``.
    kept
        A folder in which pixels that were read from an address are kept for other processes; None to keep none.

    Raises
    ------
    MosaicError
        If the file cannot be read, is not FITS, is cut short, has no 2-D image, or has several and none is preferred.
    """
    resources = ExitStack()
    try:
        named = _named_image(location, preferred, kept)
        with refusing(lambda reason: _unreadable_headers(named.shown, reason)), named.reaching():
            return _open_image(named, resources)
    except BaseException:
        resources.close()
        raise


def card_value(header: fits.Header, key: str | tuple[str, int]) -> str | float | bool | None:
    """Value of a header card, of several of a name that of this number; None if it is missing, empty or breaks a rule of FITS."""
    try:
        value = header.get(key)
    except (fits.VerifyError, ValueError):  # the second is Python's, of a whole number of thousands of digits
        return None
    return value if isinstance(value, str | int | float) else None


@dataclass(frozen=True, slots=True)
class _Named:
    """An image as it was named, and where pixels that are fetched for it are kept."""

    location: str | Address
    place: Place
    extension: str | None
    preferred: str
    kept: Path | None

    @property
    def shown(self) -> str:
        return str(self.location)

    def reaching(self) -> AbstractContextManager[None]:
        return reaching(self.shown, MosaicError) if isinstance(self.place, Address) else nullcontext()


def _named_image(location: str | Place, preferred: str, kept: Path | None) -> _Named:
    try:
        whole, (place, extension) = place_of(location), split_extension(location)
    except ValueError as error:
        raise MosaicError(str(error)) from None
    return _Named(whole if isinstance(whole, Address) else str(location), place.absolute(), extension, preferred, kept)


def _open_image(named: _Named, resources: ExitStack) -> FitsImage:
    location = named.shown
    stream, file = _opened(named, resources)
    unpacked = _unpacked(location, stream, _n_bytes(stream))
    source = stream if unpacked is None else BytesIO(unpacked)
    hdus, complaints = _open_hdus(location, source)
    resources.callback(hdus.close)
    hdu = _chosen(location, hdus, named.extension, named.preferred, complaints)
    _check_complete(location, hdu, source, _n_bytes(source))
    if isinstance(source, RemoteFile):
        plane: _Plane | KeptBlocks = _kept_plane(named, file, hdus, hdu, source)
    else:
        plane = _plane(location, hdu, source, unpacked)
    return FitsImage(
        location=location,
        place=named.location,
        headers=(hdu.header, hdus[0].header),
        shape=(int(hdu.shape[0]), int(hdu.shape[1])),
        file=file,
        notices=_notices(location, unpacked),
        plane=plane,
        resources=resources,
    )


def _opened(named: _Named, resources: ExitStack) -> tuple[Stream, FileState]:
    """Open a file, wherever it is; a packed one at an address is copied first."""
    if isinstance(named.place, Path):
        return _opened_here(named.shown, named.place, resources)
    stream = resources.enter_context(open_at(named.place))
    if not _magic(named.shown, stream).startswith(_GZIP_MAGIC):
        return stream, FileState.at(named.place, stream.state)
    copy, state = local_copy(named.place)
    return _opened_here(named.shown, copy, resources)[0], state


def _opened_here(location: str, path: Path, resources: ExitStack) -> tuple[BinaryIO, FileState]:
    stream = resources.enter_context(_open_file(location, path))
    status = os.fstat(stream.fileno())
    return stream, FileState(path, status.st_size, status.st_mtime_ns, status.st_ino)


def _n_bytes(stream: Stream) -> int:
    before = stream.tell()
    n_bytes = stream.seek(0, os.SEEK_END)
    stream.seek(before)
    return n_bytes


def _kept_plane(named: _Named, file: FileState, hdus: fits.HDUList, hdu: Any, stream: RemoteFile) -> KeptBlocks:
    number, shape = hdus.index(hdu), (int(hdu.shape[0]), int(hdu.shape[1]))
    if isinstance(hdu, fits.CompImageHDU):
        source: SelectedTiles | RangedPlane = SelectedTiles(hdu, number, stream)
    else:
        source = RangedPlane(stream, hdu.fileinfo()["datLoc"], shape[1], _Encoding.of(named.shown, hdu.header))
    return KeptBlocks(source, shape, named.kept, repr((named.shown, file.size, file.mtime_ns, file.tag, number)))


def _open_file(location: str, path: Path) -> BinaryIO:
    problem = problem_of_file(path)
    if problem is not None:
        raise MosaicError(f"{location}: {' '.join(problem)}")
    try:
        return path.open("rb")
    except OSError as error:
        raise MosaicError(f"{location}: cannot be opened ({error.strerror}). Check the file and its permissions.") from error


def _magic(location: str, stream: Stream) -> bytes:
    """Return the first bytes of a FITS file, which may be gzipped."""
    magic = stream.read(len(_FITS_MAGIC))
    stream.seek(0)
    if not magic:
        raise MosaicError(f"{location}: the file is empty. Fetch it again.")
    if magic != _FITS_MAGIC and not magic.startswith(_GZIP_MAGIC):
        raise MosaicError(f"{location}: not a FITS file: it begins with {magic!r}, not {_FITS_MAGIC!r}. Name a FITS image.")
    return magic


def _unpacked(location: str, stream: Stream, n_bytes: int) -> bytes | None:
    """The content of a gzipped file; None if the file is not packed."""
    try:
        if _magic(location, stream).startswith(_GZIP_MAGIC):
            return unpack_fits(stream)
        check_end(stream, n_bytes)
    except NotUnpacked as error:
        raise MosaicError(f"{location}: {error}") from error
    return None


def _notices(location: str, unpacked: bytes | None) -> tuple[str, ...]:
    if unpacked is None:
        return ()
    megabytes = len(unpacked) / 1e6
    what = f"a .gz cannot be read by windows, so each worker holds its {megabytes:,.1f} MB in memory"
    return (f"{location}: {what}. Unpack it (gunzip) to avoid that.",)


def _open_hdus(location: str, stream: Stream) -> tuple[fits.HDUList, list[str]]:
    """Read every header; return the HDUs and astropy's warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        hdus = fits.open(stream, memmap=False)
        _check_number(location, hdus)
    complaints = [str(warning.message).strip() for warning in caught]
    for complaint in complaints:
        logger.debug("file=%s astropy=%r", location, complaint)
    return hdus, complaints


def _check_number(location: str, hdus: fits.HDUList) -> None:
    """Read every header; stop at a number of HDUs that no mosaic has."""
    for number, _ in enumerate(hdus):
        if number >= MAX_HDUS:
            raise MosaicError(f"{location}: it has more than {MAX_HDUS} HDUs. Write the image to its own file.")


def _unreadable_headers(location: str, reason: str) -> MosaicError:
    return MosaicError(f"{location}: the FITS headers cannot be read ({reason}). Fetch the file again.")


def _chosen(location: str, hdus: fits.HDUList, extension: str | None, preferred: str, complaints: Sequence[str]) -> Any:
    """Return the HDU of the image."""
    if extension is not None:
        return _named(location, hdus, extension, complaints)
    images = [hdu for hdu in hdus if _is_image(hdu)]
    planes = [hdu for hdu in images if len(hdu.shape) == 2]
    if not planes:
        raise MosaicError(
            f"{location}: it has no 2-D image, but {_listed(hdus)}.{_said(complaints)} "
            f"Name a file with a 2-D image; a plane of a cube must be written to its own file."
        )
    favourites = [hdu for hdu in planes if hdu.name == preferred] if len(planes) > 1 else planes
    if len(favourites) != 1:
        named = f"{location}[{_label(planes[0], hdus)}]"
        raise MosaicError(f"{location}: it has several 2-D images: {_listed(planes)}. Name one: {named}.")
    return favourites[0]


def _named(location: str, hdus: fits.HDUList, extension: str, complaints: Sequence[str]) -> Any:
    """Return the HDU named by the location: ``SCI``, ``SCI,2`` or ``1``."""
    name, _, version = (part.strip() for part in extension.partition(","))
    key: Any = int(name) if name.isdecimal() else (name, int(version)) if version.isdecimal() else name
    try:
        hdu = hdus[key]
    except (KeyError, IndexError) as error:
        raise MosaicError(
            f"{location}: the file has no extension {extension!r}, but {_listed(hdus)}.{_said(complaints)} Name one of these."
        ) from error
    if not _is_image(hdu) or len(hdu.shape) != 2:
        raise MosaicError(f"{location}: {_described(hdu)} is not a 2-D image. Choose from {_listed(hdus)}.")
    return hdu


def _is_image(hdu: Any) -> bool:
    """Whether an HDU holds an image that is not a lookup table of a distortion."""
    return (
        isinstance(hdu, fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU)
        and 0 not in (hdu.shape or (0,))
        and hdu.name not in _LOOKUP_TABLES
    )


def _label(hdu: Any, hdus: Iterable[Any]) -> str:
    return hdu.name or str(list(hdus).index(hdu))


def _listed(hdus: Iterable[Any]) -> str:
    return "; ".join(_described(hdu) for hdu in hdus)


def _described(hdu: Any) -> str:
    shape = " x ".join(str(length) for length in reversed(getattr(hdu, "shape", ()) or ()))
    return f"{hdu.name or 'unnamed'} ({type(hdu).__name__.removesuffix('HDU')}, {shape or 'no data'})"


def _said(complaints: Sequence[str]) -> str:
    return f" (astropy: {' '.join(complaints)})" if complaints else ""


def _check_complete(location: str, hdu: Any, stream: Stream, file_bytes: int) -> None:
    """Check that the file is as large as its header needs; the last block's padding may be missing."""
    expected = hdu.fileinfo()["datLoc"] + data_bytes(_header_in_file(hdu, stream))
    if file_bytes < expected:
        raise MosaicError(
            f"{location}: the file is cut short: {file_bytes:,} bytes, but its header needs {expected:,}. Fetch it again."
        )


def _header_in_file(hdu: Any, stream: Stream) -> fits.Header:
    """Return an HDU's header as it is in the file; that of a compressed image describes the table that holds it."""
    if not isinstance(hdu, fits.CompImageHDU):
        return hdu.header
    stream.seek(hdu.fileinfo()["hdrLoc"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # reported already when the file was opened
        return fits.Header.fromfile(stream)


class _Plane(Protocol):
    def read(self, box: Box) -> Float32Array: ...


def _plane(location: str, hdu: Any, stream: BinaryIO, unpacked: bytes | None) -> _Plane:
    if isinstance(hdu, fits.CompImageHDU):
        return _TiledPlane(hdu)
    encoding, offset_bytes = _Encoding.of(location, hdu.header), hdu.fileinfo()["datLoc"]
    if unpacked is None:
        return _PlainPlane(stream, offset_bytes, int(hdu.shape[1]), encoding)
    n_pixels = int(hdu.shape[0]) * int(hdu.shape[1])
    raw = np.frombuffer(unpacked, dtype=encoding.dtype, count=n_pixels, offset=offset_bytes)
    return _UnpackedPlane(raw.reshape(hdu.shape), encoding)


@dataclass(frozen=True, slots=True)
class _TiledPlane:
    """A tile-compressed image: only the tiles that the box touches are decompressed."""

    hdu: Any

    def read(self, box: Box) -> Float32Array:
        return np.ascontiguousarray(self.hdu.section[box.y0 : box.y1, box.x0 : box.x1], dtype=np.float32)


@dataclass(frozen=True, slots=True)
class _Encoding:
    """The encoding of an uncompressed image's numbers: ``value = raw * scale + zero``; ``blank`` means NaN."""

    dtype: np.dtype[Any]
    scale: float
    zero: float
    blank: int | None

    @classmethod
    def of(cls, location: str, header: fits.Header) -> Self:
        try:
            code = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}[header["BITPIX"]]
            return cls(np.dtype(code), float(header.get("BSCALE", 1)), float(header.get("BZERO", 0)), header.get("BLANK"))
        except (KeyError, TypeError, ValueError) as error:
            raise MosaicError(
                f"{location}: BITPIX, BSCALE and BZERO must be numbers that FITS allows ({error!r}). Correct the header."
            ) from error

    @property
    def plain(self) -> bool:
        """Whether the numbers are float32 as they are."""
        return self.dtype == np.dtype(">f4") and (self.scale, self.zero) == (1.0, 0.0)

    def decode(self, raw: NDArray[Any], pixels: Float32Array) -> None:
        """Decode numbers into pixels of their shape."""
        np.copyto(pixels, raw if self.plain else self.decoded(raw))

    def decoded(self, raw: NDArray[Any]) -> Float32Array:
        if self.plain:
            return raw.astype(np.float32)
        values = raw.astype(np.float64)
        if self.blank is not None and self.dtype.kind != "f":
            values[raw == self.blank] = np.nan
        with np.errstate(over="ignore"):
            return (values * self.scale + self.zero).astype(np.float32)


@dataclass(frozen=True, slots=True)
class _PlainPlane:
    """An uncompressed image in a file.

    Rows are read at their offsets in the file, not through a memory map. A memory map would fetch 128 KiB around every row, which
    is twelve times as much as needed for a window of a wide mosaic, and would kill the process if the file were cut short.
    """

    stream: BinaryIO
    offset_bytes: int
    width: int
    encoding: _Encoding

    def read(self, box: Box) -> Float32Array:
        pixels = np.empty(box.shape, dtype=np.float32)
        step = WHOLE_ROWS if self._has_short_rows else ROWS_AT_ONCE
        for y0 in range(box.y0, box.y1, step):
            rows = Box(y0, min(y0 + step, box.y1), box.x0, box.x1)
            self.encoding.decode(self._raw(rows), pixels[rows.within(box)[0]])
        return pixels

    def copy_parts(self, box: Box, squares: Iterable[tuple[Box, Float32Array]]) -> None:
        """Copy the parts of squares that lie in a box of the image to the squares' own pixels."""
        raw = self._raw(box)
        for square, pixels in squares:
            part = square.overlap(box)
            self.encoding.decode(raw[part.within(box)], pixels[part.within(square)])

    def _raw(self, box: Box) -> NDArray[Any]:
        """Read the numbers of a box as they are in the file."""
        if self._has_short_rows:
            rows = np.empty((box.shape[0], self.width), dtype=self.encoding.dtype)
            self._fill(rows, box.y0, 0)
            return rows[:, box.x0 : box.x1]
        raw = np.empty(box.shape, dtype=self.encoding.dtype)
        for y in range(box.shape[0]):
            self._fill(raw[y : y + 1], box.y0 + y, box.x0)
        return raw

    @property
    def _has_short_rows(self) -> bool:
        return self.width * self.encoding.dtype.itemsize <= SHORT_ROW_BYTES

    def _fill(self, raw: NDArray[Any], y: int, x: int) -> None:
        """Read what lies without a gap in the file: whole rows, or a part of one."""
        offset_bytes = self.offset_bytes + (y * self.width + x) * raw.itemsize
        if os.preadv(self.stream.fileno(), [raw.data], offset_bytes) != raw.nbytes:
            raise OSError(f"the file ends in row {y} or one of the {len(raw) - 1} after it")


@dataclass(frozen=True, slots=True)
class _UnpackedPlane:
    """An uncompressed image in memory."""

    raw: NDArray[Any]
    encoding: _Encoding

    def read(self, box: Box) -> Float32Array:
        return self.encoding.decoded(self.raw[box.y0 : box.y1, box.x0 : box.x1])
