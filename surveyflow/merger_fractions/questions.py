"""A question about a catalog's galaxies: which to count in which bins, and how."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import pyarrow.compute as pc

from surveyflow.errors import InputError
from surveyflow.stats.fractions import find_bins, proportion
from surveyflow.values.codes import ClassRule, Flag


@dataclass(frozen=True, slots=True)
class Question:
    """The galaxies to count, and the way to count them.

    Parameters
    ----------
    edges
        Edges of the bins, increasing; bins are half-open, [low, high).
    bins
        The numeric column to bin; ``z`` stands for ``redshift``.
    where
        Selection of galaxies: an expression as in `surveyflow.catalog.selection`, or an Arrow expression; None for all.
    rule
        Rule that classifies a galaxy as post-merger.
    limits
        Contamination cuts: the largest accepted value, by column.
    confidence
        Probability that an interval holds the truth.
    exclude_flags
        Names of flags; galaxies that have any of them are not counted.
    magnitude
        Column of AB magnitudes, by which matrices are chosen; None for none.
    any_magnitude
        Whether matrices for all magnitudes of the test together are accepted.

    Raises
    ------
    InputError
        If edges, confidence or names of flags are not valid.
    """

    edges: Sequence[float]
    bins: str
    where: str | pc.Expression | None
    rule: ClassRule
    limits: Mapping[str, float]
    confidence: float
    exclude_flags: tuple[str, ...] = ()
    magnitude: str | None = None
    any_magnitude: bool = False

    def __post_init__(self) -> None:
        try:
            find_bins([], self.edges)
            proportion([], [], self.confidence)
        except ValueError as error:
            raise InputError(f"{error}.") from error
        if strange := [name for name in self.exclude_flags if name not in Flag.__members__]:
            raise InputError(f"there is no flag {strange[0]!r}. Choose among {', '.join(Flag.__members__)}.")
        if self.magnitude is not None and self.any_magnitude:
            raise InputError("magnitude and any_magnitude exclude each other. Give one of them.")

    @property
    def excluded_bits(self) -> int:
        """The bits of the excluded flags."""
        return int(reduce(operator.or_, (Flag[name] for name in self.exclude_flags), Flag(0)))
