"""The fraction of a catalog's galaxies that is classified as post-merger, bin by bin, with its uncertainty."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from math import isfinite, isnan
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from surveyflow.catalog.selection import column_named, parse_selection
from surveyflow.errors import InputError
from surveyflow.merger_fractions.cosmic_variance import check_applies, relative_errors
from surveyflow.merger_fractions.matching import check_bins, check_selection, is_of_a_test, matched
from surveyflow.merger_fractions.questions import Question
from surveyflow.settings.matrices import ClassifierTests
from surveyflow.stats.fractions import (
    ConfusionMatrix,
    called_post_merger,
    corrected_drawn_std,
    corrected_fraction,
    count,
    drawn_fraction,
    effective_number,
    find_bins,
    jackknife_error,
    proportion,
    purity,
)
from surveyflow.values.arrays import BoolArray, Float64Array, Int64Array
from surveyflow.values.codes import ClassRule, Flag, Status, warnings_about
from surveyflow.values.notebooks import notebook_table

_WHAT_IT_IS_NOT = (
    "This is not a merger fraction: the networks know only post-mergers and star-forming galaxies, so ellipticals, stars and "
    "pairs are counted as one of the two. The published rates are for asymmetric galaxies. Select a suitable sample first."
)
_MONTE_CARLO = (
    "Monte Carlo: mean and spread of the fraction if each galaxy takes the class of one of its draws. The spread says how "
    "stable the network's decisions are. It is not a measurement error; do not add it to the binomial interval."
)
_NO_SELECTION = (
    "These matrices do not say of which galaxies they were measured: magnitudes, cuts, flags, centring. After any selection by "
    "these they do not hold, and a trend with magnitude may be theirs. Matrices that an evaluation writes say it, and are "
    "refused for another selection."
)
_ALL_MAGNITUDES = (
    "Each matrix is of all magnitudes of its test together. Rates depend on magnitude, so that a trend with magnitude, or with "
    "what goes with it, may be theirs; matrices by magnitude, as an evaluation writes them, and --magnitude correct for that."
)
_ANY_CONFIDENCE = 0.68
_FEWEST_FIELDS = 3
"""Number of fields below which their differences say too little about their scatter."""
_LEAST_PER_MATRIX = 10
"""Mean number of galaxies for each matrix of a bin below which no interval is stated."""
_WEIGHT = "weight of the galaxy"
"""Name of the column that is added to the selected rows."""
_OF_TESTS = ("model_id", "contamination_model_id", "offset_arcsec")
"""Columns by which a matrix is found."""
_FIELD_TO_FIELD = (
    "Field to field: standard error from the differences between fields, each left out in turn (jackknife). It contains cosmic "
    "variance and the binomial noise of the galaxies; with {n} fields it is itself known to about {percent:.0f} %."
)
_NOT_CORRECTED = (
    "Not corrected for misclassification: where post-mergers are rare, most galaxies that are called post-mergers are not. "
    "Give a confusion matrix."
)


@dataclass(frozen=True, slots=True)
class FractionBin:
    """One bin. Numbers are NaN if there are no galaxies.

    Corrected numbers are also NaN if no matrix was given, or if there are fewer than ten galaxies for each matrix.

    Parameters
    ----------
    low, high
        Its edges: low <= value < high.
    n_galaxies, n_called
        Number of galaxies, and of those called post-merger.
    fraction, fraction_low, fraction_high
        Their ratio, with Wilson's binomial interval.
    monte_carlo_mean, monte_carlo_std
        Mean and standard deviation of the fraction if each galaxy takes the class of one of its draws, chosen at random.
    corrected, corrected_low, corrected_high
        The fraction corrected with the confusion matrix, with an interval for the noise of the galaxies and of the test; not
        clipped at 0 and 1.
    corrected_monte_carlo_std
        ``monte_carlo_std``, scaled as the correction scales fractions.
    purity
        Purity (precision): share of true post-mergers among those called post-mergers, at the corrected fraction.
    field_to_field
        Standard error of the corrected fraction, or of the fraction if no matrix was given, from its differences between fields
        (jackknife); NaN for fewer than three fields.
    n_effective
        Number of galaxies of equal weight whose fraction has the same noise (Kish 1965): ``n_galaxies`` without weights.
    rate_per_gyr, rate_low, rate_high
        The corrected fraction and its limits divided by the time scale, per galaxy and Gyr; NaN if none was given.
    cosmic_variance, cosmic_error
        Standard error by cosmic variance, by the formula that the user states: relative to the fraction, and times the corrected
        fraction, or the fraction if no matrix was given; NaN if no formula was given, and the latter if that is not above 0.
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
    field_to_field: float
    n_effective: float
    rate_per_gyr: float
    rate_low: float
    rate_high: float
    cosmic_variance: float
    cosmic_error: float


