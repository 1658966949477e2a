"""Positions are taken for what they are."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from astropy import units as u
from astropy.coordinates import FK5, AltAz, Angle, Latitude, Longitude, SkyCoord
from astropy.table import Column, MaskedColumn, QTable
from astropy.utils.masked import Masked

import surveyflow
from mosaic_files import sky_image, tan_header, write_image
from surveyflow.errors import InputError
from surveyflow.inputs.positions import positions_in_degrees

RA, DEC = np.array([150.1, 214.5]), np.array([2.2, -52.8])
MASK = [True, False]


def table():
    return QTable({"ra": RA * u.deg, "dec": DEC * u.deg}, masked=True)


@pytest.mark.parametrize(
    ("ra", "dec"),
    [
        (RA, DEC),
        (RA.tolist(), DEC.tolist()),
        (Longitude(RA * u.deg), Latitude(DEC * u.deg)),
        (Longitude(RA * u.deg).to(u.hourangle), DEC * u.deg),
        (Angle(RA * u.deg).to(u.rad), (DEC * u.deg).to(u.arcsec)),
        (Longitude(RA * u.deg, wrap_angle=180 * u.deg) + 0 * u.deg, DEC * u.deg),
        ([RA[0] * u.deg, RA[1] * u.deg], [DEC[0] * u.deg, DEC[1] * u.deg]),
        (Column(RA / 15, unit="hourangle"), Column(DEC, unit="deg")),
        (Column(RA), MaskedColumn(DEC)),
        (table()["ra"], table()["dec"]),
        (pd.Series(RA), pd.Series(DEC, dtype="Float64")),
        (pa.array(RA), pa.array(DEC)),
        (SkyCoord(RA, DEC, unit="deg"), None),
        (SkyCoord(RA, DEC, unit="deg").icrs.frame, None),
        (SkyCoord(RA, DEC, unit="deg").galactic, None),
        (SkyCoord(RA, DEC, unit="deg").fk5, None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_positions_of_any_kind_are_degrees(ra, dec):
    ra_deg, dec_deg = positions_in_degrees(ra, dec, "icrs")
    np.testing.assert_allclose(ra_deg % 360, RA, rtol=0, atol=1e-9)
    np.testing.assert_allclose(dec_deg, DEC, rtol=0, atol=1e-9)
    assert ra_deg.dtype == dec_deg.dtype == np.float64


@pytest.mark.parametrize(
    ("ra", "dec"),
    [
        (MaskedColumn(RA, mask=MASK), DEC),
        (RA, np.ma.array(DEC, mask=MASK)),
        (MaskedColumn(RA / 15, mask=MASK, unit="hourangle"), DEC),
        (Masked(RA * u.deg, mask=MASK), Masked(DEC * u.deg, mask=MASK)),
        (Masked(RA, mask=MASK), DEC),
        ([None, RA[1]], DEC),
        ([np.nan, RA[1]], DEC),
        ([np.inf, RA[1]], DEC),
        (pd.Series([None, RA[1]], dtype="Float64"), pd.Series(DEC)),
        (pa.array([None, RA[1]]), DEC),
        (SkyCoord(Masked(RA * u.deg, mask=MASK), Masked(DEC * u.deg, mask=MASK)), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_masked_or_missing_has_no_position(ra, dec):
    ra_deg, dec_deg = positions_in_degrees(ra, dec, "icrs")
    assert np.isnan(ra_deg).tolist() == np.isnan(dec_deg).tolist() == MASK
    assert (ra_deg[1], dec_deg[1]) == pytest.approx((RA[1], DEC[1]), abs=1e-9)


@pytest.mark.parametrize(
    ("ra", "dec", "told"),
    [
        (RA, None, "no declinations"),
        (SkyCoord(RA, DEC, unit="deg"), DEC, "Leave dec_deg out"),
        (RA, DEC[:1], "2 right ascensions, but 1 declinations"),
        (RA.reshape(1, 2), DEC, r"the shape \(1, 2\)"),
        (RA * u.hour, DEC, "right ascension cannot be read as an angle .*convertible"),
        (RA * u.dimensionless_unscaled, DEC, "right ascension cannot be read as an angle"),
        (RA, DEC * u.m, "declination cannot be read as an angle"),
        (["10h00m24s", "14h18m"], DEC, "right ascension cannot be read as an angle"),
        (RA, [b"2.2", b"3"], "declination cannot be read as an angle"),
        (RA + 0j, DEC, "right ascension cannot be read as an angle"),
        (np.array([True, False]), DEC, "right ascension cannot be read as an angle"),
        ([[150.1], [1, 2]], DEC, "right ascension cannot be read as an angle"),
        (Latitude(DEC * u.deg), Longitude(RA * u.deg), "given as a Latitude. Exchange"),
        (RA, DEC * 50, r"declination is 110 degrees in 2 of 2 positions, expected at most 90"),
        (RA * 3600, DEC, "expected at most 360"),
        (AltAz(az=RA * u.deg, alt=DEC * u.deg), None, "cannot be brought to the frame icrs"),
    ],
)
def test_what_is_not_a_position_is_refused(ra, dec, told):
    with pytest.raises(InputError, match=rf"{told}.*\.$"):
        positions_in_degrees(ra, dec, "icrs")


def test_a_unit_of_another_library_is_not_dropped():
    class Measured:
        units = "hour"

    with pytest.raises(InputError, match="the unit hour of a library other than astropy"):
        positions_in_degrees(Measured(), DEC, "icrs")


def test_coordinates_are_brought_to_the_frame_of_the_mosaic(tmp_path):
    header = tan_header()
    here = SkyCoord(150.1001 * u.deg, 2.2001 * u.deg, frame=FK5(equinox="J2000"))
    del header["RADESYS"]
    icrs = write_image(tmp_path / "icrs.fits", sky_image(), header)
    fk5 = write_image(tmp_path / "fk5.fits", sky_image(), header, EQUINOX=2000.0)
    in_fk5 = positions_in_degrees(here, None, "fk5")
    np.testing.assert_allclose(np.ravel(in_fk5), (150.1001, 2.2001), rtol=0, atol=1e-12)
    assert np.hypot(*np.subtract(np.ravel(positions_in_degrees(here, None, "icrs")), np.ravel(in_fk5))) * 3.6e6 > 5
    for path, frame in ((icrs, "icrs"), (fk5, "fk5")):
        expected = surveyflow.cutouts(path, *positions_in_degrees(here, None, frame), 5)
        np.testing.assert_array_equal(surveyflow.cutouts(path, here, size=5).pixels, expected.pixels)


def test_a_masked_position_gets_an_empty_cutout(tmp_path):
    image = write_image(tmp_path / "m.fits")
    stack = surveyflow.cutouts(image, MaskedColumn([150.1, 150.1], mask=MASK), MaskedColumn([2.2, 2.2], mask=MASK), 5)
    assert not stack.valid[0].any()
    assert not stack.pixels[0].any()
    assert stack.valid[1].all()
