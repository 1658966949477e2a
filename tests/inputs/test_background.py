"""Patches of real sky, from a real mosaic's files."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from surveyflow.errors import MosaicError
from surveyflow.inputs.background import BackgroundTable, describe_background, draw_patch, open_background
from surveyflow.simulate.observe import F160W, F814W


@pytest.fixture
def table(survey_folder):
    return BackgroundTable(science=survey_folder.science("COSMOS", "F814W"), weight=survey_folder.weight("COSMOS", "F814W"))


def all_orientations(image):
    return [turned for flip in (image, image[:, ::-1]) for turned in (np.rot90(flip, k) for k in range(4))]


def test_a_patch_is_a_whole_piece_of_the_mosaic(table):
    pixels, weight = fits.getdata(table.science), fits.getdata(table.weight)
    with open_background(table, F814W) as mosaic:
        patches = [draw_patch(mosaic, np.random.default_rng(seed), 96, 6900.0) for seed in range(6)]
    for patch in patches:
        corners = {tuple(np.argwhere(pixels == turned[0, 0])[0]) for turned in all_orientations(patch.pixels)}
        cut = [(y, x) for y, x in corners if pixels[y : y + 96, x : x + 96].shape == (96, 96)]
        found = [(y, x) for y, x in cut if any(np.array_equal(pixels[y : y + 96, x : x + 96], t) for t in turned_of(patch))]
        assert len(found) == 1
        y, x = found[0]
        assert (weight[y : y + 96, x : x + 96] > 0).all()
        assert patch.depth.sky_rms == pytest.approx(0.000721, rel=0.25)
        assert patch.depth.exposure_s == 6900


def turned_of(patch):
    return all_orientations(patch.pixels)


def test_a_patch_depends_on_its_random_numbers_alone(table):
    with open_background(table, F814W) as mosaic:
        first, again, other = (draw_patch(mosaic, np.random.default_rng(seed), 64, 1.0).pixels for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_what_tells_mosaics_apart_is_not_where_they_lie(table):
    with open_background(table, F814W) as mosaic:
        described = describe_background(mosaic)
    assert [name for name, _ in described["files"]] == ["cosmos_f814w_sci.fits", "cosmos_f814w_wht.fits"]
    assert described["cards"]["FILTER"] == "F814W"


def test_a_mosaic_of_other_pixels_is_refused(table):
    with pytest.raises(MosaicError, match=r"0\.0300 arcsec/pixel, but F160W is simulated at 0\.0600"):
        open_background(table, F160W)


def test_a_mosaic_of_another_unit_is_refused(mini_survey, table):
    path = mini_survey.science("COSMOS", "F814W")
    fits.setval(path, "BUNIT", value="COUNTS/S")
    with pytest.raises(MosaicError, match=r"the unit COUNTS/S, expected electron/s"):
        open_background(BackgroundTable(science=path), F814W)


def test_a_mosaic_that_is_too_small_is_refused(table):
    with open_background(table, F814W) as mosaic, pytest.raises(MosaicError, match="too few for a patch of 5000"):
        draw_patch(mosaic, np.random.default_rng(1), 5000, 1.0)


def test_a_mosaic_without_room_for_a_patch_is_refused(mini_survey):
    science, weight = mini_survey.science("COSMOS", "F814W"), mini_survey.weight("COSMOS", "F814W")
    with fits.open(weight, mode="update") as hdus:
        hdus[0].data[::50] = 0
    with (
        open_background(BackgroundTable(science=science, weight=weight), F814W) as mosaic,
        pytest.raises(MosaicError, match="held no patch of 128 pixels without holes"),
    ):
        draw_patch(mosaic, np.random.default_rng(1), 128, 1.0)
