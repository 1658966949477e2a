"""The astrometry of mosaics: conversion between sky positions and pixels.

Only the tangent-plane projection of rectified mosaics is supported. Distortion is ignored: CANDELS mosaics still carry that of
the exposures that they were drizzled from (SIP, lookup tables). Astropy would apply it a second time and move positions by up to
an arcminute. Of all other cards astropy must make the same positions; a card that would move them is refused by name.

Cards that say nothing are accepted: SIP cards whose coefficients are all 0, with the ``-SIP`` in CTYPE that goes with them, and
PV cards with which astropy finds the plain projection.

Positions are taken to be in the mosaic's own frame. FK5 and ICRS differ by some 20 mas, less than a pixel, and a catalog made
from a mosaic is in the mosaic's frame, whatever the catalog calls it.

Each card of the projection is used once and under the name that FITS gives it now. Programs before the standard wrote the matrix
as ``PC001001`` or ``CD01_01``, which astropy still reads. A header may hold a card twice: `astropy.io.fits` then returns the
first one, and `astropy.wcs` uses the last one. What begins with HIERARCH is no part of a projection, although `astropy.io.fits`
returns it under the same name.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning
from numpy.typing import ArrayLike

from surveyflow.errors import MosaicError
from surveyflow.files.paths import refusing
from surveyflow.inputs.fits_images import card_value
from surveyflow.values.arrays import Float64Array

Cards = tuple[tuple[str, str | float], ...]
"""Names and values of header cards."""
_EXPECTED_CTYPES = ("RA---TAN", "DEC--TAN")
_POINT_KEYS = ("CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2")
_CD_KEYS = ("CD1_1", "CD1_2", "CD2_1", "CD2_2")
_PC_KEYS = ("PC1_1", "PC1_2", "PC2_1", "PC2_2")
_CDELT_KEYS = ("CDELT1", "CDELT2")
_POLE_KEYS = ("LONPOLE", "LATPOLE")
_SIP_COEFFICIENT = re.compile(r"(A|B|AP|BP)_\d+_\d+")
_PV = re.compile(r"PV([12])_(\d+)")
_STANDARD_PV = {"PV1_2": 90.0, "PV1_3": 180.0}
"""The values of the standard's parameters of TAN that change nothing, where that is not 0; PV1_4 may have any, as LATPOLE."""
_OLD_EQUINOX = re.compile(r"\s*([BJ])?(\d+(?:\.\d*)?)\s*")
_LIMITS = {"CRPIX1": 1e8, "CRPIX2": 1e8, "CRVAL1": 360.0, "CRVAL2": 90.0, "LONPOLE": 1e3, "LATPOLE": 1e3}
"""Largest absolute values. With a reference pixel that is farther away, positions have no digits left for a part of a pixel."""
_PIXEL_SCALES_ARCSEC = (1e-5, 1e5)
_SAME_MATRIX = 1e-4
_SQUARE = 0.01


_COMPASS_STEP_DEG = 1 / 3600


