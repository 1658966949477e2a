"""Noiseless images of star-forming discs, post-mergers and stars, before the PSF.

A galaxy is a tuple of components whose shares of its flux sum to 1. ``docs/explanation/simulated-survey.md`` gives the recipe
and its references.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from surveyflow.simulation.profiles import Clump, Component, DustLane, Ellipse, Grid, Modulation, PointSource, Sersic, Shell, Tail
from surveyflow.values.arrays import Float32Array
from surveyflow.values.codes import POST_MERGER, STAR_FORMING

STAR = "star"
SHARPEST_ARCSEC = 0.05
"""The smallest width of a nucleus, bar or tail: narrower ones could neither be sampled at 0.06 arcsec nor resolved by HST."""

_STEEP_AXIS_RATIO = 0.45


@dataclass(frozen=True, slots=True)
class Galaxy:
    """A galaxy or star of total flux 1.

    Parameters
    ----------
    kind
        ``star_forming``, ``post_merger`` or ``star``.
    radius_arcsec
        Effective radius along the major axis of its body; 0 for a star.
    components
        Components of the galaxy; their fractions sum to 1.
    dust
        Dust lane that absorbs light of all components; None for a galaxy without dust. The galaxy's flux is the light that
        remains.
    kept_share
        Share of the light that the dust transmits.
    reach_radii
        How far its significant light reaches, in radii.
    """

    kind: str
    radius_arcsec: float
    components: tuple[Component, ...]
    dust: DustLane | None = None
    kept_share: float = 1.0
    reach_radii: float = 7.0

    def __post_init__(self) -> None:
        total = sum(component.fraction for component in self.components)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the fractions of a galaxy's components must sum to 1, not {total:.4f}")


@dataclass(frozen=True, slots=True)
class ContrastedRecipe:
    """The contrast between the two kinds. With the defaults, a classifier's accuracy is about 82 %: neither trivial nor hopeless.

    Parameters
    ----------
    merger_strength
        Range of the factor on the flux and displacement of every post-merger feature.
    disc_lopsidedness
        Largest m = 1 amplitude of a star-forming disc.
    dust_lane_chance
        Probability that a post-merger, or a disc seen at a steep angle, has a dust lane. As both kinds have lanes, a lane does
        not give the label away.
    """

    merger_strength: tuple[float, float] = (0.8, 1.5)
    disc_lopsidedness: float = 0.08
    dust_lane_chance: float = 0.2

    def galaxy(self, rng: np.random.Generator, kind: str, radius_arcsec: float) -> Galaxy:
        """Draw a galaxy of one kind; see `draw_galaxy`."""
        return draw_galaxy(rng, kind, radius_arcsec, self)


def render(galaxy: Galaxy, flux: float, grid: Grid) -> Float32Array:
    """Draw a galaxy without PSF or noise.

    Parameters
    ----------
    galaxy
        Galaxy to draw.
    flux
        Total flux, in any unit (e-/s).
    grid
        Positions of the pixels.

    Returns
    -------
    (rows, columns) float32, flux per pixel. The sum is the total flux except for the light outside the grid.
    """
    image = np.zeros(grid.shape, np.float32)
    for component in galaxy.components:
        image += np.float32(flux * component.fraction / galaxy.kept_share) * component.pixel_fluxes(grid)
    return image if galaxy.dust is None else image * galaxy.dust.transmission(grid)


def draw_star() -> Galaxy:
    """Return a star, which is a point source."""
    return Galaxy(STAR, 0.0, (PointSource(),))


def draw_galaxy(rng: np.random.Generator, kind: str, radius_arcsec: float, recipe: ContrastedRecipe | None = None) -> Galaxy:
    """Draw a galaxy of one kind.

    Parameters
    ----------
    rng
        Random numbers for all its properties except kind and radius.
    kind
        ``star_forming`` or ``post_merger``.
    radius_arcsec
        Effective radius of its body.
    recipe
        Contrast between the kinds; the default recipe if left out.

    Raises
    ------
    ValueError
        If the kind is neither of the two.
    """
    parts = {STAR_FORMING: _star_forming_parts, POST_MERGER: _post_merger_parts}
    if kind not in parts:
        raise ValueError(f"kind must be {STAR_FORMING} or {POST_MERGER}, not {kind!r}")
    ellipse = Ellipse(axis_ratio=rng.uniform(0.25, 1.0), angle_rad=rng.uniform(0, np.pi))
    recipe = recipe or ContrastedRecipe()
    galaxy = Galaxy(kind, radius_arcsec, _sharing_one(parts[kind](rng, radius_arcsec, ellipse, recipe)))
    steep = kind == POST_MERGER or ellipse.axis_ratio < _STEEP_AXIS_RATIO
    return _dusty(rng, galaxy, ellipse) if steep and rng.random() < recipe.dust_lane_chance else galaxy


def draw_plain_galaxy(rng: np.random.Generator, radius_arcsec: float) -> Galaxy:
    """Draw a featureless galaxy for the background: 70 % are discs, 30 % have steeper profiles; both count as star-forming."""
    index = rng.uniform(0.7, 1.6) if rng.random() < 0.7 else rng.uniform(1.6, 4.0)
    ellipse = Ellipse(axis_ratio=rng.uniform(0.25, 1.0), angle_rad=rng.uniform(0, np.pi))
    return Galaxy(STAR_FORMING, radius_arcsec, (Sersic(1.0, ellipse, radius_arcsec, index),))


def _star_forming_parts(rng: np.random.Generator, radius: float, ellipse: Ellipse, recipe: ContrastedRecipe) -> list[Component]:
    bulge_share = float(rng.beta(1.2, 5.0))
    arms = rng.uniform(0.15, 0.7) if rng.random() < 0.65 else 0.0
    modulation = _modulation(rng, arms, rng.uniform(0, recipe.disc_lopsidedness))
    parts: list[Component] = [Sersic(1 - bulge_share, ellipse, radius, rng.uniform(0.7, 1.4), modulation)]
    parts.append(_bulge(rng, bulge_share, radius, ellipse))
    if rng.random() < 0.3:
        parts.append(_bar(rng, radius, ellipse))
    return parts + _clumps(rng, radius, ellipse, 5.0)


def _post_merger_parts(rng: np.random.Generator, radius: float, ellipse: Ellipse, recipe: ContrastedRecipe) -> list[Component]:
    strength = rng.uniform(*recipe.merger_strength)
    ellipse = replace(ellipse, axis_ratio=max(ellipse.axis_ratio, 0.3))
    features = _tidal_features(rng, radius, strength)
    body_share = max(1 - sum(feature.fraction for feature in features), 0.25)
    lopsidedness = strength * rng.uniform(0, 0.35)
    body = (_disc_remnant if rng.random() < 0.5 else _spheroid)(rng, body_share, radius, ellipse, lopsidedness)
    # Clumps survive in remnants, so that clumps do not give the label away.
    return body + features + _clumps(rng, radius, ellipse, float(rng.choice([1.0, 4.0])))


def _disc_remnant(rng: np.random.Generator, share: float, radius: float, ellipse: Ellipse, lopsided: float) -> list[Component]:
    bulge_share = float(rng.beta(1.5, 4.0))
    arms = rng.uniform(0.1, 0.5) if rng.random() < 0.4 else 0.0
    modulation = _modulation(rng, arms, lopsided)
    disc = Sersic(share * (1 - bulge_share), ellipse, radius, rng.uniform(0.7, 1.5), modulation)
    return [disc, _bulge(rng, share * bulge_share, radius, ellipse)]


def _spheroid(rng: np.random.Generator, share: float, radius: float, ellipse: Ellipse, lopsided: float) -> list[Component]:
    rounder = replace(ellipse, axis_ratio=max(ellipse.axis_ratio, 0.45))
    return [Sersic(share, rounder, radius, rng.uniform(1.2, 3.2), _modulation(rng, 0.0, lopsided))]


def _tidal_features(rng: np.random.Generator, radius: float, strength: float) -> list[Component]:
    """Draw one or more of: tails, shells, a second nucleus, an offset envelope."""
    chances = {_tails: 0.65, _shells: 0.35, _second_nucleus: 0.4, _offset_envelope: 0.5}
    chosen = [draw for draw, chance in chances.items() if rng.random() < chance]
    chosen = chosen or [(_tails, _second_nucleus, _offset_envelope)[rng.integers(3)]]
    return [feature for draw in chosen for feature in draw(rng, radius, strength)]


def _tails(rng: np.random.Generator, radius: float, strength: float) -> list[Component]:
    return [_tail(rng, radius, strength * rng.uniform(0.04, 0.16)) for _ in range(1 + int(rng.random() < 1 / 3))]


def _tail(rng: np.random.Generator, radius: float, share: float) -> Tail:
    return Tail(
        fraction=share,
        ellipse=Ellipse(axis_ratio=rng.uniform(0.6, 1.0), angle_rad=rng.uniform(0, np.pi)),
        start_arcsec=0.7 * radius,
        rise_arcsec=radius * rng.uniform(1.2, 3.2),
        start_rad=rng.uniform(0, 2 * np.pi),
        sweep_rad=rng.uniform(0.8, 2.6) * float(rng.choice([-1, 1])),
        width_arcsec=max(radius * rng.uniform(0.12, 0.3), SHARPEST_ARCSEC),
    )


def _shells(rng: np.random.Generator, radius: float, strength: float) -> list[Component]:
    return [_shell(rng, radius, strength * rng.uniform(0.015, 0.06)) for _ in range(rng.integers(1, 4))]


def _shell(rng: np.random.Generator, radius: float, share: float) -> Shell:
    return Shell(
        fraction=share,
        ellipse=Ellipse(axis_ratio=rng.uniform(0.7, 1.0), angle_rad=rng.uniform(0, np.pi)),
        radius_arcsec=radius * rng.uniform(1.2, 3.2),
        depth_arcsec=max(0.35 * radius, 2 * SHARPEST_ARCSEC),
        azimuth_rad=rng.uniform(0, 2 * np.pi),
        spread_rad=rng.uniform(0.35, 0.9),
    )


def _second_nucleus(rng: np.random.Generator, radius: float, strength: float) -> list[Component]:
    x, y = Ellipse().point(radius * rng.uniform(0.25, 0.9), rng.uniform(0, 2 * np.pi))
    ellipse = Ellipse(x, y, rng.uniform(0.6, 1.0), rng.uniform(0, np.pi))
    size = max(radius * rng.uniform(0.1, 0.3), SHARPEST_ARCSEC)
    return [Sersic(strength * rng.uniform(0.06, 0.25), ellipse, size, rng.uniform(1.0, 2.5))]


def _offset_envelope(rng: np.random.Generator, radius: float, strength: float) -> list[Component]:
    x, y = Ellipse().point(radius * strength * rng.uniform(0.3, 0.9), rng.uniform(0, 2 * np.pi))
    ellipse = Ellipse(x, y, rng.uniform(0.5, 1.0), rng.uniform(0, np.pi))
    return [Sersic(strength * rng.uniform(0.2, 0.45), ellipse, radius * rng.uniform(1.1, 1.8), 1.0)]


def _dusty(rng: np.random.Generator, galaxy: Galaxy, ellipse: Ellipse) -> Galaxy:
    """Put a dust lane before the galaxy: along the major axis of a disc; bent and at any angle in a post-merger."""
    lane = _dust_lane(rng, galaxy.radius_arcsec)
    if galaxy.kind == STAR_FORMING:
        lane = replace(lane, ellipse=Ellipse(angle_rad=ellipse.angle_rad), bend=0.0)
    return replace(galaxy, dust=lane, kept_share=_kept_share(galaxy, lane))


def _dust_lane(rng: np.random.Generator, radius: float) -> DustLane:
    x, y = Ellipse().point(radius * rng.uniform(0, 0.3), rng.uniform(0, 2 * np.pi))
    return DustLane(
        ellipse=Ellipse(x, y, angle_rad=rng.uniform(0, np.pi)),
        half_length_arcsec=radius * rng.uniform(0.6, 1.5),
        half_width_arcsec=max(radius * rng.uniform(0.06, 0.15), 1.2 * SHARPEST_ARCSEC),
        bend=rng.uniform(-0.3, 0.3),
        optical_depth=rng.uniform(0.3, 1.0),
    )


def _kept_share(galaxy: Galaxy, lane: DustLane) -> float:
    """Share of a galaxy's light that a lane transmits, measured on its own grid, so that it is the same in every image."""
    side = 120
    grid = Grid.around(side / 2, side / 2, (side, side), 8 * galaxy.radius_arcsec / side)
    image = render(galaxy, 1.0, grid)
    return float(1 - np.sum(image * (1 - lane.transmission(grid)), dtype=np.float64))


