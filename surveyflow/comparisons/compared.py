"""The comparison of a catalog with labels: curves, completeness and purity, confusion, and disagreements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds

from surveyflow.catalog.frames import to_frame
from surveyflow.catalog.selection import checked_filter, no_such_column, numeric_column_named
from surveyflow.comparisons.joining import Join, join_labels
from surveyflow.comparisons.question import LabelQuestion
from surveyflow.errors import InputError
from surveyflow.files.durable import file_digest
from surveyflow.files.paths import split_extension
from surveyflow.inputs.labels import Labels, read_labels
from surveyflow.stats.fractions import called_post_merger, find_bins, proportion
from surveyflow.stats.separation import SHARES, Measured, bootstrap_ratio, separation
from surveyflow.values.arrays import BoolArray, Float64Array
from surveyflow.values.codes import Flag, Match, Status, flags_text, warnings_about

FORMAT = 1
"""Version of the document's form."""
N_DISAGREEMENTS = 8
"""The greatest number of disagreements of each kind that are listed."""
_FEWEST = 10
_N_BINS = 4
_COLUMNS = ("field", "source_id", "ra", "dec", "redshift", "instrument", "status", "flags", "x_pix", "y_pix", "weights_origin")
_RESULTS = ("p_pm_mean", "p_sf_mean", "f_pm", "p_pm_q16", "p_pm_q84", "p_pm_hist")
_SHOWN = ("field", "source_id", "ra", "dec", "redshift", "instrument", "x_pix", "y_pix", "p_pm_mean", "p_pm_q16", "p_pm_q84")
_NOT_THE_SAME = (
    "The labels' classes are not the network's: it knows only post-mergers and star-forming galaxies. Disagreement may mean that "
    "the network is wrong, that the label is, or that the two words mean different galaxies."
)


@dataclass(frozen=True, slots=True)
class _Sample:
    """The galaxies that are compared: (n,) arrays, in the order of the labels."""

    rows: pd.DataFrame
    label: np.ndarray[Any, Any]
    positive: BoolArray
    called: BoolArray
    score: Float64Array
    magnitude: Float64Array | None
    separation_arcsec: Float64Array


def compare_with_labels(catalog: ds.Dataset, revision: str, question: LabelQuestion) -> dict[str, Any]:
    """Compare a catalog with labels.

    Parameters
    ----------
    catalog
        A published catalog.
    revision
        Name of its revision.
    question
        What is compared, and how.

    Returns
    -------
    JSON's plain values: the question, counts, scores with intervals, curves, confusion, bins, disagreements and notes; null where
    there is no number. ``docs/how-to/compare-with-labels.md`` explains them.

    Raises
    ------
    SourceListError
        If the table of labels cannot be used.
    InputError
        If the catalog has no such column, a selection or a class cannot be used, or fewer than 10 galaxies with a result are
        labelled positive, or negative.
    """
    question = _with_columns_of(question, catalog.schema)
    labels = read_labels(question.table, question.columns, question.id_prefix)
    question.classes.check(labels.label, question.columns.label)
    sources = _sources(catalog, question)
    join = join_labels(labels, sources, question)
    sample = _sample(labels, sources, join, question)
    counts = _counts(labels, sources, join, sample, question)
    _check_size(sample, counts)
    document: dict[str, Any] = _plain(
        {
            "format": FORMAT,
            "revision": revision,
            "question": _stated(question),
            "weights_origin": sorted(set(sample.rows["weights_origin"])),
            "counts": counts,
            "match": join.facts,
            **_scores(sample, question),
            "confusion": list(_confusion(labels, sources, join, question)),
            "bins": {name: _bins(values, sample, question, edges) for name, values, edges in _binned(sample, question)},
            "disagreements": {"called": _disagreements(sample, called=True), "missed": _disagreements(sample, called=False)},
            "warnings": warnings_about(set(sample.rows["weights_origin"])),
            "notes": list(_notes(sample, join, question)),
        }
    )
    return document


