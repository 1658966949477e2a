"""Small networks for tests, and what they should answer: slow, independent code in float64."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.signal import correlate

from surveyflow.models.store import ModelStore, write_model
from surveyflow.models.weights import weight_shapes
from surveyflow.sky.measurements import N_STATISTICS
from surveyflow.sky.stretch import Stretch
from surveyflow.tasks.card import Architecture, ModelCard, ModelKey
from surveyflow.tasks.domains import FeatureDomain
from surveyflow.values.codes import WeightsOrigin

SMALL = Architecture(input_size=48, filters=(4, 6, 8), kernel_sizes=(5, 3, 3), dense=(16, 12))
KEY = ModelKey("merger", "EGS", "F814W")


def card(architecture: Architecture = SMALL, **changes: Any) -> ModelCard:
    values: dict[str, Any] = {
        "key": KEY,
        "class_names": tuple(f"class_{j}" for j in range(architecture.n_outputs)),
        "pixel_scale_arcsec": 0.03,
        "band": "F814W",
        "redshift_range": (0.5, 1.5),
        "stretch": Stretch.ASINH_MINMAX,
        "softening": 1.0,
        "architecture": architecture,
        "origin": WeightsOrigin.USER,
        "citation": "none",
        "weights_digest": "0123456789abcdef" * 4,
    }
    return ModelCard(**values | changes)


def random_weights(architecture: Architecture = SMALL, seed: int = 0) -> dict[str, np.ndarray]:
    """He-scaled kernels, negative as well as positive gammas, positive variances."""
    rng = np.random.default_rng(seed)
    weights = {}
    for role, shape in weight_shapes(architecture).items():
        values = rng.normal(scale=0.2, size=shape)
        if role.endswith(".kernel"):
            values = rng.normal(scale=np.sqrt(2 / np.prod(shape[:-1])), size=shape)
        elif role.endswith((".gamma", ".variance")):
            values = rng.uniform(0.5, 1.5, size=shape) * (rng.choice([-1, 1], size=shape) if role.endswith("gamma") else 1)
        weights[role] = values.astype(np.float32)
    return weights


def write_small_model(store: Path, architecture: Architecture = SMALL, seed: int = 0, **changes: Any) -> ModelCard:
    """A model with random weights in a store; returns its card."""
    new = card(architecture, **changes)
    return write_model(ModelStore(store).home(new.key), new, random_weights(architecture, seed))


def feature_domain(architecture: Architecture = SMALL, seed: int = 0) -> FeatureDomain:
    """The domain of a model that was trained on random numbers."""
    rng = np.random.default_rng(seed)
    shapes = ((200, N_STATISTICS), (200, architecture.dense[0]))
    return FeatureDomain.fitted(*[(rng.normal(size=shapes[0]), rng.normal(size=shapes[1]).astype(np.float32)) for _ in range(2)])


def images(n: int, size: int = SMALL.input_size, seed: int = 1) -> np.ndarray:
    """(n, size, size) float32 in [0, 1]."""
    return np.random.default_rng(seed).uniform(size=(n, size, size)).astype(np.float32)


def reference_features(
    image: np.ndarray, weights: Mapping[str, np.ndarray], architecture: Architecture = SMALL, dtype: type = np.float64
) -> np.ndarray:
    """One image, or its channels, through the trunk, layer by layer, in float64 or another type."""
    maps = list(image.astype(dtype).reshape(-1, *image.shape[-2:]))
    for i in range(2 * len(architecture.filters)):
        if i and i % 2 == 0:
            maps = [_pooled(channel) for channel in maps]
        maps = _block(maps, i, {role: values.astype(dtype) for role, values in weights.items()}, architecture)
    return np.array([channel.mean() for channel in maps]) @ weights["dense.0.kernel"] + weights["dense.0.bias"]


def _block(maps: list[np.ndarray], i: int, weights: Mapping[str, np.ndarray], architecture: Architecture) -> list[np.ndarray]:
    outputs = []
    method = "auto" if maps[0].dtype == np.float64 else "direct"  # slow, but float32 as one thinks of it
    for out in range(weights[f"conv.{i}.bias"].size):
        kernels = weights[f"conv.{i}.kernel"][:, :, :, out]
        total = sum(correlate(maps[c], kernels[:, :, c], mode="valid", method=method) for c in range(len(maps)))
        active = np.maximum(total + weights[f"conv.{i}.bias"][out], 0)
        scale = weights[f"bn.{i}.gamma"][out] / np.sqrt(weights[f"bn.{i}.variance"][out] + architecture.batch_norm_epsilon)
        outputs.append((active - weights[f"bn.{i}.mean"][out]) * scale + weights[f"bn.{i}.beta"][out])
    return outputs


def _pooled(channel: np.ndarray) -> np.ndarray:
    rows, columns = channel.shape[0] // 2, channel.shape[1] // 2
    return np.array([[channel[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].max() for x in range(columns)] for y in range(rows)])


def reference_draw(
    features: np.ndarray, mask: np.ndarray, weights: Mapping[str, np.ndarray], architecture: Architecture
) -> np.ndarray:
    """One draw of one source: dense layers, inverted dropout, ReLU and sigmoid, in the order of the Keras network."""
    units, first = features.astype(np.float64), 0
    for j, width in enumerate(architecture.dense):
        dropped = units * mask[first : first + width] / (1 - architecture.dropout)
        units = np.maximum(dropped, 0) @ weights[f"dense.{j + 1}.kernel"] + weights[f"dense.{j + 1}.bias"]
        first += width
    return 1 / (1 + np.exp(-units))


def reference_philox(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Philox4x32-10 in Python's integers, as in Salmon et al. (2011), figure and equations of section 3.3."""
    left, right = counter[:2], counter[2:]
    for _ in range(10):
        first, second = 0xD2511F53 * left[0], 0xCD9E8D57 * right[0]
        left = ((second >> 32) ^ left[1] ^ key[0], second % 2**32)
        right = ((first >> 32) ^ right[1] ^ key[1], first % 2**32)
        key = ((key[0] + 0x9E3779B9) % 2**32, (key[1] + 0xBB67AE85) % 2**32)
    return (*left, *right)
