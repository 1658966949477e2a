"""The numbers of a revision that its report shows: counts, histograms and the gallery's rows.

Memory grows with the few columns that the page needs (about 60 bytes per source); histograms are summed batch by batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyarrow.fs import LocalFileSystem

from surveyflow.catalog.schema import CATALOG_SCHEMA
from surveyflow.errors import CatalogError
from surveyflow.stats.posterior import HISTOGRAM_BINS
from surveyflow.values.arrays import BoolArray, Int64Array
from surveyflow.values.codes import Flag, Status

GALLERY_SIZE = 8
"""Galaxies in each group of the gallery."""
GALLERY_COLUMNS = [
    *("field", "source_id", "ra", "dec", "redshift", "instrument", "status", "flags"),
    *("mosaic", "x_pix", "y_pix"),
    *("p_pm_mean", "p_pm_q16", "p_pm_q84", "p_pm_hist", "p_contaminated_mean", "coverage_pct_mean"),
]
"""The columns that an entry of a gallery is made of."""

SourceKey = tuple[str, int]
"""Field and source id."""

_SOURCE_COLUMNS = [
    *("field", "source_id", "ra", "dec", "instrument", "status", "flags", "weights_origin", "p_pm_mean", "f_pm"),
    *("p_contaminated_mean", "coverage_pct_mean", "flux_pp_mean"),
]
_CLASSED = ["field", "source_id", "instrument", "status", "p_range", "p_pm_mean", "p_sf_mean"]
_ONE_AFTER_ANOTHER = {"batch_readahead": 1, "fragment_readahead": 1}
"""Options that keep pyarrow from reading many histograms ahead of the sums."""


@dataclass(frozen=True, slots=True)
class FlagCount:
    """The number of rows in which one flag is set.

    Parameters
    ----------
    flag
        A single bit.
    n_rows
        Number of rows with the flag.
    n_ok
        Number of rows with the flag and a result.
    """

    flag: Flag
    n_rows: int
    n_ok: int


@dataclass(frozen=True, slots=True)
class FurtherRows:
    """The rows of one field's further instrument: of sources whose p(z) also reaches into its range of redshifts.

    Parameters
    ----------
    field, instrument
        Of which field and instrument.
    n_rows, n_ok
        Number of rows, and of those with a result.
    share_mean
        Mean share of p(z) in the instrument's range.
    n_compared, n_other_class
        Number of rows with a result whose source has one in the catalog, too, and of those that are of another class there.
    """

    field: str
    instrument: str
    n_rows: int
    n_ok: int
    share_mean: float
    n_compared: int
    n_other_class: int


@dataclass(frozen=True, slots=True)
class Group:
    """Some of the results that the gallery shows; flagged ones are among them.

    Parameters
    ----------
    title
        Which ones.
    note
        How they were chosen; a sentence.
    rows
        Rows of the gallery as mappings from column to value.
    """

    title: str
    note: str
    rows: list[dict[str, Any]]


def open_dataset(revision_folder: Path) -> ds.Dataset:
    """Open the Parquet files of a revision's folder, finished or still being built.

    Raises
    ------
    CatalogError
        If the folder holds no dataset.
    """
    folder = revision_folder / "dataset"
    if not folder.is_dir():
        raise CatalogError(f"{revision_folder} is not a revision: it has no folder dataset/. Name a published revision.")
    files = sorted(str(path.absolute()) for path in folder.rglob("*.parquet"))
    parquet, local = ds.ParquetFileFormat(), LocalFileSystem()
    return ds.FileSystemDataset.from_paths(files, schema=CATALOG_SCHEMA, format=parquet, filesystem=local)


def read_sources(dataset: ds.Dataset) -> pd.DataFrame:
    """Read the few columns that counts, maps and distributions need, one row per source, with texts as categories."""
    return cast(
        pd.DataFrame, dataset.to_table(columns=_SOURCE_COLUMNS, **_ONE_AFTER_ANOTHER).to_pandas(strings_to_categorical=True)
    )


def status_counts(sources: pd.DataFrame) -> list[tuple[str, str, dict[str, int]]]:
    """Count sources by field, instrument and status.

    Returns
    -------
    counts
        One (field, instrument, rows by status) for each pair that occurs, sorted. If no instrument was chosen, the instrument
        is ``""`` and comes last in its field. Every entry holds every status that occurs, in the order of `Status`.
    """
    columns = (sources[name].astype(object).fillna("") for name in ("field", "instrument", "status"))
    counts: Counter[tuple[str, str, str]] = Counter(zip(*columns, strict=True))
    present = [status.value for status in Status if any(status.value == counted for _, _, counted in counts)]
    pairs = sorted({(field, instrument) for field, instrument, _ in counts}, key=lambda pair: (pair[0], not pair[1], pair[1]))
    return [(*pair, {status: counts[*pair, status] for status in present}) for pair in pairs]


def flag_counts(sources: pd.DataFrame) -> list[FlagCount]:
    """Count every flag, over all rows and over the rows with a result, in the order of their bits."""
    flags = sources["flags"].to_numpy()
    ok = is_ok(sources)
    return [
        FlagCount(flag, int(np.count_nonzero(flags & flag)), int(np.count_nonzero(flags[ok] & flag))) for flag in sorted(Flag)
    ]


def is_ok(sources: pd.DataFrame) -> BoolArray:
    """(n,) bool: whether each row has a result."""
    return np.asarray(sources["status"] == Status.OK.value)


def stacked_posteriors(dataset: ds.Dataset) -> dict[tuple[str, str], Int64Array]:
    """Sum ``p_pm_hist`` over the sources of each field and instrument.

    Returns
    -------
    counts
        (50,) int64 draws in each bin of [0, 1], by (field, instrument), sorted.
    """
    sums: dict[tuple[str, str], Int64Array] = {}
    columns = ["field", "instrument", "p_pm_hist"]
    for batch in dataset.to_batches(columns=columns, filter=pc.field("status") == Status.OK.value, **_ONE_AFTER_ANOTHER):
        for key, counts in _batch_posteriors(batch):
            sums[key] = sums.get(key, np.zeros(HISTOGRAM_BINS, dtype=np.int64)) + counts
    return dict(sorted(sums.items()))


def _batch_posteriors(batch: pa.RecordBatch) -> list[tuple[tuple[str, str], Int64Array]]:
    histograms = batch.column("p_pm_hist").flatten().to_numpy().reshape(-1, HISTOGRAM_BINS)
    groups = batch.select(["field", "instrument"]).to_pandas().groupby(["field", "instrument"]).indices
    return [(cast(tuple[str, str], key), histograms[rows].sum(axis=0, dtype=np.int64)) for key, rows in groups.items()]


def further_rows(dataset: ds.Dataset, further: ds.Dataset) -> list[FurtherRows]:
    """Summarise the alternatives, and compare their classes with those of the catalog's rows.

    Parameters
    ----------
    dataset
        The catalog, with a column ``p_range``.
    further
        The alternatives.

    Returns
    -------
    One entry for each field and instrument, sorted.
    """
    wanted = pc.field("p_range").is_valid()
    own, others = (
        table.to_table(columns=_CLASSED, filter=wanted, **_ONE_AFTER_ANOTHER).to_pandas() for table in (dataset, further)
    )
    for rows in (own, others):
        rows["is_ok"] = rows["status"] == Status.OK.value
        rows["is_called"] = rows["p_pm_mean"] > rows["p_sf_mean"]
    pairs = others.merge(own, on=["field", "source_id"], how="left", suffixes=("", "_of_catalog"), validate="many_to_one")
    pairs["is_compared"] = pairs["is_ok"] & (pairs["status_of_catalog"] == Status.OK.value)
    pairs["differs"] = pairs["is_compared"] & (pairs["is_called"] != pairs["is_called_of_catalog"])
    return [
        _further(cast(tuple[str, str], key), rows)
        for key, rows in pairs.groupby(["field", "instrument"], sort=True, observed=True)
    ]


def _further(key: tuple[str, str], rows: pd.DataFrame) -> FurtherRows:
    sums = (int(rows[name].sum()) for name in ("is_ok", "is_compared", "differs"))
    n_ok, n_compared, n_other = sums
    return FurtherRows(*key, len(rows), n_ok, float(rows["p_range"].mean()), n_compared, n_other)


def n_calibrated(dataset: ds.Dataset) -> int:
    """The number of sources with a calibrated probability; none in revisions from before there was one."""
    column = "p_pm_calibrated"
    return int(dataset.count_rows(filter=pc.field(column).is_valid())) if column in dataset.schema.names else 0


def choose_galaxies(dataset: ds.Dataset, sources: pd.DataFrame, size: int = GALLERY_SIZE) -> list[Group]:
    """Choose the galaxies that a report shows: both ends, those between, random ones, and those with a neighbour on them.

    Every result may be chosen, flagged or not, and each is in one group only. The random ones are those of the smallest digest
    of field and source id, so that the same revision gives the same page.

    Parameters
    ----------
    dataset, sources
        The revision.
    size
        The greatest number of galaxies in each group.

    Returns
    -------
    The groups that have galaxies.
    """
    rest = sources[is_ok(sources)].astype({"field": object})
    chosen: list[tuple[str, str, list[SourceKey]]] = []
    for title, note, order in _orders(rest):
        taken = {key for _, _, keys in chosen for key in keys}
        keys = [key for key in _keys(rest.loc[order.index]) if key not in taken][:size]
        chosen.append((title, note, keys))
    rows = _read_gallery(dataset, [key for _, _, keys in chosen for key in keys])
    return [Group(title, note, [rows[key] for key in keys]) for title, note, keys in chosen if keys]


def _orders(results: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Title, note and candidates of each group, the first to be chosen first; equals are ordered by field and source id."""
    ties = ["field", "source_id"]
    by_output = results.sort_values(["p_pm_mean", *ties], ascending=[False, True, True])
    half = (len(by_output) + 1) // 2
    yield "Most probable post-mergers", "The highest p_pm_mean.", by_output.head(half)
    yield "Least probable post-mergers", "The lowest p_pm_mean.", by_output.iloc[half:].iloc[::-1]
    undecided = results.assign(distance=(results["p_pm_mean"] - 0.5).abs()).sort_values(["distance", *ties])
    yield "Undecided", "p_pm_mean is nearest to 0.5.", undecided
    digests = [sha256(f"{field} {number}".encode()).hexdigest() for field, number in _keys(results)]
    yield "At random", "Chosen by chance, to show what is typical.", results.assign(digest=digests).sort_values("digest")
    contaminated = results[results["p_contaminated_mean"] > 0.5]
    contaminated = contaminated.sort_values(["p_contaminated_mean", *ties], ascending=[False, True, True])
    yield "Contaminated", "A neighbour most probably lies on the galaxy: the highest p_contaminated_mean above 0.5.", contaminated


def _keys(rows: pd.DataFrame) -> list[SourceKey]:
    return list(zip(rows["field"].tolist(), rows["source_id"].tolist(), strict=True))


def _read_gallery(dataset: ds.Dataset, keys: Sequence[SourceKey]) -> dict[SourceKey, dict[str, Any]]:
    """Read the gallery's columns of the named sources."""
    fields = pa.array({field for field, _ in keys}, pa.string())
    source_ids = pa.array({source_id for _, source_id in keys}, pa.int64())
    wanted = pc.field("source_id").isin(source_ids) & pc.field("field").isin(fields)
    columns = [name for name in GALLERY_COLUMNS if name in dataset.schema.names]  # the first revisions have no column mosaic
    rows = dataset.to_table(columns=columns, filter=wanted, **_ONE_AFTER_ANOTHER).to_pylist()
    return {(row["field"], row["source_id"]): row for row in rows}