def _with_columns_of(question: LabelQuestion, schema: pa.Schema) -> LabelQuestion:
    """The question with the names that the catalog's columns have."""
    score = numeric_column_named(question.score, schema, "Name another score.")
    magnitude = question.magnitude and numeric_column_named(question.magnitude, schema, "Name another column.")
    return replace(question, score=score, magnitude=magnitude)


def _sources(catalog: ds.Dataset, question: LabelQuestion) -> pd.DataFrame:
    """The selected rows of the catalog, with the columns that are used."""
    schema = catalog.schema
    wanted = [*_COLUMNS, *_RESULTS, question.score, *([] if question.magnitude is None else [question.magnitude])]
    wanted += [name for name in ("source_name", "mosaic") if name in schema.names]
    names = list(dict.fromkeys(wanted))
    if missing := [name for name in names if name not in schema.names]:
        raise no_such_column(missing[0], schema.names)
    chosen = None if question.where is None else checked_filter(question.where, schema)
    return to_frame(catalog.to_table(columns=names, filter=chosen), names, schema)


def _sample(labels: Labels, sources: pd.DataFrame, join: Join, question: LabelQuestion) -> _Sample:
    positive, negative = question.classes.of(labels.label[join.label_rows])
    rows = sources.iloc[join.source_rows]
    score = rows[question.score].to_numpy(np.float64, na_value=np.nan)
    used = (positive | negative) & (rows["status"] == Status.OK).to_numpy() & np.isfinite(score)
    kept = rows[used].reset_index(drop=True)
    return _Sample(
        rows=kept,
        label=labels.label[join.label_rows][used],
        positive=positive[used],
        called=_called(kept, question),
        score=score[used],
        magnitude=_magnitude(labels, join, kept, used, question),
        separation_arcsec=join.separation_arcsec[used],
    )


def _called(rows: pd.DataFrame, question: LabelQuestion) -> BoolArray:
    p_pm, p_sf, f_pm = (rows[name].to_numpy(np.float64) for name in ("p_pm_mean", "p_sf_mean", "f_pm"))
    return called_post_merger(p_pm, p_sf, f_pm, question.rule)


def _magnitude(labels: Labels, join: Join, rows: pd.DataFrame, used: BoolArray, question: LabelQuestion) -> Float64Array | None:
    if question.magnitude is not None:
        return rows[question.magnitude].to_numpy(np.float64, na_value=np.nan)
    return None if labels.magnitude is None else labels.magnitude[join.label_rows][used]


def _counts(labels: Labels, sources: pd.DataFrame, join: Join, sample: _Sample, question: LabelQuestion) -> dict[str, Any]:
    positive, negative = question.classes.of(labels.label)
    statuses = sources["status"].iloc[join.source_rows].value_counts()
    return {
        "labels": len(labels),
        "without_label": int((labels.label == "").sum()),
        "without_position": 0 if labels.ra_deg is None or labels.dec_deg is None else _n_unplaced(labels.ra_deg, labels.dec_deg),
        "ignored": int((~positive & ~negative & (labels.label != "")).sum()),
        "labels_without_source": len(labels) - len(join.label_rows),
        "matched": len(join.label_rows),
        "matched_by_status": {str(status): int(number) for status, number in statuses.items()},
        "sources": len(sources),
        "sources_without_label": len(sources) - len(join.source_rows),
        "compared": len(sample.score),
        "positive": int(sample.positive.sum()),
        "called": int(sample.called.sum()),
    }


def _n_unplaced(ra_deg: Float64Array, dec_deg: Float64Array) -> int:
    return int((np.isnan(ra_deg) | np.isnan(dec_deg)).sum())


def _check_size(sample: _Sample, counts: Mapping[str, Any]) -> None:
    n_positive, n_negative = int(sample.positive.sum()), int((~sample.positive).sum())
    if min(n_positive, n_negative) < _FEWEST:
        statuses = ", ".join(f"{number} {status}" for status, number in counts["matched_by_status"].items()) or "none"
        raise InputError(
            f"{n_positive} galaxies with a result are labelled positive and {n_negative} negative; at least {_FEWEST} of each "
            f"are needed. Of {counts['labels']} labels, {counts['matched']} have a galaxy in the catalog ({statuses}). Check how "
            f"labels are matched, which of them are positive, and the selection."
        )


