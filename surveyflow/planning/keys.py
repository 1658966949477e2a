"""The key of a work unit: a digest of everything that can change its rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surveyflow.planning.source_changes import SourceChanges
from surveyflow.planning.units import WorkUnit
from surveyflow.tasks.card import ModelCard
from surveyflow.tasks.registry import BESIDE
from surveyflow.values.codes import Precision
from surveyflow.values.jobs import SamplingSettings

WHAT_CHANGED = {
    "schema": "catalog schema changed",
    "science_pixels": "science pixels changed",
    "weight_pixels": "weight pixels changed",
    "image": "mosaic unit or filter changed",
    "treatment": "conversion of the mosaic's pixels or weights changed",
    "algorithm": "surveyflow's measuring algorithm changed",
    "sources": "sources changed",
    "positions": "source positions on the mosaic changed",
    "model": "model weights changed",
    "preparation": "model card changed",
    **{task.name: f"{task.name} model changed" for task in BESIDE},
    "sampling": "sampling settings changed",
    "quality": "quality settings changed",
    "science": "stated prevalence changed",
    "precision": "arithmetic precision changed",
}
"""The words of a plan for a change in each part of a unit's key."""


def key_parts(
    unit: WorkUnit,
    *,
    schema_version: str,
    pixel_digests: Mapping[str, str] | None = None,
    mosaic_unit: str | None = None,
    mosaic_filter: str | None = None,
    treatment: str = "",
    algorithm_version: str = "",
    card: ModelCard | None = None,
    beside: Mapping[str, ModelCard] | None = None,
    sampling: SamplingSettings | None = None,
    min_valid_fraction: float | None = None,
    prevalence: float | None = None,
    precision: Precision = Precision.FLOAT32,
) -> dict[str, str]:
    """Digest everything that can change a unit's rows, and nothing that cannot.

    A unit without a tile depends only on its sources and the schema.

    Parameters
    ----------
    unit
        The unit.
    schema_version
        Version of the catalog's schema.
    pixel_digests
        Digests of the tile's window: ``science`` and ``weight``.
    mosaic_unit, mosaic_filter
        Unit and filter of the mosaic.
    treatment
        What is done to the numbers of its files before they are measured; empty if nothing is done.
    algorithm_version
        Version of the steps from pixels to rows.
    card
        Card of the merger model.
    beside
        Cards of the models beside it, by task; tasks without a model are left out.
    sampling, min_valid_fraction, prevalence, precision
        Settings on which the results depend.
    """
    sources = unit.sources
    parts = {
        "schema": schema_version,
        "sources": _digest(sources.field, sources.instrument, *sources.columns.values()),
        "positions": _digest(sources.x_pix, sources.y_pix, sources.status, sources.flags),
    }
    if unit.tile is None:
        return parts
    if pixel_digests is None or card is None or sampling is None:
        raise ValueError(f"the key of {unit.name} needs its pixels' digests, a model card and sampling settings")
    return parts | {
        "science_pixels": pixel_digests["science"],
        "weight_pixels": pixel_digests["weight"],
        "algorithm": algorithm_version,
        "image": f"unit={mosaic_unit} filter={mosaic_filter}",
        **({"treatment": treatment} if treatment else {}),
        "model": card.weights_digest,
        "preparation": replace(card, weights_digest="").digest,
        **{task.name: beside[task.name].digest if beside and task.name in beside else "none" for task in BESIDE},
        "sampling": f"draws={sampling.n_draws} seed={sampling.seed} keep_draws={sampling.keep_draws}",
        "quality": f"min_valid_fraction={min_valid_fraction!r}",
        **({} if prevalence is None else {"science": f"prevalence={prevalence!r}"}),
        "precision": precision,
    }


def unit_key(parts: Mapping[str, str]) -> str:
    """Compute the SHA-256, hexadecimal, of a unit's parts."""
    return hashlib.sha256(json.dumps(dict(parts), sort_keys=True).encode()).hexdigest()


def changed_parts(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[str, ...]:
    """Find the parts of a unit's key that differ, in the order of `WHAT_CHANGED`."""
    return tuple(part for part in WHAT_CHANGED if before.get(part) != after.get(part))


def what_changed(before: Mapping[str, str], after: Mapping[str, str], source_changes: SourceChanges | None = None) -> str:
    """Describe which parts of a unit's key differ, with the numbers of changed sources if they are known."""
    phrases = {part: WHAT_CHANGED[part] for part in changed_parts(before, after)}
    if source_changes is not None and source_changes.in_words():
        phrases["sources"] = source_changes.in_words()
        if not source_changes.placed:  # positions differ only because the sources do
            phrases.pop("positions", None)
    return ", ".join(phrases.values()) or "its result is no longer on disk"


def _digest(*values: str | NDArray[Any]) -> str:
    digest = hashlib.sha256()
    for value in values:
        data = value.encode() if isinstance(value, str) else _bytes_of(value)
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def _bytes_of(array: NDArray[Any]) -> bytes:
    # The width of a text column depends on its longest entry, even in rows of other units, so only the words count.
    if array.dtype.kind == "U":
        return "\0".join(_words(array)).encode()
    return np.ascontiguousarray(array).tobytes()


def _words(array: NDArray[np.str_]) -> Sequence[str]:
    return [str(word) for word in array]
