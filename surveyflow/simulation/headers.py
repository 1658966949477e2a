"""FITS headers like those of a CANDELS release: the facts of each field and camera, and the layouts of the files.

The facts are those of the v1.0 mosaics: the fields' reference positions and rotation, pixel scales, zero points, exposure times
and sky rms. Each mosaic has one of the peculiarities that users meet: see ``LAYOUTS``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from surveyflow.simulation.observe import F160W, F814W, Band, Depth

INSTRUMENTS: Mapping[str, Band] = MappingProxyType({"F814W": F814W, "F125W_F160W": F160W})


def zero_point_of(band: str) -> float | None:
    """The AB magnitude of 1 e-/s in a band of CANDELS, named as a filter or as an instrument of a workflow; None if not known."""
    known = dict(INSTRUMENTS) | {one.name: one for one in INSTRUMENTS.values()}
    return known[band].zero_point_ab if band in known else None


_CAMERAS = MappingProxyType({"F814W": ("ACS", "WFC"), "F160W": ("WFC3", "IR")})
# Quadratic terms as large as those of ACS/WFC, left over from single exposures: they do not hold for a drizzled mosaic.
_STALE_SIP = MappingProxyType(
    {
        "A_ORDER": 2, "A_0_2": 2.16e-6, "A_1_1": -5.2e-6, "A_2_0": 8.5e-6,
        "B_ORDER": 2, "B_0_2": -7.2e-6, "B_1_1": 6.1e-6, "B_2_0": -1.7e-6,
    }
)  # fmt: skip
_STALE_TABLES = (
    *(("CPDIS1", "LOOKUP"), ("DP1", "EXTVER: 1"), ("DP1", "NAXES: 2"), ("DP1", "AXIS.1: 1"), ("DP1", "AXIS.2: 2")),
    *(("CPDIS2", "LOOKUP"), ("DP2", "EXTVER: 2"), ("DP2", "NAXES: 2"), ("DP2", "AXIS.1: 1"), ("DP2", "AXIS.2: 2")),
    *(("D2IMDIS1", "LOOKUP"), ("D2IM1", "EXTVER: 1"), ("D2IM1", "NAXES: 2"), ("D2IM1", "AXIS.1: 1"), ("D2IM1", "AXIS.2: 2")),
)


@dataclass(frozen=True, slots=True)
class FieldFacts:
    """One field of the survey.

    Parameters
    ----------
    ra_deg, dec_deg
        Reference position (CRVAL), FK5.
    rotation_deg
        Position angle of the image's axes.
    reference_xy
        CRPIX of the F814W mosaic, 1-based, x first. That of EGS lies far outside, as in a piece of the full mosaic.
    depths
        Depth by instrument.
    """

    ra_deg: float
    dec_deg: float
    rotation_deg: float
    reference_xy: tuple[float, float]
    depths: Mapping[str, Depth]


# The sky rms and exposure times are those of COSMOS; CANDELS/Wide observed EGS to the same depth.
_WIDE = MappingProxyType({"F814W": Depth(0.000721, 6900.0), "F125W_F160W": Depth(0.002652, 3200.0)})

DEPTHS: Mapping[str, Mapping[str, Depth]] = MappingProxyType(
    {
        "COSMOS": _WIDE,
        "EGS": _WIDE,
        "GOODS_N": MappingProxyType({"F814W": Depth(0.000487, 1200.0), "F125W_F160W": Depth(0.002371, 2800.0)}),
    }
)
"""Sky rms and exposure time by field and instrument, as far as they are known."""

FIELDS: Mapping[str, FieldFacts] = MappingProxyType(
    {
        "COSMOS": FieldFacts(150.1163213, 2.200973097, 0.0, (400.5, 600.5), _WIDE),
        "EGS": FieldFacts(214.8288, 52.825, 49.7, (-8999.5, -6999.5), _WIDE),
    }
)


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of one mosaic's files.

    Parameters
    ----------
    matrix
        ``CD``, or ``PC`` with CDELT of 1 degree as in the real COSMOS mosaics.
    stale_distortion
        Whether the header holds left-over SIP, CPDIS and D2IM cards.
    extension
        Name of the extension that holds the image; None for the primary HDU.
    outside
        Value of science pixels outside the footprint.
    """

    matrix: str = "CD"
    stale_distortion: bool = False
    extension: str | None = None
    outside: float = 0.0


