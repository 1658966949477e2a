"""The truth about neighbours, against code that shares nothing with surveyflow's."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from astropy.convolution import convolve
from photutils.segmentation import detect_sources, detect_threshold, make_2dgaussian_kernel
from scipy.ndimage import binary_dilation, label

from surveyflow.errors import InputError
from surveyflow.simulation import contamination as module
from surveyflow.simulation.contamination import DISCS, SELF_SIGMA, SKY_SIGMA, contamination
from surveyflow.simulation.headers import DEPTHS, INSTRUMENTS
from surveyflow.simulation.scenes import stamp

ROWS, COLUMNS = np.mgrid[:7, :7]
CENTRED = (ROWS - 3) ** 2 + (COLUMNS - 3) ** 2 <= 9
OFF_CENTRE = (ROWS - 4) ** 2 + (COLUMNS - 4) ** 2 <= 16


def dilated(found, disc):
    return binary_dilation(found, disc)


def scipy_mask(image, threshold, disc):
    smooth = convolve(image, make_2dgaussian_kernel(2.0, size=3), boundary="fill", fill_value=0)
    labels, n_labels = label(smooth > threshold, np.ones((3, 3)))
    large = [number for number in range(1, n_labels + 1) if (labels == number).sum() >= 10]
    return dilated(np.isin(labels, large), disc)


def photutils_mask(image, threshold, disc):
    smooth = convolve(image, make_2dgaussian_kernel(2.0, size=3), boundary="fill", fill_value=0)
    # Nothing over the threshold is worth a warning to photutils.
    found = detect_sources(smooth, threshold, n_pixels=10) if (smooth > threshold).sum() >= 10 else None
    return np.zeros(image.shape, bool) if found is None else dilated(found.data > 0, disc)


def expected(galaxy, neighbours, galaxy_mask, neighbour_mask):
    coverage = 100 * (galaxy_mask & neighbour_mask).sum() / galaxy_mask.sum() if galaxy_mask.any() else math.nan
    n_pix = neighbour_mask.sum()
    return (coverage, neighbours[neighbour_mask].astype(float).sum() / n_pix, n_pix) if n_pix else (coverage, 0.0, 1)


def measured(truth):
    return truth.coverage_pct, truth.flux_pp, truth.n_pix


@pytest.mark.parametrize("instrument", ["F814W", "F125W_F160W"])
@pytest.mark.parametrize("index", range(12))
def test_the_truth_is_that_of_independent_code(instrument, index):
    depth = DEPTHS["COSMOS"][instrument]
    each = stamp(3, index, INSTRUMENTS[instrument], depth)
    got = contamination(each.galaxy, each.neighbours, depth.sky_rms)
    sky = [scipy_mask(image, 2 * depth.sky_rms, CENTRED) for image in (each.galaxy, each.neighbours)]
    own = [photutils_mask(image, detect_threshold(image, 2.0), OFF_CENTRE) for image in (each.galaxy, each.neighbours)]
    assert measured(got[SKY_SIGMA]) == pytest.approx(expected(each.galaxy, each.neighbours, *sky), rel=1e-5, nan_ok=True)
    assert measured(got[SELF_SIGMA]) == pytest.approx(expected(each.galaxy, each.neighbours, *own), rel=1e-5, nan_ok=True)


def test_stamps_of_a_survey_hold_every_case():
    depth = DEPTHS["COSMOS"]["F814W"]
    stamps = [stamp(3, index, INSTRUMENTS["F814W"], depth) for index in range(30)]
    truths = [contamination(each.galaxy, each.neighbours, depth.sky_rms)[SKY_SIGMA] for each in stamps]
    assert any(truth.coverage_pct > 5 for truth in truths)
    assert any(truth.coverage_pct == 0 and truth.flux_pp > 0 for truth in truths)
    assert any(truth.flux_pp == 0 and truth.n_pix == 1 for truth in truths)
    # Nothing fainter than the threshold is found, and widening dilutes what is.
    assert min(truth.flux_pp for truth in truths if truth.flux_pp) > 0.1 * depth.sky_rms


@pytest.mark.parametrize(("truth", "n_pixels", "disc"), [(SKY_SIGMA, 29, CENTRED), (SELF_SIGMA, 37, OFF_CENTRE)])
def test_the_discs_are_those_that_science_knows(truth, n_pixels, disc):
    assert len(DISCS[truth]) == n_pixels
    mask = np.zeros((40, 30), bool)
    mask[[0, 20, 39, 11], [0, 15, 29, 3]] = True
    np.testing.assert_array_equal(module._widened(mask, DISCS[truth]), binary_dilation(mask, disc))


def square(side, value=1.0, size=64, at=20):
    image = np.zeros((size, size), np.float32)
    image[at : at + side, at : at + side] = value
    return image


def test_an_empty_galaxy_has_no_coverage_and_does_not_divide_by_zero():
    truths = contamination(np.zeros((64, 64), np.float32), square(8), 0.01)
    assert math.isnan(truths[SKY_SIGMA].coverage_pct)
    assert math.isnan(truths[SELF_SIGMA].coverage_pct)
    assert truths[SKY_SIGMA].flux_pp > 0


def test_a_sky_without_neighbours_is_clean():
    for truth in contamination(square(8), np.zeros((64, 64), np.float32), 0.01).values():
        assert measured(truth) == (0.0, 0.0, 1)


def test_a_neighbour_of_nine_pixels_is_none():
    # Smoothing spreads a square of 1 x 1 to 3 x 3 pixels: nine.
    assert contamination(square(8), square(1, at=40), 0.001)[SKY_SIGMA].n_pix == 1
    assert contamination(square(8), square(2, at=40), 0.001)[SKY_SIGMA].n_pix > 29


def test_a_galaxy_under_its_own_twin_is_covered_whole():
    for truth in contamination(square(9), square(9), 0.01).values():
        assert truth.coverage_pct == 100


def test_the_sky_decides_in_one_variant_and_the_image_in_the_other():
    deep, shallow = (contamination(square(9, 0.5), square(9, 0.5, at=30), rms) for rms in (0.001, 10.0))
    assert deep[SKY_SIGMA].n_pix > 1
    assert shallow[SKY_SIGMA].n_pix == 1
    assert deep[SELF_SIGMA] == shallow[SELF_SIGMA]


@pytest.mark.parametrize("sky_rms", [0.0, -1.0, math.nan])
def test_a_sky_without_noise_is_refused(sky_rms):
    with pytest.raises(ValueError, match="positive rms"):
        contamination(square(8), square(8), sky_rms)


def test_images_of_two_shapes_are_refused():
    with pytest.raises(ValueError, match=r"the same shape"):
        contamination(square(8), square(8, size=65), 1.0)


def test_without_photutils_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "photutils", None)
    with pytest.raises(InputError, match=r"surveyflow-mergers\[train\]"):
        contamination(square(8), square(8), 0.01)
