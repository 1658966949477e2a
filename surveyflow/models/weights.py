"""The files of a network's arrays: its weights by role, and its feature domain; their shapes, checks, encoding and digest.

Weights are a dict of float32 arrays by role: ``conv.{i}.kernel`` (height, width, in, out), ``conv.{i}.bias``,
``bn.{i}.gamma``, ``bn.{i}.beta``, ``bn.{i}.mean``, ``bn.{i}.variance`` for each convolution ``i``, and ``dense.{j}.kernel``
(in, out), ``dense.{j}.bias``, where the last ``j`` is the output layer.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import fields
from itertools import pairwise

import numpy as np
from safetensors.numpy import load, save

from surveyflow.errors import ModelError
from surveyflow.files.paths import refusing
from surveyflow.sky.measurements import N_STATISTICS
from surveyflow.tasks.card import Architecture
from surveyflow.tasks.domains import FeatureDomain
from surveyflow.values.arrays import Float32Array

MOST_BYTES_OF_DOMAIN = 2**20
"""The size that a file with a feature domain does not exceed."""

_DOMAIN_ARRAYS = tuple(one.name for one in fields(FeatureDomain))
_DOMAIN_REMEDY = "Train the model again, or take `features_digest` and `feature_percentile` out of its card."

Weights = Mapping[str, Float32Array]
_MOST_HEADER_BYTES = 2**20


def weight_shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Shape of every array of a network, by role, from input to output.

    Examples
    --------
    >>> from surveyflow.tasks.card import Architecture
    >>> weight_shapes(Architecture())["conv.1.kernel"]
    (11, 11, 32, 32)
    """
    shapes: dict[str, tuple[int, ...]] = {}
    channels = (architecture.n_channels, *np.repeat(architecture.filters, 2).tolist())
    sides = np.repeat(architecture.kernel_sizes, 2).tolist()
    for i, ((inputs, outputs), side) in enumerate(zip(pairwise(channels), sides, strict=True)):
        shapes[f"conv.{i}.kernel"] = (side, side, inputs, outputs)
        shapes[f"conv.{i}.bias"] = (outputs,)
        shapes |= {f"bn.{i}.{role}": (outputs,) for role in ("gamma", "beta", "mean", "variance")}
    units = (architecture.filters[-1], *architecture.dense, architecture.n_outputs)
    for j, (inputs, outputs) in enumerate(pairwise(units)):
        shapes[f"dense.{j}.kernel"] = (inputs, outputs)
        shapes[f"dense.{j}.bias"] = (outputs,)
    return shapes


def most_bytes(architecture: Architecture) -> int:
    """The size that a file with an architecture's weights does not exceed."""
    return 4 * sum(map(math.prod, weight_shapes(architecture).values())) + _MOST_HEADER_BYTES


def check_weights(weights: Weights, architecture: Architecture, where: str) -> None:
    """Check that the arrays are those of an architecture.

    Parameters
    ----------
    weights
        Arrays by role.
    architecture
        The network that they belong to.
    where
        Beginning of the error message: a file's name.

    Raises
    ------
    ModelError
        If arrays are missing, unknown, of another shape or type, or not finite, or if a variance is negative. Every problem
        is reported.
    """
    problems = list(_problems(weights, weight_shapes(architecture)))
    if problems:
        raise ModelError(
            f"{where}: the weights are not those of the card's network: {'; '.join(problems)}. "
            "Import or train the model again, or correct [architecture] in its card."
        )


def encode_weights(weights: Weights) -> bytes:
    """The content of a ``weights.safetensors`` file; the same bytes for the same weights."""
    content: bytes = save({role: np.ascontiguousarray(values, dtype=np.float32) for role, values in weights.items()})
    return content


def decode_weights(content: bytes, where: str) -> dict[str, Float32Array]:
    """Arrays by role, from the content of a ``weights.safetensors`` file.

    Raises
    ------
    ModelError
        If the content is not a safetensors file; ``where`` names it.
    """
    with refusing(lambda reason: ModelError(f"{where}: not a safetensors file ({reason}). Import or train the model again.")):
        try:
            weights: dict[str, Float32Array] = load(content)
        except KeyError as error:  # of types that numpy does not have
            raise ModelError(f"{where} holds {error.args[0]}, expected float32. Write the weights as float32.") from error
    return weights


def digest_of(content: bytes) -> str:
    """SHA-256, hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def _problems(weights: Weights, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    for role, shape in shapes.items():
        if role not in weights:
            yield f"{role} is missing"
        else:
            yield from _array_problems(role, weights[role], shape)
    yield from (f"{role} is unknown" for role in weights if role not in shapes)


def _array_problems(role: str, values: Float32Array, shape: tuple[int, ...]) -> Iterator[str]:
    if values.shape != shape:
        yield f"{role} has shape {values.shape}, expected {shape}"
    elif values.dtype != np.float32:
        yield f"{role} holds {values.dtype}, expected float32"
    elif not np.isfinite(values).all():
        yield f"{role} holds {np.count_nonzero(~np.isfinite(values))} values that are not finite"
    elif role.endswith(".variance") and values.min() < 0:
        yield f"{role} holds {np.count_nonzero(values < 0)} negative values"


def encode_domain(domain: FeatureDomain) -> bytes:
    """The content of a ``domain.safetensors`` file; the same bytes for the same domain."""
    content: bytes = save({name: np.ascontiguousarray(getattr(domain, name)) for name in _DOMAIN_ARRAYS})
    return content


def decode_domain(content: bytes, architecture: Architecture, where: str) -> FeatureDomain:
    """The feature domain, from the content of a ``domain.safetensors`` file.

    Parameters
    ----------
    content
        The file's bytes.
    architecture
        The network that it belongs to.
    where
        The file's name, for messages.

    Raises
    ------
    ModelError
        If the content is not a safetensors file, or its arrays are not those of a feature domain of this network.
    """
    with refusing(lambda reason: ModelError(f"{where}: not a safetensors file ({reason}). {_DOMAIN_REMEDY}")):
        arrays = load(content)
    if set(arrays) != set(_DOMAIN_ARRAYS):
        raise ModelError(
            f"{where}: it holds the arrays {sorted(arrays)[:8]}, expected {sorted(_DOMAIN_ARRAYS)}. {_DOMAIN_REMEDY}"
        )
    try:
        domain = FeatureDomain(**arrays)
    except ValueError as error:
        raise ModelError(f"{where}: {error}. {_DOMAIN_REMEDY}") from error
    expected = architecture.dense[0], N_STATISTICS + domain.axes.shape[1]
    if (domain.axes.shape[0], len(domain.centre)) != expected:
        found = domain.axes.shape[0], len(domain.centre)
        raise ModelError(
            f"{where}: it is made for features and numbers {found}, the card's network has {expected}. {_DOMAIN_REMEDY}"
        )
    return domain
