"""The layouts in which surveys publish their mosaics, each in small files: what is named is read, whatever lies beside it."""

import gzip
import shutil

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.wcs import WCS

import surveyflow
from mosaic_files import sky_image, tan_header, write_image
from surveyflow.errors import MosaicError
from surveyflow.inputs.mosaics import open_mosaic
from surveyflow.values.codes import WeightKind
from surveyflow.values.images import Box, Stated

SHAPE = (90, 110)
WHOLE = Box(0, 90, 0, 110)
X, Y = np.array([40.3, 77.9]), np.array([60.2, 31.4])


def flux():
    return np.abs(sky_image(SHAPE)) + np.float32(0.1)


def weights():
    numbers = np.full(SHAPE, 4.0, np.float32)
    numbers[:, :35] = 0
    return numbers


def header(**cards):
    found = tan_header(angle_deg=20, crpix=(55.5, 45.5))
    found.update(cards)
    return found


def packed(path):
    """Compress a file as DJA and 3D-HST publish theirs."""
    target = path.with_name(f"{path.name}.gz")
    with path.open("rb") as plain, gzip.open(target, "wb") as packed_file:
        shutil.copyfileobj(plain, packed_file)
    path.unlink()
    return target


def image(name, numbers, cards=None):
    return fits.ImageHDU(numbers, cards, name=name)


def jwst(folder):
    """I2d: one file, of which only SCI has a projection."""
    science = header(BUNIT="MJy/sr", PIXAR_SR=2.1e-14, PHOTMJSR=0.4)
    error = np.where(weights() > 0, 0.5, 0).astype(np.float32)
    hdus = [fits.PrimaryHDU(), image("SCI", flux(), science), image("ERR", error), image("CON", np.ones((1, *SHAPE), np.int32))]
    names = {"WHT": weights(), "VAR_POISSON": error**2, "VAR_RNOISE": error**2, "VAR_FLAT": error**2}
    hdus += [image(name, numbers) for name, numbers in names.items()]
    fits.HDUList([*hdus, fits.BinTableHDU(name="HDRTAB")]).writeto(folder / "jw_i2d.fits")
    return folder / "jw_i2d.fits[SCI]", folder / "jw_i2d.fits[WHT]", WeightKind.INVERSE_VARIANCE


def jwst_errors(folder):
    science, _, _ = jwst(folder)
    return science, folder / "jw_i2d.fits[ERR]", WeightKind.RMS


def jwst_read_noise(folder):
    science, _, _ = jwst(folder)
    return science, folder / "jw_i2d.fits[VAR_RNOISE]", WeightKind.VARIANCE


def dja(folder):
    """Mosaics of grizli: two packed files with the image in the primary HDU."""
    science = write_image(folder / "gds-grizli-v7-f200w-clear_drc_sci.fits", flux(), header(BUNIT="10.0*nanoJansky"))
    weight = write_image(folder / "gds-grizli-v7-f200w-clear_drc_wht.fits", weights(), header())
    return packed(science), packed(weight), WeightKind.INVERSE_VARIANCE


def hsc(folder):
    """Coadds of HSC and LSST: compressed image, mask and variance, the zero point in the primary header, a second projection."""
    cards = header(LTV1=-3000.0, LTV2=-4000.0, CTYPE1A="LINEAR", CTYPE2A="LINEAR", CRVAL1A=3000.0, CRPIX1A=1.0)
    variance = np.where(weights() > 0, 0.25, np.nan).astype(np.float32)
    mask = np.where(weights() > 0, 0, 256).astype(np.int32)
    primary = fits.PrimaryHDU()
    primary.header["FLUXMAG0"] = 63095734448.0194
    hdus = [fits.CompImageHDU(flux(), cards, name="IMAGE"), fits.CompImageHDU(mask, cards, name="MASK")]
    hdus += [fits.CompImageHDU(variance, cards, name="VARIANCE"), fits.BinTableHDU(name="ARCHIVE_INDEX")]
    fits.HDUList([primary, *hdus]).writeto(folder / "calexp-HSC-I-9813-4,4.fits")
    return *(folder / f"calexp-HSC-I-9813-4,4.fits[{name}]" for name in ("IMAGE", "VARIANCE")), WeightKind.VARIANCE


