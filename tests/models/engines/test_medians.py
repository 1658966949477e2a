"""The native core's medians of weights, against NumPy's."""

from __future__ import annotations

import numpy as np
import pytest

from surveyflow.models.engines.native_library import absence, positive_medians
from surveyflow.sky.tiling import stacked
from surveyflow.values.images import Stamps

needs_core = pytest.mark.skipif(absence() is not None, reason=f"the native core cannot be used: {absence()}")
KINDS = {
    "varied": lambda rng, shape: rng.uniform(1, 2, shape),
    "of few values": lambda rng, shape: rng.integers(0, 3, shape),
    "of all sizes": lambda rng, shape: rng.lognormal(0, 20, shape),
    "denormal": lambda rng, shape: rng.uniform(0, 1e-40, shape),
    "with holes": lambda rng, shape: rng.uniform(1, 2, shape) * (rng.random(shape) < 0.3),
    "zero": lambda _, shape: np.zeros(shape),
}


@needs_core
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (3, 3), (37, 61), (128, 128)])
def test_medians_equal_those_of_sorted_weights(kind, shape):
    images = KINDS[kind](np.random.default_rng(len(kind)), (7, *shape)).clip(0, 1e38).astype(np.float32)
    before = images.copy()
    expected = [np.median(image[image > 0].astype(np.float64)) if image.any() else np.nan for image in images]
    np.testing.assert_array_equal(positive_medians()(images), np.array(expected, np.float32))
    np.testing.assert_array_equal(images, before)


@needs_core
def test_stacks_are_the_same_with_the_core_and_without():
    rng, places = np.random.default_rng(2), np.arange(0, 90, 9)

    def stamps():
        pixels = np.random.default_rng(3).normal(size=(10, 16, 16)).astype(np.float32)
        weight = np.random.default_rng(4).uniform(-0.1, 1, pixels.shape).astype(np.float32)
        return Stamps(pixels, (weight > 0) & (np.arange(10) % 2 == 0)[:, None, None], weight, places, places)

    x = places + rng.uniform(7.5, 8.5, 10)
    found = [stacked(stamps(), x, x, (100, 100), medians) for medians in (positive_medians(), None)]
    np.testing.assert_array_equal(*(stack.weight_median for stack in found))
    assert np.isnan(found[0].weight_median).sum() == 5


@needs_core
def test_pixels_that_are_not_positive_are_left_out_whatever_they_are():
    images = np.array([[[-0.0, 1.0, -2.0, 3.0]], [[-0.0, -1.0, -np.inf, 0.0]], [[-3e38, 2.0, 0.0, np.inf]]], np.float32)
    np.testing.assert_array_equal(positive_medians()(images), np.array([2.0, np.nan, np.inf], np.float32))


@needs_core
def test_no_images_have_no_medians():
    assert positive_medians()(np.ones((0, 4, 4), np.float32)).shape == (0,)
