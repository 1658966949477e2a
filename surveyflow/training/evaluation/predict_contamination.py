"""The predictions of a contamination model for labelled stamps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from surveyflow.sky.measurements import sky_rms
from surveyflow.stats.philox import source_keys
from surveyflow.tasks.card import ContaminationScale, Model
from surveyflow.tasks.contamination.parts import AMOUNTS, OUTPUTS, PARTS, ContaminationAmount, physical_of, scale_of
from surveyflow.tasks.task import Columns, Draws
from surveyflow.training.evaluation.predict_mergers import batches, draw
from surveyflow.training.records.labelled import LabelledStamps
from surveyflow.values.arrays import Float32Array, Float64Array
from surveyflow.values.jobs import SamplingSettings

_CENTRAL_68 = (0.16, 0.84)


def predict_contamination(model: Model, sets: Sequence[LabelledStamps], sampling: SamplingSettings) -> Columns:
    """Sample a contamination model on stamps.

    Parameters
    ----------
    model
        A model of the contamination task.
    sets
        Sets of stamps of its pixel scale and size; at least one.
    sampling
        Number of draws, and seed.

    Returns
    -------
    Arrays (n,) by name, of all sets in order
        Names are those of the catalog's columns if there is one.

        - ``p_PRESENCE_mean``: mean probability of each part, float64.
        - ``COLUMN_mean``, ``_std``, ``_q16``, ``_q50`` and ``_q84`` of each amount's column, in its unit: of the predictive
          distribution, in which 0 has its own probability; float64.
        - ``AMOUNT_given``: the most likely transformed amount, given that something is there; float64.
        - ``AMOUNT_given_q16``, ``AMOUNT_given_q84``: in the column's unit, given that something is there; float64.
        - ``sky_rms``: as measured in each stamp, e-/s; float32.
        - ``out_of_domain``: whether the domain of the model's card excludes the stamp; bool.
        - ``partial_coverage``: whether some of its pixels hold no data; bool.
        - ``measured``: (n, 6) float32, see `surveyflow.training.evaluation.limits.measured_quantities`.

    Raises
    ------
    ValueError
        If the model's card has no scale.
    """
    parts = [_batch(model, batch, sampling) for stamps in sets for batch in batches(stamps)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _batch(model: Model, stamps: LabelledStamps, sampling: SamplingSettings) -> Columns:
    scales, rms = [scale_of(card) for card in model.card.each], sky_rms(stamps.pixels, stamps.valid)
    answers = draw(model, stamps, sampling)
    outputs = answers.draws[..., [model.card.class_names.index(name) for name in OUTPUTS]]
    draws = Draws(outputs, source_keys(stamps.field, stamps.source_id), sampling.seed, model.card, rms)
    drawn, given = physical_of(draws), physical_of(draws, given=True)
    mean = dict(zip(OUTPUTS, outputs.mean(axis=1, dtype=np.float64).T, strict=True))
    found: Columns = {f"p_{part.presence}_mean": mean[part.presence] for part in PARTS}
    for _, amount in AMOUNTS:
        found |= _distribution(amount.column.name, drawn[amount.column.name])
        found |= {f"{amount.name}_given": _location(outputs, amount, scales)}
        found |= _interval(f"{amount.name}_given", given[amount.column.name])
    flags = {"out_of_domain": answers.excluded, "partial_coverage": np.any(~stamps.valid, axis=(1, 2))}
    return found | flags | {"sky_rms": rms, "measured": answers.measured}


def _location(outputs: Float32Array, amount: ContaminationAmount, scales: Sequence[ContaminationScale]) -> Float64Array:
    """(n,) mean transformed amount over the draws; each member of a jury has its own scale."""
    locations = outputs[..., OUTPUTS.index(amount.name)].astype(np.float64)
    reached = (locations[:, i :: len(scales)].sum(axis=1) * amount.reach(scale) for i, scale in enumerate(scales))
    return np.asarray(sum(reached) / locations.shape[1])


def _distribution(name: str, draws: Float64Array) -> dict[str, Float64Array]:
    quantiles = np.quantile(draws, (0.16, 0.5, 0.84), axis=1)
    moments = {"mean": draws.mean(axis=1), "std": draws.std(axis=1)}
    return {f"{name}_{key}": value for key, value in (moments | dict(zip(("q16", "q50", "q84"), quantiles, strict=True))).items()}


def _interval(name: str, draws: Float64Array) -> dict[str, Float64Array]:
    low, high = np.quantile(draws, _CENTRAL_68, axis=1)
    return {f"{name}_q16": low, f"{name}_q84": high}