def _scores(sample: _Sample, question: LabelQuestion) -> dict[str, Any]:
    rng = np.random.default_rng(question.seed)
    of_curve = separation(sample.score, sample.positive, rng, question.n_samples, question.confidence)
    right, everything = sample.called == sample.positive, np.ones(len(sample.called), bool)
    ratios = {
        "completeness": (sample.called & sample.positive, sample.positive),
        "purity": (sample.called & sample.positive, sample.called),
        "false_positive_rate": (sample.called & ~sample.positive, ~sample.positive),
        "accuracy": (right, everything),
        "positive_share": (sample.positive, everything),
    }
    measured: dict[str, Measured] = {
        "roc_area": of_curve.roc_area,
        "average_precision": of_curve.average_precision,
        **{name: bootstrap_ratio(*parts, rng, question.n_samples, question.confidence) for name, parts in ratios.items()},
    }
    return {
        "scores": {name: asdict(number) for name, number in measured.items()},
        "roc": {"false_positive_rate": SHARES, "completeness": asdict(of_curve.roc)},
        "precision_recall": {"completeness": SHARES, "purity": asdict(of_curve.precision)},
    }


def _confusion(labels: Labels, sources: pd.DataFrame, join: Join, question: LabelQuestion) -> Iterator[dict[str, Any]]:
    """What the galaxies of each label are called, ignored labels included; the most frequent label first."""
    rows = sources.iloc[join.source_rows]
    measured = (rows["status"] == Status.OK).to_numpy()
    words, called = labels.label[join.label_rows][measured], _called(rows[measured], question)
    score = rows[question.score].to_numpy(np.float64, na_value=np.nan)[measured]
    for word in sorted(set(words.tolist()) - {""}, key=lambda one: (-int((words == one).sum()), one)):
        of_word = words == word
        positive, negative = (bool(kind[0]) for kind in question.classes.of(np.array([word])))
        share = proportion([int(called[of_word].sum())], [int(of_word.sum())], question.confidence)
        yield {
            "label": word,
            "means": "positive" if positive else "negative" if negative else "ignored",
            "n": int(of_word.sum()),
            "post_merger": int(called[of_word].sum()),
            "star_forming": int((of_word & ~called).sum()),
            "share": {"value": share.value[0], "low": share.low[0], "high": share.high[0]},
            "median_score": float(np.nanmedian(score[of_word])) if np.isfinite(score[of_word]).any() else None,
        }


def _binned(sample: _Sample, question: LabelQuestion) -> Iterator[tuple[str, Float64Array, Sequence[float]]]:
    yield "redshift", sample.rows["redshift"].to_numpy(np.float64, na_value=np.nan), question.redshift_edges
    if sample.magnitude is not None:
        yield "magnitude", sample.magnitude, question.magnitude_edges


def _bins(values: Float64Array, sample: _Sample, question: LabelQuestion, edges: Sequence[float]) -> list[dict[str, Any]]:
    limits = np.asarray(edges if len(edges) else _equal_counts(values), np.float64)
    if len(limits) < 2:
        return []
    places, n_bins = find_bins(values, limits), len(limits) - 1
    n, positive, called, both = (
        np.bincount(places[(places >= 0) & kept], minlength=n_bins)
        for kept in (np.ones(len(places), bool), sample.positive, sample.called, sample.called & sample.positive)
    )
    completeness, purity = (proportion(both, whole, question.confidence) for whole in (positive, called))
    return [
        {
            "low": limits[i],
            "high": limits[i + 1],
            "n": int(n[i]),
            "positive": int(positive[i]),
            "called": int(called[i]),
            "completeness": {"value": completeness.value[i], "low": completeness.low[i], "high": completeness.high[i]},
            "purity": {"value": purity.value[i], "low": purity.low[i], "high": purity.high[i]},
        }
        for i in range(n_bins)
    ]