@dataclass(frozen=True, slots=True)
class Compass:
    """The directions on an image at one position.

    Parameters
    ----------
    north_xy, east_xy
        Unit vectors, in columns and rows; rows count upwards.
    """

    north_xy: tuple[float, float]
    east_xy: tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Astrometry:
    """The tangent-plane projection of one mosaic.

    Parameters
    ----------
    cards
        The header cards on which positions depend, and no others.
    shape
        Rows and columns of the mosaic.
    pixel_scale_arcsec
        Side of a pixel, arcsec.
    notices
        What was ignored in the header.
    frame
        Frame of its positions, as astropy names it: ``icrs`` or ``fk5`` (of equinox 2000).
    """

    cards: Cards
    shape: tuple[int, int]
    pixel_scale_arcsec: float
    notices: tuple[str, ...]
    frame: str
    _wcs: WCS

    @property
    def digest(self) -> str:
        """SHA-256 of everything on which positions depend, hexadecimal."""
        return hashlib.sha256(repr((self.cards, self.shape)).encode()).hexdigest()

    def to_pixels(self, ra_deg: ArrayLike, dec_deg: ArrayLike) -> tuple[Float64Array, Float64Array]:
        """Convert positions on the sky to 0-based x and y; NaN where the tangent plane does not reach."""
        ra, dec = np.atleast_1d(np.asarray(ra_deg, dtype=np.float64)), np.atleast_1d(np.asarray(dec_deg, dtype=np.float64))
        x, y = self._wcs.wcs_world2pix(ra, dec, 0)
        return np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)

    def to_sky(self, x_pix: ArrayLike, y_pix: ArrayLike) -> tuple[Float64Array, Float64Array]:
        """Convert 0-based x and y to right ascension and declination, degrees."""
        ra, dec = self._wcs.wcs_pix2world(np.atleast_1d(x_pix), np.atleast_1d(y_pix), 0)
        return np.asarray(ra, dtype=np.float64), np.asarray(dec, dtype=np.float64)

    def compass(self, x_pix: float, y_pix: float) -> Compass:
        """The directions of north and east at a position, 0-based pixels."""
        ra, dec = (float(value[0]) for value in self.to_sky(x_pix, y_pix))
        step = _COMPASS_STEP_DEG
        x, y = self.to_pixels([ra, ra, ra + step / max(np.cos(np.radians(dec)), 1e-6)], [dec, dec + step, dec])
        north, east = np.array([x[1] - x[0], y[1] - y[0]]), np.array([x[2] - x[0], y[2] - y[0]])
        return Compass(*(tuple((vector / np.hypot(*vector)).tolist()) for vector in (north, east)))

    def cards_of(self, corner_yx: tuple[int, int]) -> Cards:
        """The cards of the part of the mosaic that begins at a pixel, 0-based row and column; it may lie outside."""
        shift = {"CRPIX1": corner_yx[1], "CRPIX2": corner_yx[0]}
        return tuple((key, value if isinstance(value, str) else value - shift.get(key, 0)) for key, value in self.cards)

    def offset_pixels(self, other: Astrometry) -> float:
        """Largest distance, over the corners, between the positions of the same point of the sky in two mosaics, pixels."""
        height, width = self.shape
        x, y = np.array([0.0, width - 1, 0.0, width - 1]), np.array([0.0, 0.0, height - 1, height - 1])
        other_x, other_y = other.to_pixels(*self.to_sky(x, y))
        distances = np.hypot(other_x - x, other_y - y)
        return float(np.max(np.nan_to_num(distances, nan=np.inf)))


def read_astrometry(header: fits.Header, shape: tuple[int, int], location: str) -> Astrometry:
    """Read the projection from an image's header.

    Parameters
    ----------
    header
        Header of the image.
    shape
        Rows and columns of the image.
    location
        Name of the file in messages.

    Raises
    ------
    MosaicError
        If the projection is missing, not supported or contradictory, or the pixels are not square.
    """
    with refusing(lambda reason: _unusable(location, reason)):
        standard = standard_header(header, location)
        _check_projection(standard, location)
        cards = _cards(standard, location)
        wcs = _wcs(cards)
        _check_parameters(standard, shape, cards, location)
        scale_arcsec = _pixel_scale_arcsec(wcs, location)
        _check_other_cards(header, wcs, shape, location)
        return Astrometry(cards, shape, scale_arcsec, _notices(standard, location), _frame(standard), wcs)


_OF_PIXELS = {
    *("", "COMMENT", "HISTORY", "BITPIX", "BSCALE", "BZERO", "BLANK", "BUNIT", "DATAMIN", "DATAMAX"),
    *("EXTNAME", "EXTVER", "FILENAME", "ORIGFILE", "DATE", "CHECKSUM", "DATASUM"),
}
"""Cards that describe pixels or the file, and have no part in a projection."""


def has_cards_of(header: fits.Header, other: fits.Header) -> bool:
    """Whether two headers hold the same cards, but for those that describe pixels or the file; so their projections are one."""
    cards, others = (
        [(card.keyword, _value(card)) for card in each.cards if card.keyword not in _OF_PIXELS] for each in (header, other)
    )
    return cards == others


def _check_projection(header: fits.Header, location: str) -> None:
    ctypes = tuple(str(card_value(header, key) or "").strip() for key in ("CTYPE1", "CTYPE2"))
    if not _sip_coefficients(header):
        ctypes = tuple(ctype.removesuffix(SIP_SUFFIX) for ctype in ctypes)
    if ctypes == ("", ""):
        raise MosaicError(f"{location}: no world coordinates: CTYPE1 and CTYPE2 are missing. Name a mosaic with a WCS.")
    if ctypes == _EXPECTED_CTYPES[::-1]:
        raise MosaicError(f"{location}: declination is along x (CTYPE1 = {ctypes[0]!r}). Write the image with its axes swapped.")
    if ctypes != _EXPECTED_CTYPES:
        raise MosaicError(
            f"{location}: CTYPE is {ctypes}, but only the rectified projection {_EXPECTED_CTYPES} is supported. "
            f"Drizzle or reproject the image to it."
        )
    for key in ("CUNIT1", "CUNIT2"):
        unit = card_value(header, key) or "deg"
        if str(unit).strip().lower() not in {"deg", "degree", "degrees"}:
            raise MosaicError(f"{location}: {key} is {unit!r}, expected 'deg'. Write the WCS in degrees.")
    _check_frame(header, location)


