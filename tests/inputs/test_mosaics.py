import hashlib
import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from mosaic_files import sky_image, tan_header, write_image
from surveyflow.errors import MosaicError, PixelScaleMismatch
from surveyflow.inputs.mosaics import check_pixel_scale, open_mosaic
from surveyflow.sky.stretch import Stretch
from surveyflow.tasks.card import Architecture, ModelCard, ModelKey
from surveyflow.values.codes import Flag, WeightsOrigin
from surveyflow.values.images import Box, Stated

IMAGES = Path(__file__).parents[3] / "shared" / "data" / "images"
WHOLE = Box(0, 30, 0, 40)


@pytest.fixture
def science(tmp_path):
    return write_image(tmp_path / "science.fits", BUNIT="ELECTRONS/S", FILTER="F814W", EXPTIME=6900.0)


def weights():
    weight = np.full((30, 40), 2.0, dtype=np.float32)
    weight[10, :5] = [0, -1, np.nan, np.inf, -np.inf]
    return weight


def card(scale_arcsec):
    return ModelCard(
        key=ModelKey("merger", "EGS", "F814W"),
        class_names=("post_merger", "star_forming"),
        pixel_scale_arcsec=scale_arcsec,
        band="F814W",
        redshift_range=(0.5, 1.5),
        stretch=Stretch.MINMAX,
        softening=1.0,
        architecture=Architecture(),
        origin=WeightsOrigin.UNTRAINED,
        citation="none",
        weights_digest="0" * 64,
    )


def test_a_window_is_the_part_of_the_box_on_the_mosaic(science):
    with open_mosaic(science) as mosaic:
        window = mosaic.read(Box(20, 99, -7, 12))
    assert mosaic.shape == window.mosaic_shape == (30, 40)
    assert window.box == Box(20, 30, 0, 12)
    np.testing.assert_array_equal(window.pixels, sky_image()[20:, :12])


def test_a_box_off_the_mosaic_gives_an_empty_window(science):
    with open_mosaic(science) as mosaic:
        assert mosaic.read(Box(50, 60, 0, 10)).pixels.shape == (0, 10)


def test_without_a_weight_map_zero_and_non_finite_pixels_hold_no_data(tmp_path):
    image = sky_image()
    image[20, :3] = [np.inf, -np.inf, -0.0]
    with open_mosaic(write_image(tmp_path / "science.fits", image)) as mosaic:
        window = mosaic.read(WHOLE)
    np.testing.assert_array_equal(window.valid, np.isfinite(image) & (image != 0))
    assert window.weight is None


def test_with_a_weight_map_the_weight_decides(tmp_path, science):
    with open_mosaic(science, write_image(tmp_path / "weight.fits", weights())) as mosaic:
        window = mosaic.read(WHOLE)
    expected = np.isfinite(sky_image())
    expected[10, :5] = False
    np.testing.assert_array_equal(window.valid, expected)
    np.testing.assert_array_equal(window.weight, weights())


def test_positions_are_0_based_and_astropys(science):
    with open_mosaic(science) as mosaic:
        x, y = mosaic.to_pixels([150.1, 150.1001], [2.2, 2.2002])
    assert (x[0], y[0]) == pytest.approx((19.5, 14.5), abs=1e-6)
    np.testing.assert_allclose((x, y), WCS(tan_header()).all_world2pix([150.1, 150.1001], [2.2, 2.2002], 0), atol=1e-9)


def test_a_mosaic_describes_itself(tmp_path, science):
    weight = write_image(tmp_path / "weight.fits", weights())
    with open_mosaic(f"{science}[0]", str(weight)) as mosaic:
        assert (mosaic.science, mosaic.weight) == (f"{science}[0]", str(weight))
        assert mosaic.pixel_scale_arcsec == pytest.approx(0.03)
        assert mosaic.unit == "electron/s"
        assert mosaic.release_cards == {"FILTER": "F814W", "EXPTIME": 6900.0}
        assert mosaic.notices == ()
        assert [file.path for file in mosaic.files] == [science, weight]
        status = science.stat()
        assert (mosaic.files[0].size, mosaic.files[0].mtime_ns, mosaic.files[0].inode) == (
            status.st_size,
            status.st_mtime_ns,
            status.st_ino,
        )


@pytest.mark.parametrize(
    "unit", ["electron/s", "ELECTRONS/S", "e-/s", " electron s-1 ", "electrons s^-1", "e- s**-1", "Electrons/sec"]
)
def test_electrons_per_second_are_known_in_every_spelling(tmp_path, unit):
    with open_mosaic(write_image(tmp_path / "science.fits", BUNIT=unit)) as mosaic:
        assert mosaic.unit == "electron/s"


