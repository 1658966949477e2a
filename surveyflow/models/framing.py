"""The input of the first convolution: the part of a cutout that a network sees, its binning and its asymmetry channel.

The distances of cutouts from the training images are those of what the network sees, and are measured here, too.

The published network sees every pixel. A narrow network that sees the middle, or averages of pixels, costs a fraction of it. A
network that receives the difference between a galaxy and its image rotated by 180 degrees need not learn this rotation. Both can
be taken about the galaxy as it lies in the image, so that the answer does not depend on the position that a catalog gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from surveyflow.sky.measurements import image_statistics
from surveyflow.tasks.card import Architecture, Model
from surveyflow.tasks.domains import JuryDomain
from surveyflow.values.arrays import BoolArray, Float32Array, Float64Array, Int64Array

_SMOOTHING = 1 / 48
_APERTURE = 1 / 8
"""Sigma of the smoothing before the search for a peak, and radius of the aperture of an asymmetry, in units of what is seen."""
_MOST_STEPS = 100
_STEPS = np.array([(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)])
_STAY = 4
_LEAST_LIGHT = 1e-3


def framed(cutouts: Float32Array, architecture: Architecture) -> Float32Array:
    """Cut out the middle of prepared cutouts and average squares of its pixels, as a network's architecture requires.

    Parameters
    ----------
    cutouts
        (n, input_size, input_size) float32, prepared.
    architecture
        The network.

    Returns
    -------
    (n, side, side, channels) float32, where ``side`` is the first of ``architecture.map_sizes``: the image and, if the
    architecture requires it, the image minus itself rotated by 180 degrees. Crop and rotation are about the middle of the
    cutout, or about the galaxy's centre if the architecture says so; the crop then begins at the nearest whole pixel.

    Raises
    ------
    ValueError
        If the cutouts do not have the size of the network's input.

    Examples
    --------
    >>> cutout = np.arange(16, dtype=np.float32).reshape(1, 4, 4)
    >>> framed(cutout, Architecture(input_size=4, crop=2, binning=2, filters=(1,), kernel_sizes=(1,)))
    array([[[[7.5]]]], dtype=float32)
    """
    size, seen = architecture.input_size, architecture.seen_size
    if cutouts.shape[1:] != (size, size):
        raise ValueError(f"cutouts have shape {cutouts.shape}, but the network takes (n, {size}, {size})")
    if not architecture.about_galaxy:
        margin = (size - seen) // 2
        images = _binned(cutouts[:, margin : margin + seen, margin : margin + seen], architecture.binning)
        return _with_asymmetry(images, images[:, ::-1, ::-1]) if architecture.asymmetry else images[..., None]
    doubled = galaxy_centres(cutouts, architecture)
    first = (doubled - seen + 1) // 2
    images = _binned(_squares(cutouts, first, seen), architecture.binning)
    if not architecture.asymmetry:
        return images[..., None]
    mirrored = _squares(cutouts, 1 + doubled - first - seen, seen)  # what lies opposite, not yet rotated
    return _with_asymmetry(images, _binned(mirrored, architecture.binning)[:, ::-1, ::-1])


def _with_asymmetry(images: Float32Array, rotated: Float32Array) -> Float32Array:
    channels = np.empty((*images.shape, 2), np.float32)
    channels[..., 0] = images
    np.subtract(images, rotated, out=channels[..., 1])
    return channels


def galaxy_centres(cutouts: Float32Array, architecture: Architecture) -> Int64Array:
    """Find the point about which each galaxy is most symmetric under rotation by 180 degrees.

    The search begins at the peak of the smoothed image near the middle, and moves by half pixels as long as the asymmetry falls,
    as in Conselice et al. (2000, section 3.3). It ends at most `Architecture.search_radius` from the middle. The asymmetry is
    that of an aperture that moves with the centre and is weighted by a Gaussian, so that neighbours count little.

    Parameters
    ----------
    cutouts
        (n, input_size, input_size) float32, prepared.
    architecture
        The network, which says how far to search.

    Returns
    -------
    (n, 2) int64: twice the row and the column, since a centre may lie on the border of two pixels.
    """
    size, radius = architecture.input_size, architecture.search_radius
    doubled = 2 * _peaks(cutouts, radius, architecture.seen_size * _SMOOTHING)
    moving = np.arange(len(cutouts))
    for _ in range(_MOST_STEPS):
        candidates = np.clip(doubled[moving, None] + _STEPS, size - 1 - 2 * radius, size - 1 + 2 * radius)
        asymmetries = _asymmetries(cutouts, np.repeat(moving, len(_STEPS)), candidates.reshape(-1, 2), architecture)
        asymmetries = asymmetries.reshape(-1, len(_STEPS))
        better = np.flatnonzero(asymmetries.min(axis=1) < asymmetries[:, _STAY])
        if not len(better):
            break
        moving = moving[better]
        doubled[moving] = candidates[better, asymmetries[better].argmin(axis=1)]
    return doubled


def _peaks(cutouts: Float32Array, radius: int, sigma: float) -> Int64Array:
    """(n, 2) row and column of the brightest pixel of each smoothed image, at most ``radius`` from the middle."""
    from scipy.ndimage import gaussian_filter

    margin = cutouts.shape[1] // 2 - radius
    reach = min(round(4 * sigma), margin)  # the filter looks no further
    part = slice(margin - reach, margin + 2 * radius + reach)
    light = gaussian_filter(cutouts[:, part, part], (0, sigma, sigma))[:, reach:, reach:][:, : 2 * radius, : 2 * radius]
    brightest = light.reshape(-1, 4 * radius**2).argmax(axis=1)
    places: Int64Array = np.stack([brightest // (2 * radius), brightest % (2 * radius)], axis=1) + margin
    return places


def _asymmetries(cutouts: Float32Array, rows: Int64Array, doubled: Int64Array, architecture: Architecture) -> Float32Array:
    """(m,) asymmetry of the cutouts of some rows about some centres: sum of absolute differences by sum of light."""
    radius = max(round(architecture.seen_size * _APERTURE), 1)
    pixels, size = cutouts.reshape(-1), cutouts.shape[1]
    found = np.empty(len(rows), np.float32)
    for odd in np.ndindex(2, 2):
        chosen = np.flatnonzero((doubled % 2 == odd).all(axis=1))
        offsets, partners, weights = _pairs(radius, size, odd)
        first = (rows[chosen] * size**2 + doubled[chosen] // 2 @ (size, 1))[:, None]
        one, other = pixels[first + offsets], pixels[first + partners]
        difference, light = (weights * np.abs(one - other)).sum(axis=1), (weights * (one + other)).sum(axis=1)
        found[chosen] = difference / np.maximum(light, _LEAST_LIGHT)
    return found


@lru_cache(maxsize=64)
def _pairs(radius: int, size: int, odd: tuple[int, int]) -> tuple[Int64Array, Int64Array, Float32Array]:
    """Pixels of half an aperture, their partners under rotation, and their weights; flat indices relative to the centre's pixel.

    ``odd`` says for each axis whether the centre lies half a pixel beyond that pixel.
    """
    places = np.stack(np.meshgrid(*(np.arange(-radius, radius + 1 + half) for half in odd), indexing="ij"), axis=-1).reshape(
        -1, 2
    )
    y, x = (places - np.array(odd) / 2).T
    distance = np.hypot(y, x)
    half = (distance <= radius) & ((y > 0) | ((y == 0) & (x > 0)))
    weights = np.exp(-2 * np.square(distance[half] / radius)).astype(np.float32)
    return places[half] @ (size, 1), (np.array(odd) - places[half]) @ (size, 1), weights / weights.sum()


def _squares(images: Float32Array, first: Int64Array, side: int) -> Float32Array:
    """Cut a square out of each image, from its first row and column on."""
    squares = np.empty((len(images), side, side), np.float32)
    for square, image, (row, column) in zip(squares, images, first.tolist(), strict=True):
        square[:] = image[row : row + side, column : column + side]
    return squares


def not_finite(cutouts: Float32Array) -> BoolArray:
    """(n,) bool: whether each cutout has a pixel that is not finite. Engines set all features of such a cutout to NaN.

    Depending on the processor, a convolution and a ReLU turn such a pixel into NaN or into a plausible 0.
    """
    return np.asarray(~np.isfinite(cutouts).all(axis=(1, 2)), np.bool_)


def _binned(images: Float32Array, bins: int) -> Float32Array:
    """Averages of squares of pixels."""
    if bins == 1:
        return np.ascontiguousarray(images)
    if bins > 2:
        n, side = len(images), images.shape[1] // bins
        return np.asarray(images.reshape(n, side, bins, side, bins).mean(axis=(2, 4), dtype=np.float32))
    rows = images[:, ::2] + images[:, 1::2]
    averages: Float32Array = rows[:, :, ::2] + rows[:, :, 1::2]
    averages *= np.float32(0.25)
    return averages


def feature_distances(model: Model, prepared: Float32Array, features: Float32Array) -> Float32Array | None:
    """How far cutouts lie from the images that a model was trained on; None if the model does not know.

    Parameters
    ----------
    model
        The model.
    prepared
        (n, size, size) float32: prepared cutouts.
    features
        (n, width) float32: the model's features of them.

    Returns
    -------
    (n,) float32, percent of held-out images that lie nearer; see `surveyflow.tasks.domains.FeatureDomain.percentiles`. For a jury
    it is the mean of its members' percentages.
    """
    if model.domain is None:
        return None
    domains = model.domain.members if isinstance(model.domain, JuryDomain) else (model.domain,)
    architectures = [card.architecture for card in model.card.each]
    statistics = {seen: statistics_of(prepared, seen) for seen in dict.fromkeys(architectures)}
    parts = features_of_each(features, architectures)
    found = [domain.percentiles(statistics[seen], part) for domain, seen, part in zip(domains, architectures, parts, strict=True)]
    return np.asarray(np.mean(found, axis=0, dtype=np.float64), np.float32)


def features_of_each(features: Float32Array, architectures: Sequence[Architecture]) -> list[Float32Array]:
    """Split a jury's features into those of its members.

    Parameters
    ----------
    features
        (n, sum of the widths) float32.
    architectures
        The members' networks, in order of name.
    """
    return np.split(features, np.cumsum([seen.dense[0] for seen in architectures])[:-1], axis=1)


def statistics_of(prepared: Float32Array, architecture: Architecture) -> Float64Array:
    """(n, s) statistics of the part of prepared cutouts that a network sees, without its asymmetry channel."""
    return image_statistics(framed(np.nan_to_num(prepared), replace(architecture, asymmetry=False))[..., 0])
