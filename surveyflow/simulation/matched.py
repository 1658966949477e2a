"""The matched recipe: discs and post-mergers that differ in structure, and in no single number.

Both kinds have a body from the same distribution. Asymmetry, barycentre and half-light radius are drawn from the same
distributions, too, and each galaxy is balanced until it has them. Only the irregular part depends on the kind: outer arms, a
lopsided outer disc, partial rings and giant clumps in discs; tails, shells, streams, debris and second nuclei in post-mergers.
``docs/explanation/simulated-galaxies.md`` compares them with real galaxies.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from surveyflow.simulation.balancing import Balance, Wanted, asymmetry, balance, barycentre, half_light_arcsec, reference_grid
from surveyflow.simulation.bodies import Body, draw_body, summed
from surveyflow.simulation.galaxies import Galaxy
from surveyflow.simulation.irregular import IRREGULAR_PARTS, Parts
from surveyflow.simulation.profiles import Component, Ellipse, Grid
from surveyflow.simulation.structures import placed
from surveyflow.values.arrays import Float32Array
from surveyflow.values.codes import POST_MERGER, STAR_FORMING

_HALF_LIGHT = 0.95
"""Half-light radius per effective radius along the major axis and root of the axis ratio."""
_REACH_RADII = 7.0
"""How far tails reach, in effective radii of the body."""

_TRIES = 6
_CLOSE = 0.01
_LEAST_SHARE = MappingProxyType({STAR_FORMING: 0.0, POST_MERGER: 0.18})
"""Least share of the irregular part in a galaxy's flux: fainter remains of a merger could be seen in no image."""


@dataclass(frozen=True, slots=True)
class MatchedRecipe:
    """The matched recipe.

    Parameters
    ----------
    typical_asymmetry
        Median of the asymmetry that the irregular part adds to that of the body.
    scatter_dex
        Scatter of this asymmetry, dex.
    """

    typical_asymmetry: float = 0.24
    scatter_dex: float = 0.18

    def galaxy(self, rng: np.random.Generator, kind: str, radius_arcsec: float) -> Galaxy:
        """Draw a galaxy of one kind.

        Parameters
        ----------
        rng
            Random numbers for all its properties except kind and radius.
        kind
            ``star_forming`` or ``post_merger``.
        radius_arcsec
            Effective radius of its disc, along the major axis. The half-light radius is 0.95 times this radius times the root of
            the axis ratio.

        Raises
        ------
        ValueError
            If the kind is neither of the two.
        """
        if kind not in IRREGULAR_PARTS:
            raise ValueError(f"kind must be {STAR_FORMING} or {POST_MERGER}, not {kind!r}")
        body, grid = draw_body(rng, radius_arcsec), reference_grid(radius_arcsec)
        maps = body.maps(grid)
        mixture = _balanced(rng, kind, body, maps, self._wanted(rng, maps[0], grid, radius_arcsec))
        return _framed(kind, body, mixture, grid)

    def _wanted(self, rng: np.random.Generator, body: Float32Array, grid: Grid, radius: float) -> Wanted:
        """Draw the asymmetry and the shift of the barycentre that the irregular part adds to those of the body."""
        added = self.typical_asymmetry * 10 ** (self.scatter_dex * float(np.clip(rng.normal(), -2.5, 2.5)))
        dx, dy = Ellipse().point(radius * added * rng.uniform(0, 1.2), rng.uniform(0, 2 * np.pi))
        x, y = barycentre(body, grid)
        return Wanted(float(np.hypot(asymmetry(body), added)), x + dx, y + dy)


@dataclass(frozen=True, slots=True)
class _Mixture:
    """A body, an irregular part and their balance; ``maps`` are those that `balance` takes."""

    irregular: Parts
    maps: Float32Array
    balance: Balance

    def image(self) -> Float32Array:
        return np.tensordot(self.balance.weights().astype(np.float32), self.maps, axes=1)

    def components(self, body: Body) -> list[Component]:
        """All components with their final shares, which sum to 1."""
        main = body.swayed(self.balance.lopsidedness, self.balance.phase_rad)
        share = self.balance.irregular_share
        regular: Parts = [main, *body.others]
        regular = [replace(part, fraction=part.fraction * (1 - share)) for part in regular]
        each = share / sum(part.fraction for part in self.irregular)
        return regular + [replace(part, fraction=part.fraction * each) for part in self.irregular]


def _balanced(rng: np.random.Generator, kind: str, body: Body, maps: Float32Array, wanted: Wanted) -> _Mixture:
    """Draw irregular parts until one of them can give the galaxy the wanted numbers, or take the one that comes nearest."""
    found: list[_Mixture] = []
    grid = reference_grid(body.main.radius_arcsec)
    transmission = body.transmission(grid)
    for _ in range(_TRIES):
        parts = IRREGULAR_PARTS[kind](rng, body.main.radius_arcsec, body.main.ellipse)
        irregular = summed(parts, grid) * transmission / np.float32(sum(part.fraction for part in parts))
        all_maps = np.concatenate([maps, irregular[None]])
        found.append(_Mixture(parts, all_maps, balance(all_maps, grid, wanted, _LEAST_SHARE[kind])))
        if found[-1].balance.miss < _CLOSE:
            break
    return min(found, key=lambda each: each.balance.miss)


def _framed(kind: str, body: Body, mixture: _Mixture, grid: Grid) -> Galaxy:
    """The galaxy with its barycentre at the centre, and scaled to its half-light radius."""
    image = mixture.image()
    centre = barycentre(image, grid)
    wanted = _HALF_LIGHT * body.main.radius_arcsec * float(np.sqrt(body.main.ellipse.axis_ratio))
    factor = wanted / half_light_arcsec(image, grid, centre)
    kept_share = float(image.sum() / (image / body.transmission(grid)).sum())
    dust: Any = None if body.dust is None else placed(body.dust, centre, factor)
    components = tuple(placed(part, centre, factor) for part in mixture.components(body))
    reach_radii = _REACH_RADII * body.main.radius_arcsec * factor / wanted
    return Galaxy(kind, wanted, components, dust, kept_share, reach_radii)
