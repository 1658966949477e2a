"""Mosaics: a survey's image and its weight map, read by rectangles."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from astropy.io import fits
from numpy.typing import ArrayLike

from surveyflow.errors import MosaicError, PixelScaleMismatch
from surveyflow.files.addresses import Address
from surveyflow.files.paths import FileState, Place, split_extension
from surveyflow.inputs.astrometry import Astrometry, Compass, has_cards_of, read_astrometry
from surveyflow.inputs.fits_images import ROWS_AT_ONCE, FitsImage, card_value, open_image
from surveyflow.inputs.pixel_units import Conversion, conversion_of, unit_of
from surveyflow.sky.resampling import NewGrid
from surveyflow.sky.weight_kind import inverse_variance
from surveyflow.tasks.card import ModelCard
from surveyflow.values.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from surveyflow.values.codes import Flag, WeightKind
from surveyflow.values.images import (
    ELECTRONS_A_SECOND,
    Box,
    Digester,
    KeptParts,
    PairedDigester,
    PixelFile,
    SeparateSha256,
    StampCopier,
    Stamps,
    Stated,
    Window,
)

__all__ = ["SCALE_TOLERANCE", "Mosaic", "check_pixel_scale", "open_mosaic", "release_cards"]

logger = logging.getLogger(__name__)

SCALE_TOLERANCE = 0.01
"""Relative difference up to which two pixel scales count as equal."""

MOST_RESAMPLED = 4.0
"""Largest ratio of two pixel scales between which a mosaic is resampled."""

_ALIGNMENT_PIXELS = 0.1
_NOTHING_STATED = Stated()
_PIXELS_AT_ONCE = 2**18  # stay in the cache of a core
_ROWS_OF_A_CALL = 256
"""Rows that the native core reads before Python's signals are looked at."""
_RELEASE_KEYS = (
    *("DATE", "ORIGFILE", "FILENAME", "VERSION", "RELEASE", "TELESCOP", "INSTRUME", "DETECTOR", "FILTER", "FILTER1", "FILTER2"),
    *("EXPTIME", "PHOTFLAM", "PHOTPLAM", "DATASUM"),
)


_NOT_OF_A_PART = ("DATASUM", "DATE")
"""Cards of the complete image, which are wrong for a part of it."""


