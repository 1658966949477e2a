"""Simple statistics of a prepared image, by which images that a network was not trained on can be recognised.

A network's last features are averages over the whole image after several ReLUs. They can be the same for a galaxy and for empty
sky. These statistics are not: rings of light show stars and pedestals, differences of neighbouring pixels show other noise.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from surveyflow.values.arrays import Float32Array, Float64Array, Int64Array

RING_EDGES = (0.0, 0.03, 0.06, 0.09, 0.135, 0.19, 0.25, 0.33, 0.42, 0.5, 0.84)
"""Radii that separate the rings, in units of the image's side; the last ring includes the corners."""
N_STATISTICS = 3 * (len(RING_EDGES) - 1) + 6

_FAINTEST = 1e-2
_INNER_RINGS = 3
_LEAST_CORE = 5e-2
_SMALLEST_STEP = 1e-3


def image_statistics(images: Float32Array) -> Float64Array:
    """Measure rings, texture and extremes of images.

    Parameters
    ----------
    images
        (n, side, side) float32, finite, prepared as a network takes them.

    Returns
    -------
    (n, 36) float64. For each of ten rings around the middle: mean, standard deviation, and the logarithm of the mean absolute
    difference from the image turned by 180 degrees; 0, 0 and log(0.01) for a ring that holds no pixel. Then the logarithms of
    the median absolute difference of pixels that are 1 and 2 columns apart (the first column follows the last), and of the mean
    for 1; then maximum and minimum, and the logarithm of the mean of the three inner rings, at least log(0.05).

    Examples
    --------
    >>> image_statistics(np.zeros((2, 48, 48), np.float32)).shape
    (2, 36)
    """
    flat = images.reshape(len(images), images.shape[1] * images.shape[2])
    order, present, starts, counts = _rings(images.shape[-1])
    light = np.take(flat, order, axis=1)
    residual = np.abs(light - np.take(flat, flat.shape[1] - 1 - order, axis=1))
    sums = [
        np.add.reduceat(values, starts, axis=1, dtype=np.float64)
        for values in (light, np.square(light, dtype=np.float64), residual)
    ]
    mean, square, asymmetry = (total / counts for total in sums)
    spread = np.sqrt(np.maximum(square - mean**2, 0))
    n_rings = len(RING_EDGES) - 1
    rings = np.zeros((len(images), 3, n_rings))
    rings[:, :, present] = np.stack([mean, spread, asymmetry], axis=1)
    rings[:, 2] = np.log(_FAINTEST + rings[:, 2])
    core = np.log(np.maximum(mean[:, :_INNER_RINGS].mean(axis=1), _LEAST_CORE))
    texture = np.stack([*_texture(images), flat.max(axis=1), flat.min(axis=1), core], axis=1)
    return np.concatenate([rings.reshape(len(images), 3 * n_rings), texture], axis=1)


def _texture(images: Float32Array) -> list[Float64Array]:
    """Of every other row: logarithms of the median difference of pixels 1 and 2 columns apart, and the mean for 1; each (n,)."""
    rows = images[:, ::2]
    size = rows.shape[1] * rows.shape[2]
    one, two = (np.abs(rows - np.roll(rows, step, axis=2)).reshape(len(rows), size) for step in (1, 2))
    medians = [np.partition(steps, size // 2, axis=1)[:, size // 2] for steps in (one, two)]
    return [np.log(_SMALLEST_STEP + values.astype(np.float64)) for values in (*medians, one.mean(axis=1, dtype=np.float64))]


@lru_cache(maxsize=8)
def _rings(side: int) -> tuple[Int64Array, Int64Array, Int64Array, Int64Array]:
    """Pixels in the order of their rings; the rings that hold pixels, where each begins in that order, and how many it holds."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    number = np.digitize(np.hypot(y, x).ravel() / side, RING_EDGES[1:-1])
    present, starts, counts = np.unique(np.sort(number), return_index=True, return_counts=True)
    return np.argsort(number, kind="stable"), present, starts, counts
