import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.time import Time
from astropy.wcs import WCS
from astropy.wcs.utils import wcs_to_celestial_frame
from hypothesis import given, settings
from hypothesis import strategies as st

from mosaic_files import tan_header
from surveyflow.errors import MosaicError
from surveyflow.inputs.astrometry import read_astrometry

HEADERS = Path(__file__).parents[3] / "shared" / "data" / "headers"
SHAPE = (30, 40)
CD_00 = {"CD1_1": 0.0, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 0.0}
STALE_SIP = {"A_ORDER": 2, "A_2_0": 1e-3, "B_ORDER": 2, "B_0_2": 1e-3, "AP_ORDER": 1, "AP_1_0": 1e-3, "BP_ORDER": 1}
STALE_TABLES = {"CPDIS1": "LOOKUP", "CPERR1": 0.1, "D2IMDIS1": "LOOKUP", "D2IMERR1": 0.01, "D2IMEXT": "x.fits", "AXISCORR": 1}


def astrometry_of(header, shape=SHAPE):
    return read_astrometry(header, shape, "mosaic.fits")


def changed(header=None, **cards):
    header = tan_header() if header is None else header
    for key, value in cards.items():
        if value is None:
            del header[key]
        else:
            header[key] = value
    return header


@settings(max_examples=60)
@given(
    form=st.sampled_from(["CD", "PC", "PC1", "CROTA"]),
    angle=st.floats(-180, 180),
    dec=st.floats(-89, 89),
    scale=st.sampled_from([0.03, 0.06, 0.2]),
    seed=st.integers(0, 1000),
)
def test_positions_are_astropys_for_every_way_to_write_the_matrix(form, angle, dec, scale, seed):
    header = tan_header(scale, angle, form, dec_deg=dec, crpix=(1e4, -300.25))
    x, y = np.random.default_rng(seed).uniform(-100, 6e4, (2, 20))
    ra_deg, dec_deg = WCS(header).all_pix2world(x, y, 0)
    expected = WCS(header).all_world2pix(ra_deg, dec_deg, 0)
    astrometry = astrometry_of(header)
    np.testing.assert_allclose(astrometry.to_pixels(ra_deg, dec_deg), expected, rtol=0, atol=1e-9)
    assert astrometry.pixel_scale_arcsec == pytest.approx(scale, rel=1e-9)


@pytest.mark.parametrize("path", sorted(HEADERS.glob("*.hdr.txt")) or [None], ids=lambda path: path.name if path else "absent")
def test_candels_headers_give_candels_pixels(path):
    if path is None:
        pytest.skip("the real headers are not at ../shared/data")
    header = fits.Header.fromtextfile(path)
    astrometry = astrometry_of(header, (header["NAXIS2"], header["NAXIS1"]))
    assert astrometry.pixel_scale_arcsec == pytest.approx(0.03 if "F814W" in path.name else 0.06, rel=1e-6)
    x, y = astrometry.to_pixels(header["CRVAL1"], header["CRVAL2"])
    np.testing.assert_allclose((x[0] + 1, y[0] + 1), (header["CRPIX1"], header["CRPIX2"]), atol=1e-8)


def test_stale_distortion_is_ignored_with_a_notice():
    clean = astrometry_of(tan_header())
    stale = astrometry_of(changed(**STALE_SIP, **STALE_TABLES))
    np.testing.assert_array_equal(stale.to_pixels([150.1001], [2.2001]), clean.to_pixels([150.1001], [2.2001]))
    assert stale.digest == clean.digest
    assert clean.notices == ()
    assert "ignored 13 stale distortion cards" in stale.notices[0]
    assert "mosaic.fits" in stale.notices[0]


def test_record_valued_distortion_cards_count_as_stale():
    header = tan_header()
    header.append(fits.Card("DP1", "EXTVER: 1"))
    header.append(fits.Card("D2IM1", "EXTVER: 1"))
    assert "DP1" in astrometry_of(header).notices[0]


def test_only_the_cards_of_the_projection_change_the_digest():
    clean = astrometry_of(tan_header())
    assert astrometry_of(changed(DATE="2011-12-29", **{"DATE-OBS": "2012-99-99"}, EXPTIME=3.0)).digest == clean.digest
    assert astrometry_of(changed(CRPIX1=20.6)).digest != clean.digest
    assert astrometry_of(tan_header(), (30, 41)).digest != clean.digest


@pytest.mark.parametrize("form", ["PC", "PC1"])
def test_cd_and_pc_cards_that_agree_are_one_matrix(form):
    both = tan_header(angle_deg=49.7)
    both.update({key: value for key, value in tan_header(angle_deg=49.7, form=form).items() if key[:2] in {"PC", "CD"}})
    x, y = astrometry_of(both).to_pixels([150.1001], [2.2001])
    np.testing.assert_array_equal((x, y), WCS(both).wcs_world2pix([150.1001], [2.2001], 0))
    alone = astrometry_of(tan_header(angle_deg=49.7)).to_pixels([150.1001], [2.2001])
    np.testing.assert_allclose((x, y), alone, rtol=0, atol=1e-9)


