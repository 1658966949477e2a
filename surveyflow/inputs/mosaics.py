"""Mosaics: a survey's image and its weight map, read by rectangles."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
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
from surveyflow.inputs.astrometry import Astrometry, Compass, read_astrometry
from surveyflow.inputs.fits_images import FitsImage, card_value, open_image
from surveyflow.tasks.card import ModelCard
from surveyflow.values.arrays import Float64Array
from surveyflow.values.images import ELECTRONS_A_SECOND, Box, Window

__all__ = ["SCALE_TOLERANCE", "Mosaic", "check_pixel_scale", "open_mosaic", "release_cards"]

logger = logging.getLogger(__name__)

SCALE_TOLERANCE = 0.01
"""Relative difference up to which two pixel scales count as equal."""

_ALIGNMENT_PIXELS = 0.1
_DIGEST_ROWS = 512
_ELECTRON_SPELLINGS = ("electron", "electrons", "elec", "e-", "e")
_PER_SECOND_SPELLINGS = ("/s", "/sec", "/second", "s-1", ".s-1")
_SPELLINGS = {electron + per_second for electron in _ELECTRON_SPELLINGS for per_second in _PER_SECOND_SPELLINGS}
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
    stated_unit
        The unit according to the user, if the header does not state it.
    """

    def __init__(
        self, science: FitsImage, weight: FitsImage | None, astrometry: Astrometry, stated_unit: str | None = None
    ) -> None:
        self._stated_unit = stated_unit
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
        return self._science.shape

    @property
    def pixel_scale_arcsec(self) -> float:
        """Side of a pixel, arcsec."""
        return self._astrometry.pixel_scale_arcsec

    @property
    def frame(self) -> str:
        """Frame of its positions, as astropy names it: ``icrs`` or ``fk5`` (of equinox 2000)."""
        return self._astrometry.frame

    @property
    def unit(self) -> str | None:
        """BUNIT, with all spellings of electrons per second as ``electron/s``, or else the stated unit; None without either."""
        return _unit_in(self._science) or _normalised_unit(self._stated_unit or "")

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
        return _notices(self._science, self._weight, self._astrometry)

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
        return self._astrometry.to_pixels(ra_deg, dec_deg)

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
        pixels = self._science.read(clipped, wanted)
        weight = None if self._weight is None else self._weight.read(clipped, wanted)
        valid = np.isfinite(pixels)
        valid &= (pixels != 0) if weight is None else (weight > 0) & (weight < np.inf)
        return Window(pixels, valid, weight, (clipped.y0, clipped.x0), self.shape)

    def digests(self, box: Box) -> dict[str, str]:
        """SHA-256, hexadecimal, of the pixels of ``science`` and ``weight`` in a box; ``none`` without a weight map.

        The digest covers the part of the box on the mosaic, row by row, as little-endian float32. Only some rows are in memory at
        a time.
        """
        clipped = box.clipped(self.shape)
        return {
            "science": _digest(self._science, clipped),
            "weight": "none" if self._weight is None else _digest(self._weight, clipped),
        }

    def digests_by_tag(self, box: Box) -> dict[str, str] | None:
        """Digests as those of `digests`, but of size and ETag of the files, so that no pixel is read; None if a file is local.

        Raises
        ------
        MosaicError
            If a server gives no ETag that stands for every byte.
        """
        if not all(isinstance(image.place, Address) for image in self.images.values()):
            return None
        of_images = {name: _digest_by_tag(image, box.clipped(self.shape)) for name, image in self.images.items()}
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
    science: str | Place, weight: str | Place | None = None, stated_unit: str | None = None, kept: Path | None = None
) -> Mosaic:
    """Open a mosaic without reading its pixels, except that a ``.gz`` is unpacked into memory.

    Parameters
    ----------
    science
        FITS image in a rectified ``RA---TAN``, ``DEC--TAN`` projection: ``.fits``, ``.fits.gz`` or tile-compressed ``.fits.fz``,
        on this machine or at an address (``https://``, ``s3://``, ``gs://``);
        ``mosaic.fits[SCI]`` or ``mosaic.fits[1]`` names an extension. Of several 2-D images, ``SCI`` is taken.
    weight
        Inverse-variance map on the same pixels. Of several 2-D images, ``WHT`` is taken.
    stated_unit
        The science image's unit, for images without BUNIT: ``electron/s``.
    kept
        A folder in which pixels that were read from addresses are kept for other processes; None to keep none.

    Raises
    ------
    MosaicError
        If a file cannot be used; the message names it and says what to do.
    """
    with ExitStack() as opened:
        image = opened.enter_context(open_image(science, preferred="SCI", kept=kept))
        _check_unit(image, stated_unit)
        astrometry = read_astrometry(image.header, image.shape, image.location)
        weight_map = None
        if weight is not None:
            weight_map = opened.enter_context(open_image(weight, preferred="WHT", kept=kept))
            _check_weight(weight_map, image, astrometry)
        opened.pop_all()
    mosaic = Mosaic(image, weight_map, astrometry, stated_unit)
    for notice in mosaic.notices:
        logger.info("mosaic=%s notice=%r", mosaic.science, notice)
    return mosaic


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
            f"Use the {1000 * card.pixel_scale_arcsec:.0f} mas mosaic."
        )


