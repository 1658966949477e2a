"""The components of galaxies: discs, bulges, arms, clumps, tails and shells, as fluxes of an image's pixels.

Lengths are in arcsec, so that every instrument sees the same galaxy. Profiles are integrated over pixels where they are steep,
so fluxes are good to 1 % at HST's pixel scales.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy.special import erf, gamma, gammaincinv

from surveyflow.values.arrays import Float32Array

_STEEP_PIXELS = 4
_SUBPIXELS = 9
_POINT_SIGMA_PIX = 0.3


@dataclass(frozen=True, slots=True)
class Grid:
    """The positions of an image's pixels, in arcsec from a galaxy's centre.

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
        """The grid of an image of this shape, with the galaxy's centre at a fractional row and column."""
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
        """Rows and columns of the few pixels around a point, clipped to the image."""
        return _few_around(self.y_arcsec[:, 0], y_arcsec), _few_around(self.x_arcsec[0], x_arcsec)


@dataclass(frozen=True, slots=True)
class Ellipse:
    """The centre and shape that define a component's elliptical coordinates.

    Parameters
    ----------
    x_arcsec, y_arcsec
        Centre, relative to the galaxy's centre.
    axis_ratio
        Ratio of minor to major axis, in (0, 1].
    angle_rad
        Angle of the major axis, from the image's x axis towards its y axis.
    """

    x_arcsec: float = 0.0
    y_arcsec: float = 0.0
    axis_ratio: float = 1.0
    angle_rad: float = 0.0

    def axes(self, grid: Grid) -> tuple[Float32Array, Float32Array]:
        """(rows, columns) float32 coordinates along the major and, stretched by 1 / axis_ratio, the minor axis; arcsec."""
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
        """(rows, columns) float32 fluxes, which would sum to 1 on an infinite grid."""
        ...


@dataclass(frozen=True, slots=True)
class Modulation:
    """Spiral arms and lopsidedness of a disc, as azimuthal Fourier modes that leave its flux unchanged.

    Parameters
    ----------
    arm_contrast
        Amplitude of the arms' mode, in [0, 1).
    n_arms, pitch_rad, arm_phase_rad
        Number of arms, pitch angle of the logarithmic spiral (its sign gives the direction of winding), and phase of the arms.
    lopsidedness, lopsided_phase_rad
        Amplitude of the m = 1 mode at the effective radius, and its direction. The amplitude grows with radius, up to 1.5
        times this value.
    """

    arm_contrast: float = 0.0
    n_arms: int = 2
    pitch_rad: float = 0.35
    arm_phase_rad: float = 0.0
    lopsidedness: float = 0.0
    lopsided_phase_rad: float = 0.0

    def __call__(self, radius: Float32Array, azimuth: Float32Array) -> Float32Array:
        """Factor on the disc's brightness, float32; the radius is in effective radii."""
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
        fluxes = self.sampled(grid)
        rows, columns = grid.steep_part(self.ellipse.x_arcsec, self.ellipse.y_arcsec)
        height, width = fluxes[rows, columns].shape
        if height and width:
            fine = self.sampled(grid.subpixels(rows, columns))
            fluxes[rows, columns] = fine.reshape(height, _SUBPIXELS, width, _SUBPIXELS).sum(axis=(1, 3))
        return fluxes

    def sampled(self, grid: Grid) -> Float32Array:
        """Fluxes from the brightness at the pixels' centres alone: good to 1 % if the radius has several pixels."""
        u, v = self.ellipse.axes(grid)
        # The softening approximates the mean over the one (sub)pixel that contains the cusp.
        softening = np.float32((0.3 * grid.pixel_scale_arcsec / self.radius_arcsec) ** 2)
        squared = (u * u + v * v) * np.float32(self.radius_arcsec**-2) + softening
        steepness = float(gammaincinv(2 * self.index, 0.5))
        exponent = np.exp(np.log(squared) * np.float32(0.5 / self.index)) * np.float32(-steepness)
        fluxes: Float32Array = np.exp(exponent) * np.float32(self._amplitude(steepness) * grid.pixel_area_arcsec2)
        return fluxes if self.modulation is None else fluxes * self.modulation(np.sqrt(squared), np.arctan2(v, u))

    def _amplitude(self, steepness: float) -> float:
        """Central brightness, per arcsec2, of a profile with flux 1 (Graham & Driver 2005, equation 4)."""
        area = 2 * np.pi * self.radius_arcsec**2 * self.ellipse.axis_ratio
        return float(steepness ** (2 * self.index) / (area * self.index * gamma(2 * self.index)))


