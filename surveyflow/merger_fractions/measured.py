"""Which fraction of a catalog's galaxies is called post-merger, bin by bin, and how well that is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from surveyflow.catalog.selection import column_named, parse_selection
from surveyflow.errors import InputError
from surveyflow.merger_fractions.matrices import ClassifierTests
from surveyflow.stats.fractions import (
    ConfusionMatrix,
    called_post_merger,
    corrected_drawn_std,
    corrected_fraction,
    count,
    drawn_fraction,
    find_bins,
    proportion,
    purity,
)
from surveyflow.values.arrays import Float64Array, Int64Array
from surveyflow.values.codes import ClassRule, Flag, Status, warnings_about

_WHAT_IT_IS_NOT = (
    "This is not a merger fraction: the networks know post-mergers and star-forming galaxies only, so ellipticals, stars and "
    "pairs are counted as one of the two. The published rates are for asymmetric galaxies. Select those the question is about."
)
_MONTE_CARLO = (
    "Monte Carlo: mean and spread of the fraction when each galaxy takes the class of one of its draws. It tells how steadily "
    "the network decides; it is no error of a measurement, and not to be added to the binomial interval."
)
_NOT_CORRECTED = "Not corrected for wrong classes: where post-mergers are rare, most galaxies called so are not. Give a matrix."


@dataclass(frozen=True, slots=True)
class Question:
    """Which galaxies are counted, and how.

    Parameters
    ----------
    edges
        Edges of the bins, increasing; bins are half-open, [low, high).
    bins
        The numeric column that they are of; ``z`` stands for ``redshift``.
    where
        Which galaxies: an expression as in `surveyflow.catalog.selection`, or an Arrow expression; all where None.
    rule
        When a galaxy counts as post-merger.
    limits
        Contamination cuts: the largest value that counts, by column.
    confidence
        Probability that an interval holds the truth.

    Raises
    ------
    InputError
        If edges or confidence are not as they must be.
    """

    edges: Sequence[float]
    bins: str
    where: str | pc.Expression | None
    rule: ClassRule
    limits: Mapping[str, float]
    confidence: float

    def __post_init__(self) -> None:
        try:
            find_bins([], self.edges)
            proportion([], [], self.confidence)
        except ValueError as error:
            raise InputError(f"{error}.") from error


@dataclass(frozen=True, slots=True)
class FractionBin:
    """One bin. Numbers are NaN where there are no galaxies, corrected ones also where no matrix was given.

    Parameters
    ----------
    low, high
        Its edges: low <= value < high.
    n_galaxies, n_called
        Galaxies, and those called post-merger.
    fraction, fraction_low, fraction_high
        Their ratio, with its binomial interval (Wilson's).
    monte_carlo_mean, monte_carlo_std
        Mean and standard deviation of the fraction when each galaxy takes the class of one of its draws, chosen at random.
    corrected, corrected_low, corrected_high
        The fraction corrected by the confusion matrix, with an interval for the noise of the galaxies and of the test; not
        cut at 0 and 1.
    corrected_monte_carlo_std
        ``monte_carlo_std``, stretched as the correction stretches fractions.
    purity
        Share of true post-mergers among those called so, at the corrected fraction.
    """

    low: float
    high: float
    n_galaxies: int
    n_called: int
    fraction: float
    fraction_low: float
    fraction_high: float
    monte_carlo_mean: float
    monte_carlo_std: float
    corrected: float
    corrected_low: float
    corrected_high: float
    corrected_monte_carlo_std: float
    purity: float


@dataclass(frozen=True, slots=True)
class Population:
    """Fractions of post-mergers, and what must be known to use them.

    Parameters
    ----------
    revision
        The catalog's revision.
    column, rule, confidence
        As asked for.
    weights_origin
        Origins of the weights behind the galaxies that were counted.
    corrected_with
        Where the confusion matrices come from; None without.
    n_rows, n_measured, n_selected
        Rows of the catalog, those with a result, and those of them that were selected, in a bin or not.
    bins
        The bins, in order; ``pandas.DataFrame(population.bins)`` makes a table of them.
    notes
        What the numbers are not.
    """

    revision: str
    column: str
    rule: ClassRule
    confidence: float
    weights_origin: tuple[str, ...]
    corrected_with: str | None
    n_rows: int
    n_measured: int
    n_selected: int
    bins: tuple[FractionBin, ...]
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The same as JSON can hold it: NaN becomes None."""
        bins = [{key: value if isfinite(value) else None for key, value in asdict(item).items()} for item in self.bins]
        return asdict(self) | {"bins": bins}


def measure_population(catalog: ds.Dataset, revision: str, question: Question, tests: ClassifierTests | None) -> Population:
    """Count post-mergers in bins.

    Parameters
    ----------
    catalog
        A published catalog.
    revision
        Its name.
    question
        Which galaxies are counted, and how.
    tests
        Confusion matrices to correct with; None to leave fractions as they are.

    Raises
    ------
    InputError
        If bins, selection or cuts cannot be had from this catalog, or the matrices are of other weights, another rule or
        other fields.
    """
    column = _numeric_column(question.bins, catalog.schema)
    chosen = _selection(catalog, question)
    rows = catalog.to_table(filter=chosen, columns=_columns(column))
    origins = tuple(sorted(pc.unique(rows["weights_origin"]).to_pylist()))
    groups, matrices = _group_by_matrix(rows, question.rule, origins, tests)
    bins = _measure_bins(rows, column, question, groups, matrices)
    n_measured = catalog.count_rows(filter=pc.field("status") == Status.OK)
    return Population(
        revision=revision,
        column=column,
        rule=question.rule,
        confidence=question.confidence,
        weights_origin=origins,
        corrected_with=tests.source if tests else None,
        n_rows=catalog.count_rows(),
        n_measured=n_measured,
        n_selected=len(rows),
        bins=bins,
        notes=tuple(_notes(rows, origins, bins, tests)),
    )


def _columns(column: str) -> list[str]:
    needed = ("field", "instrument", "flags", "weights_origin", "p_pm_mean", "p_sf_mean", "f_pm")
    return list(dict.fromkeys([column, *needed]))


def _numeric_column(name: str, schema: pa.Schema) -> str:
    column = column_named(name, schema)
    kind = schema.field(column).type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        raise InputError(f"bins must be of a column of numbers: {column} holds {kind}. Choose another, such as redshift.")
    return column


def _selection(catalog: ds.Dataset, question: Question) -> pc.Expression:
    """The rows to count: with a result, selected, and not too contaminated."""
    chosen = pc.field("status") == Status.OK
    if question.where is not None:
        where = question.where
        chosen &= parse_selection(where, catalog.schema) if isinstance(where, str) else where
    for column, limit in question.limits.items():
        _check_estimated(catalog, chosen, column)
        chosen &= pc.field(column) <= limit
    return chosen


def _check_estimated(catalog: ds.Dataset, chosen: pc.Expression, column: str) -> None:
    n_chosen, n_missing = (catalog.count_rows(filter=rows) for rows in (chosen, chosen & pc.field(column).is_null()))
    if not n_missing:
        return
    some = f", or select the galaxies that have it ({column} >= 0)" if n_missing < n_chosen else ""
    raise InputError(
        f"{n_missing} of the {n_chosen} selected galaxies have no {column}, so they cannot be cut by it: contamination is "
        "estimated where the model store has a contamination model for field and instrument. Import or train one and run "
        f"again, leave the cut out{some}."
    )


def _group_by_matrix(
    rows: pa.Table, rule: ClassRule, origins: tuple[str, ...], tests: ClassifierTests | None
) -> tuple[Int64Array, list[ConfusionMatrix]]:
    """For each galaxy the place of its matrix in the list; without tests, one group and no matrix."""
    if tests is None:
        return np.zeros(len(rows), np.int64), []
    _check_fit(rule, origins, tests)
    pairs = list(zip(rows["field"].to_pylist(), rows["instrument"].to_pylist(), strict=True))
    names = {pair: tests.name_for(*pair) for pair in sorted(set(pairs))}
    missing = ["/".join(pair) for pair, name in names.items() if name is None]
    if missing:
        raise InputError(
            f"there is no confusion matrix for {', '.join(missing)}: {tests.source!r} has {', '.join(tests.matrices)}. "
            "Add it to the file, or select the other fields."
        )
    places = {name: place for place, name in enumerate(tests.matrices)}
    groups = np.array([places[str(names[pair])] for pair in pairs], np.int64)
    return groups, list(tests.matrices.values())


def _check_fit(rule: ClassRule, origins: tuple[str, ...], tests: ClassifierTests) -> None:
    if set(origins) - {tests.weights_origin}:
        raise InputError(
            f"the confusion matrices ({tests.source}) are of {tests.weights_origin} weights, but the catalog's are "
            f"{' and '.join(origins)}: they say nothing of those. Give matrices measured with the catalog's own weights."
        )
    if rule != tests.class_rule:
        raise InputError(
            f"the confusion matrices ({tests.source}) were measured with the rule {tests.class_rule}, not {rule}. "
            f"Use the rule {tests.class_rule}, or matrices measured with {rule}."
        )


def _measure_bins(
    rows: pa.Table, column: str, question: Question, groups: Int64Array, matrices: list[ConfusionMatrix]
) -> tuple[FractionBin, ...]:
    counts = _count(rows, column, question, groups, max(len(matrices), 1))
    n_galaxies, n_called = counts.n_galaxies.sum(axis=1), counts.n_called.sum(axis=1)
    raw = proportion(n_called, n_galaxies, question.confidence)
    drawn = drawn_fraction(counts.sum_f.sum(axis=1), counts.sum_f_squared.sum(axis=1), n_galaxies)
    corrected = _corrected(counts, matrices, question.confidence)
    edges = np.asarray(question.edges, np.float64)
    totals = (n_galaxies.astype(np.int64), n_called.astype(np.int64))
    numbers = (edges[:-1], edges[1:], *totals, raw.value, raw.low, raw.high, *drawn, *corrected)
    return tuple(FractionBin(*row) for row in zip(*(array.tolist() for array in numbers), strict=True))


@dataclass(frozen=True, slots=True)
class _Counts:
    """Sums over galaxies, each (n_bins, n_groups) float64: galaxies, those called post-merger, votes, squares of votes."""

    n_galaxies: Float64Array
    n_called: Float64Array
    sum_f: Float64Array
    sum_f_squared: Float64Array


def _count(rows: pa.Table, column: str, question: Question, groups: Int64Array, n_groups: int) -> _Counts:
    values, p_pm, p_sf, f_pm = (_numbers(rows[name]) for name in (column, "p_pm_mean", "p_sf_mean", "f_pm"))
    places = find_bins(values, question.edges)
    called = called_post_merger(p_pm, p_sf, f_pm, question.rule)
    weights = (None, called, f_pm, np.square(f_pm))
    return _Counts(*(count(places, groups, len(question.edges) - 1, n_groups, weight) for weight in weights))


def _numbers(values: pa.ChunkedArray) -> Float64Array:
    """A column as float64; null becomes NaN."""
    return np.asarray(values.cast(pa.float64(), safe=False).to_numpy(), np.float64)


def _corrected(counts: _Counts, matrices: list[ConfusionMatrix], confidence: float) -> tuple[Float64Array, ...]:
    """Corrected fraction, its limits, its Monte Carlo spread, and purity; NaN without matrices."""
    if not matrices:
        return (np.full(len(counts.n_galaxies), np.nan),) * 5
    estimate = corrected_fraction(counts.n_called, counts.n_galaxies, matrices, confidence)
    spread = corrected_drawn_std(counts.sum_f, counts.sum_f_squared, counts.n_galaxies, matrices)
    return estimate.value, estimate.low, estimate.high, spread, purity(estimate.value, counts.n_galaxies, matrices)


def _notes(rows: pa.Table, origins: Iterable[str], bins: Sequence[FractionBin], tests: ClassifierTests | None) -> Iterable[str]:
    yield from warnings_about(set(origins))
    yield _WHAT_IT_IS_NOT
    yield _MONTE_CARLO
    yield from [_NOT_CORRECTED] if tests is None else _notes_on_tests(bins, tests)
    n_foreign = int(np.count_nonzero(rows["flags"].to_numpy() & Flag.OUT_OF_DOMAIN))
    if n_foreign:
        yield (
            f"{n_foreign} of the {len(rows)} selected galaxies are flagged OUT_OF_DOMAIN: their images are unlike those that the "
            "models were trained on. To leave them out, select flags & OUT_OF_DOMAIN == 0."
        )


def _notes_on_tests(bins: Sequence[FractionBin], tests: ClassifierTests) -> Iterable[str]:
    yield (
        f"Corrected with {tests.source}. The rates hold for galaxies like the test's. Intervals hold the test's binomial noise, "
        "too, and are too short where a bin has fewer than about ten galaxies a matrix."
    )
    for name, matrix in tests.matrices.items():
        yield (
            f"{name}: completeness (recall) {matrix.completeness:.3f}, false positive rate {matrix.false_positive_rate:.3f}, "
            f"purity (precision) in the test {matrix.test_purity:.3f}."
        )
    beyond = [item for item in bins if item.corrected_high < 0 or item.corrected_low > 1]
    if beyond:
        spans = ", ".join(f"[{item.low:g}, {item.high:g})" for item in beyond)
        yield f"The corrected interval of {spans} lies beyond 0 or 1: the tested rates do not hold for these galaxies."
