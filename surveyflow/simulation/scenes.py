"""Simulated pieces of sky: galaxies and stars by magnitude and size, their neighbours, and stamps of single galaxies.

Positions are in arcsec from the lower left corner of an image, so that they are the same for every instrument.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import MappingProxyType

import numpy as np
from astropy.cosmology import FlatLambdaCDM
from scipy.special import gammainc, gammaincinv

from surveyflow.simulation.galaxies import STAR, Galaxy, draw_plain_galaxy, draw_star, render
from surveyflow.simulation.nuisances import OF_GALAXIES, Nuisances, StampNuisances
from surveyflow.simulation.observe import F160W, F814W, Band, Depth, PsfShape, blur, shot_noise, sky_noise
from surveyflow.simulation.profiles import Grid
from surveyflow.simulation.recipes import DEFAULT_GALAXIES, Recipe
from surveyflow.simulation.resampling import half_light_radius
from surveyflow.values.arrays import Float32Array, Float64Array
from surveyflow.values.codes import POST_MERGER, STAR_FORMING

TARGET_MAGNITUDES = (20.0, 24.0)
NEIGHBOUR_CHANCE = 0.35
BACKGROUND_PER_ARCSEC2 = 0.068
"""Surface density of objects of 20 to 26.5 mag: 1 on a stamp of 3.84 arcsec, and 4 on one of 7.68 arcsec."""

REDSHIFT_SHAPE, REDSHIFT_SCALE = 3.0, 0.45
"""Parameters of the gamma distribution of redshifts: the median is 1.2, a tenth lies below 0.5, and a few per cent above 3."""

STAMP_MARGIN_PIX = 8
"""Margin on each side of a stamp while it is drawn, pixels."""

_BACKGROUND_MAGNITUDES = (20.0, 26.5)
_STAR_CHANCE = 0.06


@dataclass(frozen=True, slots=True)
class SkyObject:
    """A galaxy or star at its position.

    Parameters
    ----------
    galaxy
        Its components.
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
    """A galaxy as a network sees it, with the truth that only a simulation knows.

    Parameters
    ----------
    kind
        ``star_forming`` or ``post_merger``.
    magnitude_ab, radius_arcsec, redshift
        AB magnitude, radius and redshift of the galaxy; NaN if unknown.
    depth
        Depth of the noise that was added.
    galaxy, neighbours
        (size, size) float32, e-/s: the two parts of the sky, convolved with the PSF, without noise. If a patch of real sky was
        used, ``neighbours`` is this patch with its noise.
    pixels
        (size, size) float32, e-/s: the sum of both, with photon and sky noise.
    drawn
        The nuisances that were drawn, by the names of `surveyflow.simulation.nuisances.DRAWN`; those of a real sky are left out.
    """

    kind: str
    magnitude_ab: float
    radius_arcsec: float
    redshift: float
    depth: Depth
    galaxy: Float32Array
    neighbours: Float32Array
    pixels: Float32Array
    drawn: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Patch:
    """A patch of real sky on which a galaxy is placed.

    Parameters
    ----------
    pixels
        (size, size) float32, e-/s.
    depth
        Depth of its noise.
    """

    pixels: Float32Array
    depth: Depth