@pytest.mark.parametrize(("unit", "known_as"), [(None, None), ("  ", None), ("MJy/sr", "MJy/sr"), ("electron", "electron")])
def test_other_units_stay_as_they_are(tmp_path, unit, known_as):
    with open_mosaic(write_image(tmp_path / "science.fits", BUNIT=unit)) as mosaic:
        assert mosaic.unit == known_as


def test_both_images_may_be_in_one_file(tmp_path):
    path = tmp_path / "mef.fits"
    primary = fits.PrimaryHDU(header=fits.Header({"TELESCOP": "HST", "FILTER": "F160W"}))
    header = tan_header()
    header["FILTER"] = "F814W"
    hdus = [fits.ImageHDU(sky_image(), header, name="SCI"), fits.ImageHDU(weights(), tan_header(), name="WHT")]
    fits.HDUList([primary, *hdus]).writeto(path)
    with open_mosaic(path, path) as mosaic:
        np.testing.assert_array_equal(mosaic.read(WHOLE).weight, weights())
        assert len(mosaic.files) == 1
        assert mosaic.release_cards["TELESCOP"] == "HST"
        assert mosaic.release_cards["FILTER"] == "F814W"


@pytest.mark.parametrize(
    ("header", "shape", "told"),
    [
        (tan_header(), (30, 41), r"41 x 30 pixels, but .*science\.fits has 40 x 30"),
        (tan_header(crpix=(20.5, 15.61)), (30, 40), r"0\.11 pixels off .*science\.fits"),
        (fits.Header(), (30, 40), "no world coordinates"),
    ],
)
def test_a_weight_map_of_other_pixels_is_refused(tmp_path, science, header, shape, told):
    weight = write_image(tmp_path / "weight.fits", np.ones(shape, dtype=np.float32), header)
    with pytest.raises(MosaicError, match=rf"weight\.fits: .*{told}"):
        open_mosaic(science, weight)


def test_a_weight_map_may_lie_a_tenth_of_a_pixel_off(tmp_path, science):
    weight = write_image(tmp_path / "weight.fits", weights(), tan_header(crpix=(20.5, 15.59)))
    with open_mosaic(science, weight) as mosaic:
        assert mosaic.weight == str(weight)


def test_digests_are_those_of_the_pixels_in_the_box(tmp_path, science, monkeypatch):
    monkeypatch.setattr("surveyflow.inputs.mosaics.ROWS_AT_ONCE", 7)
    box = Box(2, 28, 3, 30)
    expected = hashlib.sha256(np.ascontiguousarray(sky_image()[2:28, 3:30]).astype("<f4").tobytes()).hexdigest()
    with open_mosaic(science) as mosaic:
        assert mosaic.digests(box) == {"science": expected, "weight": "none"}
        assert mosaic.digests(WHOLE) == mosaic.digests(WHOLE.grown(100))
    with open_mosaic(science, write_image(tmp_path / "weight.fits", weights())) as mosaic:
        assert mosaic.digests(box)["science"] == expected
        assert mosaic.digests(box)["weight"] == hashlib.sha256(weights()[2:28, 3:30].tobytes()).hexdigest()


def test_ignored_cards_give_a_notice_that_is_logged(tmp_path, caplog):
    path = write_image(tmp_path / "science.fits", A_ORDER=2, A_2_0=1e-3)
    with caplog.at_level(logging.INFO, logger="surveyflow.inputs.mosaics"), open_mosaic(path) as mosaic:
        assert "A_2_0, A_ORDER" in mosaic.notices[0]
    assert mosaic.notices[0] in caplog.text


def test_opening_reads_no_pixels(tmp_path, science, monkeypatch):
    def forbidden(*_, **__):
        raise AssertionError("pixels were read")

    monkeypatch.setattr("surveyflow.inputs.fits_images._PlainPlane.read", forbidden)
    open_mosaic(science, write_image(tmp_path / "weight.fits", weights())).close()


@pytest.mark.parametrize("scale", [0.03, 0.0303, 0.0298])
def test_pixel_scales_within_1_percent_of_the_models_are_accepted(science, scale):
    with open_mosaic(science) as mosaic:
        check_pixel_scale(mosaic, card(scale))


@pytest.mark.parametrize("scale", [0.06, 0.0304, 0.0296])
def test_other_pixel_scales_are_refused(science, scale):
    with open_mosaic(science) as mosaic, pytest.raises(PixelScaleMismatch) as caught:
        check_pixel_scale(mosaic, card(scale))
    message = str(caught.value)
    assert f"{science} has 0.0300 arcsec/pixel, but model merger/EGS/F814W was trained at {scale:.4f}" in message
    assert str(pickle.loads(pickle.dumps(caught.value))) == message


