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

from surveyflow.tasks.card import ContaminationScale
from surveyflow.tasks.task import Amount, Part, ResultColumn
from surveyflow.values.arrays import Float32Array, Float64Array


@dataclass(frozen=True, slots=True, kw_only=True)
class ContaminationAmount(Amount):
    """How much contamination there is.

    Parameters
    ----------
    column
        What the catalog calls it.
    transformed
        From the truth (n,) and the sky rms (n,), a quantity that is about normal; NaN where it cannot be told.
    physical
        The way back, from transformed amounts (n, T) and the sky rms (n, 1).
    words
        What is transformed how, for tables and axes.
    unit
        The transformed amount is divided by this to become a target.
    grows_with_gain
        Whether it is multiplied when every pixel is.
    figure
        What documents of evaluations call its points.
    """

    column: ResultColumn
    transformed: Callable[[Float64Array, Float32Array], Float64Array]
    physical: Callable[[Float64Array, Float64Array], Float64Array]
    words: str
    figure: str
    unit: float = 1.0
    grows_with_gain: bool = False

    def reach(self, scale: ContaminationScale) -> float:
        """The transformed amount that an output of 1 stands for."""
        return scale.range_of(self.name) * self.unit


@dataclass(frozen=True, slots=True, kw_only=True)
class ContaminationPart(Part):
    """A part of what a contamination network answers.

    Parameters
    ----------
    truth
        Quantity of the records that it is about, without the variant of the truth.
    above
        There is something where the truth is above this.
    words, whose
        What is there, and which galaxies or stamps have it, for tables.
    column
        What the catalog calls the probability; None if it is not in the catalog.
    """

    amount: ContaminationAmount | None = None
    truth: str
    words: str
    whose: str
    above: float = 0.0
    column: ResultColumn | None = None


def _log_coverage(coverage_pct: Float64Array, rms: Float32Array) -> Float64Array:  # noqa: ARG001 - one signature for all
    return np.asarray(np.log1p(np.maximum(coverage_pct, 0)))


def _coverage(log_coverage: Float64Array, rms: Float64Array) -> Float64Array:  # noqa: ARG001 - one signature for all
    return np.asarray(np.expm1(log_coverage))


def _flux_in_sky(flux_pp: Float64Array, rms: Float32Array) -> Float64Array:
    return np.asarray(np.arcsinh(flux_pp / np.where(rms > 0, rms, np.nan)))


def _flux(flux_in_sky: Float64Array, rms: Float64Array) -> Float64Array:
    return np.asarray(rms * np.sinh(flux_in_sky))


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
            physical=_coverage,
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
            ),
            transformed=_flux_in_sky,
            physical=_flux,
            grows_with_gain=True,
            words="arcsinh(flux_pp / sky rms)",
            figure="flux",
        ),
    ),
)
"""What a contamination network answers, in the order of its outputs."""

AMOUNTS = tuple((part, part.amount) for part in PARTS if part.amount is not None)
"""The parts that have an amount, with it."""

REGRESSIONS = {
    **{amount.name: (amount, PARTS[0]) for _, amount in AMOUNTS},
    **{f"{amount.name}_of_{part.presence}": (amount, part) for part, amount in AMOUNTS if part is not PARTS[0]},
}
"""What is asked of amounts in an evaluation: which amount, of the stamps that have what. All of them of contaminated galaxies."""

OUTPUTS = tuple(name for part in PARTS for name in part.outputs)
TARGETS = tuple(name for part in PARTS for name in part.targets)
