"""Fixed random weights for an untrained network.

Kernels are random numbers with the scale of He et al. (2015). The batch normalisations hold the statistics of a pass over a few
synthetic stamps, as after training. The first dense layer is scaled by the spread of its outputs over the same stamps. So
different galaxies get different, unsaturated outputs, which everything downstream can show.
"""

from __future__ import annotations

import math

import numpy as np

from surveyflow.models.framing import framed
from surveyflow.models.weights import weight_shapes
from surveyflow.tasks.card import Architecture
from surveyflow.values.arrays import Float32Array, Float64Array

_N_STAMPS = 12
_LOGIT_SPREAD = 0.5


def untrained_weights(architecture: Architecture, seed: int) -> dict[str, Float32Array]:
    """Fixed random weights of a network, by role.

    Parameters
    ----------
    architecture
        The network.
    seed
        Seed of the weights; the same seed gives the same weights.
    """
    rng = np.random.default_rng(seed)
    weights: dict[str, Float64Array] = {
        role: _he_normal(shape, rng) if role.endswith(".kernel") else np.zeros(shape)
        for role, shape in weight_shapes(architecture).items()
    }
    stamps = _stamps(architecture.input_size, rng)[..., 0].astype(np.float32)
    maps = framed(stamps, architecture).astype(np.float64)
    for i in range(2 * len(architecture.filters)):
        maps = _calibrated_convolution(maps, i, weights, architecture.batch_norm_epsilon)
        if i % 2 and i + 1 < 2 * len(architecture.filters):
            maps = _max_pool(maps)
    _calibrate_head(maps.mean(axis=(1, 2)), len(architecture.dense), weights)
    return {role: values.astype(np.float32) for role, values in weights.items()}


def _he_normal(shape: tuple[int, ...], rng: np.random.Generator) -> Float64Array:
    return rng.normal(scale=math.sqrt(2 / math.prod(shape[:-1])), size=shape)


def _stamps(size: int, rng: np.random.Generator) -> Float64Array:
    """(n, size, size, 1) images in [0, 1]: an exponential disc of random shape with clumps, in noise."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    images = np.empty((_N_STAMPS, size, size, 1))
    for image in images:
        image[..., 0] = rng.normal(scale=rng.uniform(0.01, 0.1), size=(size, size))
        for _ in range(rng.integers(1, 6)):
            dx, dy = rng.normal(scale=size / 12, size=2)
            axis_ratio, scale = rng.uniform(0.3, 1.0), size * rng.uniform(0.02, 0.1)
            image[..., 0] += rng.uniform(0.2, 1.0) * np.exp(-np.hypot(x - dx, (y - dy) / axis_ratio) / scale)
    images -= images.min(axis=(1, 2), keepdims=True)
    images /= images.max(axis=(1, 2), keepdims=True)
    return images


def _calibrated_convolution(maps: Float64Array, i: int, weights: dict[str, Float64Array], epsilon: float) -> Float64Array:
    """Apply convolution, ReLU and batch normalisation ``i``, and set the gamma, mean and variance of the last."""
    maps = np.maximum(_convolved(maps, weights[f"conv.{i}.kernel"]), 0)
    mean, variance = maps.mean(axis=(0, 1, 2)), maps.var(axis=(0, 1, 2))
    weights[f"bn.{i}.gamma"] += 1
    weights[f"bn.{i}.mean"], weights[f"bn.{i}.variance"] = mean, variance
    maps -= mean
    maps /= np.sqrt(variance + epsilon)
    return maps


def _convolved(maps: Float64Array, kernel: Float64Array) -> Float64Array:
    """Convolve without padding: a matrix product over the channels, summed over the kernel's pixels."""
    side, _, _, n_out = kernel.shape
    size = maps.shape[1] - side + 1
    total = np.zeros((len(maps), size, size, n_out))
    for row, column in np.ndindex(side, side):
        total += maps[:, row : row + size, column : column + size] @ kernel[row, column]
    return total


def _max_pool(maps: Float64Array) -> Float64Array:
    half = maps.shape[1] // 2
    even = maps[:, : 2 * half, : 2 * half]
    pooled: Float64Array = even.reshape(len(maps), half, 2, half, 2, -1).max(axis=(2, 4))
    return pooled


def _calibrate_head(units: Float64Array, n_hidden: int, weights: dict[str, Float64Array]) -> None:
    """Scale the features to mean 0 and spread 1 over the stamps, and the outputs' logits to mean 0 and a moderate spread."""
    kernel = weights["dense.0.kernel"]
    kernel /= np.maximum((units @ kernel).std(axis=0), 1e-6)
    weights["dense.0.bias"] = -(units @ kernel).mean(axis=0)
    for j in range(n_hidden):
        units = np.maximum(units @ weights[f"dense.{j}.kernel"] + weights[f"dense.{j}.bias"], 0)
    weights[f"dense.{n_hidden}.kernel"] *= _LOGIT_SPREAD
    weights[f"dense.{n_hidden}.bias"] = -(units @ weights[f"dense.{n_hidden}.kernel"]).mean(axis=0)
