"""What a contamination network's draws say of a galaxy, in percent and in flux."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from surveyflow.stats.philox import predictive_noise
from surveyflow.stats.posterior import distribution, sorted_output
from surveyflow.tasks.card import ContaminationScale
from surveyflow.tasks.contamination.parts import AMOUNTS, OUTPUTS, PARTS
from surveyflow.tasks.task import Columns, Draws
from surveyflow.values.arrays import BoolArray, Float32Array, Float64Array

QUANTILES = ("q16", "q50", "q84")
"""Quantiles of amounts in the catalog."""


def physical_draws(
    outputs: Float32Array, rms: Float32Array, scale: ContaminationScale, normal: Float64Array, uniform: Float64Array
) -> dict[str, Float64Array]:
    """Turn draws of a network into draws of what it describes.

    One uniform number decides on all parts of a draw: since masks that overlap belong to neighbours that were detected, a draw
    with coverage is then one with flux wherever the network holds the second to be at least as probable as the first.

    Parameters
    ----------
    outputs
        (n, T, n_outputs) float32 in [0, 1], in the order of `surveyflow.tasks.contamination.parts.OUTPUTS`.
    rms
        (n,) sky rms of each cutout, as `surveyflow.sky.noise.sky_rms` measures it; where it is NaN, so are fluxes that are not 0.
    scale
        What the outputs stand for.
    normal
        (n, T, n_amounts) standard normal numbers, for coverage and flux.
    uniform
        (n, T) numbers in [0, 1).

    Returns
    -------
    (n, T) float64 of each amount by name of its column: ``coverage_pct``, percent of the galaxy's mask under neighbours' masks;
    ``flux_pp``, neighbours' flux over their number of pixels, in the cutouts' unit a pixel.

    Raises
    ------
    ValueError
        If shapes do not belong together, or an output is NaN or lies outside [0, 1].

    Examples
    --------
    >>> outputs = np.array([[[0.9, 0.5, 0.1, 0.9, 0.5, 0.1]]], dtype=np.float32)
    >>> scale = ContaminationScale("sky_sigma", flux_range=8.0)
    >>> draws = physical_draws(outputs, np.array([1e-3], np.float32), scale, np.zeros((1, 1, 2)), np.full((1, 1), 0.5))
    >>> draws["coverage_pct"].round(2), draws["flux_pp"].round(4)
    (array([[9.05]]), array([[0.0273]]))
    """
    _check(outputs, rms, normal, uniform)
    output = dict(zip(OUTPUTS, np.moveaxis(outputs.astype(np.float64), -1, 0), strict=True))
    drawn = {}
    for number, (part, amount) in enumerate(AMOUNTS):
        sigma = output[amount.scatter] * scale.scatter_limit * scale.interval_scale(amount.name)
        location = np.clip(output[amount.name] + sigma * normal[..., number], 0, 1)
        given = amount.physical(amount.reach(scale) * location, rms[:, None].astype(np.float64))
        drawn[amount.column.name] = np.where(uniform < output[part.presence], given, 0)
    return drawn


def summarise_contamination(outputs: Float32Array, draws: Mapping[str, Float64Array]) -> Columns:
    """Summarise a network's draws, and those of what they describe, in float64.

    Parameters
    ----------
    outputs
        (n, T, n_outputs) float32 in [0, 1], in the order of `surveyflow.tasks.contamination.parts.OUTPUTS`.
    draws
        What `physical_draws` makes of them.

    Returns
    -------
    (n,) float32 by name of the catalog's column. Draws without anything count as 0 of its amount.

    Raises
    ------
    ValueError
        If a probability is NaN or lies outside [0, 1].
    """
    found: Columns = {}
    for part in PARTS:
        if part.column is not None:
            ordered = sorted_output(outputs, OUTPUTS.index(part.presence))
            found |= distribution(part.column.name, ordered, ())
        if part.amount is not None:
            found |= distribution(part.amount.column.name, np.sort(draws[part.amount.column.name], axis=1), QUANTILES)
    return found


def can_be_measured(rms: Float32Array) -> BoolArray:
    """(n,) bool: which cutouts have a sky rms by which fluxes can be told; not where it is NaN or 0."""
    measurable: BoolArray = rms > 0
    return measurable


def summarise(draws: Draws) -> Columns:
    """Summarise a network's draws; see `summarise_contamination`.

    Raises
    ------
    ValueError
        If the model's card has no scale.
    """
    scale = draws.card.contamination
    if scale is None or draws.sky_rms is None:
        raise ValueError(f"the card of {draws.card.key} does not say what its outputs stand for")
    noise = predictive_noise(draws.source_keys, draws.outputs.shape[1], draws.seed, draws.card.model_word, len(AMOUNTS))
    return summarise_contamination(draws.outputs, physical_draws(draws.outputs, draws.sky_rms, scale, *noise))


def _check(outputs: Float32Array, rms: Float32Array, normal: Float64Array, uniform: Float64Array) -> None:
    n_sources, n_draws = outputs.shape[:2]
    expected = (
        (n_sources, n_draws, len(OUTPUTS)),
        (n_sources,),
        (n_sources, n_draws, len(AMOUNTS)),
        (n_sources, n_draws),
    )
    found = (outputs.shape, rms.shape, normal.shape, uniform.shape)
    if found != expected:
        raise ValueError(f"outputs, rms, normal and uniform must have shapes {expected}, not {found}")
    outside = ~((outputs >= 0) & (outputs <= 1))
    if outside.any():
        source, _, output = np.argwhere(outside)[0]
        raise ValueError(f"outputs must lie in [0, 1]: {OUTPUTS[output]} of source {source} does not")
