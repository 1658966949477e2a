"""The images of a folder, and what each seems to be: a mosaic, its weight map, or neither, by its header and its name."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits

from surveyflow.errors import MosaicError
from surveyflow.files.paths import refusing, split_extension
from surveyflow.inputs.astrometry import read_astrometry

FITS_NAMES = (".fits", ".fits.gz", ".fits.fz", ".fit")
_ROLES = {
    "science": {"sci", "drz", "drc", "i2d", "science", "mosaic", "img", "image"},
    "weight": {"wht", "weight", "weights", "ivm", "invvar"},
    "rms": {"rms", "err", "sigma", "unc"},
    "variance": {"var"},
    "exposure": {"exp", "exptime", "expmap"},
    "other": {"seg", "segm", "flag", "flags", "mask", "dq", "ctx", "con", "bpm", "det", "psf", "bkg", "model"},
}
WEIGHT_ROLES = ("weight", "rms", "variance", "exposure")
"""Roles of maps that can say how well each pixel of a mosaic is known, the best first."""
_WORDS = re.compile(r"[^_\-.]+")
_BAND = re.compile(r"f\d{3,4}(w|m|n|lp|x)\d?", re.IGNORECASE)
_CLEAR = re.compile(r"CLEAR|^$|N/A", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FoundImage:
    """An image in a file.

    Parameters
    ----------
    path
        The file, with the extension in brackets if it has several images.
    role
        What it seems to be: ``science``, one of `WEIGHT_ROLES`, or ``other``.
    why
        From what that was concluded.
    key
        What a mosaic and its maps have in common: the folder, and the name without the words for roles.
    shape
        Rows and columns.
    filter
        The filter, in capitals; None if neither header nor name states one.
    telescope
        TELESCOP, in capitals; empty if it is not stated.
    unit
        BUNIT; None if it is not stated.
    target
        What the header calls the target; empty if it does not.
    pixel_scale_arcsec, centre_deg, radius_deg
        Of the projection; NaN if it has none.
    """

    path: Path
    role: str
    why: str
    key: str
    shape: tuple[int, int]
    filter: str | None
    telescope: str
    unit: str | None
    target: str
    pixel_scale_arcsec: float
    centre_deg: tuple[float, float]
    radius_deg: float


def images_in(file: Path) -> list[FoundImage]:
    """The images of a FITS file, without reading their pixels.

    Raises
    ------
    MosaicError
        If the file cannot be read as FITS.
    """
    with refusing(MosaicError), warnings.catch_warnings(), fits.open(file, memmap=True, lazy_load_hdus=True) as hdus:
        warnings.simplefilter("ignore")  # what matters is checked when the workflow is validated
        primary = hdus[0].header
        planes = [(number, hdu) for number, hdu in enumerate(hdus) if hdu.is_image and len(hdu.shape) == 2 and min(hdu.shape) > 1]
        return [_image(file, number, hdu, primary, len(planes) > 1) for number, hdu in planes]


def _image(file: Path, number: int, hdu: fits.PrimaryHDU, primary: fits.Header, named: bool) -> FoundImage:
    role, why = _role(file, hdu.name)
    place = f"{file}[{hdu.name or number}]" if named and hdu.name != "COMPRESSED_IMAGE" else str(file)
    header = hdu.header
    scale, centre, radius = _projection(file, header, hdu.shape)
    return FoundImage(
        path=Path(place),
        role=role if role != "science" or np.isfinite(scale) else "other",
        why=why,
        key=f"{file.parent}/{'_'.join(word for word in _words(file) if word not in set().union(*_ROLES.values()))}",
        shape=(int(hdu.shape[0]), int(hdu.shape[1])),
        filter=_filter(file, (header, primary)),
        telescope=str(header.get("TELESCOP") or primary.get("TELESCOP") or "").strip().upper(),
        unit=str(header["BUNIT"]).strip() if header.get("BUNIT") else None,
        target=str(header.get("TARGNAME") or primary.get("TARGNAME") or header.get("OBJECT") or "").strip(),
        pixel_scale_arcsec=scale,
        centre_deg=centre,
        radius_deg=radius,
    )


def _words(file: Path) -> list[str]:
    longest_first = sorted(FITS_NAMES, key=len, reverse=True)
    suffix = next((each for each in longest_first if file.name.endswith(each)), "")
    return [word.lower() for word in _WORDS.findall(file.name.removesuffix(suffix))]


def _role(file: Path, extension: str) -> tuple[str, str]:
    """What an image seems to be, and from what that was concluded: its extension's name, else the last word for a role."""
    word = extension.split("_", maxsplit=1)[0].lower()
    for role, words in _ROLES.items():
        if word in words:
            return role, f"the extension {extension}"
    for each in reversed(_words(file)):
        for role, words in _ROLES.items():
            if each in words:
                return role, f'"{each}" in the name'
    return "science", "the projection in its header"


