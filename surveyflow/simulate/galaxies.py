"""What does a galaxy look like, before any telescope? Noiseless images of star-forming discs, post-mergers and stars.

A galaxy is a tuple of components whose shares of its flux sum to 1. Its lengths are in arcsec, so that every instrument
sees the same galaxy. Components are integrated over pixels where they are steep, so fluxes hold to 1 % at HST's pixels.
The recipe and its references are told in ``docs/explanation/simulated-survey.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from scipy.special import erf, gamma, gammaincinv

from surveyflow.types import POST_MERGER, STAR_FORMING, Float32Array

STAR = "star"
SHARPEST_ARCSEC = 0.05
"""No component is narrower than this: it could not be sampled at 0.06 arcsec, nor be seen through HST's PSF."""

_STEEP_PIXELS = 4
_SUBPIXELS = 9
_POINT_SIGMA_PIX = 0.3


@dataclass(frozen=True, slots=True)
class Grid:
    """Where an image's pixels lie, in arcsec from a galaxy's centre.

    Parameters
    ----------
    x_arcsec
        (1, columns) float32, pixel centres.
    y_arcsec
        (rows, 1) float32, pixel centres.
    pixel_scale_arcsec
        Side of a pixel.
    """

    x_arcsec: Float32Array
    y_arcsec: Float32Array
    pixel_scale_arcsec: float

    @classmethod
    def around(cls, y_pix: float, x_pix: float, shape: tuple[int, int], pixel_scale_arcsec: float) -> Grid:
        """The grid of an image of this shape, with the galaxy's centre at a row and column, fractions included."""
        y = (np.arange(shape[0]) - y_pix) * pixel_scale_arcsec
        x = (np.arange(shape[1]) - x_pix) * pixel_scale_arcsec
        return cls(x[None, :].astype(np.float32), y[:, None].astype(np.float32), pixel_scale_arcsec)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.y_arcsec.shape[0], self.x_arcsec.shape[1]

    @property
    def pixel_area_arcsec2(self) -> float:
        """Area of one pixel."""
        return self.pixel_scale_arcsec**2

    def subpixels(self, rows: slice, columns: slice) -> Grid:
        """The grid of a part of the image, each pixel split into 9 x 9."""
        steps = ((np.arange(_SUBPIXELS) + 0.5) / _SUBPIXELS - 0.5).astype(np.float32) * np.float32(self.pixel_scale_arcsec)
        x = (self.x_arcsec[0, columns, None] + steps).reshape(1, -1)
        y = (self.y_arcsec[rows, 0, None] + steps).reshape(-1, 1)
        return Grid(x, y, self.pixel_scale_arcsec / _SUBPIXELS)

    def steep_part(self, x_arcsec: float, y_arcsec: float) -> tuple[slice, slice]:
        """Rows and columns of the few pixels around a point, as far as they lie in the image."""
        return _few_around(self.y_arcsec[:, 0], y_arcsec), _few_around(self.x_arcsec[0], x_arcsec)


@dataclass(frozen=True, slots=True)
class Ellipse:
    """Centre and shape that a component's elliptical coordinates refer to.

    Parameters
    ----------
    x_arcsec, y_arcsec
        Centre, from the galaxy's.
    axis_ratio
        Minor over major, in (0, 1].
    angle_rad
        Of the major axis, from the image's x axis towards its y axis.
    """

    x_arcsec: float = 0.0
    y_arcsec: float = 0.0
    axis_ratio: float = 1.0
    angle_rad: float = 0.0

    def axes(self, grid: Grid) -> tuple[Float32Array, Float32Array]:
        """(rows, columns) float32 along the major axis and, stretched by 1 / axis_ratio, along the minor axis; arcsec."""
        cosine, sine = np.float32(np.cos(self.angle_rad)), np.float32(np.sin(self.angle_rad))
        dx, dy = grid.x_arcsec - np.float32(self.x_arcsec), grid.y_arcsec - np.float32(self.y_arcsec)
        along, across = dx * cosine + dy * sine, (dy * cosine - dx * sine) / np.float32(self.axis_ratio)
        return np.asarray(along, np.float32), np.asarray(across, np.float32)

    def point(self, radius_arcsec: float, azimuth_rad: float) -> tuple[float, float]:
        """The x and y, in arcsec, of elliptical polar coordinates."""
        u, v = radius_arcsec * np.cos(azimuth_rad), radius_arcsec * self.axis_ratio * np.sin(azimuth_rad)
        cosine, sine = np.cos(self.angle_rad), np.sin(self.angle_rad)
        return float(self.x_arcsec + u * cosine - v * sine), float(self.y_arcsec + u * sine + v * cosine)


