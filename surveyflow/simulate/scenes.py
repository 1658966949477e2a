"""What lies on a piece of sky? Galaxies and stars by magnitude and size, their neighbours, and stamps of single galaxies.

Positions are in arcsec from the lower left corner of an image, so that every instrument finds them at the same place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from surveyflow.simulate.galaxies import STAR, Galaxy, Recipe, draw_galaxy, draw_plain_galaxy, draw_star, render
from surveyflow.simulate.observe import F160W, F814W, Band, Depth, blur, shot_noise, sky_noise
from surveyflow.simulate.profiles import Grid
from surveyflow.types import POST_MERGER, STAR_FORMING, Float32Array

TARGET_MAGNITUDES = (20.0, 24.0)
NEIGHBOUR_CHANCE = 0.35
BACKGROUND_PER_ARCSEC2 = 0.068
"""Objects of 20 to 26.5 mag, which is 1 on a stamp of 3.84 arcsec and 4 on one of 7.68 arcsec."""

_BACKGROUND_MAGNITUDES = (20.0, 26.5)
_STAR_CHANCE = 0.06
_STAMP_MARGIN_PIX = 8


@dataclass(frozen=True, slots=True)
class SkyObject:
    """A galaxy or star in its place.

    Parameters
    ----------
    galaxy
        What it looks like.
    x_arcsec, y_arcsec
        Centre, from the image's lower left corner.
    magnitudes
        AB magnitude by band name.
    """

    galaxy: Galaxy
    x_arcsec: float
    y_arcsec: float
    magnitudes: Mapping[str, float]

    def pixel(self, band: Band) -> tuple[float, float]:
        """Row and column of the centre, 0-based, integers at pixel centres."""
        scale = band.pixel_scale_arcsec
        return self.y_arcsec / scale - 0.5, self.x_arcsec / scale - 0.5


@dataclass(frozen=True, slots=True)
class Stamp:
    """A galaxy as a network sees it, and what only a simulation knows of it.

    Parameters
    ----------
    kind
        ``star_forming`` or ``post_merger``.
    magnitude_ab, radius_arcsec
        Of the galaxy.
    galaxy, neighbours
        (size, size) float32, e-/s: the two parts of the sky, behind the PSF and without noise.
    pixels
        (size, size) float32, e-/s: both, with photon and sky noise.
    """

    kind: str
    magnitude_ab: float
    radius_arcsec: float
    galaxy: Float32Array
    neighbours: Float32Array
    pixels: Float32Array


def stamp(seed: int, index: int, band: Band, depth: Depth, *, size: int = 128, recipe: Recipe | None = None) -> Stamp:
    """Simulate one galaxy; it depends on nothing but the arguments.

    Parameters
    ----------
    seed, index
        Name the stamp; stamps of different index are independent.
    band, depth
        Instrument and noise.
    size
        Side, pixels; the galaxy's centre is at pixel ``size // 2``.
    recipe
        How far the two kinds lie apart.
    """
    rng = np.random.default_rng([seed, index])
    kind = (STAR_FORMING, POST_MERGER)[rng.integers(2)]
    middle = (size // 2 + _STAMP_MARGIN_PIX + 0.5) * band.pixel_scale_arcsec
    target = draw_target(rng, kind, (middle, middle), band, recipe=recipe)
    side = size + 2 * _STAMP_MARGIN_PIX
    width = side * band.pixel_scale_arcsec
    others = [*draw_neighbours(rng, target), *draw_background(rng, width, width)]
    inner = slice(_STAMP_MARGIN_PIX, -_STAMP_MARGIN_PIX)
    galaxy, neighbours = (blur(paint(part, band, (side, side)), band)[inner, inner] for part in ([target], others))
    noise = sky_noise(rng, (size, size), depth.sky_rms) + shot_noise(rng, galaxy + neighbours, depth.exposure_s)
    pixels = galaxy + neighbours + noise
    return Stamp(kind, target.magnitudes[band.name], target.galaxy.radius_arcsec, galaxy, neighbours, pixels)


def draw_target(
    rng: np.random.Generator,
    kind: str,
    place_xy_arcsec: tuple[float, float],
    band: Band,
    *,
    fainter: Mapping[str, float] | None = None,
    recipe: Recipe | None = None,
) -> SkyObject:
    """Draw a galaxy, or star, that a catalog would list.

    Parameters
    ----------
    kind
        ``star_forming``, ``post_merger`` or ``star``.
    place_xy_arcsec
        Its centre, from the image's lower left corner, x first.
    band
        Where its magnitude is drawn, in 20 to 24 with counts rising as 10^(0.15 m), and its size after it.
    fainter
        How much fainter it is in other bands than in ``band``, mag, by band name.
    recipe
        How far the two kinds lie apart.
    """
    magnitude = draw_magnitude(rng, 0.15, TARGET_MAGNITUDES)
    radius = float(np.clip(0.45 * 10 ** (-0.07 * (magnitude - 22.5) + 0.2 * rng.normal()), 0.2, 1.2))
    galaxy = draw_star() if kind == STAR else draw_galaxy(rng, kind, radius, recipe)
    magnitudes = {band.name: magnitude} | {name: magnitude + colour for name, colour in (fainter or {}).items()}
    return SkyObject(galaxy, *place_xy_arcsec, MappingProxyType(magnitudes))


def draw_neighbours(rng: np.random.Generator, target: SkyObject) -> list[SkyObject]:
    """With a chance of 0.35, one object that overlaps the target: within 0.6 to 2.5 of its radii."""
    if rng.random() >= NEIGHBOUR_CHANCE:
        return []
    distance, angle = max(target.galaxy.radius_arcsec, 0.2) * rng.uniform(0.6, 2.5), rng.uniform(0, 2 * np.pi)
    x, y = target.x_arcsec + distance * np.cos(angle), target.y_arcsec + distance * np.sin(angle)
    return [_background_object(rng, float(x), float(y), (20.5, 25.5))]


def draw_background(rng: np.random.Generator, width_arcsec: float, height_arcsec: float) -> list[SkyObject]:
    """Featureless galaxies and a few stars, anywhere on the image."""
    number = rng.poisson(BACKGROUND_PER_ARCSEC2 * width_arcsec * height_arcsec)
    places = rng.uniform((0, 0), (width_arcsec, height_arcsec), (number, 2))
    return [_background_object(rng, float(x), float(y), _BACKGROUND_MAGNITUDES) for x, y in places]


def draw_magnitude(rng: np.random.Generator, slope: float, limits: tuple[float, float]) -> float:
    """Draw from counts that rise as ``10 ** (slope * magnitude)`` between the limits."""
    bright, faint = 10 ** (slope * np.asarray(limits))
    return float(np.log10(rng.uniform(bright, faint)) / slope)


def paint(objects: Iterable[SkyObject], band: Band, shape: tuple[int, int], margin: int = 0) -> Float32Array:
    """Draw objects on one image, without PSF or noise.

    Parameters
    ----------
    objects
        What to draw; parts beyond the image are left out.
    band
        Pixel scale, magnitudes and zero point.
    shape
        Rows and columns.
    margin
        Pixels to add on each side of the image, of the sky around it.

    Returns
    -------
    (rows + 2 margin, columns + 2 margin) float32, e-/s.
    """
    canvas = np.zeros((shape[0] + 2 * margin, shape[1] + 2 * margin), np.float32)
    for sky_object in objects:
        _paint_one(canvas, sky_object, band, margin)
    return canvas


def _paint_one(canvas: Float32Array, sky_object: SkyObject, band: Band, margin: int) -> None:
    row, column = (centre + margin for centre in sky_object.pixel(band))
    reach = _reach_pix(sky_object.galaxy, band)
    rows, columns = _around(row, reach, canvas.shape[0]), _around(column, reach, canvas.shape[1])
    if min(rows.stop - rows.start, columns.stop - columns.start) < 2:
        return
    part = canvas[rows, columns]
    grid = Grid.around(row - rows.start, column - columns.start, part.shape, band.pixel_scale_arcsec)
    part += render(sky_object.galaxy, band.flux(sky_object.magnitudes[band.name]), grid)


def _reach_pix(galaxy: Galaxy, band: Band) -> int:
    """Half the side of the square that holds all of a galaxy that matters: its tails end within 7 radii."""
    return int(np.clip(np.ceil(7 * galaxy.radius_arcsec / band.pixel_scale_arcsec), 4, 400))


def _around(centre: float, reach: int, length: int) -> slice:
    middle = round(centre)
    return slice(int(np.clip(middle - reach, 0, length)), int(np.clip(middle + reach + 1, 0, length)))


def _background_object(rng: np.random.Generator, x: float, y: float, limits: tuple[float, float]) -> SkyObject:
    magnitude = draw_magnitude(rng, 0.3, limits)
    magnitudes = MappingProxyType({F814W.name: magnitude, F160W.name: magnitude})
    if rng.random() < _STAR_CHANCE:
        return SkyObject(draw_star(), x, y, magnitudes)
    radius = float(np.clip(0.3 * 10 ** (-0.09 * (magnitude - 24) + 0.2 * rng.normal()), 0.06, 1.2))
    return SkyObject(draw_plain_galaxy(rng, radius), x, y, magnitudes)