class Mosaic:
    """An open mosaic; close it, or use it as a context manager. Read it from one thread at a time.

    It is made by `open_mosaic`.

    Parameters
    ----------
    science, weight
        The open images; they share shape and projection.
    astrometry
        The science image's projection.
    stated
        What the user states beside the headers.

    Raises
    ------
    MosaicError
        If headers and user contradict each other about the pixels' unit.
    """

    def __init__(
        self, science: FitsImage, weight: FitsImage | None, astrometry: Astrometry, stated: Stated = _NOTHING_STATED
    ) -> None:
        self.stated = stated
        self._unit = unit_of(science, stated.unit)
        self._conversion = conversion_of(science, self._unit, stated, astrometry.pixel_scale_arcsec)
        self._grid = _new_grid(science, astrometry, stated)
        self._science = science
        self._weight = weight
        self._astrometry = astrometry

    @property
    def science(self) -> str:
        """The science image as the user named it, with the extension if one was named."""
        return self._science.location

    @property
    def weight(self) -> str | None:
        """The weight map as the user named it; None without one."""
        return None if self._weight is None else self._weight.location

    @property
    def places(self) -> tuple[str | Address, str | Address | None]:
        """What opens the science image and the weight map again; addresses have their secrets."""
        return self._science.place, None if self._weight is None else self._weight.place

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self._science.shape if self._grid is None else self._grid.shape

    @property
    def pixel_scale_arcsec(self) -> float:
        """Side of a pixel as it is read, arcsec."""
        return self._astrometry.pixel_scale_arcsec / (1.0 if self._grid is None else self._grid.step)

    @property
    def resampled_from_arcsec(self) -> float | None:
        """Side of a pixel in the file, arcsec, if the image is resampled; None if it is read as it is."""
        return None if self._grid is None else self._astrometry.pixel_scale_arcsec

    @property
    def frame(self) -> str:
        """Frame of its positions, as astropy names it: ``icrs`` or ``fk5`` (of equinox 2000)."""
        return self._astrometry.frame

    @property
    def unit(self) -> str | None:
        """Unit of the pixels as they are read, ``electron/s`` in whatever spelling; None if neither header nor user states it."""
        return self._unit if self._conversion is None else ELECTRONS_A_SECOND

    @property
    def conversion(self) -> Conversion | None:
        """The conversion of the pixels to the unit of the training images; None if they are read as they are."""
        return self._conversion

    @property
    def flags(self) -> Flag:
        """What every row from this mosaic must say of its pixels."""
        converted = Flag(0) if self._conversion is None else Flag.CONVERTED_UNIT
        return converted if self._grid is None else converted | Flag.RESAMPLED

    @property
    def treatment(self) -> str:
        """Everything that is done to the numbers of the files, as a text; empty if nothing is done."""
        factor = "" if self._conversion is None else repr(self._conversion.factor)
        step = "" if self._grid is None else repr(self._grid.step)
        done = {"factor": factor, "weight": self.stated.weight_kind, "step": step}
        return " ".join(f"{name}={value}" for name, value in done.items() if value)

    @property
    def filter(self) -> str | None:
        """FILTER in capitals, or that of FILTER1 and FILTER2 which is not clear; None if the header names no filter."""
        cards = release_cards(self._science)
        names = [str(cards[key]).strip().upper() for key in ("FILTER", "FILTER1", "FILTER2") if key in cards]
        return next((name for name in names if name and not name.startswith("CLEAR")), None)

    @property
    def images(self) -> dict[str, FitsImage]:
        """The open images: ``science`` and, if there is one, ``weight``."""
        return {"science": self._science} | ({} if self._weight is None else {"weight": self._weight})

    @property
    def release_cards(self) -> dict[str, str | float]:
        """The science image's `release_cards`."""
        return release_cards(self._science)

    @property
    def notices(self) -> tuple[str, ...]:
        """Notices of what was ignored in the headers, and of what costs memory."""
        converted = () if self._conversion is None else (f"{self.science}: {self._conversion.words}.",)
        return (*_notices(self._science, self._weight, self._astrometry), *converted, *self._resampling())

    def _resampling(self) -> tuple[str, ...]:
        if self._grid is None:
            return ()
        scales = f"{self.resampled_from_arcsec:.4f} to {self.pixel_scale_arcsec:.4f} arcsec/pixel"
        return (f"{self.science}: resampled from {scales}; its flux is conserved, and its PSF stays its own.",)

    @property
    def files(self) -> tuple[FileState, ...]:
        """The files, science first, as they were when they were opened; one entry if both images are in one file."""
        states = [self._science.file] if self._weight is None else [self._science.file, self._weight.file]
        return tuple(dict.fromkeys(states))

    def to_pixels(self, ra_deg: ArrayLike, dec_deg: ArrayLike) -> tuple[Float64Array, Float64Array]:
        """Convert positions on the sky to pixels.

        Parameters
        ----------
        ra_deg, dec_deg
            (n,) degrees, taken to be in the mosaic's own frame (FK5 and ICRS differ by about 20 mas).

        Returns
        -------
        x_pix, y_pix
            (n,) float64, 0-based, integers at pixel centres; NaN for positions on the far side of the sky.
        """
        x_pix, y_pix = self._astrometry.to_pixels(ra_deg, dec_deg)
        return (x_pix, y_pix) if self._grid is None else (self._grid.new_pixels(x_pix), self._grid.new_pixels(y_pix))

    def compass(self, x_pix: float, y_pix: float) -> Compass:
        """The directions of north and east at a position, 0-based pixels."""
        return self._astrometry.compass(x_pix, y_pix)

    def header_of(self, corner_yx: tuple[int, int]) -> fits.Header:
        """The header of a part of the science image that begins at a pixel: projection, frame, unit and release.

        Parameters
        ----------
        corner_yx
            Row and column of its first pixel in the mosaic, 0-based; it may lie outside.
        """
        header = fits.Header(self._astrometry.cards_of(corner_yx))
        named = {key: card_value(self._science.header, key) for key in ("RADESYS", "EQUINOX")}
        described = named | self.release_cards | {"BUNIT": self.unit}
        header.update({key: value for key, value in described.items() if value is not None and key not in _NOT_OF_A_PART})
        return header

    @property
    def corners_deg(self) -> tuple[Float64Array, Float64Array]:
        """Right ascension and declination of the image's four corners, degrees."""
        height, width = self._science.shape
        x, y = np.array([0, width, width, 0]) - 0.5, np.array([0, 0, height, height]) - 0.5
        return self._astrometry.to_sky(x, y)

    def read(self, box: Box, wanted: Sequence[Box] = ()) -> Window:
        """Read the part of a box that lies on the mosaic.

        Parameters
        ----------
        box
            The box.
        wanted
            The parts of it that are wanted, if not all of it is. What lies outside may be missing: 0, and not valid.

        Raises
        ------
        MosaicError
            If a file is damaged or was cut short since it was opened.
        """
        clipped = box.clipped(self.shape)
        if self._grid is None:
            return self._read(clipped, wanted)
        old = [self._grid.old_box(one.clipped(self.shape)) for one in wanted]
        return self._grid.resampled(self._read(self._grid.old_box(clipped), old), clipped)

    def _read(self, box: Box, wanted: Sequence[Box]) -> Window:
        """Read a box of the files' own pixels."""
        numbers = [image.read(box, wanted) for image in self.images.values()]
        return Window(*self._treated(numbers), (box.y0, box.x0), self._science.shape)

    def copy_stamps(self, copier: StampCopier, tops: Int64Array, lefts: Int64Array, size: int) -> Stamps | None:
        """Copy squares out of the mosaic; None if that is not possible, or not all of them are in the page cache.

        Parameters
        ----------
        copier, tops, lefts
            As for `surveyflow.values.images.StampCopier`.
        size
            Side of the squares.
        """
        return self._stamps(tops, lefts, lambda image: image.copy_stamps(copier, tops, lefts, size))

    def read_stamps(self, tops: Int64Array, lefts: Int64Array, size: int) -> Stamps | None:
        """Read squares of the mosaic; None if it is resampled, packed or at an address, so that windows must be read.

        Parameters
        ----------
        tops, lefts
            (n,) int64: first row and column of each square, which may lie outside the mosaic.
        size
            Side of the squares.

        Raises
        ------
        MosaicError
            If a file was cut short since it was opened.
        """
        return self._stamps(tops, lefts, lambda image: image.read_stamps(tops, lefts, size))

    def _stamps(self, tops: Int64Array, lefts: Int64Array, squares: Callable[[FitsImage], Float32Array | None]) -> Stamps | None:
        """Make stamps of the squares of each image; None if one of them has none."""
        if self._grid is not None:
            return None
        found = [pixels for image in self.images.values() if (pixels := squares(image)) is not None]
        return Stamps(*self._treated(found), tops, lefts) if len(found) == len(self.images) else None

    def _treated(self, numbers: Sequence[Float32Array]) -> tuple[Float32Array, BoolArray, Float32Array | None]:
        """Pixels, validity and weights of the numbers of the files, those of the science image first."""
        pixels = self._in_unit(numbers[0])
        weight = None if self._weight is None else self._inverse_variance(numbers[-1])
        return pixels, _valid(pixels, weight), weight

    def _in_unit(self, pixels: Float32Array) -> Float32Array:
        return pixels if self._conversion is None else pixels * np.float32(self._conversion.factor)

    def _inverse_variance(self, numbers: Float32Array) -> Float32Array:
        """The weights of the pixels as they are read; numbers of which nothing is stated are left as they are."""
        if self._conversion is None and self.stated.weight_kind is None:
            return numbers
        factor = 1.0 if self._conversion is None else self._conversion.factor
        return inverse_variance(numbers, self.stated.weight_kind or WeightKind.INVERSE_VARIANCE, factor)

    def digests(self, box: Box, paired: Callable[[], PairedDigester] | None = None) -> dict[str, str]:
        """SHA-256, hexadecimal, of the pixels of ``science`` and ``weight`` in a box; ``none`` without a weight map.

        The digest covers the part of the box on the mosaic, row by row, as little-endian float32. Only some rows are in memory at
        a time. Conversions come later, and are not in it.

        Parameters
        ----------
        box
            The box.
        paired
            Computes the digests of two images together; None to compute each by itself.
        """
        return self._digested(self._in_files(box), [], paired)

    def digested(self, box: Box, paired: Callable[[], PairedDigester] | None = None) -> tuple[dict[str, str], Window]:
        """Read a box once, and return its `digests` with what `read` makes of the same bytes.

        Parameters
        ----------
        box, paired
            As for `digests`.

        Raises
        ------
        MosaicError
            As for `read`.
        """
        in_files = self._in_files(box)
        kept = [KeptParts.whole(in_files) for _ in self.images]
        digests = self._digested(in_files, kept, paired)
        window = Window(*self._treated([each.pixels[0] for each in kept]), (in_files.y0, in_files.x0), self._science.shape)
        return digests, window if self._grid is None else self._grid.resampled(window, box.clipped(self.shape))

    def digested_stamps(
        self, box: Box, tops: Int64Array, lefts: Int64Array, size: int, paired: Callable[[], PairedDigester] | None = None
    ) -> tuple[dict[str, str], Stamps] | None:
        """Read a box once, and return its `digests` with squares of the same bytes; None if it is resampled.

        Parameters
        ----------
        box
            The box.
        tops, lefts
            (n,) int64: first row and column of each square, of which no part on the mosaic may lie outside the box.
        size
            Side of the squares.
        paired
            As for `digests`.

        Raises
        ------
        ValueError
            If the box lacks a pixel of a square.
        MosaicError
            As for `read`.
        """
        if self._grid is not None:
            return None
        in_files, kept = self._in_files(box), [KeptParts.squares(tops, lefts, size) for _ in self.images]
        squares = [Box(top, top + size, left, left + size) for top, left in zip(tops.tolist(), lefts.tolist(), strict=True)]
        if any(not in_files.holds(part) for square in squares if 0 not in (part := square.clipped(self.shape)).shape):
            raise ValueError(f"the box {box} lacks pixels of the squares: digest a larger box")
        digests = self._digested(in_files, kept, paired)
        return digests, Stamps(*self._treated([each.pixels for each in kept]), tops, lefts)

    def _digested(self, in_files: Box, kept: Sequence[KeptParts], paired: Callable[[], PairedDigester] | None) -> dict[str, str]:
        """Digest a box of the files' own pixels, some rows at a time, and keep parts of each image."""
        files = [file for image in self.images.values() if (file := image.pixel_file) is not None]
        if paired is None or len(self.images) != 2:
            digests = self._digested_by_rows(SeparateSha256(len(self.images)), in_files, kept)
        elif len(files) == 2:
            digests = self._digested_in_files(paired(), files, in_files, kept)
        else:
            digests = self._digested_by_rows(paired(), in_files, kept)
        return {"weight": "none"} | dict(zip(self.images, digests, strict=True))

    def _digested_by_rows(self, digester: Digester, in_files: Box, kept: Sequence[KeptParts]) -> list[str]:
        for rows in _in_steps(in_files, ROWS_AT_ONCE):
            pixels = [image.read(rows) for image in self.images.values()]
            digester.update([each.astype("<f4", copy=False) for each in pixels])
            for keeper, each in zip(kept, pixels, strict=False):  # none, if only digests are wanted
                keeper.take(rows, each)
        return digester.hexdigests()

    def _digested_in_files(
        self, digester: PairedDigester, files: Sequence[PixelFile], in_files: Box, kept: Sequence[KeptParts]
    ) -> list[str]:
        for rows in _in_steps(in_files, _ROWS_OF_A_CALL):
            if failure := digester.read(files, rows, kept):
                number, reason = failure
                raise list(self.images.values())[number].unreadable(rows, reason)
        return digester.hexdigests()

    def _in_files(self, box: Box) -> Box:
        """The part of the files that a box of the mosaic is made of."""
        clipped = box.clipped(self.shape)
        return clipped if self._grid is None else self._grid.old_box(clipped)

    def digests_by_tag(self, box: Box) -> dict[str, str] | None:
        """Digests as those of `digests`, but of size and ETag of the files, so that no pixel is read; None if a file is local.

        Raises
        ------
        MosaicError
            If a server gives no ETag that stands for every byte.
        """
        if not all(isinstance(image.place, Address) for image in self.images.values()):
            return None
        in_files = self._in_files(box)
        of_images = {name: _digest_by_tag(image, in_files) for name, image in self.images.items()}
        return {"weight": "none"} | of_images

    def keep(self) -> None:
        """Write pixels that were read from an address to the folder where they are kept, as soon as there is one."""
        for image in self.images.values():
            image.keep()

    def close(self) -> None:
        """Close the files."""
        self._science.close()
        if self._weight is not None:
            self._weight.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def open_mosaic(
    science: str | Place, weight: str | Place | None = None, stated: Stated = _NOTHING_STATED, kept: Path | None = None
) -> Mosaic:
    """Open a mosaic without reading its pixels, except that a ``.gz`` is unpacked into memory.

    Parameters
    ----------
    science
        FITS image in a rectified ``RA---TAN``, ``DEC--TAN`` projection: ``.fits``, ``.fits.gz`` or tile-compressed ``.fits.fz``,
        on this machine or at an address (``https://``, ``s3://``, ``gs://``);
        ``mosaic.fits[SCI]`` or ``mosaic.fits[1]`` names an extension. Of several 2-D images, ``SCI`` is taken.
    weight
        Weight map on the same pixels. Of several 2-D images, ``WHT`` is taken. A map in the same file as the image needs no
        projection of its own, as in the pipeline of JWST, which writes one only beside the image.
    stated
        What the headers do not state: the unit, the kind of the weights, the zero point.
    kept
        A folder in which pixels that were read from addresses are kept for other processes; None to keep none.

    Raises
    ------
    MosaicError
        If a file cannot be used; the message names it and says what to do.
    """
    with ExitStack() as opened:
        image = opened.enter_context(open_image(science, preferred="SCI", kept=kept))
        astrometry = read_astrometry(image.header, image.shape, image.location)
        weight_map = None
        if weight is not None:
            weight_map = opened.enter_context(open_image(weight, preferred="WHT", kept=kept))
            _check_weight(weight_map, image, astrometry)
        mosaic = Mosaic(image, weight_map, astrometry, stated)
        opened.pop_all()
    for notice in mosaic.notices:
        logger.info("mosaic=%s notice=%r", mosaic.science, notice)
    return mosaic


