"""The targets of a contamination network, the scale of its outputs, and its scores during training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from surveyflow.stats.intervals import interval_scale
from surveyflow.stats.ranking import area_under_roc
from surveyflow.stats.regression import regression_scores
from surveyflow.tasks.card import ContaminationScale
from surveyflow.tasks.contamination.parts import AMOUNTS, OUTPUTS, PARTS, TARGETS, ContaminationPart
from surveyflow.tasks.task import Skill
from surveyflow.values.arrays import Float32Array, Float64Array

_FLUX_STEP = 0.5


def targets_of(columns: Mapping[str, Any], rms: Float32Array, truth: str) -> Float32Array:
    """The targets of records: NaN where a target is unknown, or has no meaning because nothing is there.

    Parameters
    ----------
    columns
        The records' columns by name, each (n,).
    rms
        (n,) sky rms measured on each image, e-/s.
    truth
        Variant of the contamination truth, one of `CONTAMINATION_TRUTHS`.

    Returns
    -------
    (n, n_targets) float32. Amounts are not yet divided by their scale, which needs the largest value of all records.
    """
    targets = [
        target for part in PARTS for target in _targets(part, np.asarray(columns[f"{part.truth}_{truth}"], np.float64), rms)
    ]
    return np.stack(targets, axis=1).astype(np.float32)


def _targets(part: ContaminationPart, truth: Float64Array, rms: Float32Array) -> Iterator[Float64Array]:
    """Whether something is there and, if so, how much of it."""
    is_there = truth > part.above
    yield np.where(np.isnan(truth), np.nan, is_there.astype(np.float64))
    if part.amount is not None:
        yield np.where(is_there, part.amount.transformed(truth, rms) / part.amount.unit, np.nan)


def scale_fitted_to(sets: Sequence[Float32Array], truth: str, scatter_limit: float) -> ContaminationScale:
    """A scale that reaches slightly beyond the largest flux of the targets.

    Parameters
    ----------
    sets
        Targets of images, each (n, n_targets).
    truth, scatter_limit
        As in `ContaminationScale`.
    """
    flux = TARGETS.index("flux_pp")
    largest = max(np.nanmax(targets[:, flux]) for targets in sets)
    flux_range = float(np.ceil(largest / _FLUX_STEP) * _FLUX_STEP) if np.isfinite(largest) else 1.0
    return ContaminationScale(truth, flux_range, scatter_limit)


def calibrated(scale: ContaminationScale, draws: Float32Array, targets: Float32Array) -> ContaminationScale:
    """The scale whose intervals hold as many held-out truths as they claim.

    Parameters
    ----------
    scale
        The scale that a network was trained with.
    draws
        (n, T, n_outputs) of held-out images, in the order of `surveyflow.tasks.contamination.parts.OUTPUTS`.
    targets
        (n, n_targets): the targets of these images.
    """
    return scale.with_interval_scales({amount.name: _interval_scale(amount.name, scale, draws, targets) for _, amount in AMOUNTS})


def _interval_scale(amount: str, scale: ContaminationScale, draws: Float32Array, targets: Float32Array) -> float:
    truth = targets[:, TARGETS.index(amount)] / np.float64(scale.range_of(amount))
    known = ~np.isnan(truth)
    place = OUTPUTS.index(amount)
    location, scatter = (draws[known, :, output].astype(np.float64) for output in (place, place + 1))
    return interval_scale(location, scatter * scale.scatter_limit, truth[known])


def scores(draws: Float32Array, targets: Float32Array, scale: ContaminationScale | None) -> dict[str, float]:
    """Scores of the mean outputs.

    These are ``auc``, of any neighbour on the galaxy; ``auc_*``, of the other probabilities in the catalog; ``r2_*``, of each
    amount where it is above 0; and ``r2``, their mean.
    """
    mean = dict(zip(OUTPUTS, draws.mean(axis=1, dtype=np.float64).T, strict=True))
    truth = dict(zip(TARGETS, targets.T, strict=True))
    areas = {part.presence: _area(mean[part.presence], truth[part.presence]) for part in PARTS if part.column is not None}
    ranges = {amount.name: 1.0 if scale is None else scale.range_of(amount.name) for _, amount in AMOUNTS}
    explained = {f"r2_{name}": _explained(truth[name], reach * mean[name]) for name, reach in ranges.items()}
    named = {"auc" if name == PARTS[0].presence else f"auc_{name}": area for name, area in areas.items()}
    return named | explained | {"r2": sum(explained.values()) / len(explained)}


def skill(scores: Mapping[str, float], targets: Float32Array) -> Skill:
    """The area under the ROC curve of any neighbour on the galaxy; the error is that of Mann and Whitney (1947)."""
    known = targets[~np.isnan(targets[:, 0]), 0]
    n_positive = int(known.sum())
    n_negative = len(known) - n_positive
    error = float(np.sqrt((len(known) + 1) / (12 * n_positive * n_negative))) if n_positive and n_negative else np.inf
    return Skill("auc", scores["auc"], 0.5, error)


def _area(probability: Float64Array, truth: Float32Array) -> float:
    known = ~np.isnan(truth)
    return area_under_roc(probability[known], truth[known] > 0)


def _explained(truth: Float32Array, estimate: Float64Array) -> float:
    known = ~np.isnan(truth)
    return regression_scores(truth[known], estimate[known]).r2
