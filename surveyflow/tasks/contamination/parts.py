"""What a contamination network answers: how much of a galaxy its neighbours cover, and how bright they are.

A network answers in numbers between 0 and 1, part by part (`PARTS`). Of each part it says how probable it is that there is
something and, of an amount, location and scatter of how much, given that there is something, on a scale on which the truth is
about normal:

====================  =====================================================
coverage (%)          ``log1p(coverage) / log(101)``
flux per pixel        ``arcsinh(flux / rms) / flux_range``, the sky rms of the cutout itself, so that gain and depth cancel
====================  =====================================================

Every draw of the network becomes one draw of what is there: nothing at all with the probability that nothing is, or else a normal
number about the location. So the spread of the physical draws holds what the network cannot know of a single image, not only what
its dropout makes of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from surveyflow.tasks.columns import ResultColumn
from surveyflow.tasks.task import Amount, Part
from surveyflow.values.arrays import Float32Array, Float64Array

COVERAGE_RANGE = math.log(101)
"""``log1p`` of a coverage of 100 %: what a location of 1 stands for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContaminationAmount(Amount):
    """How much contamination there is.

    Parameters
    ----------
    column
        What the catalog calls it.
    scaled
        From the truth (n,) and the sky rms (n,): the target, before it is divided by its range.
    physical
        The way back, from scaled amounts (n, T) and the sky rms (n, 1).
    """

    column: ResultColumn
    scaled: Callable[[Float64Array, Float32Array], Float64Array]
    physical: Callable[[Float64Array, Float64Array], Float64Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContaminationPart(Part):
    """A part of what a contamination network answers.

    Parameters
    ----------
    truth
        Quantity of the records that it is about, without the variant of the truth.
    above
        There is something where the truth is above this.
    column
        What the catalog calls the probability; None if it is not in the catalog.
    """

    amount: ContaminationAmount | None = None
    truth: str
    above: float = 0.0
    column: ResultColumn | None = None


def _scaled_coverage(coverage_pct: Float64Array, rms: Float32Array) -> Float64Array:  # noqa: ARG001 - one signature for all
    return np.asarray(np.log1p(np.maximum(coverage_pct, 0)) / COVERAGE_RANGE)


def _coverage(scaled: Float64Array, rms: Float64Array) -> Float64Array:  # noqa: ARG001 - one signature for all
    return np.asarray(np.expm1(COVERAGE_RANGE * scaled))


def _scaled_flux(flux_pp: Float64Array, rms: Float32Array) -> Float64Array:
    return np.asarray(np.arcsinh(flux_pp / np.where(rms > 0, rms, np.nan)))


def _flux(scaled: Float64Array, rms: Float64Array) -> Float64Array:
    return np.asarray(rms * np.sinh(scaled))


PARTS = (
    ContaminationPart(
        presence="contaminated",
        truth="coverage_pct",
        column=ResultColumn("p_contaminated", "stat.probability;src.morph", "Probability that any neighbour lies on the galaxy"),
        amount=ContaminationAmount(
            name="coverage",
            column=ResultColumn(
                "coverage_pct", "stat.filling", "Share of the galaxy under neighbours, 0 in draws where none lies on it", unit="%"
            ),
            scaled=_scaled_coverage,
            physical=_coverage,
        ),
    ),
    ContaminationPart(
        presence="neighbours",
        truth="flux_pp",
        amount=ContaminationAmount(
            name="flux_pp",
            column=ResultColumn(
                "flux_pp",
                "phot.flux.sb",
                "Neighbours' flux over their number of pixels, 0 in draws without any",
                unit="electron.s**-1.pixel**-1",
            ),
            scaled=_scaled_flux,
            physical=_flux,
        ),
    ),
)
"""What a contamination network answers, in the order of its outputs."""

AMOUNTS = tuple((part, part.amount) for part in PARTS if part.amount is not None)
"""The parts that have an amount, with it."""

OUTPUTS = tuple(name for part in PARTS for name in part.outputs)
TARGETS = tuple(name for part in PARTS for name in part.targets)
