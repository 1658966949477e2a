"""Which part of a cutout does a network look at, and how finely? What lies in front of the first convolution.

The published network looks at every pixel. A narrow one that looks at the middle, or at averages of pixels, costs a fraction;
one that sees how a galaxy differs from itself turned by 180 degrees need not learn to turn it.
"""

from __future__ import annotations

import numpy as np

from surveyflow.tasks.card import Architecture
from surveyflow.values.arrays import BoolArray, Float32Array


def framed(cutouts: Float32Array, architecture: Architecture) -> Float32Array:
    """Cut the middle out of prepared cutouts and average squares of its pixels, as a network's architecture says.

    Parameters
    ----------
    cutouts
        (n, input_size, input_size) float32, prepared.
    architecture
        The network.

    Returns
    -------
    (n, side, side, channels) float32, ``side`` being the first of ``architecture.map_sizes``: the image and, if the
    architecture asks for it, the image minus itself turned by 180 degrees about the middle of its pixels.

    Raises
    ------
    ValueError
        If the cutouts are not of the input's size.

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


def without_answer(cutouts: Float32Array) -> BoolArray:
    """(n,) bool: which cutouts hold a pixel that is not finite. Engines give them features that are all NaN.

    A convolution and a ReLU would leave of such a pixel a NaN, or a 0 that looks right, as the processor has it.
    """
    return np.asarray(~np.isfinite(cutouts).all(axis=(1, 2)), np.bool_)


def _binned(images: Float32Array, bins: int) -> Float32Array:
    if bins == 1:
        return images
    n, side = len(images), images.shape[1] // bins
    return np.asarray(images.reshape(n, side, bins, side, bins).mean(axis=(2, 4), dtype=np.float32))
