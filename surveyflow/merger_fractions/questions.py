"""A question about a catalog's galaxies: which to count in which bins, and how."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, TypeAdapter

from surveyflow.errors import InputError
from surveyflow.files.json_state import MOST_BYTES, Damaged, parse_state, read_ordinary_file
from surveyflow.files.paths import problem_of_file
from surveyflow.settings.cosmic_variance import CosmicVariance
from surveyflow.stats.fractions import find_bins, proportion
from surveyflow.values.arrays import BoolArray, Float64Array, Int64Array
from surveyflow.values.codes import ClassRule, Flag

_LONGEST_GYR = 14.0
_COMPLETE = re.compile(r"\s*(?P<column>\w+)\s*(?P<sign>>=|<=)\s*(?P<limits>[^<>=]+)")


@dataclass(frozen=True, slots=True)
class Completeness:
    """The limit in mass or magnitude to which each bin holds all galaxies; galaxies beyond it are not counted.

    Parameters
    ----------
    column
        The numeric column that is limited.
    at_least
        Whether galaxies at the limit or above it are counted (masses), or at the limit or below it (magnitudes).
    limits
        The limit of each bin, in order.
    """

    column: str
    at_least: bool
    limits: tuple[float, ...]

    @classmethod
    def parsed(cls, text: str) -> Self:
        """Read ``column >= limit,limit,...`` or ``column <= limit,limit,...``, with one limit for each bin.

        Raises
        ------
        InputError
            If the text has another form.

        Examples
        --------
        >>> Completeness.parsed("log_mass >= 9.2,9.5")
        Completeness(column='log_mass', at_least=True, limits=(9.2, 9.5))
        """
        found = _COMPLETE.fullmatch(text)
        try:
            limits = tuple(float(word) for word in found["limits"].split(",")) if found else ()
        except ValueError:
            limits = ()
        if found is None or not limits or not np.isfinite(limits).all():
            raise InputError(
                f"complete (--complete): found {text!r}, expected a column, >= or <=, and one number for each bin, such as "
                "'log_mass >= 9.2,9.5,9.9' or 'mag_f160w <= 24.5,24.5,24'."
            )
        return cls(found["column"], found["sign"] == ">=", limits)

    def example(self, n_bins: int) -> str:
        """The text with as many limits as bins."""
        last = self.limits[-1]
        limits = (*self.limits, *(last,) * n_bins)[:n_bins]
        return f"{self.column} {'>=' if self.at_least else '<='} {','.join(f'{limit:g}' for limit in limits)}"

    def holds(self, values: Float64Array, places: Int64Array) -> BoolArray:
        """(n,) bool: whether galaxies lie within the limit of their bin; not if the value is missing, or they are in no bin."""
        limit = np.where(places >= 0, np.array(self.limits)[places], np.nan)
        return np.asarray(values >= limit if self.at_least else values <= limit)


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
    weight
        Numeric column by which each galaxy is weighted; None for equal weights.
    over_redshifts
        Whether the rows of further instruments count, too, and every row with the share of its p(z), ``p_range``.
    complete
        The limit to which each bin is complete; None for all galaxies.
    time_scale_gyr
        Time during which a post-merger is recognised, Gyr, which turns fractions into rates; None for no rates.
    cosmic
        A formula for cosmic variance, and what it is applied to; None for no such error.

    Raises
    ------
    InputError
        If edges, confidence, names of flags, limits or time scale are not valid.
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
    weight: str | None = None
    over_redshifts: bool = False
    complete: Completeness | None = None
    time_scale_gyr: float | None = None
    cosmic: CosmicVariance | None = None

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
        if self.time_scale_gyr is not None and not 0 < self.time_scale_gyr < _LONGEST_GYR:
            raise InputError(f"time_scale_gyr (--time-scale-gyr): found {self.time_scale_gyr}, expected Gyr, such as 0.5.")
        if self.complete is not None and len(self.complete.limits) != len(self.edges) - 1:
            raise InputError(
                f"complete (--complete): found {len(self.complete.limits)} limits for {len(self.edges) - 1} bins, expected one "
                f"for each bin. Write {self.complete.example(len(self.edges) - 1)!r}."
            )

    @property
    def excluded_bits(self) -> int:
        """The bits of the excluded flags."""
        return int(reduce(operator.or_, (Flag[name] for name in self.exclude_flags), Flag(0)))


class Asked(BaseModel):
    """The question that an answer holds: the arguments of `surveyflow.fractions`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    edges: list[float]
    bins: str = "redshift"
    where: str | None = None
    rule: str = ClassRule.MEAN_OUTPUT.value
    matrix: str | None = None
    max_coverage_pct: float | None = None
    max_flux_pp: float | None = None
    max_p_contaminated: float | None = None
    exclude_flags: list[str] = []
    magnitude: str | None = None
    any_magnitude: bool = False
    weight: str | None = None
    over_redshifts: bool = False
    complete: str | None = None
    time_scale_gyr: float | None = None
    cosmic_variance: str | None = None
    confidence: float = 0.6827
    release: str = "latest"


class Answer(BaseModel):
    """The part of an answer's JSON that is read again."""

    model_config = ConfigDict(strict=True)

    question: Asked
    matrices_sha256: str | None = None
    cosmic_variance_sha256: str | None = None


_ANSWER = TypeAdapter(Answer)


def read_answer(path: Path) -> Answer:
    """Read the JSON that ``surveyflow fractions --json`` printed.

    Raises
    ------
    InputError
        If there is no such file, or it holds no such question.
    """
    if problem := problem_of_file(path):
        raise InputError(f"the earlier answer: {' '.join(problem)}")
    try:
        return parse_state(read_ordinary_file(path, MOST_BYTES), _ANSWER)
    except Damaged as error:
        raise InputError(
            f"{path}: expected the JSON of an answer, but {error}. Name a file with what fractions printed with --json."
        ) from error