def euclid(folder):
    """MER tiles: background-subtracted image, and a map of standard deviations with a large number where there is no data."""
    rms = np.where(weights() > 0, 0.5, np.float32(np.inf)).astype(np.float32)
    science = write_image(folder / "EUC_MER_BGSUB-MOSAIC-VIS_TILE102018211.fits", flux(), header(MAGZERO=24.6))
    return science, write_image(folder / "EUC_MER_MOSAIC-VIS-RMS_TILE102018211.fits", rms, header()), WeightKind.RMS


def three_d_hst(folder):
    science = write_image(folder / "cosmos_3dhst.v4.0.F160W_orig_sci.fits", flux(), header(BUNIT="ELECTRONS/S"))
    weight = write_image(folder / "cosmos_3dhst.v4.0.F160W_orig_wht.fits", weights(), header())
    return packed(science), packed(weight), WeightKind.INVERSE_VARIANCE


LAYOUTS = [jwst, jwst_errors, jwst_read_noise, dja, hsc, euclid, three_d_hst]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_image_and_weights_of_a_layout_are_read(layout, tmp_path):
    science, weight, kind = layout(tmp_path)
    with open_mosaic(science, weight, Stated(weight_kind=kind)) as mosaic:
        window = mosaic.read(WHOLE)
    has_data = weights() > 0
    tolerance = 0.1 if layout is hsc else 0  # compression is lossy
    np.testing.assert_allclose(window.pixels[has_data], flux()[has_data], rtol=0, atol=tolerance)
    np.testing.assert_array_equal(window.valid, has_data)
    np.testing.assert_allclose(window.weight[has_data], 4.0, rtol=0.2 if layout is hsc else 1e-6)


@pytest.mark.parametrize("layout", [jwst, dja, three_d_hst], ids=lambda layout: layout.__name__)
def test_cutouts_of_a_layout_are_astropys(layout, tmp_path):
    science, weight, _ = layout(tmp_path)
    ra_deg, dec_deg = WCS(header()).wcs_pix2world(X, Y, 0)
    stack = surveyflow.cutouts(science, ra_deg, dec_deg, 32, weight=weight)
    seen = np.where(weights() > 0, flux(), 0)
    expected = [Cutout2D(seen, position, 32, mode="partial", fill_value=0).data for position in zip(X, Y, strict=True)]
    np.testing.assert_array_equal(stack.pixels, expected)
    assert 0 < stack.valid_fraction[0] < 1 == stack.valid_fraction[1]


def test_a_map_without_projection_in_another_file_or_of_another_shape_is_refused(tmp_path):
    science, _, _ = jwst(tmp_path)
    alone = tmp_path / "wht.fits"
    fits.PrimaryHDU(weights()).writeto(alone)
    with pytest.raises(MosaicError, match=r"wht\.fits: no world coordinates"):
        open_mosaic(science, alone)
    with fits.open(tmp_path / "jw_i2d.fits", mode="append") as hdus:
        hdus.append(image("HALF", weights()[::2, ::2]))
    with pytest.raises(MosaicError, match=r"the weight map has 55 x 45 pixels"):
        open_mosaic(science, tmp_path / "jw_i2d.fits[HALF]")


def test_a_map_in_the_same_file_with_a_projection_must_lie_where_the_image_lies(tmp_path):
    moved = header(CRPIX1=56.0)
    hdus = [fits.PrimaryHDU(), image("SCI", flux(), header()), image("WHT", weights(), moved)]
    fits.HDUList(hdus).writeto(tmp_path / "m.fits")
    with pytest.raises(MosaicError, match=r"the weight map lies 0\.5 pixels off"):
        open_mosaic(tmp_path / "m.fits[SCI]", tmp_path / "m.fits[WHT]")


@pytest.mark.parametrize("layout", [jwst, hsc], ids=lambda layout: layout.__name__)
def test_a_file_of_several_images_says_how_to_name_one(layout, tmp_path):
    science, _, _ = layout(tmp_path)
    file = str(science).partition("[")[0]
    if layout is jwst:
        with open_mosaic(file) as mosaic:
            assert mosaic.unit == "MJy/sr"
    else:
        with pytest.raises(MosaicError, match=r"several 2-D images: IMAGE .*; MASK .*; VARIANCE .*\[IMAGE\]"):
            open_mosaic(file)