LAYOUTS: Mapping[tuple[str, str], Layout] = MappingProxyType(
    {
        ("COSMOS", "F814W"): Layout(matrix="PC"),
        ("COSMOS", "F125W_F160W"): Layout(outside=np.nan),
        ("EGS", "F814W"): Layout(stale_distortion=True),
        ("EGS", "F125W_F160W"): Layout(extension="SCI"),
    }
)


def wcs_header(field: str, instrument: str) -> fits.Header:
    """The cards of a mosaic's world coordinate system, without left-over distortion."""
    facts, cards = FIELDS[field], fits.Header()
    cards["CTYPE1"], cards["CTYPE2"] = "RA---TAN", "DEC--TAN"
    cards["CRVAL1"], cards["CRVAL2"] = facts.ra_deg, facts.dec_deg
    cards["CRPIX1"], cards["CRPIX2"] = _reference_pixel(facts, INSTRUMENTS[instrument])
    cards["CUNIT1"] = cards["CUNIT2"] = "deg"
    cards.update(_matrix_cards(facts, INSTRUMENTS[instrument], LAYOUTS[field, instrument].matrix))
    cards["RADESYS"], cards["EQUINOX"] = "FK5", 2000.0
    return cards


def mosaic_wcs(field: str, instrument: str) -> WCS:
    """The true world coordinates of a mosaic."""
    return WCS(wcs_header(field, instrument))


def mosaic_header(field: str, instrument: str) -> fits.Header:
    """All cards of a science mosaic, except those that FITS itself requires."""
    band, depth = INSTRUMENTS[instrument], FIELDS[field].depths[instrument]
    header = wcs_header(field, instrument)
    header["TELESCOP"], (header["INSTRUME"], header["DETECTOR"]) = "HST", _CAMERAS[band.name]
    header["FILTER"], header["EXPTIME"] = band.name, depth.exposure_s
    header["BUNIT"] = "ELECTRONS/S"
    header["PHOTPLAM"] = (10 * band.wavelength_nm, "Pivot wavelength (Angstrom)")
    header["PHOTFLAM"] = (_photflam(band), "Inverse sensitivity (cgs)")
    header["ORIGIN"] = ("surveyflow", "Simulated")
    if LAYOUTS[field, instrument].stale_distortion:
        header.update(_STALE_SIP)
        header.extend(_STALE_TABLES)
    return header


def _reference_pixel(facts: FieldFacts, band: Band) -> tuple[float, float]:
    x, y = ((reference - 0.5) * F814W.pixel_scale_arcsec / band.pixel_scale_arcsec + 0.5 for reference in facts.reference_xy)
    return x, y


def _matrix_cards(facts: FieldFacts, band: Band, form: str) -> dict[str, float]:
    """The matrix in degrees per pixel; east is left of north."""
    step, angle = band.pixel_scale_arcsec / 3600, np.radians(facts.rotation_deg)
    matrix = step * np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    cards = {f"{form}{i + 1}_{j + 1}": float(matrix[i, j]) for i in range(2) for j in range(2)}
    return cards | ({"CDELT1": 1.0, "CDELT2": 1.0} if form == "PC" else {})


def _photflam(band: Band) -> float:
    """The PHOTFLAM that gives the AB zero point at the band's pivot wavelength (ACS Data Handbook, section 5.1)."""
    return float(10 ** (-0.4 * (band.zero_point_ab + 21.10 + 5 * np.log10(10 * band.wavelength_nm) - 18.6921)))
