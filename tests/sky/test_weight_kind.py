"""What a weight map holds, on noise like that of drizzled images."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import convolve

from surveyflow.sky.measurements import sky_rms
from surveyflow.sky.weight_kind import check_weights, independent_variance
from surveyflow.values.codes import WeightKind

SIZE = 128
DEEP = np.full(24, 1.0)
VARYING = np.geomspace(0.3, 3, 24)
DRIZZLE = {
    "independent": np.ones((1, 1)),
    "drizzled": np.outer([0.25, 1, 0.25], [0.25, 1, 0.25]),
    "drizzled finely": np.outer([0.3, 1, 1, 0.3], [0.3, 1, 1, 0.3]),
}


def noise(rms, kernel="drizzled", seed=0):
    """Boxes of noise with these standard deviations of independent pixels, (n, 128, 128), with a few galaxies in each."""
    rng = np.random.default_rng(seed)
    weights = DRIZZLE[kernel] / DRIZZLE[kernel].sum()
    images = np.stack([convolve(rng.normal(0, each, (SIZE, SIZE)), weights, mode="wrap") for each in rms])
    y, x = np.mgrid[:SIZE, :SIZE]
    for number, each in enumerate(rms):
        for x_pix, y_pix, radius in zip(*rng.uniform(0, SIZE, (2, 4)), rng.uniform(3, 8, 4), strict=True):
            images[number] += 20 * each * np.exp(-np.hypot(x - x_pix, y - y_pix) / radius)
    return images.astype(np.float32)


def judged(rms, weights, kernel="drizzled", seed=0):
    images = noise(rms, kernel, seed)
    return check_weights(images, np.ones(images.shape, bool), weights.astype(np.float32))


@pytest.mark.parametrize("kernel", DRIZZLE)
def test_blocks_see_the_noise_that_drizzling_hides_from_pixels(kernel):
    images = noise(7e-4 * DEEP, kernel)
    valid = np.ones(images.shape, bool)
    found = np.sqrt(np.median(independent_variance(images, valid)))
    assert found == pytest.approx(7e-4, rel=0.3)
    if kernel == "drizzled finely":
        assert np.median(sky_rms(images, valid)) < 0.5 * 7e-4


@pytest.mark.parametrize("kernel", DRIZZLE)
@pytest.mark.parametrize("depth", [DEEP, VARYING], ids=["even", "varying"])
@pytest.mark.parametrize("scale", [7e-4, 2.6e-3, 0.9, 30.0])
def test_an_inverse_variance_is_recognised(kernel, depth, scale):
    rms = scale / np.sqrt(depth)
    found = judged(rms, rms**-2, kernel)
    assert found.kind is WeightKind.INVERSE_VARIANCE
    assert 0.4 < found.times_variance < 1.6
    assert found.n_boxes == 24


@pytest.mark.parametrize("kernel", DRIZZLE)
@pytest.mark.parametrize("depth", [DEEP, VARYING], ids=["even", "varying"])
@pytest.mark.parametrize(("scale", "exposure_s"), [(7.2e-4, 6900.0), (2.65e-3, 3200.0), (2.37e-3, 2800.0)])
def test_the_other_maps_of_candels_like_images_are_told_apart(kernel, depth, scale, exposure_s):
    rms = scale / np.sqrt(depth)
    assert judged(rms, exposure_s * depth, kernel).kind is WeightKind.EXPOSURE
    assert judged(rms, rms, kernel).kind is WeightKind.RMS
    assert judged(rms, rms**2, kernel).kind is WeightKind.VARIANCE


@pytest.mark.parametrize("kernel", DRIZZLE)
def test_weights_of_the_pixels_as_they_are_count_as_inverse_variances_too(kernel):
    images = noise(7e-4 * DEEP, kernel)
    valid = np.ones(images.shape, bool)
    of_pixels = sky_rms(images, valid) ** -2
    assert check_weights(images, valid, of_pixels).kind is WeightKind.INVERSE_VARIANCE
    assert check_weights(images, valid, of_pixels).times_pixel_variance == pytest.approx(1, rel=0.05)


def test_where_the_noise_is_near_1_the_slope_tells():
    rms = 1.1 / np.sqrt(VARYING)
    assert judged(rms, rms**-2).kind is WeightKind.INVERSE_VARIANCE
    assert judged(rms, rms).kind in {WeightKind.RMS, WeightKind.VARIANCE}


def test_of_several_kinds_that_fit_the_stated_one_counts():
    images = noise(1.1 * np.ones(24))
    for stated in (WeightKind.RMS, WeightKind.VARIANCE, WeightKind.INVERSE_VARIANCE):
        check = check_weights(images, np.ones(images.shape, bool), np.full(24, 1.1, np.float32), stated)
        assert (check.kind, check.contradiction, check.caution) == (stated, None, "")


def test_weights_that_grow_with_the_noise_but_fit_nothing_are_nothing_known():
    rms = 1e-3 / np.sqrt(VARYING)
    assert judged(rms, 1e4 * rms).kind is None


def test_too_few_boxes_with_noise_and_weight_give_no_verdict():
    images = noise(7e-4 * np.ones(8))
    valid = np.ones(images.shape, bool)
    weights = np.full(8, 2e6, np.float32)
    valid[:4] = False
    assert check_weights(images, valid, weights) is None
    assert check_weights(images, valid | True, np.full(8, np.nan, np.float32)) is None
    assert check_weights(np.zeros_like(images), np.ones(images.shape, bool), weights) is None
    assert check_weights(images[:0], valid[:0], weights[:0]) is None
