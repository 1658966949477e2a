"""Restricted N-body orbits against the analytic solution, and what encounters do to discs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq

from surveyflow.simulation.encounters import SOFTENING, OrbitsRecipe, disc, encounter
from surveyflow.simulation.galaxies import render
from surveyflow.simulation.observe import F814W, Depth
from surveyflow.simulation.orbits import Bodies, circular_speed, energy, evolve, state_on_conic
from surveyflow.simulation.particles import Particles
from surveyflow.simulation.profiles import Grid
from surveyflow.simulation.recipes import Galaxies
from surveyflow.simulation.scenes import stamp
from surveyflow.values.codes import POST_MERGER, STAR_FORMING

NO_STARS = np.zeros((0, 3))


def two_bodies(masses, place, velocity, softening: float = 0.0) -> Bodies:
    masses = np.array(masses)
    shares = (masses[::-1] / masses.sum() * np.array([-1, 1]))[:, None]
    return Bodies(masses, np.full(2, softening), shares * place, shares * velocity, NO_STARS, NO_STARS)


def kepler_place(pericentre: float, eccentricity: float, mass: float, time: float) -> np.ndarray:
    """Position at a time after the pericentre, from Kepler's equation."""
    axis = pericentre / (1 - eccentricity)
    mean = time * np.sqrt(mass / axis**3)
    anomaly = brentq(lambda e: e - eccentricity * np.sin(e) - mean, mean - 1, mean + 1)
    return axis * np.array([np.cos(anomaly) - eccentricity, np.sqrt(1 - eccentricity**2) * np.sin(anomaly), 0])


def test_two_points_follow_keplers_ellipse():
    pericentre, eccentricity, masses = 0.6, 0.5, (1.0, 0.4)
    bodies = two_bodies(masses, *state_on_conic(pericentre, eccentricity, sum(masses), 0.0))
    end = evolve(bodies, 5.0, 0.002)
    np.testing.assert_allclose(end.centres[1] - end.centres[0], kepler_place(pericentre, eccentricity, 1.4, 5.0), atol=2e-3)
    np.testing.assert_allclose(bodies.masses @ end.centres, 0, atol=1e-9)


def test_a_parabola_has_no_energy_and_an_ellipse_less():
    parabola, ellipse = (energy(two_bodies((1.0, 0.5), *state_on_conic(0.7, e, 1.5, -2.0))) for e in (1.0, 0.8))
    assert parabola == pytest.approx(0, abs=1e-12)
    assert ellipse < -0.01


def test_energy_is_conserved_through_an_encounter_and_lost_by_friction():
    bodies = two_bodies((1.0, 0.5), *state_on_conic(0.7, 0.9, 1.5, -2.0), softening=0.2)
    start = energy(bodies)
    assert energy(evolve(bodies, 8.0, 0.04)) == pytest.approx(start, abs=2e-3)
    assert energy(evolve(bodies, 8.0, 0.04, friction=0.9)) < start - 0.2


def test_a_disc_alone_stays_as_it_is():
    places, speeds = disc(np.random.default_rng(1), 800, 1.0, 1.0)
    bodies = Bodies(np.array([1.0, 0.0]), np.full(2, SOFTENING), np.zeros((2, 3)), np.zeros((2, 3)), places, speeds)
    end = evolve(bodies, 6.0, 0.04)
    assert np.median(np.linalg.norm(end.star_places, axis=1)) == pytest.approx(
        np.median(np.linalg.norm(places, axis=1)), rel=0.03
    )
    assert circular_speed(np.array([1.0]), 1.0, 0.0) == pytest.approx(1)


def far_share(tilt_rad: float) -> float:
    """Share of the stars that an encounter throws far out of both discs."""
    start = encounter(np.random.default_rng(3), 1500, spin_tilts_rad=(tilt_rad, tilt_rad))
    end = evolve(start, 9.0, 0.04)
    away = np.linalg.norm(end.star_places[:, None] - end.centres, axis=2).min(axis=1)
    return float(np.mean(away > 2.0))


def test_tails_form_in_prograde_encounters_and_hardly_in_retrograde_ones():
    prograde, retrograde = far_share(0.0), far_share(np.pi)
    assert prograde > 0.05
    assert prograde > 3 * retrograde


@pytest.mark.parametrize("kind", [STAR_FORMING, POST_MERGER])
def test_a_galaxy_has_its_flux_and_size_in_the_middle(kind):
    galaxy = OrbitsRecipe(n_systems=1).galaxy(np.random.default_rng(5), kind, 0.5)
    image = render(galaxy, 3.0, Grid.around(400, 400, (801, 801), 0.03))
    assert image.sum() == pytest.approx(3, rel=0.03)
    axis = np.arange(-400, 401)
    centre = np.array([image.sum(axis=1) @ axis, image.sum(axis=0) @ axis]) / image.sum()
    assert np.hypot(*centre) < 3
    inside = np.hypot(*np.meshgrid(axis, axis)) * 0.03 < galaxy.radius_arcsec
    assert image[inside].sum() / 3 == pytest.approx(0.5, abs=0.07)


def test_remnants_are_seen_from_any_direction_and_each_is_its_own_galaxy():
    recipe = OrbitsRecipe(n_systems=1)
    views = [recipe.galaxy(np.random.default_rng(seed), POST_MERGER, 0.5).components[0].xy_arcsec for seed in (1, 1, 2)]
    np.testing.assert_array_equal(views[0], views[1])
    assert not np.allclose(views[0], views[2])


def test_a_particle_keeps_its_flux_and_place():
    particles = Particles(1.0, np.array([[0.31, -0.2]]), np.array([0.05]))
    image = particles.pixel_fluxes(Grid.around(20.0, 20.0, (41, 41), 0.03))
    assert image.sum() == pytest.approx(1, rel=1e-3)
    axis = np.arange(-20, 21) * 0.03
    assert (image.sum(axis=1) @ axis, image.sum(axis=0) @ axis) == pytest.approx((-0.2, 0.31), abs=2e-3)


def test_orbits_are_observed_as_all_galaxies_are():
    each = stamp(3, 4, F814W, Depth(0.000721, 6900.0), recipe=Galaxies.ORBITS.recipe)
    assert each.pixels.shape == (128, 128)
    assert each.galaxy.sum() == pytest.approx(F814W.flux(each.magnitude_ab), rel=0.3)


def test_a_kind_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="elliptical"):
        OrbitsRecipe().galaxy(np.random.default_rng(0), "elliptical", 0.5)
