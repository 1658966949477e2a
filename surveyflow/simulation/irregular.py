"""The irregular parts of galaxies of the matched recipe, which alone tell post-mergers from discs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from surveyflow.simulation.bodies import drawn_arms, drawn_ring, either_sign
from surveyflow.simulation.galaxies import SHARPEST_ARCSEC
from surveyflow.simulation.profiles import Clump, Ellipse, Sersic, Shell, Tail
from surveyflow.simulation.structures import Arc
from surveyflow.values.codes import POST_MERGER, STAR_FORMING

Parts = list[Any]
"""Components; only the ratios of their fractions matter."""


def _irregular_disc(rng: np.random.Generator, radius: float, ellipse: Ellipse) -> Parts:
    """The irregular part of a disc: a lopsided outer disc, and often a one-sided arm, a partial ring or giant clumps."""
    parts: Parts = [_outer_disc(rng, radius, ellipse)]
    parts += [_one_sided_arm(rng, radius, ellipse)] if rng.random() < 0.3 else []
    parts += [_partial_ring(rng, radius, ellipse)] if rng.random() < 0.2 else []
    parts += [_giant_clump(rng, radius, ellipse) for _ in range(rng.integers(1, 4))] if rng.random() < 0.5 else []
    return parts


def _outer_disc(rng: np.random.Generator, radius: float, ellipse: Ellipse) -> Sersic:
    arms = replace(
        drawn_arms(rng, rng.uniform(0.3, 0.9)), lopsidedness=rng.uniform(0.1, 0.6), lopsided_phase_rad=rng.uniform(0, 2 * np.pi)
    )
    x, y = ellipse.point(radius * rng.uniform(0, 0.4), rng.uniform(0, 2 * np.pi))
    # It is thicker than the disc inside, so that tails, which lie in any plane, do not make post-mergers the rounder kind.
    thicker = ellipse.axis_ratio + (1 - ellipse.axis_ratio) * rng.uniform(0, 0.5)
    return Sersic(
        rng.uniform(0.4, 1.0),
        replace(ellipse, x_arcsec=x, y_arcsec=y, axis_ratio=thicker),
        radius * rng.uniform(1.0, 1.6),
        rng.uniform(0.4, 1.0),
        arms,
    )


def _one_sided_arm(rng: np.random.Generator, radius: float, ellipse: Ellipse) -> Tail:
    return Tail(
        fraction=rng.uniform(0.2, 0.7),
        ellipse=Ellipse(axis_ratio=ellipse.axis_ratio, angle_rad=ellipse.angle_rad),
        start_arcsec=radius * rng.uniform(0.4, 0.8),
        rise_arcsec=radius * rng.uniform(0.5, 1.4),
        start_rad=rng.uniform(0, 2 * np.pi),
        sweep_rad=rng.uniform(2.0, 4.5) * either_sign(rng),
        width_arcsec=max(radius * rng.uniform(0.15, 0.3), SHARPEST_ARCSEC / ellipse.axis_ratio),
    )


def _partial_ring(rng: np.random.Generator, radius: float, ellipse: Ellipse) -> Arc:
    return replace(
        drawn_ring(rng, radius, ellipse, rng.uniform(0.2, 0.5)),
        azimuth_rad=rng.uniform(0, 2 * np.pi),
        spread_rad=rng.uniform(0.8, 2.0),
    )


def _giant_clump(rng: np.random.Generator, radius: float, ellipse: Ellipse) -> Clump:
    x, y = ellipse.point(radius * rng.uniform(0.3, 1.5), rng.uniform(0, 2 * np.pi))
    return Clump(rng.uniform(0.05, 0.25), x, y, rng.uniform(0.05, 0.1))


def _irregular_remnant(rng: np.random.Generator, radius: float, ellipse: Ellipse) -> Parts:
    """The irregular part of a post-merger: debris, and at least one of tails, shells, streams and a second nucleus."""
    chances: dict[Callable[..., Parts], float] = {_tails: 0.65, _shells: 0.4, _streams: 0.35, _second_nucleus: 0.35}
    chosen = [draw for draw, chance in chances.items() if rng.random() < chance]
    chosen = chosen or [list(chances)[rng.integers(4)]]
    parts = [part for draw in chosen for part in draw(rng, radius)]
    return parts + ([_debris(rng, radius, ellipse)] if rng.random() < 0.4 else [])


def _tails(rng: np.random.Generator, radius: float) -> Parts:
    """One tail, or two that leave the body on opposite sides."""
    ellipse = _any_ellipse(rng, 0.3)
    first = Tail(
        fraction=rng.uniform(0.3, 1.0),
        ellipse=ellipse,
        start_arcsec=radius * rng.uniform(0.4, 0.9),
        rise_arcsec=radius * rng.uniform(0.8, 2.4),
        start_rad=rng.uniform(0, 2 * np.pi),
        sweep_rad=rng.uniform(0.6, 2.6) * either_sign(rng),
        width_arcsec=max(radius * rng.uniform(0.1, 0.25), SHARPEST_ARCSEC / ellipse.axis_ratio),
    )
    if rng.random() < 0.3:
        return [first]
    other = replace(
        first,
        fraction=first.fraction * rng.uniform(0.5, 1.0),
        rise_arcsec=first.rise_arcsec * rng.uniform(0.6, 1.2),
        start_rad=first.start_rad + np.pi + rng.normal(0, 0.4),
    )
    return [first, other]


def _shells(rng: np.random.Generator, radius: float) -> Parts:
    """Shells on alternating sides of one axis, each further out than the last."""
    axis, ellipse = rng.uniform(0, 2 * np.pi), _any_ellipse(rng, 0.6)
    reach = radius * rng.uniform(0.8, 1.3)
    parts: Parts = []
    for number in range(rng.integers(2, 6)):
        azimuth = axis + np.pi * number + rng.normal(0, 0.2)
        depth = max(0.3 * radius, 2 * SHARPEST_ARCSEC)
        parts.append(Shell(rng.uniform(0.15, 0.5), ellipse, reach, depth, azimuth, rng.uniform(0.35, 0.9)))
        reach *= rng.uniform(1.15, 1.5)
    return parts


def _streams(rng: np.random.Generator, radius: float) -> Parts:
    return [_stream(rng, radius) for _ in range(rng.integers(1, 3))]


def _stream(rng: np.random.Generator, radius: float) -> Arc:
    """A part of a narrow loop about the galaxy, seen at any angle."""
    x, y = Ellipse().point(radius * rng.uniform(0, 0.5), rng.uniform(0, 2 * np.pi))
    loop = replace(_any_ellipse(rng, 0.2), x_arcsec=x, y_arcsec=y)
    width = max(radius * rng.uniform(0.08, 0.16), SHARPEST_ARCSEC / loop.axis_ratio)
    return Arc(
        rng.uniform(0.2, 0.6), loop, radius * rng.uniform(1.1, 2.3), width, rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.5)
    )


def _second_nucleus(rng: np.random.Generator, radius: float) -> Parts:
    x, y = Ellipse().point(radius * rng.uniform(0.2, 0.9), rng.uniform(0, 2 * np.pi))
    ellipse = replace(_any_ellipse(rng, 0.6), x_arcsec=x, y_arcsec=y)
    size = max(radius * rng.uniform(0.1, 0.25), SHARPEST_ARCSEC)
    return [Sersic(rng.uniform(0.2, 0.8), ellipse, size, rng.uniform(0.8, 2.0))]


def _debris(rng: np.random.Generator, radius: float, ellipse: Ellipse) -> Sersic:
    """A wide envelope, off centre."""
    x, y = Ellipse().point(radius * rng.uniform(0, 0.6), rng.uniform(0, 2 * np.pi))
    rounder = Ellipse(x, y, max(ellipse.axis_ratio, rng.uniform(0.4, 1.0)), ellipse.angle_rad + rng.normal(0, 0.5))
    return Sersic(rng.uniform(0.2, 0.7), rounder, radius * rng.uniform(1.1, 1.8), rng.uniform(0.5, 1.0))


def _any_ellipse(rng: np.random.Generator, flattest: float) -> Ellipse:
    return Ellipse(axis_ratio=rng.uniform(flattest, 1.0), angle_rad=rng.uniform(0, np.pi))


IRREGULAR_PARTS: Mapping[str, Callable[[np.random.Generator, float, Ellipse], Parts]] = MappingProxyType(
    {
        STAR_FORMING: _irregular_disc,
        POST_MERGER: _irregular_remnant,
    }
)
"""What draws the irregular part of each kind, from random numbers, radius and the shape of the disc."""