def test_cd_and_pc_cards_that_differ_are_refused():
    both = tan_header(form="PC")
    both.update({key: 1.001 * value for key, value in tan_header(form="CD").items() if key.startswith("CD") and "_" in key})
    with pytest.raises(MosaicError, match=r"mosaic\.fits: CD cards and PC with CDELT cards describe different pixels\. Delete"):
        astrometry_of(both)


def test_cdelt_beside_cd_is_ignored():
    beside = astrometry_of(changed(CDELT1=1.0, CDELT2=1.0))
    assert beside.pixel_scale_arcsec == astrometry_of(tan_header()).pixel_scale_arcsec


def test_positions_that_the_tangent_plane_does_not_reach_are_nan():
    x, y = astrometry_of(tan_header()).to_pixels([150.1, 330.1, np.nan, 150.1], [2.2, -2.2, 2.2, np.nan])
    assert np.isfinite(x).tolist() == np.isfinite(y).tolist() == [True, False, False, False]


def test_no_positions_give_no_pixels():
    x, y = astrometry_of(tan_header()).to_pixels([], [])
    assert x.shape == y.shape == (0,)


@pytest.mark.parametrize(
    ("cards", "told"),
    [
        ({"CTYPE1": None, "CTYPE2": None}, "no world coordinates"),
        ({"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "A_0_2": 1e-6}, "only the rectified projection"),
        ({"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "AP_ORDER": 1, "AP_1_0": 1e-6}, "only the rectified projection"),
        ({"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV"}, "only the rectified projection"),
        ({"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN"}, "only the rectified projection"),
        ({"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN"}, "only the rectified projection"),
        ({"CTYPE1": 3}, "only the rectified projection"),
        ({"CTYPE1": "DEC--TAN", "CTYPE2": "RA---TAN"}, "declination is along x"),
        ({"RADESYS": "FK4"}, "expected ICRS, or FK5"),
        ({"RADESYS": "FK5", "EQUINOX": 1975.0}, "expected ICRS, or FK5"),
        ({"RADESYS": None, "EQUINOX": 1950.0}, "expected ICRS, or FK5"),
        ({"RADESYS": None, "EPOCH": 1950.0}, "the frame is not named, with EPOCH 1950; expected ICRS"),
        ({"RADESYS": "FK5", "EPOCH": 2010.5}, "EPOCH 2010.5; expected ICRS"),
        ({"RADESYS": None, "EPOCH": "B1950"}, "EPOCH 1950; expected ICRS"),
        ({"RADESYS": None, "EPOCH": 0.0}, "EPOCH 0; expected ICRS"),
        ({"CUNIT1": "arcsec"}, "CUNIT1 is 'arcsec'"),
        ({"PV1_5": 1e-3}, "distortion .PV1_5"),
        ({"PV2_1": 1.001}, "distortion .PV2_1"),
        ({"PV1_1": 1.0, "PV2_1": 1.0}, "move positions as FITS defines these cards"),
        ({"PV1_3": 170.0}, "distortion .PV1_3"),
        ({"PV1_1": 0.0, "PV1_2": 0.0}, "distortion .PV1_1, PV1_2"),
        ({"PV1_3": 180.0, "LONPOLE": 170.0}, "move positions as FITS defines these cards"),
        ({"PV1_1": "one"}, "PV1_1 is 'one', expected a number"),
        ({"CRVAL1": None}, "lacks CRVAL1"),
        ({"CRPIX2": "middle"}, "CRPIX2 is 'middle', expected a number"),
        ({"CD1_1": True}, "CD1_1 is True, expected a number"),
        (dict.fromkeys(CD_00), "no pixel scale"),
        (CD_00, "cannot be used"),
        ({"CD1_1": -9e-6}, "not square"),
        ({"CD1_2": 1e-6}, "not square"),
    ],
)
def test_a_projection_that_cannot_be_used_is_refused(cards, told):
    with pytest.raises(MosaicError, match=rf"^mosaic\.fits: .*{told}.*\.$"):
        astrometry_of(changed(**cards))


@pytest.mark.parametrize(
    "cards", [{"RADESYS": "FK5", "EQUINOX": 2000.0}, {"RADESYS": None}, {"CUNIT1": "deg"}, {"PV2_1": 0.0}, {"CD1_1": -8.34e-6}]
)
def test_harmless_variants_are_accepted(cards):
    assert astrometry_of(changed(**cards)).pixel_scale_arcsec == pytest.approx(0.03, rel=1e-3)


SCAMP_IDENTITY = {f"PV{axis}_{term}": float(term == 1) for axis in (1, 2) for term in (0, 1, 2, 4, 5, 6, 7, 8, 9, 10)}
SIP_TYPES = {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP"}


@pytest.mark.parametrize(
    "cards",
    [
        {"PV1_0": 0.0, "PV1_1": 0.0, "PV1_2": 90.0, "PV1_3": 180.0, "PV1_4": 0.0},
        {"PV1_3": 180.0, "PV1_4": 2.2},
        {"PV2_1": 0.0},
        {"PV2_1": 1.0},
        SCAMP_IDENTITY,
        {"A_ORDER": 0, "B_ORDER": 0},
        SIP_TYPES,
        SIP_TYPES | {"A_ORDER": 0, "B_ORDER": 0},
        SIP_TYPES | {"A_ORDER": 2, "B_ORDER": 2},
        SIP_TYPES | {"A_ORDER": 2, "B_ORDER": 2, "A_0_2": 0.0, "B_0_2": 0.0, "A_DMAX": 0.0},
        {"RADESYS": None, "EPOCH": 2000.0},
        {"RADESYS": "FK5", "EPOCH": 1950.0, "EQUINOX": 2000.0},
        {"RADESYS": "ICRS", "EPOCH": 1950.0},
        {"RADESYS": None, "EPOCH": "J2000"},
        {"RADESYS": None, "EPOCH": "CANDELS epoch 2"},
    ],
    ids=lambda cards: " ".join(cards)[:60],
)
def test_cards_that_say_nothing_are_accepted_and_positions_are_astropys(cards):
    header = changed(tan_header(angle_deg=30, dec_deg=52.8), **cards)
    x, y = np.random.default_rng(1).uniform(-500, 500, (2, 50))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # astropy's, of SIP types without SIP
        theirs = WCS(header)
    ra_deg, dec_deg = theirs.all_pix2world(x, y, 0)
    assert theirs.wcs.radesys in {"ICRS", "FK5"}
    assert theirs.wcs.equinox == 2000 or np.isnan(theirs.wcs.equinox)
    np.testing.assert_allclose(astrometry_of(header).to_pixels(ra_deg, dec_deg), (x, y), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "cards",
    [{"EPOCH": 1950.0}, {"EPOCH": 1983.0}, {"EPOCH": 2010.5}, {"EPOCH": 2000.0}, {"EPOCH": 1950.0, "EQUINOX": 2000.0}, {}],
    ids=str,
)
def test_a_frame_is_accepted_where_astropy_finds_fk5_of_2000_or_icrs(cards):
    header = changed(RADESYS=None, **cards)
    frame = wcs_to_celestial_frame(WCS(header))
    if frame.name == "icrs" or (frame.name == "fk5" and frame.equinox == Time("J2000")):
        assert astrometry_of(header).digest == astrometry_of(tan_header()).digest
    else:
        with pytest.raises(MosaicError, match="expected ICRS, or FK5 of equinox 2000"):
            astrometry_of(header)


def test_a_card_that_breaks_the_rules_is_an_error_that_names_it():
    header = changed(CRPIX1=None)
    header.append(fits.Card.fromstring("CRPIX1  = 1.2.3"))
    with pytest.raises(MosaicError, match=r"mosaic\.fits: CRPIX1 is None, expected a number"):
        astrometry_of(header)


def test_offsets_between_projections_are_measured_at_the_corners():
    here = astrometry_of(tan_header())
    assert here.offset_pixels(astrometry_of(tan_header())) < 1e-6
    assert here.offset_pixels(astrometry_of(tan_header(crpix=(20.5, 15.8)))) == pytest.approx(0.3, abs=1e-4)
    assert here.offset_pixels(astrometry_of(tan_header(angle_deg=1))) == pytest.approx(
        np.radians(1) * np.hypot(19.5, 14.5), rel=0.05
    )
    assert here.offset_pixels(astrometry_of(tan_header(ra_deg=330.1, dec_deg=-2.2))) == np.inf


@pytest.mark.parametrize(
    ("cards", "words"),
    [
        ({"CRPIX1": float("12345678901234567890123456789")}, r"CRPIX1 is 1\.23e\+28, expected at most 1e\+08"),
        ({"CRVAL2": 91.0}, "CRVAL2 is 91, expected at most 90"),
        ({"CRVAL1": -361.0}, "CRVAL1 is -361, expected at most 360"),
        ({"CD1_1": 1e30, "CD2_2": 1e30}, "arcsec; expected 1e-05 to 100000"),
        ({"CD1_1": 0.0, "CD1_2": 0.0}, "Correct the header"),
        ({"LONPOLE": 1e300}, "LONPOLE is 1e\\+300"),
    ],
)
def test_numbers_with_which_no_position_can_be_computed_are_refused(cards, words):
    with pytest.raises(MosaicError, match=words):
        astrometry_of(changed(**cards))
