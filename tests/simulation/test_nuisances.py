"""Nuisances change what they name, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from surveyflow.simulation.nuisances import Nuisances
from surveyflow.simulation.observe import F814W, Depth
from surveyflow.simulation.scenes import Patch, stamp

DEPTH = Depth(0.000721, 6900.0)


def centroid(image: np.ndarray) -> np.ndarray:
    return np.array([image.sum(axis=1) @ np.arange(len(image)), image.sum(axis=0) @ np.arange(len(image))]) / image.sum(
        dtype=float
    )


def test_without_ranges_there_are_none():
    plain, same = (stamp(1, 2, F814W, DEPTH, nuisances=nuisances) for nuisances in (None, Nuisances()))
    np.testing.assert_array_equal(plain.pixels, same.pixels)


def test_a_position_scatters_and_takes_the_galaxy_along():
    plain, moved = (stamp(1, 2, F814W, DEPTH, nuisances=Nuisances(sigma)) for sigma in (0.0, 0.02))
    x, y = Nuisances(0.02).drawn(1, 2).shift_xy_arcsec
    assert centroid(moved.galaxy) - centroid(plain.galaxy) == pytest.approx([y / 0.03, x / 0.03], rel=0.25, abs=0.1)
    shifts = np.array([Nuisances(0.1).drawn(3, index).shift_xy_arcsec for index in range(1000)])
    assert shifts.std(axis=0) == pytest.approx([0.1, 0.1], rel=0.08)
    assert np.abs(shifts.mean(axis=0)).max() < 0.015


def test_each_nuisance_is_independent_of_the_ranges_of_the_others():
    one = Nuisances(0.1, sky_pedestal=(-1, 5)).drawn(4, 5)
    all_of_them = Nuisances(0.1, (0.95, 1.2), 0.05, (0.3, 0.6), (-1, 5)).drawn(4, 5)
    assert (one.shift_xy_arcsec, one.sky_pedestal) == (all_of_them.shift_xy_arcsec, all_of_them.sky_pedestal)
    assert 0.95 <= all_of_them.psf.fwhm_factor <= 1.2
    assert 0 <= all_of_them.psf.ellipticity <= 0.05
    assert 0.3 <= all_of_them.noise_correlation <= 0.6


def test_a_pedestal_raises_every_pixel_and_no_truth():
    plain, raised = (stamp(1, 2, F814W, DEPTH, nuisances=Nuisances(sky_pedestal=level)) for level in ((0.0, 0.0), (5.0, 5.0)))
    np.testing.assert_allclose(raised.pixels - plain.pixels, 5 * DEPTH.sky_rms, atol=1e-6)
    np.testing.assert_array_equal(raised.galaxy, plain.galaxy)


def test_a_real_sky_keeps_its_own_level():
    patch = Patch(np.zeros((128, 128), np.float32), DEPTH)
    plain, raised = (
        stamp(1, 2, F814W, DEPTH, nuisances=Nuisances(sky_pedestal=level), patch=patch) for level in ((0.0, 0.0), (5.0, 5.0))
    )
    np.testing.assert_array_equal(raised.pixels, plain.pixels)
