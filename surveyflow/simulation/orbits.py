"""Restricted N-body dynamics: two galaxies attract each other and their stars, and the stars attract nobody.

After Toomre & Toomre (1972, ApJ 178, 623). Each galaxy is a softened point mass, and its stars are test particles. Units are such
that the gravitational constant, the mass of the larger galaxy and the radius of its disc are 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from surveyflow.values.arrays import Float64Array

_FRICTION_REACH = 1.0


@dataclass(frozen=True, slots=True)
class Bodies:
    """Two galaxies and all stars.

    Parameters
    ----------
    masses
        (2,) masses of the galaxies; the second is 0 for a galaxy alone.
    softenings
        (2,) softening lengths of their potentials; 0 for points.
    centres, velocities
        (2, 3) positions and velocities of the galaxies.
    star_places, star_velocities
        (stars, 3) positions and velocities of the stars.
    """

    masses: Float64Array
    softenings: Float64Array
    centres: Float64Array
    velocities: Float64Array
    star_places: Float64Array
    star_velocities: Float64Array


def state_on_conic(pericentre: float, eccentricity: float, mass: float, anomaly_rad: float) -> tuple[Float64Array, Float64Array]:
    """Position and velocity of a body on a Kepler orbit in the x-y plane, whose pericentre lies on the x axis.

    Parameters
    ----------
    pericentre
        Smallest distance.
    eccentricity
        0 to 1; 1 is a parabola.
    mass
        Total mass of both bodies.
    anomaly_rad
        True anomaly; negative before the pericentre.

    Returns
    -------
    Relative position and velocity, (3,) each.
    """
    parameter = pericentre * (1 + eccentricity)
    cosine, sine = np.cos(anomaly_rad), np.sin(anomaly_rad)
    distance = parameter / (1 + eccentricity * cosine)
    speed = np.sqrt(mass / parameter)
    return np.array([distance * cosine, distance * sine, 0]), speed * np.array([-sine, eccentricity + cosine, 0])


def circular_speed(radius: Float64Array, mass: float, softening: float) -> Float64Array:
    """Speed of a circular orbit about a softened mass."""
    return np.asarray(np.sqrt(mass * radius**2 / (radius**2 + softening**2) ** 1.5), np.float64)


def evolve(bodies: Bodies, duration: float, step: float, friction: float = 0.0) -> Bodies:
    """Integrate with the leapfrog: half a kick, a drift, half a kick.

    Parameters
    ----------
    bodies
        Galaxies and stars at the beginning.
    duration, step
        Time to integrate over, and the largest time step.
    friction
        Rate at which the galaxies' relative velocity falls while they overlap. It stands for dynamical friction, without which
        they never merge.

    Returns
    -------
    Galaxies and stars at the end.
    """
    n_steps = max(int(np.ceil(duration / step)), 1)
    step = duration / n_steps
    centres, velocities = bodies.centres.copy(), bodies.velocities.copy()
    places, speeds = bodies.star_places.copy(), bodies.star_velocities.copy()
    pull = _galaxies_pull(bodies, centres, velocities, friction)
    star_pull = _pull_on_stars(bodies, centres, places)
    for _ in range(n_steps):
        velocities += 0.5 * step * pull
        speeds += 0.5 * step * star_pull
        centres += step * velocities
        places += step * speeds
        pull = _galaxies_pull(bodies, centres, velocities, friction)
        star_pull = _pull_on_stars(bodies, centres, places)
        velocities += 0.5 * step * pull
        speeds += 0.5 * step * star_pull
    return Bodies(bodies.masses, bodies.softenings, centres, velocities, places, speeds)


def energy(bodies: Bodies) -> float:
    """Total energy of the two galaxies; stars have no mass."""
    kinetic = 0.5 * float(bodies.masses @ (bodies.velocities**2).sum(axis=1))
    softening2 = float((bodies.softenings**2).sum())
    distance = np.sqrt(((bodies.centres[0] - bodies.centres[1]) ** 2).sum() + softening2)
    return kinetic - float(bodies.masses.prod() / distance)


def _galaxies_pull(bodies: Bodies, centres: Float64Array, velocities: Float64Array, friction: float) -> Float64Array:
    """Accelerations of the two galaxies, (2, 3)."""
    towards = centres[1] - centres[0]
    distance2 = float(towards @ towards)
    attraction = towards / (distance2 + float((bodies.softenings**2).sum())) ** 1.5
    drag = friction / (1 + distance2 / _FRICTION_REACH**2) * (velocities[1] - velocities[0]) / bodies.masses.sum()
    return np.asarray(bodies.masses[::-1, None] * np.stack([attraction + drag, -attraction - drag]), np.float64)


def _pull_on_stars(bodies: Bodies, centres: Float64Array, places: Float64Array) -> Float64Array:
    """Accelerations of the stars, (stars, 3)."""
    pull = np.zeros_like(places)
    for mass, softening, centre in zip(bodies.masses, bodies.softenings, centres, strict=True):
        if mass:
            towards = centre - places
            distance2 = np.einsum("ij,ij->i", towards, towards) + softening**2
            pull += towards * (mass / (distance2 * np.sqrt(distance2)))[:, None]
    return pull
