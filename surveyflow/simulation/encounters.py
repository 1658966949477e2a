"""The orbits recipe: post-mergers and discs made of particles, by restricted N-body orbits after Toomre & Toomre (1972).

It shares nothing with the drawn galaxies but the way they are observed, so it shows how far a model holds on galaxies that it was
not trained on. Two discs with bulges meet on a nearly parabolic orbit, merge by friction, and are seen at some time after that,
from any direction. The discs are clumpy and lopsided at the start, and differential rotation winds this into arms; a disc that is
left alone for as long is the other kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import gammainc, gammaincinv

from surveyflow.simulation.galaxies import Galaxy
from surveyflow.simulation.orbits import Bodies, circular_speed, evolve, state_on_conic
from surveyflow.simulation.particles import Particles, smoothing_widths
from surveyflow.values.arrays import Float64Array
from surveyflow.values.codes import POST_MERGER, STAR_FORMING

SOFTENING = 0.2
_STARS = 6000
_STEP = 0.04
_HALF_LIGHT = 0.75
_LIBRARY = 1972
_FRICTION = 0.9


@dataclass(frozen=True, slots=True)
class OrbitsRecipe:
    """The orbits recipe.

    Parameters
    ----------
    n_systems
        Number of encounters, and of discs that are left alone. Each is integrated once in a process, when it is first drawn, and
        seen from any direction afterwards.
    """

    n_systems: int = 128

    def galaxy(self, rng: np.random.Generator, kind: str, radius_arcsec: float) -> Galaxy:
        """Draw a galaxy of one kind.

        Parameters
        ----------
        rng
            Random numbers that choose the system, its time and the direction of view.
        kind
            ``star_forming`` or ``post_merger``.
        radius_arcsec
            Its half-light radius is 0.75 times this radius, as that of a disc at a mean inclination.

        Raises
        ------
        ValueError
            If the kind is neither of the two.
        """
        if kind not in {STAR_FORMING, POST_MERGER}:
            raise ValueError(f"kind must be {STAR_FORMING} or {POST_MERGER}, not {kind!r}")
        moments = (merger_moments if kind == POST_MERGER else disc_moments)(int(rng.integers(self.n_systems)))
        places = moments[rng.integers(len(moments))]
        seen = (places @ random_rotation(rng))[:, :2]
        seen = seen - seen.mean(axis=0)
        half_light = _HALF_LIGHT * radius_arcsec
        seen *= half_light / np.median(np.hypot(*seen.T))
        return Galaxy(kind, half_light, (Particles(1.0, seen, smoothing_widths(seen, half_light)),))


@lru_cache(maxsize=256)
def merger_moments(number: int) -> tuple[Float64Array, ...]:
    """The stars of an encounter at four times after the nuclei have merged, (stars, 3) float64 each, about the centre of mass."""
    rng = np.random.default_rng([_LIBRARY, number, 1])
    bodies = encounter(rng, n_stars=_STARS)
    bodies = evolve(bodies, _time_to_pericentre(bodies) + rng.uniform(3.0, 5.0), _STEP, _FRICTION)
    moments = []
    for _ in range(4):
        bodies = evolve(bodies, rng.uniform(0.7, 1.6), _STEP, _FRICTION)
        moments.append(bodies.star_places - bodies.masses @ bodies.centres / bodies.masses.sum())
    return tuple(moments)


@lru_cache(maxsize=256)
def disc_moments(number: int) -> tuple[Float64Array, ...]:
    """The stars of a disc alone at a few times, (stars, 3) float64 each, about its centre."""
    rng = np.random.default_rng([_LIBRARY, number, 0])
    places, speeds = disc(rng, _STARS, 1.0, 1.0)
    nothing = np.zeros((2, 3))
    bodies = Bodies(np.array([1.0, 0.0]), np.full(2, SOFTENING), nothing, nothing, places, speeds)
    moments = []
    for _ in range(4):
        bodies = evolve(bodies, rng.uniform(0.5, 1.5), _STEP)
        moments.append(bodies.star_places)
    return tuple(moments)


def encounter(rng: np.random.Generator, n_stars: int, *, spin_tilts_rad: tuple[float, float] | None = None) -> Bodies:
    """Two discs on their way to each other.

    Parameters
    ----------
    rng
        Random numbers for masses, orbit, and the discs' stars and orientations.
    n_stars
        Stars of both discs together, in proportion to their masses.
    spin_tilts_rad
        Angles between each disc's spin and that of the orbit: 0 is prograde, pi retrograde. Random directions if left out.
    """
    ratio = rng.uniform(0.25, 1.0)
    masses, sizes = np.array([1.0, ratio]), np.array([1.0, np.sqrt(ratio)])
    eccentricity, pericentre = rng.uniform(0.8, 1.0), rng.uniform(0.4, 1.0)
    place, velocity = state_on_conic(pericentre, eccentricity, float(masses.sum()), -rng.uniform(2.0, 2.3))
    shares = (masses[::-1] / masses.sum() * np.array([-1, 1]))[:, None]
    centres, velocities = shares * place, shares * velocity
    counts = np.round(n_stars * masses / masses.sum()).astype(int)
    stars = []
    for number in range(2):
        spots, speeds = disc(rng, int(counts[number]), float(masses[number]), float(sizes[number]))
        turn = random_rotation(rng) if spin_tilts_rad is None else _tilt(spin_tilts_rad[number])
        stars.append((spots @ turn + centres[number], speeds @ turn + velocities[number]))
    places, speeds = (np.concatenate(parts) for parts in zip(*stars, strict=True))
    return Bodies(masses, SOFTENING * sizes, centres, velocities, places, speeds)


def disc(rng: np.random.Generator, n_stars: int, mass: float, size: float) -> tuple[Float64Array, Float64Array]:
    """Stars of an exponential disc with a bulge, on circular orbits in the x-y plane (the bulge: in any plane).

    Parameters
    ----------
    rng
        Random numbers; they also decide how clumpy and lopsided the disc is.
    n_stars
        Number of stars.
    mass, size
        Mass of the galaxy and radius of its disc, which is three scale lengths.

    Returns
    -------
    Positions and velocities, (n_stars, 3) float64 each.
    """
    n_bulge = int(n_stars * rng.uniform(0.05, 0.25))
    radius, azimuth = _disc_places(rng, n_stars - n_bulge)
    places, speeds = _on_circles(rng, radius * size, azimuth, mass, size)
    bulge_radius = size * 0.25 * rng.random(n_bulge) ** 0.7
    bulge, bulge_speeds = _on_circles(rng, bulge_radius, rng.uniform(0, 2 * np.pi, n_bulge), mass, size)
    turns = random_rotations(rng, n_bulge)
    bulge, bulge_speeds = (np.einsum("ni,nij->nj", each, turns) for each in (bulge, bulge_speeds))
    return np.concatenate([places, bulge]), np.concatenate([speeds, bulge_speeds])


def _disc_places(rng: np.random.Generator, n_stars: int) -> tuple[Float64Array, Float64Array]:
    """Radius and azimuth of a disc's stars: an exponential with lopsidedness, arms and clumps."""
    radius = gammaincinv(2.0, gammainc(2.0, 4.0) * rng.random(n_stars)) / 3
    azimuth = rng.uniform(0, 2 * np.pi, n_stars)
    for mode, largest in ((1, 0.25), (2, 0.5), (3, 0.3)):
        # Moving stars along the circle by a small sine makes their density a cosine.
        azimuth += rng.uniform(0, largest) / mode * np.sin(mode * azimuth + rng.uniform(0, 2 * np.pi) + 2 * radius)
    clumped = rng.random(n_stars) < rng.uniform(0, 0.25)
    n_clumps = rng.poisson(5) + 1
    at = rng.integers(n_clumps, size=n_stars)
    clump_radius, clump_azimuth = rng.gamma(2.0, 0.25, n_clumps), rng.uniform(0, 2 * np.pi, n_clumps)
    spread = 0.04
    radius = np.where(clumped, np.abs(clump_radius[at] + spread * rng.standard_normal(n_stars)), radius)
    scatter = spread * rng.standard_normal(n_stars) / np.maximum(clump_radius[at], 0.1)
    return radius, np.where(clumped, clump_azimuth[at] + scatter, azimuth)


