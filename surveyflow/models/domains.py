"""The file with a model's feature domain: its content, checks and size; and the distances of cutouts by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
from safetensors.numpy import load, save

from surveyflow.errors import ModelError
from surveyflow.files.foreign import refusing
from surveyflow.models.framing import framed
from surveyflow.sky.image_statistics import N_STATISTICS, image_statistics
from surveyflow.tasks.card import Architecture, Model
from surveyflow.tasks.domains import FeatureDomain, JuryDomain
from surveyflow.values.arrays import Float32Array, Float64Array

MOST_BYTES = 2**20
"""The size that a file with a feature domain does not exceed."""

_NAMES = tuple(one.name for one in fields(FeatureDomain))
_REMEDY = "Train the model again, or take `features_digest` and `feature_percentile` out of its card."


def encode_domain(domain: FeatureDomain) -> bytes:
    """The content of a ``domain.safetensors`` file; the same bytes for the same domain."""
    content: bytes = save({name: np.ascontiguousarray(getattr(domain, name)) for name in _NAMES})
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
    with refusing(lambda reason: ModelError(f"{where}: not a safetensors file ({reason}). {_REMEDY}")):
        arrays = load(content)
    if set(arrays) != set(_NAMES):
        raise ModelError(f"{where}: it holds the arrays {sorted(arrays)[:8]}, expected {sorted(_NAMES)}. {_REMEDY}")
    try:
        domain = FeatureDomain(**arrays)
    except ValueError as error:
        raise ModelError(f"{where}: {error}. {_REMEDY}") from error
    expected = architecture.dense[0], N_STATISTICS + domain.axes.shape[1]
    if (domain.axes.shape[0], len(domain.centre)) != expected:
        found = domain.axes.shape[0], len(domain.centre)
        raise ModelError(f"{where}: it is made for features and numbers {found}, the card's network has {expected}. {_REMEDY}")
    return domain


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
