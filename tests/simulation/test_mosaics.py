"""Images as a release has them."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from surveyflow.simulation.headers import FIELDS, INSTRUMENTS, LAYOUTS, mosaic_wcs
from surveyflow.simulation.mosaics import observe_mosaic
from surveyflow.simulation.observe import F814W, blur
from surveyflow.simulation.scenes import SkyObject, draw_target, paint
from surveyflow.simulation.sources import FieldSources

MOSAICS = list(LAYOUTS)


def image_of(path):
    with fits.open(path) as hdus:
        hdu = next(hdu for hdu in hdus if hdu.data is not None)
        return hdu.data.copy(), hdu.header, hdu.name


def blocks(image, size=25):
    """The image in squares: (rows, size, columns, size)."""
    rows, columns = image.shape[0] // size, image.shape[1] // size
    return image[: rows * size, : columns * size].reshape(rows, size, columns, size)


def distance_to_barycentre(science, y_pix, x_pix, reach_pix) -> float:
    """From a place to the barycentre of the light around it, which the noise and faint neighbours hardly move."""
    row, column = round(y_pix), round(x_pix)
    top, left = max(row - reach_pix, 0), max(column - reach_pix, 0)
    around = np.nan_to_num(science[top : row + reach_pix + 1, left : column + reach_pix + 1]).astype(float)
    light = np.maximum(around - 0.1 * around.max(), 0)
    y, x = np.mgrid[: around.shape[0], : around.shape[1]]
    return float(np.hypot((light * y).sum() / light.sum() + top - y_pix, (light * x).sum() / light.sum() + left - x_pix))


@pytest.mark.parametrize(("field", "instrument"), MOSAICS)
def test_the_zero_weight_trap_is_a_hole_of_one_pixel_in_a_covered_image(survey_folder, field, instrument):
    hole, column = (
        survey_folder.truth.query("field == @field and trap == 'zero_weight_centre'").iloc[0],
        instrument.lower().removeprefix("f125w_"),
    )
    row, column = round(hole[f"y_{column}"]), round(hole[f"x_{column}"])
    weight = image_of(survey_folder.weight(field, instrument))[0][row - 1 : row + 2, column - 1 : column + 2]
    science = image_of(survey_folder.science(field, instrument))[0]
    assert weight[1, 1] == 0
    assert np.count_nonzero(weight) == 8
    assert science[row, column] != 0


@pytest.mark.parametrize(("field", "instrument"), MOSAICS)
def test_mosaics_are_big_endian_float32_in_the_place_their_layout_says(survey_folder, field, instrument):
    science, _, name = image_of(survey_folder.science(field, instrument))
    weight, _, _ = image_of(survey_folder.weight(field, instrument))
    assert science.dtype == weight.dtype == np.dtype(">f4")
    assert science.shape == weight.shape == survey_folder.spec.shape(instrument)
    assert name == (LAYOUTS[field, instrument].extension or "PRIMARY")


@pytest.mark.parametrize(("field", "instrument"), MOSAICS)
def test_nothing_is_measured_outside_an_irregular_footprint(survey_folder, field, instrument):
    science, _, _ = image_of(survey_folder.science(field, instrument))
    weight, _, _ = image_of(survey_folder.weight(field, instrument))
    layout, empty = LAYOUTS[field, instrument], weight == 0
    assert 0.05 < empty.mean() < 0.4
    assert np.count_nonzero(empty & (science != 0) & np.isfinite(science)) == 1, "only the zero-weight trap"
    outside = science[empty & ~((science != 0) & np.isfinite(science))]
    np.testing.assert_array_equal(outside, np.float32(layout.outside))
    assert np.all(science[~empty] != 0)


def test_the_two_cameras_have_different_footprints(survey_folder):
    acs, wfc3 = (image_of(survey_folder.weight("COSMOS", instrument))[0] > 0 for instrument in INSTRUMENTS)
    acs_half = acs[::2, ::2]
    assert (acs_half & ~wfc3).mean() > 0.03
    assert (wfc3 & ~acs_half).mean() > 0.03


@pytest.mark.parametrize(("field", "instrument"), MOSAICS)
def test_sky_rms_and_weight_are_those_of_the_field(survey_folder, field, instrument):
    science, _, _ = image_of(survey_folder.science(field, instrument))
    weight, _, _ = image_of(survey_folder.weight(field, instrument))
    sky_rms = FIELDS[field].depths[instrument].sky_rms
    covered, rms = blocks(weight > 0).all(axis=(1, 3)), blocks(science).std(axis=(1, 3))
    # The quietest blocks hold no source.
    assert np.percentile(rms[covered], 4) == pytest.approx(sky_rms, rel=0.08)
    assert np.max(weight) == pytest.approx(sky_rms**-2, rel=1e-5)


@pytest.mark.parametrize(("field", "instrument"), [each for each in MOSAICS if not LAYOUTS[each].stale_distortion])
def test_the_files_own_header_gives_the_same_positions(survey_folder, field, instrument):
    header = image_of(survey_folder.science(field, instrument))[1]
    pixels = np.array([0.0, 211.0, 333.3]), np.array([5.0, 50.0, 399.9])
    found, true = (np.array(wcs.all_pix2world(*pixels, 0)) for wcs in (WCS(header), mosaic_wcs(field, instrument)))
    np.testing.assert_allclose(found, true, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("field", "instrument"), MOSAICS)
def test_bright_sources_shine_where_the_truth_says(survey_folder, field, instrument):
    science, _, _ = image_of(survey_folder.science(field, instrument))
    band = INSTRUMENTS[instrument].name.lower()
    truth = survey_folder.truth[(survey_folder.truth.field == field) & (survey_folder.truth[f"mag_{band}"] < 23)]
    ordinary = truth[truth.trap == ""]
    reach_pix = round(0.5 / INSTRUMENTS[instrument].pixel_scale_arcsec)
    distances = [distance_to_barycentre(science, row[f"y_{band}"], row[f"x_{band}"], reach_pix) for _, row in ordinary.iterrows()]
    assert len(distances) >= 4
    # Neighbours pull at some.
    assert np.mean(np.array(distances) <= 3) > 0.6


def test_bright_pixels_carry_photon_noise():
    galaxy = draw_target(np.random.default_rng(1), "star_forming", (6.0, 6.0), F814W)
    bright = SkyObject(galaxy.galaxy, 6.0, 6.0, {"F814W": 17.0})
    nothing, something = FieldSources((), ()), FieldSources((), (bright,))
    empty, full = (observe_mosaic(3, "EGS", "F814W", sources, (400, 400)) for sources in (nothing, something))
    sky = blur(paint([bright], F814W, (400, 400)), F814W)
    # The same seed has the same sky noise, so that what is left is the photons' own.
    photons = (full - empty - sky)[sky > 0.1]
    expected = np.sqrt(sky[sky > 0.1] / FIELDS["EGS"].depths["F814W"].exposure_s)
    assert np.std(photons / expected) == pytest.approx(1, abs=0.1)
