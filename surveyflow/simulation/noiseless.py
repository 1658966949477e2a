"""Noiseless images of galaxies: whether a band could observe what they show, and whether two of them show the same galaxy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.spatial import cKDTree

from surveyflow.simulation.observe import Band
from surveyflow.values.arrays import Float32Array, Float64Array

MAGNITUDES = (15.0, 30.0)
"""Magnitudes (AB) that a galaxy may have; others show that unit or pixel scale are wrong."""

_MOST_NEGATIVE = 0.01
_LEAST_RADIUS_PIX = 0.2
_FARTHEST = 0.25
_LEAST_SHOWN = 0.1
_SAME_SHAPE = 3e-5
_DIGITS = 6


def problems_of_image(image: Float32Array, scale_arcsec: float, electrons: float, band: Band, size: int) -> Iterator[str]:
    """Say what is wrong with a noiseless image of a galaxy, each with a remedy.

    Parameters
    ----------
    image
        (rows, columns) float32, finite, with a flux above 0.
    scale_arcsec
        Its pixel scale.
    electrons
        The factor from its unit to e-/s in the band.
    band, size
        The band that is to observe the galaxy, and the side of the stamp, pixels of the band.
    """
    if image.min() == image.max():
        yield "all of its pixels are equal, so it shows no galaxy. Remove it."
        return
    flux = image.sum(dtype=np.float64)
    below = -np.minimum(image, 0).sum(dtype=np.float64)
    if below > _MOST_NEGATIVE * flux:
        yield (
            f"pixels below 0 hold {below / flux:.0%} of its flux, so it has noise, or a sky was subtracted from it. "
            "Write the image as it was simulated."
        )
    magnitude = band.magnitude(flux * electrons)
    if not MAGNITUDES[0] <= magnitude <= MAGNITUDES[1]:
        yield (
            f"its galaxy has {magnitude:.1f} mag (AB), expected {MAGNITUDES[0]:g} to {MAGNITUDES[1]:g}. "
            "Correct `unit` or `pixel_scale_arcsec`, or remove the image."
        )
    yield from _problems_of_light(image, scale_arcsec, band, size)


def _problems_of_light(image: Float32Array, scale_arcsec: float, band: Band, size: int) -> Iterator[str]:
    side, pixel = size * band.pixel_scale_arcsec, band.pixel_scale_arcsec
    light = _light(image)
    shown = _middle(light, round(side / scale_arcsec))
    if (share := shown.sum()) < _LEAST_SHOWN:
        yield (
            f"the {side:.2f} arcsec about its middle, which the stamp shows, hold {share:.0%} of its light, expected "
            f"{_LEAST_SHOWN:.0%} or more. Cut the image about the galaxy, or correct `pixel_scale_arcsec`."
        )
        return
    centroid, moments = _moments(shown / share)
    middle = (np.array(shown.shape) - 1) / 2
    offset, radius = np.abs(centroid - middle).max() * scale_arcsec, np.sqrt(np.trace(moments) / 2) * scale_arcsec
    if offset > _FARTHEST * side:
        yield (
            f"the centroid of the light that the stamp shows lies {offset:.2f} arcsec from its middle, expected up to "
            f"{_FARTHEST * side:.2f}: the galaxy's position is taken to be the middle. Cut the image about the galaxy."
        )
    if radius < _LEAST_RADIUS_PIX * pixel:
        yield (
            f"the rms radius of its light is {radius:.2g} arcsec, expected {_LEAST_RADIUS_PIX * pixel:.2g} or more: it would be "
            "seen as a star. Correct `pixel_scale_arcsec`, or remove the image."
        )


def shape_of(image: Float32Array) -> list[float]:
    """Five numbers that tell galaxies apart, and stay the same if an image is turned by right angles, mirrored or multiplied.

    Zeros at its edges, and the galaxy's place in it, do not change them either.

    Parameters
    ----------
    image
        (rows, columns) float32 with a flux above 0.
    """
    light = _light(image)
    moments = _moments(light)[1]
    powers = [(light**power).sum() for power in (2, 3)]
    numbers = np.log([*powers, light.max(), np.trace(moments) + 1, np.linalg.det(moments) + 1])
    return [round(float(number), _DIGITS) for number in numbers]


def n_same_shapes(shapes: Sequence[Sequence[float]], others: Sequence[Sequence[float]]) -> int:
    """Number of the shapes, as `shape_of` gives them, that others have, too."""
    if not shapes or not others:
        return 0
    distances = np.asarray(cKDTree(np.asarray(others)).query(np.asarray(shapes), p=np.inf)[0])
    return int(np.count_nonzero(distances <= _SAME_SHAPE))


def _light(image: Float32Array) -> Float64Array:
    """The share of the flux that each pixel has; pixels below 0 have none."""
    light = np.maximum(image, 0, dtype=np.float64)
    return np.asarray(light / light.sum())


def _middle(light: Float64Array, side: int) -> Float64Array:
    """The square of this side about the middle, or what there is of it."""
    first = [max((length - side) // 2, 0) for length in light.shape]
    return light[first[0] : light.shape[0] - first[0], first[1] : light.shape[1] - first[1]]


def _moments(light: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Row and column of the centroid, and the (2, 2) matrix of second moments about it, pixels."""
    rows, columns = np.arange(light.shape[0]), np.arange(light.shape[1])
    of_rows, of_columns = light.sum(axis=1), light.sum(axis=0)
    centroid = np.array([rows @ of_rows, columns @ of_columns])
    y, x = rows - centroid[0], columns - centroid[1]
    mixed = y @ light @ x
    return centroid, np.array([[y**2 @ of_rows, mixed], [mixed, x**2 @ of_columns]])