def stamp(
    seed: int,
    index: int,
    band: Band,
    depth: Depth,
    *,
    size: int = 128,
    recipe: Recipe | None = None,
    neighbours: bool = True,
    post_merger_share: float | None = None,
    magnitudes: tuple[float, float] = TARGET_MAGNITUDES,
    redshifts: tuple[float, float] = (0.5, 1.5),
    depth_range: tuple[float, float] = (1.0, 1.0),
    nuisances: Nuisances | None = None,
    patch: Patch | None = None,
) -> Stamp:
    """Simulate one galaxy; the result depends only on the arguments.

    Parameters
    ----------
    seed, index
        Seed and index of the stamp; stamps with different indices are independent.
    band, depth
        Instrument and noise.
    size
        Side, pixels. Along each axis, the galaxy's centre lies at a random position within the pixel before ``size // 2``, as
        in the cutouts of real sources.
    recipe
        Recipe of the galaxies; that of the simulated survey if left out.
    neighbours
        Whether to add neighbours; everything else is the same without them.
    post_merger_share
        Probability that the galaxy is a post-merger; a half if left out.
    magnitudes, redshifts
        Ranges to draw from. Redshifts have the same distribution for both kinds. Apparent sizes follow the angular diameter
        distance.
    depth_range
        Range of the factor on the sky rms; the exposure time changes as that of a sky-limited image.
    nuisances
        Ranges of what must not change an answer; none if left out. They change neither the galaxy nor its neighbours.
    patch
        Real sky in place of neighbours and sky noise; its own depth, noise and level then apply.
    """
    nuisance = (nuisances or Nuisances()).drawn(seed, index)
    rng = np.random.default_rng([seed, index])
    kind = _draw_kind(rng, post_merger_share)
    redshift, own_depth = _draw_redshift(rng, redshifts), _draw_depth(rng, depth, depth_range)
    x, y = (size // 2 + STAMP_MARGIN_PIX + 0.5 - rng.random(2)) * band.pixel_scale_arcsec + np.array(nuisance.shift_xy_arcsec)
    shrinking = angular_size(redshift) / angular_size(sum(redshifts) / 2)
    target = draw_target(rng, kind, (float(x), float(y)), band, recipe=recipe, magnitudes=magnitudes, size_factor=shrinking)
    others = draw_surroundings(rng, target, size, band)
    galaxy = convolved_with_psf([target], size, band, nuisance.psf)
    sky = convolved_with_psf(others if neighbours else [], size, band, nuisance.psf)
    about = kind, target.magnitudes[band.name], target.galaxy.radius_arcsec, redshift
    made = _finished(rng, about, galaxy, patch or Patch(sky, own_depth), None if patch else nuisance)
    return replace(made, drawn=_drawn(nuisance, band, own_depth.sky_rms / depth.sky_rms, patch))


def stamp_of_image(
    seed: int,
    index: int,
    image: Float32Array,
    *,
    kind: str,
    redshift: float,
    band: Band,
    depth: Depth,
    neighbours: bool = True,
    depth_range: tuple[float, float] = (1.0, 1.0),
    nuisances: Nuisances | None = None,
    patch: Patch | None = None,
) -> Stamp:
    """Observe a given image of a galaxy; the result depends only on the arguments.

    Parameters
    ----------
    seed, index
        Seed and index of the stamp; stamps with different indices differ in orientation (one of eight), neighbours and noise.
    image
        (side, side) float32, e-/s: noiseless, without PSF, ``STAMP_MARGIN_PIX`` pixels wider on each side than the stamp.
    kind, redshift
        Kind and redshift of the galaxy; the redshift is NaN if unknown.
    band, depth, neighbours, depth_range, nuisances, patch
        As for `stamp`. The image is not shifted: whoever resampled it has done so.
    """
    nuisance = (nuisances or Nuisances()).drawn(seed, index)
    rng = np.random.default_rng([seed, index])
    size = len(image) - 2 * STAMP_MARGIN_PIX
    own_depth, image = _draw_depth(rng, depth, depth_range), oriented(rng, image)
    radius = half_light_radius(image) * band.pixel_scale_arcsec
    middle = (size // 2 + STAMP_MARGIN_PIX + 0.5) * band.pixel_scale_arcsec
    others = [*neighbours_around(rng, middle, middle, radius), *_draw_sky(rng, size, band)]
    inner = slice(STAMP_MARGIN_PIX, -STAMP_MARGIN_PIX)
    sky = convolved_with_psf(others if neighbours else [], size, band, nuisance.psf)
    about = kind, band.magnitude(float(image.sum(dtype=np.float64))), radius, redshift
    seen = blur(image, band, nuisance.psf)[inner, inner]
    made = _finished(rng, about, seen, patch or Patch(sky, own_depth), None if patch else nuisance)
    return replace(made, drawn=_drawn(nuisance, band, own_depth.sky_rms / depth.sky_rms, patch))


def _drawn(nuisance: StampNuisances, band: Band, depth_factor: float, patch: Patch | None) -> dict[str, float]:
    """The nuisances of a stamp, by name; a real sky has its own."""
    numbers = nuisance.numbers(band, depth_factor)
    return {name: value for name, value in numbers.items() if patch is None or name in OF_GALAXIES}


def oriented(rng: np.random.Generator, image: Float32Array) -> Float32Array:
    """The image in one of its eight orientations."""
    turned = np.rot90(image, int(rng.integers(4)))
    return np.ascontiguousarray(turned[:, ::-1] if rng.integers(2) else turned)


def _finished(
    rng: np.random.Generator,
    about: tuple[str, float, float, float],
    galaxy: Float32Array,
    sky: Patch,
    nuisance: StampNuisances | None,
) -> Stamp:
    """Make a stamp of a galaxy on a sky that already has its noise and level (no nuisance) or still needs them."""
    if nuisance is None:
        pixels = galaxy + sky.pixels + shot_noise(rng, galaxy, sky.depth.exposure_s)
    else:
        pixels = observed(rng, galaxy, sky.pixels, sky.depth, nuisance.noise_correlation)
        pixels += np.float32(nuisance.sky_pedestal * sky.depth.sky_rms)
    return Stamp(*about, sky.depth, galaxy, sky.pixels, pixels)


def draw_surroundings(rng: np.random.Generator, target: SkyObject, size: int, band: Band) -> list[SkyObject]:
    """Draw the objects around a stamp's galaxy: overlapping neighbours and the background, including the margin."""
    return [*draw_neighbours(rng, target), *_draw_sky(rng, size, band)]


def convolved_with_psf(objects: Sequence[SkyObject], size: int, band: Band, shape: PsfShape | None = None) -> Float32Array:
    """Paint objects and the PSF on a stamp, (size, size) float32, e-/s; the objects' positions include the margin."""
    if not objects:
        return np.zeros((size, size), np.float32)
    side = size + 2 * STAMP_MARGIN_PIX
    inner = slice(STAMP_MARGIN_PIX, -STAMP_MARGIN_PIX)
    return blur(paint(objects, band, (side, side)), band, shape)[inner, inner]


def observed(
    rng: np.random.Generator,
    galaxy: Float32Array,
    neighbours: Float32Array,
    depth: Depth,
    noise_correlation: float | None = None,
) -> Float32Array:
    """Add both parts of a sky and their noise; (rows, columns) float32, e-/s."""
    sky = galaxy + neighbours
    return sky + sky_noise(rng, sky.shape, depth.sky_rms, noise_correlation) + shot_noise(rng, sky, depth.exposure_s)


def angular_size(redshift: float) -> float:
    """Angular size of a fixed length, relative to that at redshift 1 (flat universe, H0 = 70 km/s/Mpc, matter density 0.3)."""
    redshifts, sizes = _angular_sizes()
    return float(np.interp(redshift, redshifts, sizes))


def _draw_sky(rng: np.random.Generator, size: int, band: Band) -> list[SkyObject]:
    width = (size + 2 * STAMP_MARGIN_PIX) * band.pixel_scale_arcsec
    return draw_background(rng, width, width)


def _draw_kind(rng: np.random.Generator, share: float | None) -> str:
    # Without a share, the random numbers of earlier sets are used, so that these can be made again.
    is_post_merger = rng.integers(2) if share is None else rng.random() < share
    return POST_MERGER if is_post_merger else STAR_FORMING


def _draw_redshift(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    """Draw from a redshift distribution as deep as that of CANDELS, within the limits."""
    low, high = gammainc(REDSHIFT_SHAPE, np.asarray(limits) / REDSHIFT_SCALE)
    return float(REDSHIFT_SCALE * gammaincinv(REDSHIFT_SHAPE, rng.uniform(low, high)))


def _draw_depth(rng: np.random.Generator, depth: Depth, limits: tuple[float, float]) -> Depth:
    factor = float(np.exp(rng.uniform(*np.log(limits))))
    return Depth(depth.sky_rms * factor, depth.exposure_s / factor**2)


@lru_cache(maxsize=1)
def _angular_sizes() -> tuple[Float64Array, Float64Array]:
    redshifts = np.linspace(0.05, 10, 400)
    distances = FlatLambdaCDM(H0=70, Om0=0.3).angular_diameter_distance(np.append(redshifts, 1.0)).value
    return redshifts, np.asarray(distances[-1] / distances[:-1], np.float64)


def draw_target(
    rng: np.random.Generator,
    kind: str,
    place_xy_arcsec: tuple[float, float],
    band: Band,
    *,
    fainter: Mapping[str, float] | None = None,
    recipe: Recipe | None = None,
    magnitudes: tuple[float, float] = TARGET_MAGNITUDES,
    size_factor: float = 1.0,
) -> SkyObject:
    """Draw a galaxy, or star, that a catalog would list.

    Parameters
    ----------
    kind
        ``star_forming``, ``post_merger`` or ``star``.
    place_xy_arcsec
        Its centre, from the image's lower left corner, x first.
    band
        Band in which its magnitude is drawn, with counts rising as 10^(0.15 m). Its size depends on the magnitude.
    fainter
        Difference of its magnitude in other bands from that in ``band``, mag, by band name.
    recipe
        Recipe of the galaxy; that of the simulated survey if left out.
    magnitudes
        Range of its magnitude.
    size_factor
        Factor on its size, which lies between 0.2 and 1.2 arcsec without the factor.
    """
    magnitude = draw_magnitude(rng, 0.15, magnitudes)
    radius = size_factor * float(np.clip(0.45 * 10 ** (-0.07 * (magnitude - 22.5) + 0.2 * rng.normal()), 0.2, 1.2))
    galaxy = draw_star() if kind == STAR else (recipe or DEFAULT_GALAXIES.recipe).galaxy(rng, kind, radius)
    by_band = {band.name: magnitude} | {name: magnitude + colour for name, colour in (fainter or {}).items()}
    return SkyObject(galaxy, *place_xy_arcsec, MappingProxyType(by_band))


def draw_neighbours(rng: np.random.Generator, target: SkyObject) -> list[SkyObject]:
    """Draw, with a probability of 0.35, one object that overlaps the target: at 0.6 to 2.5 times its radius."""
    return neighbours_around(rng, target.x_arcsec, target.y_arcsec, target.galaxy.radius_arcsec)


def neighbours_around(rng: np.random.Generator, x_arcsec: float, y_arcsec: float, radius_arcsec: float) -> list[SkyObject]:
    """Draw the neighbours of a galaxy of this position and radius; see `draw_neighbours`."""
    if rng.random() >= NEIGHBOUR_CHANCE:
        return []
    distance, angle = max(radius_arcsec, 0.2) * rng.uniform(0.6, 2.5), rng.uniform(0, 2 * np.pi)
    x, y = x_arcsec + distance * np.cos(angle), y_arcsec + distance * np.sin(angle)
    return [_background_object(rng, float(x), float(y), (20.5, 25.5))]


def draw_background(rng: np.random.Generator, width_arcsec: float, height_arcsec: float) -> list[SkyObject]:
    """Draw featureless galaxies and a few stars, anywhere on the image."""
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
        Objects to draw; parts beyond the image are left out.
    band
        Pixel scale, magnitudes and zero point.
    shape
        Rows and columns.
    margin
        Width of the surrounding sky to add on each side of the image, pixels.

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
    """Half the side of the square that holds all significant light of a galaxy."""
    return int(np.clip(np.ceil(galaxy.reach_radii * galaxy.radius_arcsec / band.pixel_scale_arcsec), 4, 400))


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