def _check_weight(weight: FitsImage, science: FitsImage, astrometry: Astrometry) -> None:
    if weight.shape != science.shape:
        raise MosaicError(
            f"{weight.location}: the weight map has {weight.shape[1]} x {weight.shape[0]} pixels, but {science.location} has "
            f"{science.shape[1]} x {science.shape[0]}. Name the weight map that belongs to the image."
        )
    offset = astrometry.offset_pixels(read_astrometry(weight.header, weight.shape, weight.location))
    if offset > _ALIGNMENT_PIXELS:
        raise MosaicError(
            f"{weight.location}: the weight map lies {offset:.3g} pixels off {science.location} at a corner "
            f"(tolerance {_ALIGNMENT_PIXELS}). Name the weight map that belongs to the image."
        )


def _notices(science: FitsImage, weight: FitsImage | None, astrometry: Astrometry) -> tuple[str, ...]:
    return (*science.notices, *(weight.notices if weight is not None else ()), *astrometry.notices)


def _unit_in(image: FitsImage) -> str | None:
    return _normalised_unit(str(card_value(image.header, "BUNIT") or ""))


def _check_unit(image: FitsImage, stated_unit: str | None) -> None:
    found = _unit_in(image)
    if None not in (found, stated_unit) and found != _normalised_unit(str(stated_unit)):
        raise MosaicError(
            f"{image.location} has BUNIT {found!r}, but the workflow states {stated_unit!r}. Correct `unit`, or leave it out: "
            f"it is for images without BUNIT."
        )


def _normalised_unit(unit: str) -> str | None:
    stripped = unit.strip()
    compact = stripped.lower().replace(" ", "").replace("**", "").replace("^", "")
    return ELECTRONS_A_SECOND if compact in _SPELLINGS else stripped or None


def _digest_by_tag(image: FitsImage, box: Box) -> str:
    tag = image.file.tag
    if not tag or tag.startswith("W/"):
        raise MosaicError(
            f'{image.location}: its server gives no ETag that stands for every byte, so `digest = "etag"` cannot be used. '
            f'Write digest = "content" in [remote].'
        )
    extension = split_extension(image.place)[1]
    return hashlib.sha256(repr((image.file.size, tag, extension, box)).encode()).hexdigest()


def _digest(image: FitsImage, box: Box) -> str:
    digest = hashlib.sha256()
    for y0 in range(box.y0, box.y1, _DIGEST_ROWS):
        digest.update(image.read(Box(y0, min(y0 + _DIGEST_ROWS, box.y1), box.x0, box.x1)).astype("<f4", copy=False).data)
    return digest.hexdigest()