class Component(Protocol):
    """A part of a galaxy."""

    @property
    def fraction(self) -> float:
        """Share of the galaxy's flux."""
        ...

    def pixel_fluxes(self, grid: Grid) -> Float32Array:
        """(rows, columns) float32 that would sum to 1 on an endless grid."""
        ...


@dataclass(frozen=True, slots=True)
class Modulation:
    """Spiral arms and lopsidedness of a disc, as azimuthal Fourier modes that leave its flux unchanged.

    Parameters
    ----------
    arm_contrast
        Amplitude of the arms' mode, in [0, 1).
    n_arms, pitch_rad, arm_phase_rad
        Number of arms, pitch angle of the logarithmic spiral (its sign is the winding's sense) and where the arms start.
    lopsidedness, lopsided_phase_rad
        Amplitude of the m = 1 mode at the effective radius (it grows with radius, up to 1.5 times this), and its direction.
    """

    arm_contrast: float = 0.0
    n_arms: int = 2
    pitch_rad: float = 0.35
    arm_phase_rad: float = 0.0
    lopsidedness: float = 0.0
    lopsided_phase_rad: float = 0.0

    def __call__(self, radius: Float32Array, azimuth: Float32Array) -> Float32Array:
        """Factor on the disc's brightness, float32; radius in effective radii."""
        one = np.float32(1)
        sway = np.float32(self.lopsidedness) * np.minimum(radius, np.float32(1.5))
        factor: Float32Array = one + sway * np.cos(azimuth - np.float32(self.lopsided_phase_rad))
        if self.arm_contrast:
            winding = np.log(np.maximum(radius, np.float32(1e-3))) / np.float32(np.tan(self.pitch_rad))
            wave = np.cos(np.float32(self.n_arms) * (azimuth - winding) + np.float32(self.arm_phase_rad))
            factor = factor * (one + np.float32(self.arm_contrast) * np.minimum(2 * radius, one) * wave)
        return factor


@dataclass(frozen=True, slots=True)
class Sersic:
    """A Sersic (1963) profile: a disc, bulge, bar, nucleus or envelope.

    Parameters
    ----------
    fraction
        Share of the galaxy's flux.
    ellipse
        Centre and shape.
    radius_arcsec
        Effective radius along the major axis.
    index
        Sersic index, 0.3 to 5.
    modulation
        Arms and lopsidedness; None for a plain profile.
    """

    fraction: float
    ellipse: Ellipse
    radius_arcsec: float
    index: float
    modulation: Modulation | None = None

    def pixel_fluxes(self, grid: Grid) -> Float32Array:
        fluxes = self._sampled(grid)
        rows, columns = grid.steep_part(self.ellipse.x_arcsec, self.ellipse.y_arcsec)
        height, width = fluxes[rows, columns].shape
        if height and width:
            fine = self._sampled(grid.subpixels(rows, columns))
            fluxes[rows, columns] = fine.reshape(height, _SUBPIXELS, width, _SUBPIXELS).sum(axis=(1, 3))
        return fluxes

    def _sampled(self, grid: Grid) -> Float32Array:
        u, v = self.ellipse.axes(grid)
        # The softening stands for the mean over the one (sub)pixel that holds the cusp.
        softening = np.float32((0.3 * grid.pixel_scale_arcsec / self.radius_arcsec) ** 2)
        squared = (u * u + v * v) * np.float32(self.radius_arcsec**-2) + softening
        steepness = float(gammaincinv(2 * self.index, 0.5))
        exponent = np.exp(np.log(squared) * np.float32(0.5 / self.index)) * np.float32(-steepness)
        fluxes: Float32Array = np.exp(exponent) * np.float32(self._amplitude(steepness) * grid.pixel_area_arcsec2)
        return fluxes if self.modulation is None else fluxes * self.modulation(np.sqrt(squared), np.arctan2(v, u))

    def _amplitude(self, steepness: float) -> float:
        """Central brightness, per arcsec2, of a profile of flux 1 (Graham & Driver 2005, equation 4)."""
        area = 2 * np.pi * self.radius_arcsec**2 * self.ellipse.axis_ratio
        return float(steepness ** (2 * self.index) / (area * self.index * gamma(2 * self.index)))


