"""Cosmic variance by a power law: volumes, and fractions of several fields."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.constants import c
from scipy.integrate import quad

from surveyflow.stats.cosmic_variance import PowerLaw, comoving_volume, of_several_fields

LAW = PowerLaw(0.48, 1e-3, -0.54, 1e5, -0.48, -0.37)
H0, OMEGA_M = 70.0, 0.3


def distance_mpc(redshift):
    """The comoving distance, integrated without astropy."""
    return c / 1e3 / H0 * quad(lambda z: (OMEGA_M * (1 + z) ** 3 + 1 - OMEGA_M) ** -0.5, 0, redshift)[0]


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.3), (0.5, 1.0), (1.5, 3.0)])
def test_the_volume_is_that_of_a_shell_of_the_integrated_distance(low, high):
    solid_angle = 0.25 * np.radians(1) ** 2
    expected = solid_angle / 3 * (distance_mpc(high) ** 3 - distance_mpc(low) ** 3)
    assert comoving_volume(0.25, low, high, H0, OMEGA_M) == pytest.approx(expected, rel=1e-4)


def test_the_law_has_its_stated_value_at_the_reference_and_its_exponents_elsewhere():
    assert LAW.relative(1e-3, 1e5, 1.0) == pytest.approx(0.48)
    steps = [LAW.relative(1e-2, 1e5, 1.0), LAW.relative(1e-3, 1e6, 1.0), LAW.relative(1e-3, 1e5, 10.0)]
    np.testing.assert_allclose(np.log10(np.array(steps) / 0.48), [-0.54, -0.48, -0.37])


def test_fields_vary_independently_of_each_other():
    rng = np.random.default_rng(2)
    sizes, relative = np.array([[300.0], [100.0], [0.0]]), np.array([[0.1], [0.3], [9.0]])
    shares = sizes / sizes.sum()
    drawn = (shares * (1 + relative * rng.normal(size=(3, 40_000)))).sum(axis=0)
    assert of_several_fields(relative, sizes) == pytest.approx(drawn.std(), rel=0.02)
    assert np.isnan(of_several_fields(relative, np.zeros((3, 1)))).all()