@dataclass(frozen=True, slots=True)
class Clump:
    """A star-forming region: a round Gaussian, integrated exactly over pixels."""

    fraction: float
    x_arcsec: float
    y_arcsec: float
    sigma_arcsec: float

    def pixel_fluxes(self, grid: Grid) -> Float32Array:
        return _gaussian_fluxes(grid, self.x_arcsec, self.y_arcsec, self.sigma_arcsec)


@dataclass(frozen=True, slots=True)
class PointSource:
    """A star, as sharp as the grid can represent without ringing."""

    fraction: float = 1.0

    def pixel_fluxes(self, grid: Grid) -> Float32Array:
        return _gaussian_fluxes(grid, 0.0, 0.0, _POINT_SIGMA_PIX * grid.pixel_scale_arcsec)


@dataclass(frozen=True, slots=True)
class Tail:
    """A tidal tail: an arm that leaves the body, and widens and fades outwards.

    Parameters
    ----------
    fraction
        Share of the galaxy's flux.
    ellipse
        Shape of the plane in which it lies.
    start_arcsec, rise_arcsec
        Radius at which it leaves the body, and the increase of the radius to its end.
    start_rad, sweep_rad
        Azimuth where it starts, and the angle it sweeps; a negative sweep winds the other way.
    width_arcsec
        Gaussian sigma across the tail at its start; it is twice as wide at its end.
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
        Radius of the sharp edge, and the length over which the shell fades inwards.
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
class DustLane:
    """A curved band that absorbs the light behind it.

    Parameters
    ----------
    ellipse
        Middle of the lane; its angle is the lane's direction.
    half_length_arcsec, half_width_arcsec
        Gaussian sigmas along and across it.
    bend
        Distance from a straight line at one ``half_length_arcsec`` from its middle, in units of ``half_length_arcsec``.
    optical_depth
        Optical depth in its middle.
    """

    ellipse: Ellipse
    half_length_arcsec: float
    half_width_arcsec: float
    bend: float
    optical_depth: float

    def transmission(self, grid: Grid) -> Float32Array:
        """(rows, columns) float32: the transmitted share of the light."""
        along, across = self.ellipse.axes(grid)
        along /= np.float32(self.half_length_arcsec)
        bent = np.float32(self.bend * self.half_length_arcsec) * along * along
        across = np.asarray(across - bent, np.float32) / np.float32(self.half_width_arcsec)
        depth = np.float32(self.optical_depth) * np.exp(np.float32(-0.5) * (along * along + across * across))
        return np.asarray(np.exp(-depth), np.float32)


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
    """Pixel fluxes of a profile in elliptical polar coordinates, divided by its integral over the plane."""
    u, v = ellipse.axes(grid)
    fluxes = brightness(np.sqrt(u * u + v * v), np.arctan2(v, u))
    total = _integral(brightness, reach_arcsec) * ellipse.axis_ratio
    return np.asarray(fluxes * np.float32(grid.pixel_area_arcsec2 / total), np.float32)


def _integral(brightness: Callable[[Any, Any], Any], reach_arcsec: float) -> float:
    n_radii, n_azimuths = 128, 96
    radius = (np.arange(n_radii, dtype=np.float32)[:, None] + np.float32(0.5)) * np.float32(reach_arcsec / n_radii)
    azimuth = (np.arange(n_azimuths, dtype=np.float32)[None, :] + np.float32(0.5)) * np.float32(2 * np.pi / n_azimuths)
    return float(np.sum(brightness(radius, azimuth) * radius)) * (reach_arcsec / n_radii) * (2 * np.pi / n_azimuths)
