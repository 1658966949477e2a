"""Headers say where pixels lie, and lie themselves only where they are meant to."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales

from surveyflow.simulation.headers import FIELDS, INSTRUMENTS, LAYOUTS, mosaic_header, mosaic_wcs
from surveyflow.simulation.observe import F160W, F814W

MOSAICS = list(LAYOUTS)


def test_every_field_has_a_layout_for_every_instrument():
    assert set(LAYOUTS) == {(field, instrument) for field in FIELDS for instrument in INSTRUMENTS}


@pytest.mark.parametrize(("field", "instrument"), MOSAICS)
def test_pixel_scale_is_the_instruments(field, instrument):
    scales = 3600 * proj_plane_pixel_scales(mosaic_wcs(field, instrument))
    np.testing.assert_allclose(scales, INSTRUMENTS[instrument].pixel_scale_arcsec, rtol=1e-6)


@pytest.mark.parametrize("field", FIELDS)
def test_a_wfc3_pixel_covers_two_by_two_acs_pixels(field):
    x, y = np.array([0.0, 100.0, 449.25]), np.array([3.0, 77.0, 12.5])
    wfc3 = mosaic_wcs(field, "F125W_F160W").all_pix2world(x, y, 0)
    acs = mosaic_wcs(field, "F814W").all_pix2world(2 * x + 0.5, 2 * y + 0.5, 0)
    np.testing.assert_allclose(wfc3, acs, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("field", "angle_deg"), [("COSMOS", 0.0), ("EGS", 49.7)])
def test_north_is_turned_by_the_fields_rotation(field, angle_deg):
    wcs = mosaic_wcs(field, "F814W")
    x, y = wcs.wcs.crpix
    low, high = (SkyCoord(*wcs.all_pix2world(x, y + step, 1), unit="deg") for step in (0, 10))
    north_to_y = low.position_angle(high).wrap_at("180d").deg
    assert north_to_y == pytest.approx(angle_deg, abs=0.01)


def test_stale_distortion_moves_positions_by_more_than_five_arcsec_when_applied():
    header = mosaic_header("EGS", "F814W")
    # astropy cannot apply look-up tables that are not there; SIP alone does the harm.
    for card in [key for key in header if key.startswith(("CPDIS", "DP1", "DP2", "D2IM"))]:
        header.remove(card, ignore_missing=True, remove_all=True)
    assert WCS(header).sip is not None
    x, y = np.array([10.0, 400.0, 790.0]), np.array([10.0, 450.0, 890.0])
    applied = SkyCoord(*WCS(header).all_pix2world(x, y, 0), unit="deg")
    true = SkyCoord(*mosaic_wcs("EGS", "F814W").all_pix2world(x, y, 0), unit="deg")
    assert applied.separation(true).arcsec.min() > 5


def test_stale_tables_are_announced_in_the_header():
    header = mosaic_header("EGS", "F814W")
    assert header["CPDIS1"] == header["D2IMDIS1"] == "LOOKUP"
    assert header["DP1.NAXES"] == 2
    assert header["CTYPE1"] == "RA---TAN"


def test_the_layouts_hold_each_peculiarity():
    assert {layout.matrix for layout in LAYOUTS.values()} == {"CD", "PC"}
    assert any(layout.stale_distortion for layout in LAYOUTS.values())
    assert {layout.extension for layout in LAYOUTS.values()} == {None, "SCI"}
    assert any(np.isnan(layout.outside) for layout in LAYOUTS.values())
    header = mosaic_header("COSMOS", "F814W")
    assert "PC1_1" in header
    assert "CD1_1" not in header


@pytest.mark.parametrize(("instrument", "band"), [("F814W", F814W), ("F125W_F160W", F160W)])
def test_photflam_and_photplam_give_the_zero_point(instrument, band):
    header = mosaic_header("EGS", instrument)
    zero_point = -2.5 * np.log10(header["PHOTFLAM"]) - 21.10 - 5 * np.log10(header["PHOTPLAM"]) + 18.6921
    assert zero_point == pytest.approx(band.zero_point_ab, abs=1e-6)


@pytest.mark.parametrize(("field", "instrument"), MOSAICS)
def test_headers_name_unit_frame_and_filter(field, instrument):
    header = mosaic_header(field, instrument)
    assert header["BUNIT"] == "ELECTRONS/S"
    assert header["RADESYS"] == "FK5"
    assert header["FILTER"] == INSTRUMENTS[instrument].name
    assert header["ORIGIN"] == "surveyflow"