def _in_steps(box: Box, step: int) -> Iterator[Box]:
    """Cut a box into boxes of so many rows."""
    for y0 in range(box.y0, box.y1, step):
        yield Box(y0, min(y0 + step, box.y1), box.x0, box.x1)


def _valid(pixels: Float32Array, weight: Float32Array | None) -> BoolArray:
    """Which pixels hold data, of a window or of stamps: see `Window`."""
    valid = np.empty(pixels.shape, bool)
    step = max(1, _PIXELS_AT_ONCE * len(pixels) // max(pixels.size, 1))
    for first in range(0, len(pixels), step):
        block = slice(first, first + step)
        np.isfinite(pixels[block], out=valid[block])
        valid[block] &= (pixels[block] != 0) if weight is None else (weight[block] > 0) & (weight[block] < np.inf)
    return valid


def release_cards(image: FitsImage) -> dict[str, str | float]:
    """Those header cards that identify an image's release and are present: DATE, FILENAME, TELESCOP, PHOTFLAM and others."""
    cards = ((key, card_value(header, key)) for header in (image.primary_header, image.header) for key in _RELEASE_KEYS)
    return {key: value for key, value in cards if value is not None}


def check_pixel_scale(mosaic: Mosaic, card: ModelCard) -> None:
    """Refuse a mosaic whose pixel scale is not that of a model's training images.

    Raises
    ------
    PixelScaleMismatch
        If the pixel scales differ by more than 1 %.
    """
    if abs(mosaic.pixel_scale_arcsec / card.pixel_scale_arcsec - 1) > SCALE_TOLERANCE:
        raise PixelScaleMismatch(
            f"{mosaic.science} has {mosaic.pixel_scale_arcsec:.4f} arcsec/pixel, but model {card.key} was trained at "
            f"{card.pixel_scale_arcsec:.4f} (tolerance {SCALE_TOLERANCE:.0%}). "
            f"Use the {1000 * card.pixel_scale_arcsec:.0f} mas mosaic, or write `resample = true`, which flags all rows."
        )


def _check_weight(weight: FitsImage, science: FitsImage, astrometry: Astrometry) -> None:
    if weight.shape != science.shape:
        raise MosaicError(
            f"{weight.location}: the weight map has {weight.shape[1]} x {weight.shape[0]} pixels, but {science.location} has "
            f"{science.shape[1]} x {science.shape[0]}. Name the weight map that belongs to the image."
        )
    if weight.file == science.file and not any(key in weight.header for key in ("CTYPE1", "CTYPE2")):
        return
    if has_cards_of(weight.header, science.header):
        return
    offset = astrometry.offset_pixels(read_astrometry(weight.header, weight.shape, weight.location))
    if offset > _ALIGNMENT_PIXELS:
        raise MosaicError(
            f"{weight.location}: the weight map lies {offset:.3g} pixels off {science.location} at a corner "
            f"(tolerance {_ALIGNMENT_PIXELS}). Name the weight map that belongs to the image."
        )


def _new_grid(science: FitsImage, astrometry: Astrometry, stated: Stated) -> NewGrid | None:
    """The pixels to which an image is resampled; None if that is not asked for, or its scale is right as it is."""
    if stated.wanted_scale_arcsec is None:
        return None
    step = astrometry.pixel_scale_arcsec / stated.wanted_scale_arcsec
    if abs(step - 1) <= SCALE_TOLERANCE:
        return None
    if not 1 / MOST_RESAMPLED <= step <= MOST_RESAMPLED:
        raise PixelScaleMismatch(
            f"{science.location} has {astrometry.pixel_scale_arcsec:.4f} arcsec/pixel, and is not resampled to "
            f"{stated.wanted_scale_arcsec:.4f}: pixels may differ by a factor of up to {MOST_RESAMPLED:g}. Use another mosaic."
        )
    return NewGrid(science.shape, step)


def _notices(science: FitsImage, weight: FitsImage | None, astrometry: Astrometry) -> tuple[str, ...]:
    return (*science.notices, *(weight.notices if weight is not None else ()), *astrometry.notices)


def _digest_by_tag(image: FitsImage, box: Box) -> str:
    tag = image.file.tag
    if not tag or tag.startswith("W/"):
        raise MosaicError(
            f'{image.location}: its server gives no ETag that stands for every byte, so `digest = "etag"` cannot be used. '
            f'Write digest = "content" in [remote].'
        )
    extension = split_extension(image.place)[1]
    return hashlib.sha256(repr((image.file.size, tag, extension, box)).encode()).hexdigest()
