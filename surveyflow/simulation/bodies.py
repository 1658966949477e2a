"""The bodies of galaxies of the matched recipe: disc or spheroid, bulge, arms, bar, ring, clumps and dust, whatever the kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from surveyflow.simulation.galaxies import SHARPEST_ARCSEC
from surveyflow.simulation.profiles import Clump, Component, DustLane, Ellipse, Grid, Modulation, Sersic
from surveyflow.simulation.structures import Arc, WarpedEllipse
from surveyflow.values.arrays import Float32Array

_NUMBERS_OF_ARMS = (2, 2, 2, 3, 4)
_LARGE_PIX = 3


@dataclass(frozen=True, slots=True)
class Body:
    """What both kinds have in common.

    Parameters
    ----------
    main
        Disc or spheroid, which can be made lopsided.
    others
        All other components; the fractions of all sum to 1.
    dust
        Dust lane; None for a galaxy without dust.
    """

    main: Sersic
    others: tuple[Component, ...]
    dust: DustLane | None

    def maps(self, grid: Grid) -> Float32Array:
        """(3, rows, columns) float32: the body and its two lopsided modes."""
        main = np.float32(self.main.fraction) * _coarse_fluxes(self.main, grid)
        u, v = (axis / np.float32(self.main.radius_arcsec) for axis in self.main.ellipse.axes(grid))
        # As in `Modulation`: the amplitude grows with radius up to 1.5 effective radii.
        sway = main * np.minimum(1, np.float32(1.5) / np.maximum(np.hypot(u, v), np.float32(1e-3)))
        return np.stack([summed(self.others, grid) + main, sway * u, sway * v]) * self.transmission(grid)

    def swayed(self, lopsidedness: float, phase_rad: float) -> Sersic:
        """The main component, made lopsided."""
        modulation = self.main.modulation or Modulation()
        return replace(self.main, modulation=replace(modulation, lopsidedness=lopsidedness, lopsided_phase_rad=phase_rad))

    def transmission(self, grid: Grid) -> Float32Array:
        """(rows, columns) float32, the share of light that passes the dust, averaged over each pixel; 1 without dust."""
        if self.dust is None:
            return np.ones(grid.shape, np.float32)
        # Lanes are narrower than the pixels of the reference grid.
        steps = np.asarray(np.arange(-1, 2) / 3 * grid.pixel_scale_arcsec, np.float32)
        x, y = (grid.x_arcsec[0, :, None] + steps).reshape(1, -1), (grid.y_arcsec + steps).reshape(-1, 1)
        fine = self.dust.transmission(Grid(x, y, grid.pixel_scale_arcsec / 3))
        return np.asarray(fine.reshape(grid.shape[0], 3, grid.shape[1], 3).mean(axis=(1, 3)), np.float32)


def draw_body(rng: np.random.Generator, radius: float) -> Body:
    """Draw a body of this effective radius, arcsec, along the major axis."""
    ellipse = _disc_ellipse(rng, radius)
    bulge_share = float(rng.beta(1.1, 7.0))
    spheroidal = rng.random() < 0.2
    index = rng.uniform(1.2, 2.4) if spheroidal else rng.uniform(0.5, 1.1)
    arms = rng.uniform(0.15, 0.7) if rng.random() < (0.2 if spheroidal else 0.7) else 0.0
    main = Sersic(1 - bulge_share, ellipse, radius, index, drawn_arms(rng, arms))
    others: list[Component] = [_bulge(rng, bulge_share, radius, ellipse)]
    others += [_bar(rng, radius, ellipse)] if rng.random() < 0.3 else []
    others += [drawn_ring(rng, radius, ellipse, rng.uniform(0.02, 0.1))] if rng.random() < 0.25 else []
    others += [_clump(rng, radius, ellipse) for _ in range(rng.poisson(rng.gamma(1.5, 3.0)))]
    first, *rest = _sharing_one([main, *others])
    dust = _dust_lane(rng, radius, ellipse) if rng.random() < 0.2 else None
    return Body(first, tuple(rest), dust)


def _disc_ellipse(rng: np.random.Generator, radius: float) -> Ellipse:
    axis_ratio, angle = rng.uniform(0.25, 1.0), rng.uniform(0, np.pi)
    if rng.random() >= 0.3:
        return Ellipse(axis_ratio=axis_ratio, angle_rad=angle)
    return WarpedEllipse(
        axis_ratio=axis_ratio, angle_rad=angle, warp=rng.uniform(-0.4, 0.4), flat_arcsec=radius * rng.uniform(0.8, 1.5)
    )


def drawn_arms(rng: np.random.Generator, contrast: float) -> Modulation:
    """Draw spiral arms of this contrast."""
    return Modulation(
        arm_contrast=contrast,
        n_arms=_NUMBERS_OF_ARMS[rng.integers(len(_NUMBERS_OF_ARMS))],
        pitch_rad=np.radians(rng.uniform(8, 35)) * either_sign(rng),
        arm_phase_rad=rng.uniform(0, 2 * np.pi),
    )


def _bulge(rng: np.random.Generator, share: float, radius: float, ellipse: Ellipse) -> Sersic:
    rounder = Ellipse(axis_ratio=max(ellipse.axis_ratio, 0.6), angle_rad=ellipse.angle_rad)
    return Sersic(share, rounder, max(radius * rng.uniform(0.12, 0.3), SHARPEST_ARCSEC), rng.uniform(0.8, 2.5))


def _bar(rng: np.random.Generator, radius: float, ellipse: Ellipse) -> Sersic:
    length = max(radius * rng.uniform(0.25, 0.5), SHARPEST_ARCSEC)
    ratio = min(max(0.25, SHARPEST_ARCSEC / length), 1.0)
    return Sersic(
        rng.uniform(0.04, 0.15), Ellipse(axis_ratio=ratio, angle_rad=ellipse.angle_rad + rng.uniform(0, np.pi)), length, 0.5
    )


def drawn_ring(rng: np.random.Generator, radius: float, ellipse: Ellipse, share: float) -> Arc:
    """Draw a full ring in the plane of a disc."""
    return Arc(
        share, ellipse, radius * rng.uniform(0.7, 1.6), max(radius * rng.uniform(0.1, 0.25), SHARPEST_ARCSEC / ellipse.axis_ratio)
    )


def _clump(rng: np.random.Generator, radius: float, ellipse: Ellipse) -> Clump:
    x, y = ellipse.point(radius * min(rng.gamma(2.0, 0.5), 2.2), rng.uniform(0, 2 * np.pi))
    return Clump(min(float(rng.lognormal(np.log(0.014), 0.8)), 0.08), x, y, rng.uniform(0.03, 0.08))


def _dust_lane(rng: np.random.Generator, radius: float, ellipse: Ellipse) -> DustLane:
    x, y = Ellipse().point(radius * rng.uniform(0, 0.3), rng.uniform(0, 2 * np.pi))
    angle = ellipse.angle_rad if rng.random() < 0.5 else rng.uniform(0, np.pi)
    return DustLane(
        ellipse=Ellipse(x, y, angle_rad=angle),
        half_length_arcsec=radius * rng.uniform(0.6, 1.5),
        half_width_arcsec=max(radius * rng.uniform(0.06, 0.15), 1.2 * SHARPEST_ARCSEC),
        bend=rng.uniform(-0.3, 0.3),
        optical_depth=rng.uniform(0.3, 1.0),
    )


def either_sign(rng: np.random.Generator) -> int:
    """1 or -1."""
    return 1 if rng.random() < 0.5 else -1


def summed(parts: Sequence[Component], grid: Grid) -> Float32Array:
    """Image of components with the fluxes of their fractions, (rows, columns) float32."""
    image = np.zeros(grid.shape, np.float32)
    for part in parts:
        image += np.float32(part.fraction) * _coarse_fluxes(part, grid)
    return image


def _coarse_fluxes(part: Component, grid: Grid) -> Float32Array:
    """Fluxes on the reference grid, whose pixels are small beside all but bulges."""
    large = isinstance(part, Sersic) and part.radius_arcsec > _LARGE_PIX * grid.pixel_scale_arcsec
    return part.sampled(grid) if isinstance(part, Sersic) and large else part.pixel_fluxes(grid)


def _sharing_one(parts: Sequence[Any]) -> tuple[Any, ...]:
    total = sum(part.fraction for part in parts)
    return tuple(replace(part, fraction=part.fraction / total) for part in parts)
