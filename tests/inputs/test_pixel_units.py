"""Pixels are brought to the unit of the training images, or left as they are where their unit is not certain."""

import numpy as np
import pytest
from astropy.io import fits

from mosaic_files import sky_image, tan_header, write_image
from surveyflow.errors import MosaicError
from surveyflow.inputs.mosaics import open_mosaic
from surveyflow.values.codes import Flag, WeightKind
from surveyflow.values.images import Box, Stated

WHOLE = Box(0, 30, 0, 40)
WANTED = 25.947
SR = (0.03 * np.pi / 180 / 3600) ** 2
PHOTFLAM, PHOTPLAM = 7.0331885e-20, 8057.0
ACS_AB = -2.5 * np.log10(PHOTFLAM) - 5 * np.log10(PHOTPLAM) - 2.408


def of_janskys(janskys):
    """The magnitude of a flux density, AB."""
    return -2.5 * np.log10(janskys / 3631)


def opened(tmp_path, stated=None, weight=None, **cards):
    stated = Stated(wanted_zero_point_ab=WANTED) if stated is None else stated
    return open_mosaic(write_image(tmp_path / "m.fits", **cards), weight, stated)


@pytest.mark.parametrize(
    ("cards", "zero_point", "stated"),
    [
        ({"BUNIT": "MJy/sr"}, of_janskys(1e6 * SR), None),
        ({"BUNIT": "MJy/sr", "PHOTMJSR": 0.4, "PIXAR_SR": SR}, of_janskys(1e6 * SR), None),
        ({"BUNIT": "Jy"}, of_janskys(1.0), None),
        ({"BUNIT": "nJy"}, 31.4, None),
        ({"BUNIT": "uJy"}, 23.9, None),
        ({"BUNIT": "10.0*nanoJansky", "PHOTFNU": 1e-8}, 28.9, None),
        ({"BUNIT": "10 nJy"}, 28.9, None),
        ({"BUNIT": "nJy/pix"}, 31.4, None),
        ({"BUNIT": "mJy/arcsec2"}, of_janskys(1e-3 * 0.03**2), None),
        ({"BUNIT": "nanomaggy"}, 22.5, None),
        ({"BUNIT": "erg/s/cm2/Angstrom", "PHOTPLAM": PHOTPLAM}, ACS_AB + 2.5 * np.log10(PHOTFLAM), None),
        ({"BUNIT": "DN/s", "PHOTMJSR": 0.4}, of_janskys(0.4e6 * SR), None),
        ({"BUNIT": "counts/s", "PHOTFLAM": PHOTFLAM, "PHOTPLAM": PHOTPLAM}, ACS_AB, None),
        ({"BUNIT": "COUNTS/S", "PHOTFNU": 1.5e-7}, of_janskys(1.5e-7), None),
        ({"FLUXMAG0": 10**10.8}, 27.0, None),
        ({"BUNIT": "ADU"}, 30.0, 30.0),
        ({}, 24.5, 24.5),
        ({"BUNIT": "electron/s"}, 24.5, 24.5),
        ({"BUNIT": "ELECTRONS"}, 24.5, 24.5),
        ({"BUNIT": "nJy"}, 31.4, 31.4),
    ],
    ids=str,
)
def test_pixels_are_converted_by_the_zero_point_of_their_unit(tmp_path, cards, zero_point, stated):
    with opened(tmp_path, Stated(zero_point_ab=stated, wanted_zero_point_ab=WANTED), **cards) as mosaic:
        pixels = mosaic.read(WHOLE).pixels
        assert mosaic.conversion.zero_point_ab == pytest.approx(zero_point, abs=1e-3)
        assert (mosaic.unit, mosaic.flags) == ("electron/s", Flag.CONVERTED_UNIT)
        assert mosaic.treatment
        assert "converted from" in mosaic.notices[-1]
    np.testing.assert_allclose(pixels, sky_image() * 10 ** (0.4 * (WANTED - zero_point)), rtol=2e-3)


@pytest.mark.parametrize(
    ("cards", "unit"),
    [
        ({"BUNIT": "ELECTRONS/S", "PHOTFLAM": PHOTFLAM, "PHOTPLAM": PHOTPLAM}, "electron/s"),
        ({}, None),
        ({"PHOTFLAM": PHOTFLAM, "PHOTPLAM": PHOTPLAM}, None),
        ({"BUNIT": "ELECTRONS", "PHOTFLAM": PHOTFLAM, "PHOTPLAM": PHOTPLAM, "EXPTIME": 6900.0}, "ELECTRONS"),
        ({"BUNIT": "counts/s", "PHOTFLAM": PHOTFLAM}, "counts/s"),
        ({"BUNIT": "counts/s", "PHOTFLAM": 0.0, "PHOTPLAM": PHOTPLAM}, "counts/s"),
        ({"BUNIT": "counts/s", "PHOTMJSR": 0.4}, "counts/s"),
        ({"BUNIT": "mjy/SR"}, "mjy/SR"),
        ({"BUNIT": "Jy/beam"}, "Jy/beam"),
        ({"BUNIT": "mag"}, "mag"),
        ({"BUNIT": "what/ever"}, "what/ever"),
        ({"BUNIT": "erg/s/cm2/Angstrom"}, "erg/s/cm2/Angstrom"),
    ],
    ids=str,
)
def test_what_is_not_certain_is_left_as_it_is(tmp_path, cards, unit):
    with opened(tmp_path, **cards) as mosaic:
        np.testing.assert_array_equal(mosaic.read(WHOLE).pixels, sky_image())
        assert (mosaic.conversion, mosaic.unit, mosaic.flags, mosaic.treatment) == (None, unit, Flag(0), "")


