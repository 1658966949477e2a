"""The unit of an image's pixels, and the factor that brings them to electrons per second of the training images.

A factor follows from the AB magnitude of a source of 1 unit: flux densities state it themselves, and counts need a zero point,
which the header or the workflow states. What is not certain is not converted: counts without "per second" may be either, and a
header of two minds is refused.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from astropy import units as u
from astropy.io import fits

from surveyflow.errors import MosaicError
from surveyflow.inputs.fits_images import FitsImage, card_value
from surveyflow.values.images import ELECTRONS_A_SECOND, Stated

_ELECTRON_SPELLINGS = ("electron", "electrons", "elec", "e-", "e")
_PER_SECOND_SPELLINGS = ("/s", "/sec", "/second", "s-1", ".s-1")
_COUNT_SPELLINGS = ("count", "counts", "cts", "dn", "adu", "cps")
_SPELLINGS = {electron + per_second for electron in _ELECTRON_SPELLINGS for per_second in _PER_SECOND_SPELLINGS}
_COUNT_RATES = {count + per_second for count in _COUNT_SPELLINGS for per_second in _PER_SECOND_SPELLINGS} | {"cps"}
_NANOMAGGIES = ("nanomaggy", "nanomaggies", "nmgy")
_AB_JY = 3631.0
_NANOMAGGY_JY = 1e-9 * _AB_JY
_ARCSEC2_A_STERADIAN = (180 * 3600 / np.pi) ** 2
_SAME_UNIT = 1e-3
_SAME_ZERO_POINT = 0.05
"""Difference of two zero points up to which they agree, magnitudes."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """The conversion of an image's pixels to electrons per second of the training images.

    Parameters
    ----------
    factor
        Number by which pixels are multiplied.
    unit
        Unit of the pixels in the file; None if neither header nor workflow states it.
    zero_point_ab
        AB magnitude of a source of 1 in all, in the file's unit.
    source
        Where that zero point is from.
    """

    factor: float
    unit: str | None
    zero_point_ab: float
    source: str

    @property
    def words(self) -> str:
        """What was converted, in words."""
        unit = "a unit that is not stated" if self.unit is None else self.unit
        return (
            f"converted from {unit} to {ELECTRONS_A_SECOND} of the training images, by {self.factor:.6g}: 1 is "
            f"{self.zero_point_ab:.4f} mag (AB) by {self.source}"
        )


@dataclass(frozen=True, slots=True)
class _ZeroPoint:
    """An AB magnitude, and where it is from."""

    magnitude: float
    source: str


def unit_of(image: FitsImage, stated_unit: str | None) -> str | None:
    """BUNIT, with all spellings of electrons per second as ``electron/s``, or else the stated unit; None without either.

    Raises
    ------
    MosaicError
        If both are there and differ, or BUNIT is given twice with different values.
    """
    in_header = normalised_unit(str(_once(image.header, "BUNIT", image.location) or ""))
    stated = normalised_unit(stated_unit or "")
    if None not in (in_header, stated) and in_header != stated:
        raise MosaicError(
            f"{image.location} has BUNIT {in_header!r}, but the workflow states {stated_unit!r}. Correct `unit`, or leave it "
            f"out: it is for images without BUNIT."
        )
    return in_header or stated


def normalised_unit(unit: str) -> str | None:
    """A unit with all spellings of electrons per second as ``electron/s``; None for no text."""
    return ELECTRONS_A_SECOND if _compact(unit) in _SPELLINGS else unit.strip() or None


def is_same_unit(unit: str, other: str, pixel_scale_arcsec: float) -> bool:
    """Whether two units of pixels, as `normalised_unit` returns them, are one, however they are spelt.

    Parameters
    ----------
    unit, other
        The units.
    pixel_scale_arcsec
        Side of a pixel, arcsec, for surface brightnesses.
    """
    if unit == other:
        return True
    one, another = (_janskys(each, pixel_scale_arcsec, lambda _: None) for each in (unit, other))
    return one is not None and another is not None and math.isclose(one, another, rel_tol=_SAME_UNIT)


def _compact(unit: str) -> str:
    return unit.strip().lower().replace(" ", "").replace("**", "").replace("^", "")


def conversion_of(image: FitsImage, unit: str | None, stated: Stated, pixel_scale_arcsec: float) -> Conversion | None:
    """Find the conversion of an image to the unit of the training images.

    Parameters
    ----------
    image
        The image.
    unit
        Its unit, as `unit_of` returns it.
    stated
        What the workflow states, with the zero point of the training images; without that nothing is converted.
    pixel_scale_arcsec
        Side of a pixel, arcsec, for surface brightnesses.

    Returns
    -------
    None if pixels are in electrons per second and the workflow states no zero point, or no zero point is known.

    Raises
    ------
    MosaicError
        If two zero points are stated that differ by more than 0.05 mag.
    """
    wanted = stated.wanted_zero_point_ab
    if wanted is None or (unit == ELECTRONS_A_SECOND and stated.zero_point_ab is None):
        return None
    zero_point = _zero_point(image, unit, stated.zero_point_ab, pixel_scale_arcsec)
    if zero_point is None:
        return None
    return Conversion(10 ** (0.4 * (wanted - zero_point.magnitude)), unit, zero_point.magnitude, zero_point.source)


def _zero_point(image: FitsImage, unit: str | None, stated_ab: float | None, pixel_scale_arcsec: float) -> _ZeroPoint | None:
    """The one zero point of an image; a contradiction is refused."""
    stated = [] if stated_ab is None else [_ZeroPoint(stated_ab, "the workflow's zero_point")]
    found = [*stated, *_zero_points_in(image, unit, pixel_scale_arcsec)]
    if not found:
        return None
    for other in found[1:]:
        if abs(other.magnitude - found[0].magnitude) > _SAME_ZERO_POINT:
            raise MosaicError(
                f"{image.location}: 1 {unit or 'in its unit'} is {found[0].magnitude:.3f} mag (AB) by {found[0].source}, but "
                f"{other.magnitude:.3f} by {other.source}. Correct the header, or `zero_point`, which is for images whose header "
                f"has none."
            )
    return found[0]


def _zero_points_in(image: FitsImage, unit: str | None, pixel_scale_arcsec: float) -> list[_ZeroPoint]:
    """Every zero point that unit and header state."""

    def number(key: str) -> float | None:
        of_image = _once(image.header, key, image.location)
        value = of_image if of_image is not None else _once(image.primary_header, key, image.location)
        usable = isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value) and value > 0
        return float(value) if usable else None  # type: ignore[arg-type]

    janskys = None if unit is None else _janskys(unit, pixel_scale_arcsec, number)
    if janskys is not None:
        return [_of_janskys(janskys, f"its unit, {unit}")]
    if unit is not None and _compact(unit) in _COUNT_RATES | _SPELLINGS:
        return list(
            filter(None, (_from_photflam(number), _from_photfnu(number), _from_photmjsr(number, unit, pixel_scale_arcsec)))
        )
    counts = number("FLUXMAG0")  # written by the pipelines of HSC and LSST beside images in their own counts
    return [] if counts is None else [_ZeroPoint(float(2.5 * np.log10(counts)), "FLUXMAG0")]


_Number = Callable[[str], float | None]


def _of_janskys(janskys: float, source: str) -> _ZeroPoint:
    return _ZeroPoint(float(-2.5 * np.log10(janskys / _AB_JY)), source)


def _from_photflam(number: _Number) -> _ZeroPoint | None:
    """ACS Data Handbook, section 5.1: the AB zero point at the pivot wavelength."""
    flam, plam = number("PHOTFLAM"), number("PHOTPLAM")
    if flam is None or plam is None:
        return None
    return _ZeroPoint(float(-2.5 * np.log10(flam) - 21.10 - 5 * np.log10(plam) + 18.6921), "PHOTFLAM and PHOTPLAM")


def _from_photfnu(number: _Number) -> _ZeroPoint | None:
    janskys = number("PHOTFNU")
    return None if janskys is None else _of_janskys(janskys, "PHOTFNU")


def _from_photmjsr(number: _Number, unit: str, pixel_scale_arcsec: float) -> _ZeroPoint | None:
    """The calibration of JWST: MJy/sr for 1 DN/s."""
    megajanskys = number("PHOTMJSR")
    if megajanskys is None or not _compact(unit).startswith("dn"):
        return None
    return _of_janskys(1e6 * megajanskys * pixel_scale_arcsec**2 / _ARCSEC2_A_STERADIAN, "PHOTMJSR")


def _janskys(unit: str, pixel_scale_arcsec: float, number: _Number) -> float | None:
    """Flux density of a pixel of 1 in this unit, Jy; None if the unit is not one of flux density or surface brightness."""
    if unit.lower() in _NANOMAGGIES:
        return _NANOMAGGY_JY
    wavelength = number("PHOTPLAM")
    spectral = [] if wavelength is None else u.spectral_density(wavelength * u.AA)
    pixel = u.pix * (pixel_scale_arcsec * u.arcsec) ** 2
    try:
        one = 1 * _unit(unit)
        for quantity in (one, one * u.pix, one * pixel / u.pix):
            if quantity.unit.is_equivalent(u.Jy, equivalencies=spectral):
                janskys = float(quantity.to_value(u.Jy, equivalencies=spectral))
                return janskys if janskys > 0 else None
    except (ValueError, TypeError):
        return None
    return None


def _unit(text: str) -> u.UnitBase:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", u.UnitsWarning)  # of spellings that FITS discourages
        return u.Unit(text)


def _once(header: fits.Header, key: str, location: str) -> str | float | bool | None:
    """The value of a card, None without one; a card that is given twice with different values is refused."""
    values = [card_value(header, (key, number)) for number in range(header.count(key) if key in header else 0)]
    if len(different := list(dict.fromkeys(values))) > 1:
        raise MosaicError(
            f"{location}: {key} is given twice, as {different[0]!r} and as {different[1]!r}. Delete the wrong card."
        )
    return next(iter(values), None)
