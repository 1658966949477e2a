"""A network that nobody trained still gives different galaxies different outputs."""

from __future__ import annotations

import numpy as np
import pytest

from networks import SMALL, card, reference_features
from surveyflow.models.engines.head import Head
from surveyflow.models.untrained import untrained_weights
from surveyflow.models.weights import check_weights
from surveyflow.tasks.card import Architecture

ARCHITECTURES = [SMALL, Architecture(40, (3, 4), (3, 5), dense=(6,), n_outputs=1), Architecture(64, (6, 8, 8), (7, 5, 3))]


def galaxies(n, size):
    """Blobs of different sizes and offsets, unlike the stamps that the weights were calibrated on."""
    y, x = np.mgrid[:size, :size] - size / 2
    images = np.stack([np.exp(-((x - i % 3) ** 2 + (1 + i / n) * y**2) / (2 * (2 + i) ** 2)) for i in range(n)])
    return images + np.random.default_rng(0).normal(scale=0.02, size=images.shape)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("seed", [0, 1, 20220523])
def test_outputs_are_spread_and_not_saturated(architecture, seed):
    weights = untrained_weights(architecture, seed)
    check_weights(weights, architecture, "untrained")
    images = galaxies(8, architecture.input_size)
    features = np.array([reference_features(image, weights, architecture) for image in images], np.float32)
    draws = Head.of(card(architecture), weights).draw(features, np.arange(8, dtype=np.uint64), 200, seed=0)
    assert 0.05 < draws.mean() < 0.95
    assert draws.std(axis=1).min() > 0.01
    assert np.ptp(draws.mean(axis=1), axis=0).min() > 0.02
    assert np.mean((draws < 0.01) | (draws > 0.99)) < 0.3


def test_the_seed_decides():
    one, again, other = (untrained_weights(SMALL, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(one[role], again[role]) for role in one)
    assert not np.array_equal(one["conv.0.kernel"], other["conv.0.kernel"])