def _sip_coefficients(header: fits.Header) -> list[str]:
    """Names of the cards with a SIP coefficient other than 0."""
    return [key for key in header if _SIP_COEFFICIENT.fullmatch(key) and card_value(header, key) != 0]


def _check_frame(header: fits.Header, location: str) -> None:
    frame = _named_frame(header)
    key, equinox = _equinox(header, location)
    if frame not in {"", "ICRS", "FK5"} or (equinox != 2000.0 and frame != "ICRS"):
        raise MosaicError(
            f"{location}: the frame is {frame or 'not named'}, with {key} {equinox:g}; expected ICRS, or FK5 of equinox 2000. "
            f"Rewrite the WCS in ICRS; if only the card is wrong, write RADESYS = 'ICRS'."
        )


def _named_frame(header: fits.Header) -> str:
    return str(card_value(header, "RADESYS") or card_value(header, "RADECSYS") or "").strip().upper()


def _frame(header: fits.Header) -> str:
    """The frame as the standard has it: without a name, ICRS unless the header states an equinox."""
    stated = any(isinstance(card_value(header, key), int | float) for key in ("EQUINOX", "EPOCH"))
    return (_named_frame(header) or ("FK5" if stated else "ICRS")).lower()


def _equinox(header: fits.Header, location: str) -> tuple[str, float]:
    """The card that names the equinox, and the equinox in years; EPOCH is the card's old name, which EQUINOX overrides."""
    if "EQUINOX" in header:
        return "EQUINOX", _number(header, "EQUINOX", location)
    epoch = card_value(header, "EPOCH")
    if isinstance(epoch, str):  # often the name of an observation; astropy ignores text, even that of an equinox
        found = _OLD_EQUINOX.fullmatch(epoch)
        return "EPOCH", float(found[2]) if found else 2000.0
    return "EPOCH", 2000.0 if epoch is None else _number(header, "EPOCH", location)


def _cards(header: fits.Header, location: str) -> Cards:
    """The cards of the plain projection, in a fixed order."""
    missing = [key for key in _POINT_KEYS if key not in header]
    if missing:
        raise MosaicError(f"{location}: the WCS lacks {', '.join(missing)}. Name a mosaic with a complete WCS.")
    keys = (*_POINT_KEYS, *_matrix_keys(header, location), *(key for key in _POLE_KEYS if key in header))
    ctypes = zip(("CTYPE1", "CTYPE2"), _EXPECTED_CTYPES, strict=True)
    return (*ctypes, *((key, _number(header, key, location)) for key in keys))


def _matrix_keys(header: fits.Header, location: str) -> tuple[str, ...]:
    """Names of the cards with the matrix from pixels to degrees: PC and CDELT, or CD, or the old CDELT and CROTA2.

    Of PC and CD cards that describe the same pixels, astropy uses PC.
    """
    has_cd, has_pc = any(key in header for key in _CD_KEYS), any(key in header for key in _PC_KEYS)
    if has_cd and has_pc:
        _check_same_matrix(header, location)
    without_pc = _CD_KEYS if has_cd else (*_CDELT_KEYS, "CROTA2")
    keys = tuple(key for key in ((*_PC_KEYS, *_CDELT_KEYS) if has_pc else without_pc) if key in header)
    if nothing := [key for key in keys if key in _CDELT_KEYS and card_value(header, key) == 0]:
        raise MosaicError(f"{location}: {' and '.join(nothing)} is 0, so that pixels have no size. Correct the header.")
    if not keys or keys == ("CROTA2",):
        raise MosaicError(f"{location}: the WCS has no pixel scale: neither CD nor PC nor CDELT cards. Add them.")
    return keys


def _check_same_matrix(header: fits.Header, location: str) -> None:
    """Refuse CD and PC cards that differ; the standard allows only one of the two kinds."""
    cd = _matrix(header, _CD_KEYS, (0.0, 0.0, 0.0, 0.0), location)
    pc = _matrix(header, _PC_KEYS, (1.0, 0.0, 0.0, 1.0), location)
    steps = np.array([_number(header, key, location) if key in header else 1.0 for key in _CDELT_KEYS])
    difference = np.max(np.abs(steps[:, np.newaxis] * pc - cd))
    if difference > _SAME_MATRIX * np.max(np.abs(cd)):
        raise MosaicError(f"{location}: CD cards and PC with CDELT cards describe different pixels. Delete the wrong ones.")


