"""Components that only some galaxies have: rings and streams, and discs that are warped; and how a component is placed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from scipy.special import erf

from surveyflow.simulation.profiles import Ellipse, Grid
from surveyflow.values.arrays import Float32Array

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class WarpedEllipse(Ellipse):
    """The coordinates of a disc whose outskirts bend away from its plane, to one side at one end and to the other at the other.

    Parameters
    ----------
    warp
        Displacement across the major axis at twice ``flat_arcsec``, in units of ``flat_arcsec``. The warp shears the image, so it
        changes no flux.
    flat_arcsec
        Distance from the centre, along the major axis, at which the warp begins; positive.
    """

    warp: float = 0.0
    flat_arcsec: float = 1.0

    def axes(self, grid: Grid) -> tuple[Float32Array, Float32Array]:
        """(rows, columns) float32 coordinates as in a flat disc; arcsec."""
        along, across = Ellipse.axes(self, grid)
        beyond = np.sign(along) * np.maximum(np.abs(along) - np.float32(self.flat_arcsec), 0)
        return along, np.asarray(across - np.float32(self.warp / self.axis_ratio) * beyond, np.float32)


@dataclass(frozen=True, slots=True)
class Arc:
    """A ring, or a part of one: a ring of star formation, or a stream of stars.

    Parameters
    ----------
    fraction
        Share of the galaxy's flux.
    ellipse
        Centre and shape.
    radius_arcsec, width_arcsec
        Radius, and Gaussian sigma across it.
    azimuth_rad, spread_rad
        Middle of the arc, and Gaussian sigma along it; a large spread gives a full ring.
    """

    fraction: float
    ellipse: Ellipse
    radius_arcsec: float
    width_arcsec: float
    azimuth_rad: float = 0.0
    spread_rad: float = 100.0

    def pixel_fluxes(self, grid: Grid) -> Float32Array:
        u, v = self.ellipse.axes(grid)
        across = (np.hypot(u, v) - np.float32(self.radius_arcsec)) / np.float32(self.width_arcsec)
        turned = np.arctan2(v, u) - np.float32(self.azimuth_rad)
        along = np.arctan2(np.sin(turned), np.cos(turned)) / np.float32(self.spread_rad)
        amplitude = np.float32(grid.pixel_area_arcsec2 / self._integral())
        return np.asarray(amplitude * np.exp(np.float32(-0.5) * (across * across + along * along)), np.float32)

    def _integral(self) -> float:
        """Integral of the profile over the plane, arcsec2; exact."""
        radii = self.radius_arcsec / self.width_arcsec
        edge, whole = np.exp(-0.5 * radii**2), np.sqrt(np.pi / 2) * (1 + erf(radii / np.sqrt(2)))
        across = self.width_arcsec**2 * (edge + radii * whole)
        along = self.spread_rad * np.sqrt(2 * np.pi) * erf(np.pi / (np.sqrt(2) * self.spread_rad))
        return float(across * along * self.ellipse.axis_ratio)


def placed(part: _T, origin_xy: tuple[float, float], factor: float) -> _T:
    """A component, or its ellipse, seen from another origin and with every length times a factor."""
    whole: Any = part
    numbers = {name: getattr(whole, name) for name in whole.__dataclass_fields__}
    origin = {"x_arcsec": origin_xy[0], "y_arcsec": origin_xy[1]}
    changed = {name: (value - origin.get(name, 0.0)) * factor for name, value in numbers.items() if name.endswith("_arcsec")}
    if isinstance(numbers.get("ellipse"), Ellipse):
        changed["ellipse"] = placed(numbers["ellipse"], origin_xy, factor)
    same_kind: _T = replace(whole, **changed)
    return same_kind
