"""Whatever astropy reads in a header is used as astropy does, or refused by name."""

import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from mosaic_files import tan_header
from surveyflow.errors import MosaicError
from surveyflow.inputs.astrometry import DISTORTION, read_astrometry

SHAPE = (300, 400)
STEP = 0.03 / 3600


def of_astropy(header):
    """The positions that astropy finds when it ignores the distortion of the exposures."""
    rectified = fits.Header([card for card in header.cards if not DISTORTION.fullmatch(card.keyword)])
    for key in ("CTYPE1", "CTYPE2"):
        rectified[key] = rectified[key].removesuffix("-SIP")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return WCS(rectified).celestial


def padded(header, pattern):
    """The header with the matrix under older names: ``PC001001`` or ``PC01_01``."""
    cards = []
    for card in header.cards:
        kind, i, j = card.keyword[:2], card.keyword[2:3], card.keyword[4:5]
        is_matrix = kind in {"PC", "CD"} and card.keyword[3:4] == "_"
        cards.append(fits.Card(pattern.format(kind=kind, i=i, j=j), card.value) if is_matrix else card)
    return fits.Header(cards)


def rotated(form="CD", **cards):
    header = tan_header(angle_deg=30, form=form, crpix=(200.5, 150.5))
    header.update(cards)
    return header


def doubled(key, value, header=None):
    header = rotated() if header is None else header
    header.append((key, value), end=True)
    return header


@pytest.mark.parametrize("form", ["CD", "PC", "PC1"])
@pytest.mark.parametrize("pattern", ["{kind}00{i}00{j}", "{kind}0{i}_0{j}"])
def test_a_matrix_under_older_names_is_used(form, pattern):
    header = padded(rotated(form), pattern)
    assert not {"PC1_1", "CD1_1"} & set(header)
    x, y = np.array([0.3, 399.2, 17.0]), np.array([298.6, 3.1, 77.7])
    np.testing.assert_array_equal(
        read_astrometry(header, SHAPE, "m.fits").to_pixels(*of_astropy(header).wcs_pix2world(x, y, 0)),
        of_astropy(header).wcs_world2pix(*of_astropy(header).wcs_pix2world(x, y, 0), 0),
    )


