"""What is compared: the table of labels, the meaning of its classes, and the galaxies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from surveyflow.errors import InputError
from surveyflow.inputs.labels import LabelColumns
from surveyflow.stats.fractions import find_bins
from surveyflow.values.arrays import BoolArray
from surveyflow.values.codes import ClassRule, Match


@dataclass(frozen=True, slots=True)
class Classes:
    """The meaning of labels.

    Parameters
    ----------
    positive
        Labels that stand for a post-merger.
    negative
        Labels that stand for another galaxy; all labels that are not positive if it is empty.
    ignored
        Labels that stand for neither, such as ``ambiguous``.

    Raises
    ------
    InputError
        If no label is positive, or a label is in two of the lists.
    """

    positive: tuple[str, ...]
    negative: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.positive:
            raise InputError("no label is positive. Name the labels that stand for a post-merger.")
        words = [*self.positive, *self.negative, *self.ignored]
        if twice := sorted({word for word in words if words.count(word) > 1}):
            raise InputError(f"{', '.join(twice)}: a label is positive, negative or ignored, not two of them. Name it once.")

    def check(self, labels: NDArray[np.str_], column: str) -> None:
        """Refuse words that the table does not have.

        Raises
        ------
        InputError
            If a word is not among the labels; the message suggests one.
        """
        present = sorted(set(labels.tolist()) - {""})
        for word in (*self.positive, *self.negative, *self.ignored):
            if word not in present:
                close = get_close_matches(word, present, n=1)
                hint = f"Did you mean {close[0]}?" if close else f"It has {', '.join(present[:20])}."
                raise InputError(f"column {column} has no label {word!r}. {hint}")

    def of(self, labels: NDArray[np.str_]) -> tuple[BoolArray, BoolArray]:
        """Which of (n,) labels are positive, and which negative; a missing label is neither."""
        positive = np.isin(labels, self.positive)
        others = np.isin(labels, self.negative) if self.negative else ~np.isin(labels, self.ignored)
        return positive, others & ~positive & (labels != "")


@dataclass(frozen=True, slots=True)
class LabelQuestion:
    """What is compared, and how.

    Parameters
    ----------
    table
        The table of labels.
    columns
        Its columns.
    classes
        The meaning of its labels.
    match
        How a label finds its galaxy.
    field
        The field of all labels, for ids without a column of fields; None if the catalog has one field.
    id_prefix
        What precedes the number in ids that are text.
    max_separation_arcsec
        Largest separation of a label and its galaxy.
    where
        Selection of galaxies, as in `surveyflow.catalog.selection`; None for all.
    score
        The catalog's column that is larger for post-mergers.
    rule
        When a galaxy is called post-merger.
    magnitude
        Column of the catalog to bin by; None if the table of labels has the magnitudes, or nobody has.
    redshift_edges, magnitude_edges
        Edges of the bins; empty for four bins with equally many galaxies.
    n_samples, seed, confidence
        Number and seed of the bootstrap samples, and the probability that an interval holds the truth.

    Raises
    ------
    InputError
        If a number is out of range.
    """

    table: Path
    columns: LabelColumns
    classes: Classes
    match: Match
    field: str | None = None
    id_prefix: str = ""
    max_separation_arcsec: float = 0.5
    where: str | None = None
    score: str = "p_pm_mean"
    rule: ClassRule = ClassRule.MEAN_OUTPUT
    magnitude: str | None = None
    redshift_edges: Sequence[float] = ()
    magnitude_edges: Sequence[float] = ()
    n_samples: int = 1000
    seed: int = 1
    confidence: float = 0.6827

    def __post_init__(self) -> None:
        if not 0 < self.max_separation_arcsec <= 60:
            raise InputError(f"the largest separation must lie between 0 and 60 arcsec, not {self.max_separation_arcsec:g}.")
        if not (10 <= self.n_samples <= 100_000 and self.seed >= 0):
            raise InputError(
                f"take 10 to 100,000 bootstrap samples and a seed of at least 0, not {self.n_samples} and {self.seed}."
            )
        if not 0 < self.confidence < 1:
            raise InputError(f"confidence must lie between 0 and 1, not {self.confidence:g}.")
        try:
            for edges in filter(len, (self.redshift_edges, self.magnitude_edges)):
                find_bins([], edges)
        except ValueError as error:
            raise InputError(f"{error}.") from error