def _equal_counts(values: Float64Array) -> Float64Array:
    """Edges, to two decimals, of four bins with about equally many known values; fewer where values repeat."""
    known = values[np.isfinite(values)]
    if not len(known):
        return np.zeros(0)
    inner = np.round(np.quantile(known, np.arange(1, _N_BINS) / _N_BINS), 2)
    return np.unique([np.floor(100 * known.min()) / 100, *inner, (np.floor(100 * known.max()) + 1) / 100])


def _disagreements(sample: _Sample, *, called: bool) -> list[dict[str, Any]]:
    """The galaxies of which catalog and label disagree most: those with the highest, or the lowest, score first."""
    wrong = np.flatnonzero((sample.called == called) & (sample.positive != called))
    order = np.argsort(-sample.score[wrong] if called else sample.score[wrong], kind="stable")
    return [_listed(sample, int(row)) for row in wrong[order][:N_DISAGREEMENTS]]


def _listed(sample: _Sample, row: int) -> dict[str, Any]:
    values = sample.rows.iloc[row]
    return {
        **{name: values[name] for name in _SHOWN},
        "mosaic": str(values["mosaic"]) if "mosaic" in values and pd.notna(values["mosaic"]) else None,
        "label": str(sample.label[row]),
        "score": sample.score[row],
        "separation_arcsec": sample.separation_arcsec[row],
        "flags": str(flags_text(int(values["flags"]))),
        "p_pm_hist": values["p_pm_hist"].tolist(),
    }


def _notes(sample: _Sample, join: Join, question: LabelQuestion) -> Iterator[str]:
    yield _NOT_THE_SAME
    yield (
        f"Purity and average precision hold for this mixture, in which {100 * sample.positive.mean():.1f} % are positive; by "
        f"chance both are that share. Intervals hold {100 * question.confidence:g} % and are those of the sample of galaxies: "
        f"errors of the labels are not in them, and labels that are wrong at random lower every number."
    )
    yield from _notes_on_match(join, question)
    n_foreign = int(np.count_nonzero(sample.rows["flags"].to_numpy() & Flag.OUT_OF_DOMAIN))
    if n_foreign:
        n = len(sample.score)
        yield f"{n_foreign} of the {n} galaxies are flagged OUT_OF_DOMAIN: the models were not trained on such images."


def _notes_on_match(join: Join, question: LabelQuestion) -> Iterator[str]:
    facts, limit = join.facts, question.max_separation_arcsec
    if question.match is Match.SKY:
        yield (
            f"{facts['n_ambiguous']} of the {facts['n_pairs']} pairs are ambiguous: another label or galaxy lies within "
            f"{limit:g} arcsec, and the nearest was taken. {facts['n_shared']} more labels have no galaxy, since another label "
            f"is nearer to theirs."
        )
    if facts["n_far"]:
        yield (
            f"{facts['n_far']} of the {facts['n_pairs']} pairs with the same id lie more than {limit:g} arcsec apart: the ids "
            f"may not be those of the catalog's lists."
        )
    east, north = facts["offset_east_arcsec"], facts["offset_north_arcsec"]
    if east is not None and np.hypot(east, north) > limit / 3:
        yield (
            f"The galaxies lie {np.hypot(east, north):.2f} arcsec from their labels in the median, {east:+.2f} to the east and "
            f"{north:+.2f} to the north: the two lists may have different astrometry, and pairs may be lost."
        )


def _stated(question: LabelQuestion) -> dict[str, Any]:
    """The question, with the digest of the table, so that it can be asked again."""
    file = split_extension(question.table)[0]
    return asdict(question) | {"table": str(question.table), "sha256": file_digest(file)}


def _plain(value: Any) -> Any:
    """Values for JSON, in which NaN is null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(item) for item in value]
    if value is pd.NA:
        return None
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value
