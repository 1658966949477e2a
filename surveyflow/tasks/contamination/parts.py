"""The parts of a contamination network's output, and their conversion to percent and flux.

A network returns numbers between 0 and 1 for each part (`PARTS`). For every part it states the probability that something is
there. For an amount it also states location and scatter of that amount, given that something is there, on a scale on which
the truth is roughly normal:

====================  =====================================================
coverage (%)          ``log1p(coverage) / log(101)``
flux per pixel        ``arcsinh(flux / rms) / flux_range``, the sky rms of the cutout itself, so that gain and depth cancel
====================  =====================================================

Every draw of the network becomes one draw of the physical quantities: zero with the probability that nothing is there, otherwise
a normal number about the location. So the spread of the physical draws includes what the network cannot know from a single image,
and not only the spread of its dropout.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from surveyflow.stats.philox import predictive_noise
from surveyflow.stats.posterior import AmountOutputs, AmountStatistics, Curve, distribution, sorted_output
from surveyflow.tasks.card import ContaminationScale, ModelCard
from surveyflow.tasks.task import Amount, Columns, Draws, Part, ResultColumn
from surveyflow.values.arrays import BoolArray, Float32Array, Float64Array
from surveyflow.values.images import ELECTRONS_A_SECOND

AMOUNT_QUANTILES = ("q16", "q50", "q84")
"""Quantiles of amounts in the catalog."""


def physical_draws(
    outputs: Float32Array, rms: Float32Array, scale: ContaminationScale, normal: Float64Array, uniform: Float64Array
) -> dict[str, Float64Array]:
    """Turn draws of a network into draws of the physical quantities.

    One uniform number decides on all parts of a draw: masks that overlap belong to detected neighbours, so a draw with coverage
    also has flux wherever the network states that flux is at least as probable as coverage.

    Parameters
    ----------
    outputs
        (n, T, n_outputs) float32 in [0, 1], in the order of `surveyflow.tasks.contamination.parts.OUTPUTS`.
    rms
        (n,) sky rms of each cutout, as `surveyflow.sky.measurements.sky_rms` measures it; where it is NaN,
        fluxes other than 0 are NaN, too.
    scale
        What the outputs stand for.
    normal
        (n, T, n_amounts) standard normal numbers, for coverage and flux.
    uniform
        (n, T) numbers in [0, 1).

    Returns
    -------
    (n, T) float64 of each amount by name of its column: ``coverage_pct``, percent of the galaxy's mask that neighbours' masks
    cover; ``flux_pp``, neighbours' flux divided by their number of pixels, in the cutouts' unit per pixel.

    Raises
    ------
    ValueError
        If the shapes do not match, or an output is NaN or lies outside [0, 1].

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
        unit = rms[:, None].astype(np.float64) if amount.grows_with_gain else 1.0
        given = unit * amount.curve.formula(amount.reach(scale) * location)
        drawn[amount.column.name] = np.where(uniform < output[part.presence], given, 0)
    return drawn