@pytest.mark.parametrize(
    ("header", "told"),
    [
        (doubled("CRPIX1", 250.0), r"CRPIX1 is given twice, as 200\.5 and as 250\.0\. Delete the wrong card"),
        (doubled("CTYPE1", "RA---TPV"), "CTYPE1 is given twice"),
        (doubled("RADESYS", "FK4"), "RADESYS is given twice"),
        (doubled("PC001001", 0.3, rotated("PC")), "PC1_1 is given twice"),
        (doubled("CD01_02", 0.3), "CD1_2 is given twice"),
        (doubled("LONPOLE", 180.0, rotated(LONPOLE=170.0)), "LONPOLE is given twice"),
        (rotated("PC", CDELT1=0.0), "CDELT1 is 0"),
        (rotated("CROTA", CDELT1=0.0, CDELT2=0.0), "CDELT1 and CDELT2 is 0"),
        (rotated(PV01_03=170.0, PV01_01=0.0), "PV1_3"),
        (rotated(CTYPE3="WAVE", CRPIX3=1.0, CDELT3=1.0, CD3_1=0.5), "CD3_1 moves positions as astropy reads the header"),
        (rotated("PC", PC1_3=0.5, CTYPE3="WAVE"), "PC1_3 moves positions"),
        (rotated(AMDX1=1.0, AMDY1=1.0), "other cards of the header move|AMD.1 moves|AMDX1, AMDY1 move"),
        (rotated(CD1_1=-9e-6, CTYPE1="RA---TAN", **{"HIERARCH CD1_1": 1.0}), "not square"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_would_move_positions_and_cannot_be_used_is_refused_by_name(header, told):
    with pytest.raises(MosaicError, match=rf"^m\.fits: .*({told}).*\.$"):
        read_astrometry(header, SHAPE, "m.fits")


def test_a_card_that_is_repeated_with_the_same_value_is_one_card():
    header = doubled("CRPIX1", 200.5)
    assert read_astrometry(header, SHAPE, "m.fits").digest == read_astrometry(rotated(), SHAPE, "m.fits").digest


def test_hierarchical_cards_are_no_part_of_the_projection_as_for_astropy():
    header = rotated()
    header.append(fits.Card.fromstring("HIERARCH LONPOLE = 170.0"))
    assert read_astrometry(header, SHAPE, "m.fits").digest == read_astrometry(rotated(), SHAPE, "m.fits").digest
    del header["CRPIX1"]
    header.append(fits.Card.fromstring("HIERARCH CRPIX1 = 200.5"))
    with pytest.raises(MosaicError, match=r"the WCS lacks CRPIX1"):
        read_astrometry(header, SHAPE, "m.fits")


@pytest.mark.parametrize(
    ("cards", "frame"),
    [
        ({}, "icrs"),
        ({"RADESYS": None}, "icrs"),
        ({"RADESYS": None, "EQUINOX": 2000.0}, "fk5"),
        ({"RADESYS": None, "EPOCH": "COSMOS"}, "icrs"),
        ({"RADESYS": None, "RADECSYS": "FK5"}, "fk5"),
        ({"RADESYS": "FK5", "EQUINOX": 2000.0}, "fk5"),
    ],
)
def test_the_frame_is_the_one_that_astropy_finds(cards, frame):
    header = rotated()
    for key, value in cards.items():
        header[key] = value
        if value is None:
            del header[key]
    assert read_astrometry(header, SHAPE, "m.fits").frame == frame == of_astropy(header).wcs.radesys.lower()


# Cards that surveys have been seen to write, right or wrong; each may be added to any header.
ADDED = {
    "nothing": {},
    "units": {"CUNIT1": "deg", "CUNIT2": "degree"},
    "one unit": {"CUNIT1": "deg"},
    "arcsec": {"CUNIT1": "arcsec", "CUNIT2": "arcsec"},
    "CDELT beside": {"CDELT1": 1.0, "CDELT2": 1.0},
    "CDELT of 0": {"CDELT1": 0.0, "CDELT2": 0.0},
    "CROTA2 beside": {"CROTA2": 45.0},
    "CROTA1": {"CROTA1": 45.0},
    "identity PC": {"PC1_1": 1.0, "PC2_2": 1.0},
    "identity PC001001": {"PC001001": 1.0, "PC002002": 1.0},
    "CD": {"CD1_1": -STEP, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": STEP},
    "LONPOLE": {"LONPOLE": 180.0},
    "other LONPOLE": {"LONPOLE": 150.0},
    "LATPOLE": {"LATPOLE": 2.2},
    "LONGPOLE": {"LONGPOLE": 90.0},
    "PROJP": {"PROJP1": 0.0, "PROJP2": 3.0},
    "PV of 0": {"PV1_0": 0.0, "PV2_0": 0.0},
    "PV1_1": {"PV1_1": 1.0, "PV2_1": 1.0},
    "PV of TPV": {"PV1_0": 0.01, "PV1_1": 1.0, "PV2_1": 1.0, "PV2_4": 0.02},
    "padded PV": {"PV01_01": 3.0},
    "SIP": {"A_ORDER": 2, "A_2_0": 1e-5, "B_ORDER": 2, "B_0_2": 1e-5},
    "SIP in CTYPE": {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP"},
    "TPV": {"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV"},
    "SIN": {"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN"},
    "galactic": {"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN"},
    "third axis": {"WCSAXES": 3, "CTYPE3": "WAVE", "CRPIX3": 1.0, "CRVAL3": 1.6e-6, "CDELT3": 1e-9},
    "coupled axis": {"CTYPE3": "WAVE", "CRPIX3": 1.0, "CDELT3": 1.0, "PC1_3": 0.5},
    "alternate": {"CTYPE1A": "LINEAR", "CTYPE2A": "LINEAR", "CRVAL1A": 7.0, "CRPIX1A": 3.0, "CD1_1A": 1.0},
    "section": {"LTV1": 40.0, "LTV2": -3.0, "LTM1_1": 2.0, "LTM2_2": 2.0},
    "FK5": {"RADESYS": "FK5", "EQUINOX": 2000.0},
    "FK4": {"RADESYS": "FK4", "EQUINOX": 1950.0},
    "dates": {"DATE-OBS": "2012-99-99", "MJD-OBS": 1e9},
    "errors": {"CRDER1": 1e-4, "CSYER2": 1e-4},
    "plate": {"AMDX1": 60.0, "AMDY1": 60.0, "PLTRAH": 10, "PPO3": 1.0, "PPO6": 1.0, "CNPIX1": 3, "XPIXELSZ": 15.0},
    "turned past 360": {"CRVAL1": 510.1},
    "text": {"CRPIX1": "200.5"},
}
FORMS = ("CD", "PC", "PC1", "CROTA")
NAMES = ("{kind}{i}_{j}", "{kind}00{i}00{j}", "{kind}0{i}_0{j}")


def generated(form, names, angle_deg, added, repeated):
    header = padded(tan_header(angle_deg=angle_deg, form=form, crpix=(200.5, 150.5), dec_deg=-27.8), names)
    for kind in added:
        header.update(ADDED[kind])
    if repeated and repeated in header:
        header.append((repeated, header[repeated]), end=True)
    return header


@settings(max_examples=100, deadline=None)
@given(
    form=st.sampled_from(FORMS),
    names=st.sampled_from(NAMES),
    angle_deg=st.floats(-180, 180),
    added=st.lists(st.sampled_from(sorted(ADDED)), max_size=3),
    repeated=st.sampled_from(["", "CRPIX1", "CD1_1", "PC1_1", "CRVAL2", "CTYPE1"]),
)
def test_any_header_is_read_as_astropy_reads_it_or_refused(form, names, angle_deg, added, repeated):
    header = generated(form, names, angle_deg, added, repeated)
    try:
        astrometry = read_astrometry(header, SHAPE, "m.fits")
    except MosaicError:
        return
    x, y = np.random.default_rng(1).uniform(-500, 900, (2, 30))
    ra_deg, dec_deg = of_astropy(header).wcs_pix2world(x, y, 0)
    np.testing.assert_allclose(astrometry.to_pixels(ra_deg, dec_deg), (x, y), rtol=0, atol=2e-3)


@pytest.mark.parametrize("form", FORMS)
def test_harmless_cards_are_accepted_in_every_form(form):
    harmless = {"nothing", "units", "one unit", "CROTA1", "LONPOLE", "LATPOLE", "LONGPOLE", "PROJP", "PV of 0", "SIP"}
    harmless |= {"SIP in CTYPE", "third axis", "alternate", "section", "FK5", "dates", "errors"}
    for kind in harmless:
        header = generated(form, NAMES[0], 30.0, [kind], "CRPIX1")
        assert read_astrometry(header, SHAPE, "m.fits").pixel_scale_arcsec == pytest.approx(0.03), kind
