"""The resampling of images to other pixels: each new pixel receives the share of every old one that it covers.

The flux of the part of the old image that lies on the new one is conserved exactly, and no pixel becomes negative.
"""

from __future__ import annotations

import numpy as np

from surveyflow.values.arrays import Float32Array, Float64Array


def resampled(image: Float32Array, scale: float, new_scale: float, size: int, centre_yx: tuple[float, float]) -> Float32Array:
    """Resample an image to a square image of other pixels.

    Parameters
    ----------
    image
        (rows, columns) float32, flux per pixel.
    scale, new_scale
        Sides of an old and of a new pixel, in the same unit.
    size
        Side of the new image, pixels.
    centre_yx
        Row and column of the old image's middle in the new image, 0-based, integers at pixel centres.

    Returns
    -------
    (size, size) float32, flux per new pixel; 0 beyond the old image.
    """
    step = scale / new_scale
    rows, columns = (_shares(length, step, size, centre) for length, centre in zip(image.shape, centre_yx, strict=True))
    return np.asarray(rows @ image.astype(np.float64) @ columns.T, np.float32)


def half_light_radius(image: Float32Array) -> float:
    """Radius of the circle about an image's centroid that holds half of its flux, pixels; 0 for an image without flux."""
    flux = np.maximum(image, 0, dtype=np.float64)
    total = flux.sum()
    if not total:
        return 0.0
    rows, columns = np.indices(image.shape)
    distance = np.hypot(rows - np.sum(rows * flux) / total, columns - np.sum(columns * flux) / total).ravel()
    order = np.argsort(distance)
    return float(distance[order][np.searchsorted(np.cumsum(flux.ravel()[order]), total / 2)])


def _shares(length: int, step: float, new_length: int, centre: float) -> Float64Array:
    """(new_length, length) float64: the share of each old pixel, ``step`` new ones long, that lies in each new pixel."""
    edges = centre + 0.5 + (np.arange(length + 1) - length / 2) * step
    new = np.arange(new_length)[:, None]
    overlap = np.minimum(edges[None, 1:], new + 1) - np.maximum(edges[None, :-1], new)
    return np.asarray(np.maximum(overlap, 0) / step, np.float64)