@dataclass(frozen=True, slots=True)
class Clump:
    """A round Gaussian, integrated over pixels exactly: a star-forming region."""

    fraction: float
    x_arcsec: float
    y_arcsec: float
    sigma_arcsec: float

    def pixel_fluxes(self, grid: Grid) -> Float32Array:
        return _gaussian_fluxes(grid, self.x_arcsec, self.y_arcsec, self.sigma_arcsec)


@dataclass(frozen=True, slots=True)
class PointSource:
    """A star: as sharp as the grid can carry without ringing."""

    fraction: float = 1.0

    def pixel_fluxes(self, grid: Grid) -> Float32Array:
        return _gaussian_fluxes(grid, 0.0, 0.0, _POINT_SIGMA_PIX * grid.pixel_scale_arcsec)


@dataclass(frozen=True, slots=True)
class Tail:
    """A tidal tail: an arm that leaves the body, widens and fades along its way.

    Parameters
    ----------
    fraction
        Share of the galaxy's flux.
    ellipse
        Shape of the plane it lies in.
    start_arcsec, rise_arcsec
        Radius where it leaves the body, and how much further out it ends.
    start_rad, sweep_rad
        Azimuth where it starts, and the angle it sweeps; a negative sweep winds the other way.
    width_arcsec
        Gaussian sigma across it at its start; twice that at its end.
    """

    fraction: float
    ellipse: Ellipse
    start_arcsec: float
    rise_arcsec: float
    start_rad: float
    sweep_rad: float
    width_arcsec: float

    def pixel_fluxes(self, grid: Grid) -> Float32Array:
        reach = self.start_arcsec + 1.5 * self.rise_arcsec + 9 * self.width_arcsec
        return _normalised_fluxes(self._brightness, self.ellipse, reach, grid)

    def _brightness(self, radius: Any, azimuth: Any) -> Any:
        turned = np.mod(np.sign(self.sweep_rad) * (azimuth - self.start_rad), 2 * np.pi)
        progress = (turned / abs(self.sweep_rad)).astype(np.float32)
        width = np.float32(self.width_arcsec) * (1 + progress)
        across = (radius - np.float32(self.start_arcsec) - np.float32(self.rise_arcsec) * progress) / width
        ends = np.minimum(progress / np.float32(0.15), 1) / (1 + np.exp((np.minimum(progress, 3) - 1) / np.float32(0.12)))
        return np.exp(np.float32(-0.5) * across * across - np.float32(1.6) * progress) * ends