@dataclass(frozen=True, slots=True)
class Population:
    """Fractions of post-mergers, with the facts and warnings that their use requires.

    Parameters
    ----------
    revision
        The catalog's revision.
    column, rule, confidence
        As requested.
    weights_origin
        Origins of the weights that classified the counted galaxies.
    corrected_with
        Source of the confusion matrices; None if there was no correction.
    n_rows, n_measured, n_selected
        Number of rows in the catalog (and the alternatives, if they count), of those with a result, and of the selected ones
        among these, in a bin or not.
    bins
        The bins, in order; ``pandas.DataFrame(population.bins)`` makes a table of them.
    notes
        Limitations of the numbers.
    question
        The whole question: the arguments of `surveyflow.fractions`, which asks it again.
    matrices_sha256
        SHA-256 of the file of confusion matrices, hexadecimal; None if there was no correction.
    cosmic_variance_sha256
        That of the file with the formula for cosmic variance; None if there was none.
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
    question: Mapping[str, Any] = field(default_factory=dict)
    matrices_sha256: str | None = None
    cosmic_variance_sha256: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The same as values for JSON, in which NaN is None."""
        bins = [{key: value if isfinite(value) else None for key, value in asdict(item).items()} for item in self.bins]
        return asdict(self) | {"bins": bins}

    def _repr_html_(self) -> str:
        shown = (*("revision", "column", "rule", "weights_origin", "corrected_with", "n_measured", "n_selected"), "bins", "notes")
        stated = self.as_json()
        return notebook_table({name: stated[name] for name in shown})


def measure_population(
    catalog: ds.Dataset,
    revision: str,
    question: Question,
    tests: ClassifierTests | None,
    alternatives: ds.Dataset | None = None,
) -> Population:
    """Count post-mergers in bins.

    Parameters
    ----------
    catalog
        A published catalog.
    revision
        Name of its revision.
    question
        The galaxies to count, and the way to count them.
    tests
        Confusion matrices for the correction; None for no correction.
    alternatives
        The revision's rows of further instruments, which count if the question is ``over_redshifts``.

    Raises
    ------
    InputError
        If the catalog does not allow these bins, selection, cuts or weights, or the matrices belong to other weights, another
        rule or other fields.
    """
    column = _numeric_column(question.bins, catalog.schema)
    if tests is not None and tests.tests:
        check_bins(column)
    if tests is None and question.time_scale_gyr is not None:
        raise InputError(
            "a rate needs a fraction that is corrected for misclassification: most galaxies that are called post-mergers are "
            "not where post-mergers are rare. Give matrices with matrix (--matrix), or leave time_scale_gyr (--time-scale-gyr) "
            "out."
        )
    rows = _complete(_rows(catalog, alternatives, column, question, tests), column, question)
    _check_cosmic(rows, column, question)
    origins = tuple(sorted(pc.unique(rows["weights_origin"]).to_pylist()))
    groups, named = _group_by_matrix(rows, question, origins, tests)
    matrices = list(named.values())
    bins = _measure_bins(rows, column, question, groups, matrices)
    counted = _datasets(catalog, alternatives, question)
    n_measured = sum(part.count_rows(filter=pc.field("status") == Status.OK) for part in counted)
    return Population(
        revision=revision,
        column=column,
        rule=question.rule,
        confidence=question.confidence,
        weights_origin=origins,
        corrected_with=tests.source if tests else None,
        n_rows=sum(part.count_rows() for part in counted),
        n_measured=n_measured,
        n_selected=len(rows),
        bins=bins,
        notes=(*_notes(rows, origins, bins, tests, named), *_notes_on_magnitudes(question, tests), *_notes_on_weights(question)),
    )