def test_nothing_is_converted_unless_the_unit_of_the_training_images_is_known(tmp_path):
    with opened(tmp_path, Stated(zero_point_ab=31.4), BUNIT="nJy") as mosaic:
        assert (mosaic.conversion, mosaic.unit) == (None, "nJy")


@pytest.mark.parametrize(
    ("cards", "zero_point", "told"),
    [
        ({"BUNIT": "nJy"}, 28.9, r"1 nJy is 28\.900 mag \(AB\) by the workflow's zero_point, but 31\.400 by its unit, nJy"),
        ({"FLUXMAG0": 10**10.8}, 25.0, r"1 in its unit is 25\.000 .* but 27\.000 by FLUXMAG0"),
        ({"BUNIT": "e/s", "PHOTFNU": 1e-7}, 20.0, r"but 26\.400 by PHOTFNU"),
        ({"BUNIT": "counts/s", "PHOTFNU": 1e-8, "PHOTFLAM": PHOTFLAM, "PHOTPLAM": PHOTPLAM}, None, "but 28.900 by PHOTFNU"),
    ],
)
def test_two_zero_points_that_differ_are_refused(tmp_path, cards, zero_point, told):
    with pytest.raises(MosaicError, match=rf"m\.fits: .*{told}.*\.$"):
        opened(tmp_path, Stated(zero_point_ab=zero_point, wanted_zero_point_ab=WANTED), **cards)


def test_a_unit_that_is_given_twice_is_refused(tmp_path):
    header = tan_header()
    header["BUNIT"] = "nJy"
    header.append(("BUNIT", "uJy"), end=True)
    path = tmp_path / "m.fits"
    fits.PrimaryHDU(sky_image(), header).writeto(path, output_verify="ignore")
    with pytest.raises(MosaicError, match="BUNIT is given twice, as 'nJy' and as 'uJy'"):
        open_mosaic(path)


WEIGHT = np.linspace(0.5, 2, 1200, dtype=np.float32).reshape(30, 40)
KINDS = {
    WeightKind.INVERSE_VARIANCE: lambda numbers, factor: numbers / factor**2,
    WeightKind.VARIANCE: lambda numbers, factor: 1 / (numbers * factor**2),
    WeightKind.RMS: lambda numbers, factor: 1 / (numbers * factor) ** 2,
    WeightKind.EXPOSURE: lambda numbers, factor: numbers,
}


@pytest.mark.parametrize("unit", ["electron/s", "nJy"])
@pytest.mark.parametrize("kind", KINDS)
def test_weights_become_inverse_variances_of_the_converted_pixels(tmp_path, kind, unit):
    numbers = WEIGHT.copy()
    numbers[0, :5] = [0, -1, np.nan, np.inf, -np.inf]
    weight = write_image(tmp_path / "w.fits", numbers)
    with opened(tmp_path, Stated(weight_kind=kind, wanted_zero_point_ab=WANTED), weight, BUNIT=unit) as mosaic:
        window = mosaic.read(WHOLE)
        factor = 1.0 if mosaic.conversion is None else mosaic.conversion.factor
    np.testing.assert_allclose(window.weight[1:], KINDS[kind](numbers[1:].astype(float), factor), rtol=1e-6)
    expected = np.isfinite(sky_image())
    expected[0, :5] = False
    np.testing.assert_array_equal(window.valid, expected)


def test_the_kind_of_weights_and_the_factor_are_in_the_treatment(tmp_path):
    weight = write_image(tmp_path / "w.fits", WEIGHT)
    treatments = set()
    for number, stated in enumerate([Stated(), Stated(weight_kind=WeightKind.RMS), Stated(weight_kind=WeightKind.VARIANCE)]):
        for cards in ({}, {"BUNIT": "nJy"}, {"BUNIT": "uJy"}):
            folder = tmp_path / f"{number}{cards}"
            folder.mkdir()
            wanted = Stated(stated.unit, stated.weight_kind, None, WANTED)
            with opened(folder, wanted, weight, **cards) as mosaic:
                treatments.add(mosaic.treatment)
    assert len(treatments) == 9
    assert "" in treatments