def _filter(file: Path, headers: Sequence[fits.Header]) -> str | None:
    """The filter that a header or, if none does, the name states."""
    keys = [key for key in ("FILTER", "FILTER1", "FILTER2") for header in headers if isinstance(header.get(key), str)]
    stated = [str(header[key]).strip().upper() for key in keys for header in headers if isinstance(header.get(key), str)]
    clear = [name for name in stated if not _CLEAR.search(name)]
    if clear:
        return clear[0]
    return next((word.upper() for word in _words(file) if _BAND.fullmatch(word)), None)


def _projection(file: Path, header: fits.Header, shape: Sequence[int]) -> tuple[float, tuple[float, float], float]:
    """Pixel scale, arcsec; centre, degrees; and half the diagonal, degrees. NaN without a projection that can be used."""
    try:
        astrometry = read_astrometry(header, (int(shape[0]), int(shape[1])), str(file))
    except MosaicError:
        return _NO_PROJECTION
    ra, dec = astrometry.to_sky(shape[1] / 2, shape[0] / 2)
    scale = astrometry.pixel_scale_arcsec
    return scale, (float(ra[0]), float(dec[0])), float(scale / 3600 * np.hypot(shape[0], shape[1]) / 2)


_NO_PROJECTION = (np.nan, (np.nan, np.nan), np.nan)


def weight_of(image: FoundImage, images: Sequence[FoundImage]) -> FoundImage | None:
    """The best map of a mosaic's own shape and name: in the same file, else beside it."""
    file = split_extension(image.path)[0]
    fitting = [each for each in images if each.role in WEIGHT_ROLES and each.shape == image.shape and each.key == image.key]
    order = {role: place for place, role in enumerate(WEIGHT_ROLES)}
    ranked = sorted(fitting, key=lambda each: (order[each.role], split_extension(each.path)[0] != file))
    return ranked[0] if ranked else None


def wavelength_um(image: FoundImage) -> float:
    """The filter's wavelength by its name, micrometres: F814W of HST is 0.814, F160W 1.6; NaN if the name states none."""
    number = re.search(r"F(\d{3,4})", image.filter or "")
    if number is None:
        return np.nan
    value = int(number[1])
    return value / 1000 if value >= 200 and "JWST" not in image.telescope else value / 100


def groups(images: Sequence[FoundImage]) -> Iterator[list[FoundImage]]:
    """Mosaics that overlap or touch each other, as one field each; those of several bands of a field are together."""
    left = list(images)
    while left:
        group, left = [left[0]], left[1:]
        for each in group:
            near = [other for other in left if _separation_deg(each, other) < each.radius_deg + other.radius_deg]
            group += near
            left = [other for other in left if other not in near]
        yield group


def _separation_deg(one: FoundImage, other: FoundImage) -> float:
    ra, dec = np.radians([one.centre_deg, other.centre_deg]).T
    cosine = np.sin(dec[0]) * np.sin(dec[1]) + np.cos(dec[0]) * np.cos(dec[1]) * np.cos(ra[0] - ra[1])
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
