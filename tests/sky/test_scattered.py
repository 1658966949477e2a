"""Cutouts around positions scattered over a mosaic, read window by window."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.nddata import Cutout2D

from fake_mosaics import ArrayMosaic
from surveyflow.sky import scattered
from surveyflow.sky.scattered import cut_from_mosaic

SHAPE = (300, 260)


@pytest.fixture
def mosaic(monkeypatch):
    monkeypatch.setattr(scattered, "CORE_SIZE", 100)
    return ArrayMosaic(np.random.default_rng(0).normal(size=SHAPE).astype(np.float32))


@pytest.mark.parametrize("size", [32, 33])
def test_cutouts_equal_astropys_wherever_they_lie(mosaic, size):
    rng = np.random.default_rng(1)
    x_pix, y_pix = rng.uniform(-10, SHAPE[1] + 10, 60), rng.uniform(-10, SHAPE[0] + 10, 60)
    stack = cut_from_mosaic(mosaic, x_pix, y_pix, size)
    for number in range(60):
        expected = Cutout2D(mosaic.pixels, (x_pix[number], y_pix[number]), size, mode="partial", fill_value=0).data
        assert np.array_equal(stack.pixels[number], expected)


def test_positions_far_off_the_image_or_nowhere_give_empty_cutouts(mosaic):
    stack = cut_from_mosaic(mosaic, np.array([1e5, np.nan, 50.0]), np.array([10.0, 10.0, np.inf]), 32)
    assert not stack.pixels.any()
    assert not stack.valid.any()
    assert not stack.centre_valid.any()
    assert stack.beyond_edge.all()


def test_neighbours_share_a_window_and_no_window_is_large(mosaic):
    rng = np.random.default_rng(2)
    cut_from_mosaic(mosaic, rng.uniform(0, SHAPE[1] - 1, 200), rng.uniform(0, SHAPE[0] - 1, 200), 32)
    assert len(mosaic.read_boxes) == 9
    assert max(max(box.shape) for box in mosaic.read_boxes) <= 100 + 32


def test_no_positions_give_no_cutouts(mosaic):
    assert len(cut_from_mosaic(mosaic, np.empty(0), np.empty(0), 32)) == 0