@dataclass(frozen=True, slots=True)
class Shell:
    """A stellar shell: an arc with a sharp outer edge that fades inwards.

    Parameters
    ----------
    fraction
        Share of the galaxy's flux.
    ellipse
        Shape of the arc.
    radius_arcsec, depth_arcsec
        Of the sharp edge, and over which the shell fades inwards.
    azimuth_rad, spread_rad
        Middle of the arc, and Gaussian sigma along it.
    """

    fraction: float
    ellipse: Ellipse
    radius_arcsec: float
    depth_arcsec: float
    azimuth_rad: float
    spread_rad: float

    def pixel_fluxes(self, grid: Grid) -> Float32Array:
        return _normalised_fluxes(self._brightness, self.ellipse, self.radius_arcsec + self.depth_arcsec, grid)

    def _brightness(self, radius: Any, azimuth: Any) -> Any:
        outwards = (radius - np.float32(self.radius_arcsec)) / np.float32(self.depth_arcsec)
        along = (np.mod(azimuth - self.azimuth_rad + np.pi, 2 * np.pi) - np.pi).astype(np.float32) / np.float32(self.spread_rad)
        edge = np.where(outwards < 0, outwards, -12 * np.square(np.clip(outwards, 0, 3)))
        return np.exp(edge - np.float32(0.5) * along * along)


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
        Its parts; their fractions sum to 1.
    """

    kind: str
    radius_arcsec: float
    components: tuple[Component, ...]

    def __post_init__(self) -> None:
        total = sum(component.fraction for component in self.components)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the fractions of a galaxy's components must sum to 1, not {total:.4f}")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How far the two kinds lie apart. The defaults give a classifier about 82 % accuracy: neither trivial nor hopeless.

    Parameters
    ----------
    merger_strength
        Range of the factor on every post-merger feature's flux and displacement.
    disc_lopsidedness
        Largest m = 1 amplitude of a star-forming disc.
    """

    merger_strength: tuple[float, float] = (0.8, 1.5)
    disc_lopsidedness: float = 0.08


def render(galaxy: Galaxy, flux: float, grid: Grid) -> Float32Array:
    """Draw a galaxy without PSF or noise.

    Parameters
    ----------
    galaxy
        What to draw.
    flux
        Total flux, in any unit (e-/s).
    grid
        Where the pixels lie.

    Returns
    -------
    (rows, columns) float32, flux per pixel. What lies outside of the grid is missing from the sum, nothing else.
    """
    image = np.zeros(grid.shape, np.float32)
    for component in galaxy.components:
        image += np.float32(flux * component.fraction) * component.pixel_fluxes(grid)
    return image


def draw_star() -> Galaxy:
    """A star."""
    return Galaxy(STAR, 0.0, (PointSource(),))


def draw_galaxy(rng: np.random.Generator, kind: str, radius_arcsec: float, recipe: Recipe | None = None) -> Galaxy:
    """Draw a galaxy of one kind.

    Parameters
    ----------
    rng
        Source of all its properties but kind and radius.
    kind
        ``star_forming`` or ``post_merger``.
    radius_arcsec
        Effective radius of its body.
    recipe
        How far the kinds lie apart; the default recipe when left out.

    Raises
    ------
    ValueError
        When the kind is neither of the two.
    """
    parts = {STAR_FORMING: _star_forming_parts, POST_MERGER: _post_merger_parts}
    if kind not in parts:
        raise ValueError(f"kind must be {STAR_FORMING} or {POST_MERGER}, not {kind!r}")
    ellipse = Ellipse(axis_ratio=rng.uniform(0.25, 1.0), angle_rad=rng.uniform(0, np.pi))
    return Galaxy(kind, radius_arcsec, _sharing_one(parts[kind](rng, radius_arcsec, ellipse, recipe or Recipe())))


def draw_plain_galaxy(rng: np.random.Generator, radius_arcsec: float) -> Galaxy:
    """Draw a featureless galaxy for the background: 70 % discs, 30 % steeper profiles, which count as star-forming, too."""
    index = rng.uniform(0.7, 1.6) if rng.random() < 0.7 else rng.uniform(1.6, 4.0)
    ellipse = Ellipse(axis_ratio=rng.uniform(0.25, 1.0), angle_rad=rng.uniform(0, np.pi))
    return Galaxy(STAR_FORMING, radius_arcsec, (Sersic(1.0, ellipse, radius_arcsec, index),))


