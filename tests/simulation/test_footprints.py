"""Footprints are what their exposures cover."""

from __future__ import annotations

import numpy as np
import pytest

from surveyflow.simulation.footprints import FOOTPRINTS, Exposure, footprint


@pytest.mark.parametrize(("x", "y", "inside"), [(0.5, 0.5, True), (0.7, 0.7, True), (0.3, 0.3, True), (0.7, 0.3, False)])
def test_an_exposure_is_turned_counterclockwise(x, y, inside):
    exposure = Exposure(0.5, 0.5, 0.8, 0.1, 45.0)
    assert exposure.covers(np.array([x], np.float32), np.array([y], np.float32)).item() == inside


@pytest.mark.parametrize("instrument", FOOTPRINTS)
def test_a_footprint_scales_with_the_image(instrument):
    small, large = footprint(instrument, (300, 200)), footprint(instrument, (900, 600))
    assert small.dtype == bool
    np.testing.assert_array_equal(small, large[1::3, 1::3])


def test_the_cameras_are_turned_against_each_other():
    angles = {instrument: {exposure.angle_deg for exposure in exposures} for instrument, exposures in FOOTPRINTS.items()}
    assert angles == {"F814W": {4.0}, "F125W_F160W": {-6.0}}