def _modulation(rng: np.random.Generator, arm_contrast: float, lopsidedness: float) -> Modulation:
    return Modulation(
        arm_contrast=arm_contrast,
        n_arms=int(rng.choice([2, 2, 3, 4])),
        pitch_rad=np.radians(rng.uniform(10, 35)) * float(rng.choice([-1, 1])),
        arm_phase_rad=rng.uniform(0, 2 * np.pi),
        lopsidedness=lopsidedness,
        lopsided_phase_rad=rng.uniform(0, 2 * np.pi),
    )


def _bulge(rng: np.random.Generator, share: float, radius: float, ellipse: Ellipse) -> Sersic:
    rounder = replace(ellipse, axis_ratio=max(ellipse.axis_ratio, 0.6))
    return Sersic(share, rounder, max(radius * rng.uniform(0.12, 0.3), SHARPEST_ARCSEC), rng.uniform(1.0, 3.5))


def _bar(rng: np.random.Generator, radius: float, ellipse: Ellipse) -> Sersic:
    length = radius * rng.uniform(0.25, 0.5)
    along = Ellipse(axis_ratio=min(max(0.25, SHARPEST_ARCSEC / length), 1.0), angle_rad=ellipse.angle_rad + rng.uniform(0, np.pi))
    return Sersic(rng.uniform(0.04, 0.15), along, max(length, SHARPEST_ARCSEC), 0.5)


def _clumps(rng: np.random.Generator, radius: float, ellipse: Ellipse, mean_number: float) -> list[Component]:
    return [_clump(rng, radius, ellipse) for _ in range(rng.poisson(mean_number))]


def _clump(rng: np.random.Generator, radius: float, ellipse: Ellipse) -> Clump:
    x, y = ellipse.point(radius * min(rng.gamma(2.0, 0.5), 2.2), rng.uniform(0, 2 * np.pi))
    return Clump(min(float(rng.lognormal(np.log(0.012), 0.7)), 0.08), x, y, rng.uniform(0.03, 0.08))


def _sharing_one(parts: list[Any]) -> tuple[Component, ...]:
    total = sum(part.fraction for part in parts)
    return tuple(replace(part, fraction=part.fraction / total) for part in parts)