@pytest.mark.parametrize(
    ("name", "scale_arcsec", "shape"), [("HST-HDFS.fits", 0.0399, (500, 500)), ("cosmos_acs_f814w_a.fits", 0.03, (250, 250))]
)
def test_real_images_are_read(name, scale_arcsec, shape):
    path = IMAGES / name
    if not path.exists():
        pytest.skip("the real images are not at ../shared/data")
    with open_mosaic(path) as mosaic, fits.open(path) as hdus:
        image = next(hdu for hdu in hdus if hdu.shape)
        assert mosaic.shape == shape
        assert mosaic.pixel_scale_arcsec == pytest.approx(scale_arcsec, rel=2e-3)
        np.testing.assert_array_equal(mosaic.read(Box(0, *shape[:1], 0, shape[1])).pixels, image.data)
        ra, dec = mosaic.to_pixels([image.header["CRVAL1"]], [image.header["CRVAL2"]])
        assert (ra[0] + 1, dec[0] + 1) == pytest.approx((image.header["CRPIX1"], image.header["CRPIX2"]))


def star(scale_arcsec, x_pix, y_pix, shape=(90, 110)):
    y, x = np.mgrid[: shape[0], : shape[1]]
    sigma = 0.1 / scale_arcsec
    flux = np.exp(-((x - x_pix) ** 2 + (y - y_pix) ** 2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)
    return (flux + 1e-6).astype(np.float32)


def centroid(window):
    rows, columns = np.indices(window.pixels.shape)
    flux = window.pixels.astype(float)
    return (flux * columns).sum() / flux.sum(), (flux * rows).sum() / flux.sum()


@pytest.mark.parametrize(("scale", "shape"), [(0.02, (60, 74)), (0.045, (135, 165)), (0.0311, (94, 115))])
def test_a_resampled_mosaic_has_the_wanted_pixels_and_the_same_sky(tmp_path, scale, shape):
    header = tan_header(scale, angle_deg=30, crpix=(50.0, 40.0))
    science = write_image(tmp_path / "science.fits", star(scale, 49.0, 39.0), header)
    weight = write_image(tmp_path / "weight.fits", np.full((90, 110), 2.0, np.float32), header)
    with open_mosaic(science, weight) as before, open_mosaic(science, weight, Stated(wanted_scale_arcsec=0.03)) as mosaic:
        assert mosaic.pixel_scale_arcsec == pytest.approx(0.03)
        assert mosaic.resampled_from_arcsec == pytest.approx(scale)
        assert mosaic.shape == shape
        assert mosaic.flags == Flag.RESAMPLED
        assert "resampled from" in mosaic.notices[-1]
        assert mosaic.treatment != before.treatment == ""
        np.testing.assert_allclose(mosaic.corners_deg, before.corners_deg)
        window = mosaic.read(Box(0, *mosaic.shape[:1], 0, mosaic.shape[1]))
        x_pix, y_pix = mosaic.to_pixels([150.1], [2.2])
        np.testing.assert_allclose(centroid(window), (x_pix[0], y_pix[0]), atol=0.3)
        assert window.pixels.sum(dtype=float) == pytest.approx(1.0, abs=0.02)
        part = mosaic.read(Box(5, 40, 7, 50))
        np.testing.assert_array_equal(part.pixels, window.pixels[5:40, 7:50])
        np.testing.assert_array_equal(part.weight, window.weight[5:40, 7:50])
        assert (part.origin_yx, part.mosaic_shape) == ((5, 7), mosaic.shape)
        assert mosaic.read(Box(500, 510, 0, 5)).pixels.shape == (0, 5)
        assert mosaic.digests(Box(5, 40, 7, 50)) != before.digests(Box(5, 40, 7, 50))


def test_a_mosaic_of_the_right_scale_is_not_resampled(science):
    with open_mosaic(science, stated=Stated(wanted_scale_arcsec=0.0301)) as mosaic:
        assert (mosaic.resampled_from_arcsec, mosaic.flags, mosaic.treatment) == (None, Flag(0), "")
        np.testing.assert_array_equal(mosaic.read(WHOLE).pixels, sky_image())


def test_a_mosaic_of_quite_another_scale_is_not_resampled_but_refused(science):
    with pytest.raises(
        PixelScaleMismatch, match=r"0\.0300 arcsec/pixel, and is not resampled to 0\.2000: .* up to 4\. Use another"
    ):
        open_mosaic(science, stated=Stated(wanted_scale_arcsec=0.2))
