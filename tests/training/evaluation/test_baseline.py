"""Trees on annulus statistics."""

from __future__ import annotations

import numpy as np
import pytest

from labelled_stamps import labelled
from surveyflow.stats.ranking import area_under_roc
from surveyflow.training.evaluation.baseline import STATISTICS, TreeClassifier, TreeRegressor, annulus_features


def features(stamps):
    return annulus_features(stamps.pixels, stamps.valid)


def slow_statistics(image, inner, outer):
    """Mean and maximum of the smoothed light between two radii, pixel by pixel."""
    size = len(image)
    padded = np.pad(image.astype(np.float64), 1, mode="symmetric")
    light = [
        padded[y : y + 3, x : x + 3].mean()
        for y in range(size)
        for x in range(size)
        if inner <= np.hypot(y - size // 2, x - size // 2) < outer
    ]
    return np.arcsinh(np.mean(light)), np.arcsinh(np.max(light))


def test_a_stamp_of_128_pixels_has_105_statistics():
    pixels = np.random.default_rng(0).normal(size=(3, 128, 128)).astype(np.float32)
    found = annulus_features(pixels, np.ones(pixels.shape, bool))
    assert found.shape == (3, 105)
    assert found.dtype == np.float32


def test_rings_are_those_of_a_count_pixel_by_pixel():
    stamps = labelled(2)
    found = features(stamps).reshape(2, -1, STATISTICS)
    rms = np.median([np.std(stamps.pixels[0][:8])])
    scaled = stamps.pixels[0] / rms
    mean, largest = slow_statistics(scaled, 4, 6)
    assert found[0, 2, 1] == pytest.approx(mean, rel=0.1)  # the sky's rms is only estimated
    assert found[0, 2, 2] == pytest.approx(largest, rel=0.1)


def test_a_round_galaxy_leaves_no_residual_and_a_second_nucleus_does():
    y, x = np.mgrid[:65, :65] - 32
    sky = np.random.default_rng(1).normal(scale=1e-3, size=(65, 65))
    disc = np.exp(-np.hypot(y, x) / 4)
    images = np.stack([disc, disc + np.exp(-np.hypot(y, x - 8))]).astype(np.float32) + (sky + sky[::-1, ::-1]).astype(np.float32)
    residual = annulus_features(images, np.ones(images.shape, bool)).reshape(2, -1, STATISTICS)[:, 3, 6]
    assert residual[0] < 0.01 < residual[1]


def test_statistics_do_not_depend_on_unit_or_batch():
    stamps = labelled(600)
    found = features(stamps)
    np.testing.assert_allclose(annulus_features(stamps.pixels[590:] * 1000, stamps.valid[590:]), found[590:], atol=1e-3)


def test_an_empty_stamp_has_no_statistics():
    pixels = np.zeros((2, 48, 48), np.float32)
    assert not annulus_features(pixels, pixels != 0).any()
    assert annulus_features(pixels[:0], pixels[:0] != 0).shape[0] == 0


def test_trees_learn_what_the_rings_show():
    train, test = labelled(600, seed=1, hardness=0), labelled(200, seed=2, hardness=0)
    trees = TreeClassifier.fitted(features(train), train.is_post_merger, seed=3)
    assert area_under_roc(trees.probability(features(test)), test.is_post_merger) > 0.95
    somewhere = train.flux_pp > 0
    regressor = TreeRegressor.fitted(features(train)[somewhere], np.log(train.flux_pp[somewhere]), seed=3)
    has_one = test.flux_pp > 0
    assert np.corrcoef(regressor.estimate(features(test)[has_one]), np.log(test.flux_pp[has_one]))[0, 1] > 0.7


def test_one_class_alone_is_a_constant():
    found = features(labelled(10))
    assert TreeClassifier.fitted(found, np.ones(10, bool), seed=0).probability(found).tolist() == [1.0] * 10
    assert TreeClassifier.fitted(found[:0], np.ones(0, bool), seed=0).probability(found).tolist() == [0.0] * 10
    assert TreeRegressor.fitted(found[:1], np.array([2.5]), seed=0).estimate(found).tolist() == [2.5] * 10