def summarise_contamination(outputs: Float32Array, draws: Mapping[str, Float64Array]) -> Columns:
    """Summarise a network's draws, and the physical draws made of them, in float64.

    Parameters
    ----------
    outputs
        (n, T, n_outputs) float32 in [0, 1], in the order of `surveyflow.tasks.contamination.parts.OUTPUTS`.
    draws
        What `physical_draws` makes of them.

    Returns
    -------
    (n,) float32 by name of the catalog's column. A draw in which nothing is there counts as an amount of 0.

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
            found |= distribution(part.amount.column.name, np.sort(draws[part.amount.column.name], axis=1), AMOUNT_QUANTILES)
    return found


def amount_outputs(card: ModelCard) -> tuple[AmountOutputs, ...]:
    """The outputs of a model that is alone, for each amount, as an engine needs them that summarises what it draws.

    Raises
    ------
    ValueError
        If the card has no scale.
    """
    scale, number = scale_of(card), card.class_names.index
    return tuple(
        AmountOutputs(
            number(part.presence),
            number(amount.name),
            number(amount.scatter),
            sigma=scale.scatter_limit * scale.interval_scale(amount.name),
            reach=amount.reach(scale),
            curve=amount.curve,
        )
        for part, amount in AMOUNTS
    )


def amount_columns(statistics: AmountStatistics, rms: Float32Array) -> Columns:
    """The summary of a network's draws, as `summarise_contamination` makes it, from the statistics of the amounts.

    Parameters
    ----------
    statistics
        Statistics of the amounts, in the order of `AMOUNTS`.
    rms
        (n,) float32: sky rms of each cutout, as `physical_draws` takes it.

    Raises
    ------
    ValueError
        If any draw of a source is NaN.
    """
    statistics.check()
    found: Columns = {}
    for number, (part, amount) in enumerate(AMOUNTS):
        if part.column is not None:
            found |= statistics.presence(part.column.name, number)
        unit = rms.astype(np.float64) if amount.grows_with_gain else 1.0
        found |= statistics.amount(amount.column.name, number, AMOUNT_QUANTILES, unit)
    return found


def can_be_measured(rms: Float32Array) -> BoolArray:
    """(n,) bool: which cutouts have a sky rms that fluxes can be scaled by; False where it is NaN or 0."""
    measurable: BoolArray = rms > 0
    return measurable


def summarise(draws: Draws) -> Columns:
    """Summarise a network's draws; see `summarise_contamination`. Those of a jury's members are taken together.

    Raises
    ------
    ValueError
        If the model's card has no scale.
    """
    return summarise_contamination(draws.outputs, physical_of(draws))


def physical_of(draws: Draws, *, given: bool = False) -> dict[str, Float64Array]:
    """The physical draws of a model, or of a jury's members one after the other, each with its own scale and random numbers.

    Parameters
    ----------
    draws
        The network's draws.
    given
        Whether something is taken to be there in every draw.

    Returns
    -------
    As `physical_draws`.

    Raises
    ------
    ValueError
        If a model's card has no scale.
    """
    cards = draws.card.each
    each = [
        _physical(replace(draws, outputs=draws.outputs[:, i :: len(cards)], card=card), given) for i, card in enumerate(cards)
    ]
    return {name: np.concatenate([drawn[name] for drawn in each], axis=1) for name in each[0]}


def scale_of(card: ModelCard) -> ContaminationScale:
    """The scale of a contamination model's card.

    Raises
    ------
    ValueError
        If the card has none.
    """
    if card.contamination is None:
        raise ValueError(f"the card of {card.key} does not say what its outputs stand for: it is not a contamination model")
    return card.contamination


def _physical(draws: Draws, given: bool) -> dict[str, Float64Array]:
    if draws.sky_rms is None:
        raise ValueError(f"the outputs of {draws.card.key} cannot be converted without the sky rms of the cutouts")
    n_draws = draws.outputs.shape[1]
    normal, uniform = predictive_noise(draws.source_keys, n_draws, draws.seed, draws.card.model_word, len(AMOUNTS))
    return physical_draws(draws.outputs, draws.sky_rms, scale_of(draws.card), normal, uniform * (not given))


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ContaminationAmount(Amount):
    """An amount of contamination.

    Parameters
    ----------
    column
        Its name in the catalog.
    transformed
        Function of the truth (n,) and the sky rms (n,) that returns a roughly normal quantity; NaN where it is undefined.
    curve
        The inverse function, without the sky rms.
    words
        The transformed quantity in words, for tables and axes.
    unit
        The divisor that makes a target of the transformed amount.
    grows_with_gain
        Whether the amount is multiplied by the same factor as the pixels; it is then in units of the sky rms.
    figure
        The name of its points in documents of evaluations.
    """

    column: ResultColumn
    transformed: Callable[[Float64Array, Float32Array], Float64Array]
    curve: Curve
    words: str
    figure: str
    unit: float = 1.0
    grows_with_gain: bool = False

    def reach(self, scale: ContaminationScale) -> float:
        """The transformed amount that an output of 1 stands for."""
        return scale.range_of(self.name) * self.unit


@dataclass(frozen=True, slots=True, kw_only=True)
class ContaminationPart(Part):
    """A part of a contamination network's output.

    Parameters
    ----------
    truth
        The quantity of the records that it describes, without the variant of the truth.
    above
        Something is there where the truth is above this.
    words, whose
        What is there, and which galaxies or stamps have it, for tables.
    column
        Name of the probability in the catalog; None if it is not in the catalog.
    """

    amount: ContaminationAmount | None = None
    truth: str
    words: str
    whose: str
    above: float = 0.0
    column: ResultColumn | None = None


def _log_coverage(coverage_pct: Float64Array, rms: Float32Array) -> Float64Array:  # noqa: ARG001 - one signature for all
    return np.asarray(np.log1p(np.maximum(coverage_pct, 0)))


def _flux_in_sky(flux_pp: Float64Array, rms: Float32Array) -> Float64Array:
    return np.asarray(np.arcsinh(flux_pp / np.where(rms > 0, rms, np.nan)))


PARTS = (
    ContaminationPart(
        presence="contaminated",
        truth="coverage_pct",
        words="a neighbour on the galaxy (coverage over 0)",
        whose="contaminated galaxies",
        column=ResultColumn("p_contaminated", "stat.probability;src.morph", "Probability that any neighbour lies on the galaxy"),
        amount=ContaminationAmount(
            name="coverage",
            column=ResultColumn(
                "coverage_pct", "stat.filling", "Share of the galaxy under neighbours, 0 in draws where none lies on it", unit="%"
            ),
            transformed=_log_coverage,
            curve=Curve.EXPM1,
            unit=math.log(101),
            words="log1p(coverage in percent)",
            figure="coverage",
        ),
    ),
    ContaminationPart(
        presence="neighbours",
        truth="flux_pp",
        words="a neighbour on the stamp (flux_pp over 0)",
        whose="stamps with a neighbour",
        amount=ContaminationAmount(
            name="flux_pp",
            column=ResultColumn(
                "flux_pp",
                "phot.flux.sb",
                "Neighbours' flux over their number of pixels, 0 in draws without any",
                unit="electron.s**-1.pixel**-1",
                mosaic_unit=ELECTRONS_A_SECOND,
            ),
            transformed=_flux_in_sky,
            curve=Curve.SINH,
            grows_with_gain=True,
            words="arcsinh(flux_pp / sky rms)",
            figure="flux",
        ),
    ),
)
"""The parts of a contamination network's output, in the order of its outputs."""
AMOUNTS = tuple((part, part.amount) for part in PARTS if part.amount is not None)
"""The parts that have an amount, each with its amount."""
REGRESSIONS = {
    **{amount.name: (amount, PARTS[0]) for _, amount in AMOUNTS},
    **{f"{amount.name}_of_{part.presence}": (amount, part) for part, amount in AMOUNTS if part is not PARTS[0]},
}
"""The amounts that an evaluation scores, each with the stamps that it is scored on. All amounts are of contaminated galaxies."""
OUTPUTS = tuple(name for part in PARTS for name in part.outputs)
TARGETS = tuple(name for part in PARTS for name in part.targets)