def _matrix(header: fits.Header, keys: tuple[str, ...], defaults: tuple[float, ...], location: str) -> Float64Array:
    elements = [_number(header, key, location) if key in header else default for key, default in zip(keys, defaults, strict=True)]
    return np.array(elements).reshape(2, 2)


def _number(header: fits.Header, key: str, location: str) -> float:
    value = card_value(header, key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(float(value)):
        raise MosaicError(f"{location}: {key} is {value!r}, expected a number. Correct the header.")
    limit = _LIMITS.get(key, np.inf)
    if abs(value) > limit:
        raise MosaicError(f"{location}: {key} is {value:.3g}, expected at most {limit:g} in size. Correct the header.")
    return float(value)


def _wcs(cards: Cards) -> WCS:
    wcs = WCS(fits.Header(cards), fix=False)
    wcs.wcs.set()
    return wcs


def _check_parameters(header: fits.Header, shape: tuple[int, int], cards: Cards, location: str) -> None:
    """Refuse PV cards that change a position in the reading of FITS, which astropy follows, or in that of SCAMP."""
    keys = [key for key in header if _PV.fullmatch(key)]
    if not keys:
        return
    parameters = tuple((key, _number(header, key, location)) for key in keys)
    if not (_standard_identity(parameters) or _scamp_identity(parameters)):
        raise MosaicError(
            f"{location}: a TAN projection with distortion ({', '.join(keys)}). Resample the image, with SWarp for example."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)  # says that it reads PV1_5 and above as SCAMP does
        read_by_astropy = _wcs((*cards, *parameters))
    if not same_positions(_wcs(cards), read_by_astropy, shape):
        raise MosaicError(
            f"{location}: {', '.join(keys)} move positions as FITS defines these cards, but are no distortion as SCAMP reads "
            f"them. Delete them, and LONPOLE and LATPOLE if they differ from the defaults."
        )


def _standard_identity(parameters: tuple[tuple[str, float], ...]) -> bool:
    """Whether the parameters are those of the plain projection: the native pole, and where its angles begin."""
    return all(key == "PV1_4" or value == _STANDARD_PV.get(key, 0.0) for key, value in parameters)


def _scamp_identity(parameters: tuple[tuple[str, float], ...]) -> bool:
    """Whether the polynomials are x and y themselves; the coefficients of order 1 are 1, all others 0."""
    return all(value == (1.0 if key.endswith("_1") else 0.0) for key, value in parameters)


def _check_other_cards(header: fits.Header, wcs: WCS, shape: tuple[int, int], location: str) -> None:
    """Refuse a header from which astropy, which uses all of its cards, makes other positions."""
    names = cards_that_move(header, wcs, shape)
    if names is not None:
        what = f"{', '.join(names)} {'moves' if len(names) == 1 else 'move'}" if names else "other cards of the header move"
        raise MosaicError(
            f"{location}: {what} positions as astropy reads the header, or make it unreadable. Delete such cards if they are "
            f"left over from another image; else resample the image to a plain projection."
        )


def _unusable(location: str, reason: str) -> MosaicError:
    return MosaicError(f"{location}: the WCS cannot be used ({reason}). Correct the header.")


def _pixel_scale_arcsec(wcs: WCS, location: str) -> float:
    """Side of a pixel: the square root of its area, after a check that it is square."""
    longest, shortest = 3600 * np.linalg.svd(wcs.pixel_scale_matrix, compute_uv=False)
    if not _PIXEL_SCALES_ARCSEC[0] <= shortest <= longest <= _PIXEL_SCALES_ARCSEC[1]:
        raise MosaicError(
            f"{location}: pixels of {longest:.3g} x {shortest:.3g} arcsec; expected {_PIXEL_SCALES_ARCSEC[0]:g} to "
            f"{_PIXEL_SCALES_ARCSEC[1]:g}. Correct the header."
        )
    if longest > (1 + _SQUARE) * shortest:
        raise MosaicError(
            f"{location}: pixels are not square: {longest:.4f} x {shortest:.4f} arcsec (tolerance 1 %). Resample the image."
        )
    return float(np.sqrt(longest * shortest))


def _notices(header: fits.Header, location: str) -> tuple[str, ...]:
    stale = sorted({key for key in header if DISTORTION.fullmatch(key)})
    if not stale:
        return ()
    named = ", ".join(stale[:4]) + (", ..." if len(stale) > 4 else "")
    return (
        f"{location}: ignored {len(stale)} stale distortion cards of the exposures ({named}): the mosaic is already rectified.",
    )


SIP_SUFFIX = "-SIP"
DISTORTION = re.compile(
    r"(A|B|AP|BP)_(\d+_\d+|ORDER|DMAX)|(CPDIS|CPERR|CQDIS|CQERR|D2IMDIS|D2IMERR)\d|(DP|DQ|D2IM)\d(\..*)?|D2IMEXT|D2IMARR|AXISCORR"
)
"""Names of the cards of a distortion, which drizzled mosaics inherit from their exposures."""
_STANDARD = re.compile(
    r"(CRPIX|CRVAL|CDELT|CROTA|CTYPE|CUNIT)[12]|(CD|PC)[12]_[12]|PV[12]_\d+|LONPOLE|LATPOLE|RADESYS|RADECSYS|EQUINOX|EPOCH|WCSAXES"
)
_PADDED = re.compile(r"(CD|PC)00([12])00([12])|(CD|PC)0([12])_0([12])|(PV)0([12])_0*(\d+)")
_SAME_POSITION_PIXELS = 1e-3
_MOST_NAMED = 5


def standard_header(header: fits.Header, location: str) -> fits.Header:
    """The header with each card of the projection once, under its present name; all other cards are as they were.

    Parameters
    ----------
    header
        Header of an image.
    location
        Name of the file in messages.

    Raises
    ------
    MosaicError
        If a card of the projection is given twice with different values.
    """
    kept: list[fits.Card] = []
    values: dict[str, object] = {}
    for card in header.cards:
        name = _standard_name(card.keyword)
        value = None if name is None else _value(card)
        if name is None:
            kept.append(card)
        elif value is None or not str(card).startswith("HIERARCH"):  # a card without a value may be broken, and then has no text
            if values.setdefault(name, value) != value:
                raise MosaicError(
                    f"{location}: {name} is given twice, as {values[name]!r} and as {value!r}. Delete the wrong card; programs "
                    f"differ in which of the two they use."
                )
            kept.append(card if name == card.keyword else fits.Card(name, value))
    return fits.Header(kept)


def _standard_name(keyword: str) -> str | None:
    """The present name of a card of the projection; None for any other card."""
    if _STANDARD.fullmatch(keyword):
        return keyword
    padded = _PADDED.fullmatch(keyword)
    if padded is None:
        return None
    kind, row, column = (part for part in padded.groups() if part is not None)
    return f"{kind}{row}_{column}"


def _value(card: fits.Card) -> object:
    try:
        return card.value
    except (fits.VerifyError, ValueError):
        return None


def cards_that_move(header: fits.Header, plain: WCS, shape: tuple[int, int]) -> list[str] | None:
    """Names of the cards that a projection lacks, although astropy uses them and finds other positions.

    Cards of distortions are left out: they are stale in a rectified mosaic.

    Parameters
    ----------
    header
        Header of an image, as it is in the file.
    plain
        The projection.
    shape
        Rows and columns of the image.

    Returns
    -------
    names
        None if astropy finds the positions of ``plain``; empty if no single card makes the difference.
    """
    rectified = _rectified(header.cards)
    if _agrees(rectified, plain, shape):
        return None
    names = dict.fromkeys(card.keyword for card in rectified.cards if card.keyword not in ("", "COMMENT", "HISTORY"))
    return [name for name in names if _agrees(_without(rectified, name), plain, shape)][:_MOST_NAMED]


def _rectified(cards: Iterable[fits.Card]) -> fits.Header:
    """The cards without those of distortions."""
    header = fits.Header([card for card in cards if not DISTORTION.fullmatch(card.keyword)])
    for key in ("CTYPE1", "CTYPE2"):
        if isinstance(header.get(key), str):
            header[key] = header[key].removesuffix(SIP_SUFFIX)
    return header


def _without(header: fits.Header, name: str) -> fits.Header:
    return fits.Header([card for card in header.cards if card.keyword != name])


def _agrees(header: fits.Header, plain: WCS, shape: tuple[int, int]) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # astropy's, of dates and units that it corrects
        try:
            found = WCS(header)
            return same_positions(plain, found if found.naxis == 2 else found.celestial, shape)
        except Exception:  # noqa: BLE001 - whatever astropy raises on the header, it finds no positions with it
            return False


def same_positions(plain: WCS, other: WCS, shape: tuple[int, int]) -> bool:
    """Whether two projections agree, within a thousandth of a pixel, at the corners of an image."""
    height, width = shape
    x, y = np.array([0.0, width - 1, 0.0, width - 1]), np.array([0.0, 0.0, height - 1, height - 1])
    other_x, other_y = other.wcs_world2pix(*plain.wcs_pix2world(x, y, 0), 0)
    return bool(np.all(np.hypot(other_x - x, other_y - y) <= _SAME_POSITION_PIXELS))  # NaN is not