def _rows(
    catalog: ds.Dataset, alternatives: ds.Dataset | None, column: str, question: Question, tests: ClassifierTests | None
) -> pa.Table:
    """The rows to count, each with its weight."""
    has_shares = "p_range" in catalog.schema.names and catalog.count_rows(filter=pc.field("p_range").is_valid()) > 0
    if question.over_redshifts and not has_shares:
        raise InputError(
            "no row has a p_range, so the fraction cannot be integrated over redshifts (over_redshifts, --over-redshifts): "
            "the source lists gave no p(z). Leave it out, or give p(z) as in docs/how-to/photometric-redshifts.md."
        )
    columns = _columns(column, question, catalog.schema)
    datasets = _datasets(catalog, alternatives, question)
    parts = [part.to_table(filter=_selection(part, question, tests), columns=columns) for part in datasets]
    rows = pa.concat_tables(parts, promote_options="permissive").combine_chunks()
    return rows.append_column(_WEIGHT, pa.array(_weights(rows, question)))


def _datasets(catalog: ds.Dataset, alternatives: ds.Dataset | None, question: Question) -> list[ds.Dataset]:
    """The catalog, and its alternatives if they count and there are any."""
    further = question.over_redshifts and alternatives is not None and alternatives.count_rows() > 0
    return [catalog, alternatives] if further and alternatives is not None else [catalog]


def _weights(rows: pa.Table, question: Question) -> Float64Array:
    weights = np.ones(len(rows))
    if question.weight is not None:
        weights = _numbers(rows[column_named(question.weight, rows.schema)])
        unusable = ~(np.isfinite(weights) & (weights >= 0))
        if unusable.any():
            raise InputError(
                f"{int(unusable.sum())} of the {len(rows)} selected galaxies have a {question.weight} that is no weight: it is "
                "missing, not finite or negative. Select the others with where (--where), or choose another column."
            )
    if question.over_redshifts:
        share = _numbers(rows["p_range"])
        weights = weights * np.where(np.isnan(share), 1.0, share)
    return weights


def _complete(rows: pa.Table, column: str, question: Question) -> pa.Table:
    """The rows within the limit to which their bin is complete."""
    if question.complete is None:
        return rows
    values = _numbers(rows[_numeric_column(question.complete.column, rows.schema)])
    return rows.filter(pa.array(question.complete.holds(values, find_bins(_numbers(rows[column]), question.edges))))


def _columns(column: str, question: Question, schema: pa.Schema) -> list[str]:
    needed = ("field", "instrument", "flags", "weights_origin", "p_pm_mean", "p_sf_mean", "f_pm", *_OF_TESTS)
    limited = None if question.complete is None else question.complete.column
    named = [question.magnitude, question.weight, limited]
    further = [_numeric_column(name, schema) for name in named if name is not None]
    shares = ["p_range"] if question.over_redshifts else []
    redshift = ["redshift"] if question.cosmic is not None else []
    return [name for name in dict.fromkeys([column, *further, *shares, *redshift, *needed]) if name in schema.names]


def _check_cosmic(rows: pa.Table, column: str, question: Question) -> None:
    if question.cosmic is not None:
        fields, redshift = pc.unique(rows["field"]).to_pylist(), _numbers(rows["redshift"])
        check_applies(question.cosmic, column, question.edges, fields, redshift, weighted=question.weight is not None)


def _numeric_column(name: str, schema: pa.Schema) -> str:
    column = column_named(name, schema)
    kind = schema.field(column).type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        raise InputError(
            f"bins, weights and limits need a numeric column, but {column} holds {kind}. Choose another, such as redshift."
        )
    return column


def _selection(catalog: ds.Dataset, question: Question, tests: ClassifierTests | None) -> pc.Expression:
    """The rows to count: those with a result that are selected, not flagged and not too contaminated."""
    chosen = pc.field("status") == Status.OK
    if question.where is not None:
        where = question.where
        asked = parse_selection(where, catalog.schema) if isinstance(where, str) else where
        if tests is not None and tests.tests and not is_of_a_test(where, tests.tests):
            check_selection(asked)
        chosen &= asked
    if question.exclude_flags:
        chosen &= pc.bit_wise_and(pc.field("flags"), pa.scalar(question.excluded_bits, pa.int32())) == 0
    for column, limit in question.limits.items():
        _check_estimated(catalog, chosen, column)
        chosen &= pc.field(column) <= limit
    return chosen


