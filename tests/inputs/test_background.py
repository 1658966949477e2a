"""Patches of real sky, from a real mosaic's files."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from mosaic_files import write_image
from surveyflow.errors import MosaicError
from surveyflow.inputs.background import describe_background, draw_patch, open_background
from surveyflow.settings.simulation import BackgroundTable
from surveyflow.simulation.observe import F160W, F814W, sky_noise


@pytest.fixture
def table(tmp_path):
    """A mosaic with holes: a strip without weight, and one of zeros in the weight map's corner."""
    rng = np.random.default_rng(1)
    weight = np.full((400, 500), 9.0, np.float32)
    weight[:, 200:230] = 0
    weight[:60, :60] = 0
    science = write_image(tmp_path / "sci.fits", sky_noise(rng, (400, 500), 0.0007), BUNIT="ELECTRONS/S", FILTER="F814W")
    return BackgroundTable(science=science, weight=write_image(tmp_path / "wht.fits", weight))


def all_orientations(image):
    return [turned for flip in (image, image[:, ::-1]) for turned in (np.rot90(flip, k) for k in range(4))]


def test_a_patch_is_a_complete_piece_of_the_mosaic(table):
    pixels, weight = fits.getdata(table.science), fits.getdata(table.weight)
    with open_background(table, F814W) as mosaic:
        patches = [draw_patch(mosaic, np.random.default_rng(seed), 96, 6900.0) for seed in range(12)]
    for patch in patches:
        assert sum(is_whole_piece(turned, pixels, weight) for turned in all_orientations(patch.pixels)) == 1
        assert patch.depth.sky_rms == pytest.approx(0.0007, rel=0.25)
        assert patch.depth.exposure_s == 6900


def is_whole_piece(patch, pixels, weight):
    """Whether a patch lies somewhere in an image, as it is, where all weights are positive."""
    y, x = np.argwhere(pixels == patch[0, 0])[0]
    piece = slice(y, y + len(patch)), slice(x, x + len(patch))
    return np.array_equal(pixels[piece], patch) and bool((weight[piece] > 0).all())


def test_a_patch_depends_only_on_its_random_numbers(table):
    with open_background(table, F814W) as mosaic:
        first, again, other = (draw_patch(mosaic, np.random.default_rng(seed), 64, 1.0).pixels for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_mosaics_are_distinguished_by_content_not_by_folder(table):
    with open_background(table, F814W) as mosaic:
        described = describe_background(mosaic)
    assert [name for name, _ in described["files"]] == ["sci.fits", "wht.fits"]
    assert described["cards"]["FILTER"] == "F814W"


def test_a_mosaic_of_another_pixel_scale_is_refused(table):
    with pytest.raises(MosaicError, match=r"0\.0300 arcsec/pixel, but F160W is simulated at 0\.0600"):
        open_background(table, F160W)


def test_a_mosaic_of_another_unit_is_refused(table):
    fits.setval(table.science, "BUNIT", value="COUNTS/S")
    with pytest.raises(MosaicError, match=r"the unit COUNTS/S, expected electron/s"):
        open_background(table, F814W)


def test_a_mosaic_that_is_too_small_is_refused(table):
    with open_background(table, F814W) as mosaic, pytest.raises(MosaicError, match="too few for a patch of 5000"):
        draw_patch(mosaic, np.random.default_rng(1), 5000, 1.0)


def test_a_mosaic_without_room_for_a_patch_is_refused(table):
    with open_background(table, F814W) as mosaic, pytest.raises(MosaicError, match="no patch of 300 pixels without holes"):
        draw_patch(mosaic, np.random.default_rng(1), 300, 1.0)
