"""The first batch normalisation betrays how the training images were stretched."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import correlate

from networks import random_weights
from surveyflow.models.normalisation import stretch_evidence
from surveyflow.sky.stretch import Stretch, prepare
from surveyflow.values.images import CutoutStack

SOFTENINGS = (1.0, 1e-2, 1e-3)


def galaxies(n, seed, size=40):
    """Exponential discs of CANDELS-like brightness in sky noise; a corner of each holds no data."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] - size / 2
    pixels = rng.normal(scale=2e-3, size=(n, size, size)).astype(np.float32)
    for i in range(n):
        radius = np.hypot(x, y / rng.uniform(0.3, 1))
        pixels[i] += 10 ** rng.uniform(-2, 0.5) * np.exp(-radius / rng.uniform(1, 5))
    valid = np.ones(pixels.shape, bool)
    valid[:, :6, :4] = False
    return CutoutStack(pixels, valid, np.full(n, np.nan, np.float32), np.ones(n, bool), np.zeros(n, bool))


def trained(stretch, softening):
    """Weights whose first normalisation has seen images of this preparation."""
    weights, stamps = random_weights(), galaxies(60, seed=1)
    images = prepare(stamps.pixels, stamps.valid, stretch, softening)
    for channel in range(4):
        kernel, bias = weights["conv.0.kernel"][:, :, 0, channel], weights["conv.0.bias"][channel]
        active = np.maximum([correlate(image, kernel, mode="valid") + bias for image in images], 0)
        weights["bn.0.mean"][channel], weights["bn.0.variance"][channel] = active.mean(), active.var()
    return weights


@pytest.mark.parametrize(
    ("stretch", "softening"),
    [
        (Stretch.ASINH_MINMAX, 1e-3),
        (Stretch.LINEAR, 1.0),
        (Stretch.LINEAR, 1e-3),
        (Stretch.LOG_MINMAX, 1.0),
        (Stretch.LOG_MINMAX, 1e-3),
    ],
)
def test_the_preparation_of_the_training_is_recognised(stretch, softening):
    verdict = stretch_evidence(trained(stretch, softening), galaxies(40, seed=2), SOFTENINGS)
    assert verdict.clear
    assert (verdict.best.stretch, verdict.best.softening) == (stretch, softening)
    assert verdict.candidates == (verdict.best,)
    assert str(verdict).startswith(f"The network was trained on images prepared with {stretch.value}, softening {softening:g} (")


def test_preparations_that_are_all_but_the_same_are_not_told_apart():
    verdict = stretch_evidence(trained(Stretch.MINMAX, 1.0), galaxies(40, seed=2), SOFTENINGS)
    assert not verdict.clear
    assert {one.stretch for one in verdict.candidates} >= {Stretch.MINMAX, Stretch.ASINH_MINMAX}
    assert str(verdict).startswith("These agree about equally well: ")


def test_images_that_no_preparation_explains_are_reported():
    weights = trained(Stretch.MINMAX, 1.0)
    weights["bn.0.mean"] += 10
    verdict = stretch_evidence(weights, galaxies(20, seed=2), SOFTENINGS)
    assert not verdict.clear
    assert verdict.candidates == ()
    assert str(verdict).startswith("No preparation agrees")


def test_the_table_holds_every_trial_best_first():
    evidence = stretch_evidence(trained(Stretch.LINEAR, 1.0), galaxies(5, seed=2), SOFTENINGS).evidence
    trials = {(one.stretch, one.softening) for one in evidence}
    assert len(evidence) == len(trials) == len(SOFTENINGS) * sum(stretch.softened for stretch in Stretch) + 1
    assert [softening for stretch, softening in trials if stretch is Stretch.MINMAX] == [1.0]
    assert [one.distance for one in evidence] == sorted(one.distance for one in evidence)


def test_perfect_agreement_is_distance_zero():
    best = stretch_evidence(trained(Stretch.LINEAR, 1.0), galaxies(60, seed=1)).best
    assert best.stretch is Stretch.LINEAR
    assert best.distance < 1e-4


@pytest.mark.parametrize(("n", "softenings"), [(0, (1.0,)), (3, ())])
def test_nothing_to_compare_is_refused(n, softenings):
    with pytest.raises(ValueError, match="at least one cutout and one softening"):
        stretch_evidence(random_weights(), galaxies(n, seed=2), softenings)