def _star_forming_parts(rng: np.random.Generator, radius: float, ellipse: Ellipse, recipe: Recipe) -> list[Component]:
    bulge_share = float(rng.beta(1.2, 5.0))
    arms = rng.uniform(0.15, 0.7) if rng.random() < 0.65 else 0.0
    modulation = _modulation(rng, arms, rng.uniform(0, recipe.disc_lopsidedness))
    parts: list[Component] = [Sersic(1 - bulge_share, ellipse, radius, rng.uniform(0.7, 1.4), modulation)]
    parts.append(_bulge(rng, bulge_share, radius, ellipse))
    if rng.random() < 0.3:
        parts.append(_bar(rng, radius, ellipse))
    return parts + _clumps(rng, radius, ellipse, 5.0)


def _post_merger_parts(rng: np.random.Generator, radius: float, ellipse: Ellipse, recipe: Recipe) -> list[Component]:
    strength = rng.uniform(*recipe.merger_strength)
    ellipse = replace(ellipse, axis_ratio=max(ellipse.axis_ratio, 0.3))
    features = _tidal_features(rng, radius, strength)
    body_share = max(1 - sum(feature.fraction for feature in features), 0.25)
    lopsidedness = strength * rng.uniform(0, 0.35)
    body = (_disc_remnant if rng.random() < 0.5 else _spheroid)(rng, body_share, radius, ellipse, lopsidedness)
    # Clumps survive in remnants, so that clumps are no label.
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
    """One or more of tails, shells, a second nucleus and an offset envelope."""
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


def _few_around(axis_arcsec: Float32Array, point_arcsec: float) -> slice:
    step = float(axis_arcsec[1] - axis_arcsec[0])
    middle = round((point_arcsec - float(axis_arcsec[0])) / step)
    low, high = np.clip((middle - _STEEP_PIXELS, middle + _STEEP_PIXELS + 1), 0, len(axis_arcsec))
    return slice(int(low), int(high))


def _gaussian_fluxes(grid: Grid, x_arcsec: float, y_arcsec: float, sigma_arcsec: float) -> Float32Array:
    rows = _gaussian_shares(grid.y_arcsec - y_arcsec, grid.pixel_scale_arcsec, sigma_arcsec)
    return rows * _gaussian_shares(grid.x_arcsec - x_arcsec, grid.pixel_scale_arcsec, sigma_arcsec)


def _gaussian_shares(offset: Float32Array, step: float, sigma: float) -> Float32Array:
    scale = 1 / (np.sqrt(2) * sigma)
    shares = 0.5 * (erf((offset + step / 2) * scale) - erf((offset - step / 2) * scale))
    return np.asarray(shares, np.float32)


def _normalised_fluxes(brightness: Callable[[Any, Any], Any], ellipse: Ellipse, reach_arcsec: float, grid: Grid) -> Float32Array:
    """Pixel fluxes of a profile in elliptical polar coordinates, divided by its integral over the whole plane."""
    u, v = ellipse.axes(grid)
    fluxes = brightness(np.sqrt(u * u + v * v), np.arctan2(v, u))
    total = _integral(brightness, reach_arcsec) * ellipse.axis_ratio
    return np.asarray(fluxes * np.float32(grid.pixel_area_arcsec2 / total), np.float32)


def _integral(brightness: Callable[[Any, Any], Any], reach_arcsec: float) -> float:
    n_radii, n_azimuths = 128, 96
    radius = (np.arange(n_radii, dtype=np.float32)[:, None] + np.float32(0.5)) * np.float32(reach_arcsec / n_radii)
    azimuth = (np.arange(n_azimuths, dtype=np.float32)[None, :] + np.float32(0.5)) * np.float32(2 * np.pi / n_azimuths)
    return float(np.sum(brightness(radius, azimuth) * radius)) * (reach_arcsec / n_radii) * (2 * np.pi / n_azimuths)
