"""The input of the first convolution: the part of a cutout that a network sees, its binning and its asymmetry channel.

The published network sees every pixel. A narrow network that sees the middle, or averages of pixels, costs a fraction of it. A
network that receives the difference between a galaxy and its image rotated by 180 degrees need not learn this rotation.
"""

from __future__ import annotations

import numpy as np

from surveyflow.tasks.card import Architecture
from surveyflow.values.arrays import BoolArray, Float32Array


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
    architecture requires it, the image minus itself rotated by 180 degrees about its middle.

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
    size = architecture.input_size
    if cutouts.shape[1:] != (size, size):
        raise ValueError(f"cutouts have shape {cutouts.shape}, but the network takes (n, {size}, {size})")
    margin = (size - architecture.seen_size) // 2
    images = _binned(cutouts[:, margin : size - margin, margin : size - margin], architecture.binning)
    if architecture.asymmetry:
        return np.stack([images, images - images[:, ::-1, ::-1]], axis=-1)
    return images[..., None]


def not_finite(cutouts: Float32Array) -> BoolArray:
    """(n,) bool: whether each cutout has a pixel that is not finite. Engines set all features of such a cutout to NaN.

    Depending on the processor, a convolution and a ReLU turn such a pixel into NaN or into a plausible 0.
    """
    return np.asarray(~np.isfinite(cutouts).all(axis=(1, 2)), np.bool_)


def _binned(images: Float32Array, bins: int) -> Float32Array:
    if bins == 1:
        return images
    n, side = len(images), images.shape[1] // bins
    return np.asarray(images.reshape(n, side, bins, side, bins).mean(axis=(2, 4), dtype=np.float32))