def _on_circles(
    rng: np.random.Generator, radius: Float64Array, azimuth: Float64Array, mass: float, size: float
) -> tuple[Float64Array, Float64Array]:
    thickness = 0.03 * size * rng.standard_normal(len(radius))
    speed = circular_speed(radius, mass, SOFTENING * size)
    cosine, sine, nothing = np.cos(azimuth), np.sin(azimuth), np.zeros(len(radius))
    places = np.stack([radius * cosine, radius * sine, thickness], axis=1)
    return places, np.stack([-speed * sine, speed * cosine, nothing], axis=1)


def random_rotation(rng: np.random.Generator) -> Float64Array:
    """A rotation to any direction, (3, 3)."""
    rotation: Float64Array = random_rotations(rng, 1)[0]
    return rotation


def random_rotations(rng: np.random.Generator, number: int) -> Float64Array:
    """Rotations to any direction, (number, 3, 3), from quaternions uniform on the sphere."""
    quaternions = rng.standard_normal((number, 4))
    w, x, y, z = (quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.asarray(np.moveaxis(np.array(rows), 2, 0), np.float64)


def _tilt(angle_rad: float) -> Float64Array:
    cosine, sine = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[1, 0, 0], [0, cosine, sine], [0, -sine, cosine]])


def _time_to_pericentre(bodies: Bodies) -> float:
    """Time until two galaxies, each taken for a point, are closest."""
    points = Bodies(bodies.masses, 0 * bodies.softenings, bodies.centres, bodies.velocities, np.zeros((0, 3)), np.zeros((0, 3)))
    time = 0.0
    while (points.centres[1] - points.centres[0]) @ (points.velocities[1] - points.velocities[0]) < 0 and time < 30:
        points, time = evolve(points, 0.1, _STEP / 2), time + 0.1
    return time