def _check_estimated(catalog: ds.Dataset, chosen: pc.Expression, column: str) -> None:
    n_chosen, n_missing = (catalog.count_rows(filter=rows) for rows in (chosen, chosen & pc.field(column).is_null()))
    if not n_missing:
        return
    some = f", omit the cut, or select the galaxies that have it ({column} >= 0)" if n_missing < n_chosen else " or omit the cut"
    raise InputError(
        f"{n_missing} of the {n_chosen} selected galaxies have no {column}, so this cut cannot be applied to them: contamination "
        "is estimated only if the model store has a contamination model for field and instrument. Import or train one and run "
        f"again{some}."
    )


def _group_by_matrix(
    rows: pa.Table, question: Question, origins: tuple[str, ...], tests: ClassifierTests | None
) -> tuple[Int64Array, dict[str, ConfusionMatrix]]:
    """The index of each galaxy's matrix, and the matrices by name; without tests, one group and no matrix."""
    if tests is None:
        return np.zeros(len(rows), np.int64), {}
    _check_fit(question.rule, origins, tests)
    if tests.tests:
        groups, used = matched(rows, question, tests.tests)
        return groups, {f"{number} {test.name}": test.counts for number, test in enumerate(used)}
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
    return groups, dict(tests.matrices)


def _check_fit(rule: ClassRule, origins: tuple[str, ...], tests: ClassifierTests) -> None:
    if set(origins) - {tests.weights_origin}:
        raise InputError(
            f"the confusion matrices ({tests.source}) were measured with {tests.weights_origin} weights, but the catalog has "
            f"{' and '.join(origins)} weights, to which they do not apply. Give matrices measured with the catalog's own weights."
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
    total = counts.together()
    raw = proportion(total.called, total.effective, question.confidence)
    drawn = drawn_fraction(total.sum_f, total.sum_f - total.variance_f, total.size)
    corrected = _corrected(counts, matrices, question.confidence)
    edges = np.asarray(question.edges, np.float64)
    totals = (total.n_galaxies[:, 0].astype(np.int64), total.n_called[:, 0].astype(np.int64))
    error = _field_to_field(rows, column, question, groups, matrices)
    estimates = (array[:, 0] for array in (raw.value, raw.low, raw.high, *drawn))
    rates = (limit / (question.time_scale_gyr or np.nan) for limit in corrected[:3])
    cosmic = _cosmic(rows, column, question, corrected[0] if matrices else raw.value[:, 0])
    numbers = (edges[:-1], edges[1:], *totals, *estimates, *corrected, error, total.effective[:, 0], *rates, *cosmic)
    return tuple(FractionBin(*row) for row in zip(*(array.tolist() for array in numbers), strict=True))


def _field_to_field(
    rows: pa.Table, column: str, question: Question, groups: Int64Array, matrices: list[ConfusionMatrix]
) -> Float64Array:
    """(n_bins,) standard error of the fraction from its differences between fields, by leaving out each in turn."""
    fields = np.asarray(rows["field"].to_pylist(), str)
    names = np.unique(fields)
    if len(names) < _FEWEST_FIELDS:
        return np.full(len(question.edges) - 1, np.nan)
    every = _count(rows, column, question, groups, max(len(matrices), 1)).n_galaxies.sum(axis=1)
    left_out = []
    for name in names:
        kept = fields != name
        counts = _count(rows.filter(pa.array(kept)), column, question, groups[kept], max(len(matrices), 1))
        value = _value(counts, matrices)
        left_out.append(np.where(counts.n_galaxies.sum(axis=1) < every, value, np.nan))
    return jackknife_error(np.array(left_out))


def _cosmic(rows: pa.Table, column: str, question: Question, fraction: Float64Array) -> tuple[Float64Array, Float64Array]:
    """(n_bins,) cosmic variance of the fraction, relative and absolute; NaN without a formula."""
    fields = np.asarray(rows["field"].to_pylist(), str)
    if question.cosmic is None or not len(fields):
        return (np.full(len(fraction), np.nan),) * 2
    sizes = {}
    for name in np.unique(fields):
        here = fields == name
        counts = _count(rows.filter(pa.array(here)), column, question, np.zeros(here.sum(), np.int64), 1)
        sizes[str(name)] = counts.size[:, 0]
    relative = relative_errors(question.cosmic, question.edges, sizes)
    return relative, np.where(fraction > 0, relative * fraction, np.nan)


def _value(counts: _Counts, matrices: list[ConfusionMatrix]) -> Float64Array:
    """(n_bins,) corrected fraction; the fraction itself without matrices."""
    if matrices:
        return corrected_fraction(counts.called, counts.effective, matrices, _ANY_CONFIDENCE, counts.size).value
    total = counts.together()
    return proportion(total.called, total.effective, _ANY_CONFIDENCE).value[:, 0]


@dataclass(frozen=True, slots=True)
class _Counts:
    """Sums over galaxies, each (n_bins, n_groups) float64.

    Parameters
    ----------
    n_galaxies, n_called
        Their number, and that of those called post-merger.
    size, size_called, size_squared
        Sums of the weights of both, and of the squared weights of all.
    sum_f, variance_f
        Sums of w f and of w^2 f (1 - f), with ``f_pm`` f and weight w.
    """

    n_galaxies: Float64Array
    n_called: Float64Array
    size: Float64Array
    size_called: Float64Array
    size_squared: Float64Array
    sum_f: Float64Array
    variance_f: Float64Array

    @property
    def effective(self) -> Float64Array:
        """Number of galaxies of equal weight whose share has the same noise."""
        return effective_number(self.size, self.size_squared)

    @property
    def called(self) -> Float64Array:
        """Number of those called post-merger among them."""
        share = np.divide(self.size_called, self.size, out=np.zeros(self.size.shape), where=self.size > 0)
        return share * self.effective

    def together(self) -> _Counts:
        """The sums over all groups, as one group."""
        return _Counts(*(getattr(self, item.name).sum(axis=1, keepdims=True) for item in fields(self)))


def _count(rows: pa.Table, column: str, question: Question, groups: Int64Array, n_groups: int) -> _Counts:
    names = (column, "p_pm_mean", "p_sf_mean", "f_pm", _WEIGHT)
    values, p_pm, p_sf, f_pm, weight = (_numbers(rows[name]) for name in names)
    places = find_bins(values, question.edges)
    called = called_post_merger(p_pm, p_sf, f_pm, question.rule)
    added = (None, called, weight, weight * called, weight**2, weight * f_pm, weight**2 * f_pm * (1 - f_pm))
    return _Counts(*(count(places, groups, len(question.edges) - 1, n_groups, numbers) for numbers in added))


def _numbers(values: pa.ChunkedArray) -> Float64Array:
    """A column as float64; null becomes NaN."""
    return np.asarray(values.cast(pa.float64(), safe=False).to_numpy(), np.float64)


def _corrected(counts: _Counts, matrices: list[ConfusionMatrix], confidence: float) -> tuple[Float64Array, ...]:
    """Corrected fraction, its limits, its Monte Carlo spread, and purity; NaN without matrices."""
    if not matrices:
        return (np.full(len(counts.n_galaxies), np.nan),) * 5
    estimate = corrected_fraction(counts.called, counts.effective, matrices, confidence, counts.size)
    spread = corrected_drawn_std(counts.sum_f, counts.sum_f - counts.variance_f, counts.size, matrices)
    shares = purity(estimate.value, counts.size, matrices)
    few = _has_too_few(counts.effective)
    return tuple(np.where(few, np.nan, numbers) for numbers in (estimate.value, estimate.low, estimate.high, spread, shares))


def _has_too_few(n_galaxies: Float64Array) -> BoolArray:
    """(n_bins,) bool: whether a bin has so few galaxies for each matrix that its interval would be too short."""
    n_matrices = np.count_nonzero(n_galaxies, axis=1)
    return np.asarray(n_galaxies.sum(axis=1) < _LEAST_PER_MATRIX * n_matrices)


def _notes(
    rows: pa.Table,
    origins: Iterable[str],
    bins: Sequence[FractionBin],
    tests: ClassifierTests | None,
    named: Mapping[str, ConfusionMatrix],
) -> Iterable[str]:
    yield from warnings_about(set(origins))
    yield _WHAT_IT_IS_NOT
    yield _MONTE_CARLO
    yield from [_NOT_CORRECTED] if tests is None else _notes_on_tests(bins, tests, named)
    n_fields = len(pc.unique(rows["field"]))
    if n_fields >= _FEWEST_FIELDS:
        yield _FIELD_TO_FIELD.format(n=n_fields, percent=100 / np.sqrt(2 * (n_fields - 1)))
    n_foreign = int(np.count_nonzero(rows["flags"].to_numpy() & Flag.OUT_OF_DOMAIN))
    if n_foreign:
        yield (
            f"{n_foreign} of the {len(rows)} selected galaxies are flagged OUT_OF_DOMAIN: their images differ from those that "
            "the models were trained on. To exclude them, select flags & OUT_OF_DOMAIN == 0."
        )
    n_again = int(np.count_nonzero(rows["flags"].to_numpy() & Flag.DUPLICATE))
    if n_again:
        yield (
            f"{n_again} of the {len(rows)} selected galaxies are in an earlier field's list, too (DUPLICATE). They may count "
            "twice, and intervals are then too short. To exclude them, add exclude_flags (--exclude-flags) DUPLICATE."
        )


def _notes_on_magnitudes(question: Question, tests: ClassifierTests | None) -> Iterable[str]:
    if tests is not None and tests.tests and question.magnitude is None:
        yield _ALL_MAGNITUDES


def _notes_on_weights(question: Question) -> Iterable[str]:
    if question.cosmic is not None:
        yield (
            f"Cosmic: standard error by cosmic variance, by the formula of {question.cosmic.source}, with the numbers you "
            "state. Such formulas were made for fractions of close pairs; that they hold for post-mergers is not shown. The "
            "error between fields contains cosmic variance, too: do not add the two. The intervals do not contain it."
        )
    if question.weight is not None:
        yield (
            f"Each galaxy counts with its {question.weight}. The intervals are those of n_effective galaxies (Kish 1965); they "
            "do not contain the errors of the weights."
        )
    if question.over_redshifts:
        yield (
            "Each row counts with p_range, the share of its p(z) in the range of its instrument, in the bin of its median "
            "redshift in that range. Where edges lie within a range, p(z) is not divided at them. Sources from other redshifts "
            "remain in a bin with their share: the fraction is that of the expected members."
        )
    if question.complete is not None:
        yield "Galaxies beyond the limit of their bin are not counted. That the sample is complete to it is yours to show."
    if question.time_scale_gyr is not None:
        yield (
            f"Rate: the corrected fraction divided by {question.time_scale_gyr:g} Gyr, the time during which you say that a "
            "post-merger is recognised. Its limits do not contain the error of that time, which is often larger than the others."
        )


def _notes_on_tests(bins: Sequence[FractionBin], tests: ClassifierTests, named: Mapping[str, ConfusionMatrix]) -> Iterable[str]:
    yield (
        f"Corrected with {tests.source}. The rates hold for galaxies like those of the test. The intervals include the binomial "
        "noise of the test."
    )
    few = [item for item in bins if item.n_galaxies and isnan(item.corrected)]
    if few:
        yield (
            f"{_spans(few)}: not corrected, since there are fewer than {_LEAST_PER_MATRIX} galaxies for each matrix, and an "
            "interval would be too short. Use wider bins."
        )
    if tests.matrices:
        yield _NO_SELECTION
    for name, matrix in named.items():
        yield (
            f"{name}: completeness (recall) {matrix.completeness:.3f}, false positive rate {matrix.false_positive_rate:.3f}, "
            f"purity (precision) in the test {matrix.test_purity:.3f}."
        )
    yield from _notes_on_range(bins)


def _notes_on_range(bins: Sequence[FractionBin]) -> Iterable[str]:
    """Say which corrected fractions lie outside 0 to 1."""
    outside = [item for item in bins if item.corrected < 0 or item.corrected > 1]
    beyond = [item for item in outside if item.corrected_high < 0 or item.corrected_low > 1]
    noisy = [item for item in outside if item not in beyond]
    if noisy:
        yield (
            f"The corrected fraction of {_spans(noisy)} lies outside 0 to 1, its interval partly inside: that is noise, or the "
            "tested rates do not hold. It is not clipped."
        )
    if beyond:
        yield f"The corrected interval of {_spans(beyond)} lies outside 0 to 1: the tested rates do not hold for these galaxies."


def _spans(bins: Iterable[FractionBin]) -> str:
    return ", ".join(f"[{item.low:g}, {item.high:g})" for item in bins)
