"""The cards of a projection, each once and under the name that FITS gives it now.

Programs before the standard wrote the matrix as ``PC001001`` or ``CD01_01``, which astropy still reads. A header may hold a card
twice: `astropy.io.fits` then returns the first one, and `astropy.wcs` uses the last one. What begins with HIERARCH is no part of
a projection, although `astropy.io.fits` returns it under the same name.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from surveyflow.errors import MosaicError

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
            return same_positions(plain, WCS(header).celestial, shape)
        except Exception:  # noqa: BLE001 - whatever astropy raises on the header, it finds no positions with it
            return False


def same_positions(plain: WCS, other: WCS, shape: tuple[int, int]) -> bool:
    """Whether two projections agree, within a thousandth of a pixel, at the corners of an image."""
    height, width = shape
    x, y = np.array([0.0, width - 1, 0.0, width - 1]), np.array([0.0, 0.0, height - 1, height - 1])
    other_x, other_y = other.wcs_world2pix(*plain.wcs_pix2world(x, y, 0), 0)
    return bool(np.all(np.hypot(other_x - x, other_y - y) <= _SAME_POSITION_PIXELS))  # NaN is not
