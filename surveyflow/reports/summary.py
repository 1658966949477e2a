"""The numbers of a revision that its report shows: counts, histograms and the gallery's rows.

Everything is counted batch by batch. The few columns that figures need (about 60 bytes per source) are in memory for a quarter of
a million sources at most: of a larger revision, figures show sources that were drawn by chance, and say so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
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
from surveyflow.releases.regions import reader, regions_of
from surveyflow.releases.revisions import declared_schema, file_by_file
from surveyflow.stats.posterior import HISTOGRAM_BINS
from surveyflow.values.arrays import BoolArray, Float64Array, Int64Array
from surveyflow.values.codes import Flag, Status

MOST_SOURCES = 250_000
"""Number of sources beyond which figures show some that were drawn by chance, about as many."""
_FEWEST_OF_GROUP = 2_000
"""About the least number that is drawn of each field and instrument, if there are so many."""

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
_COUNTED = ["field", "instrument", "status", "flags", "weights_origin"]
_CLASSED = ["_healpix_29", "field", "source_id", "instrument", "status", "p_range", "p_pm_mean", "p_sf_mean"]
_ONE_AFTER_ANOTHER = {"batch_readahead": 1, "fragment_readahead": 1, "use_threads": False}
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


@dataclass(frozen=True, slots=True)
class Sources:
    """The sources of a revision: numbers of all of them, and the rows of all, or of some, for figures and the gallery.

    Parameters
    ----------
    rows
        The columns that maps and distributions need, one row per source, with texts as categories; of a large revision, the
        sources that were drawn by chance.
    ends
        The same columns of the results with the highest, lowest and middle outputs, and of the contaminated ones, that a gallery
        may show; empty if ``rows`` has every source.
    counts
        Number of all rows by field, instrument (``""`` if none was chosen) and status.
    flags
        Number of all rows with each flag, in the order of their bits.
    weights_origins
        The origins of the weights that the results were computed with, sorted.
    """

    rows: pd.DataFrame
    ends: pd.DataFrame
    counts: Mapping[tuple[str, str, str], int]
    flags: tuple[FlagCount, ...]
    weights_origins: tuple[str, ...]

    @property
    def n_rows(self) -> int:
        """Number of all sources."""
        return sum(self.counts.values())

    @property
    def n_ok(self) -> int:
        """Number of all sources with a result."""
        return sum(number for (*_, status), number in self.counts.items() if status == Status.OK.value)

    @property
    def are_drawn(self) -> bool:
        """Whether ``rows`` has only some of the sources."""
        return len(self.rows) < self.n_rows


def _batches(dataset: ds.Dataset, **chosen: Any) -> Iterator[pa.RecordBatch]:
    """Some rows and columns of a dataset, of which one file is open at a time."""
    for file in file_by_file(dataset):
        yield from file.to_batches(**chosen, **_ONE_AFTER_ANOTHER)


def read_sources(dataset: ds.Dataset) -> Sources:
    """Count the sources of a revision, and read the few columns that maps and distributions need.

    Parameters
    ----------
    dataset
        The revision.
    """
    counts: Counter[tuple[str, str, str]] = Counter()
    flags: Counter[tuple[Flag, bool]] = Counter()
    origins: set[str] = set()
    for batch in _batches(dataset, columns=_COUNTED):
        counts.update(_counts_of(batch))
        flags.update(_flags_of(batch))
        origins.update(batch["weights_origin"].drop_null().unique().to_pylist())
    by_flag = tuple(FlagCount(flag, flags[flag, False], flags[flag, True]) for flag in sorted(Flag))
    rows, ends = _drawn(dataset, counts) if counts.total() > MOST_SOURCES else _every(dataset)
    return Sources(rows, ends, counts, by_flag, tuple(sorted(origins)))


def _counts_of(batch: pa.RecordBatch) -> dict[tuple[str, str, str], int]:
    keys = ["field", "instrument", "status"]
    groups = pa.Table.from_batches([batch]).group_by(keys).aggregate([([], "count_all")])
    return {(row["field"], row["instrument"] or "", row["status"]): row["count_all"] for row in groups.to_pylist()}


def _flags_of(batch: pa.RecordBatch) -> dict[tuple[Flag, bool], int]:
    """Number of rows with each flag: of all rows, and of those with a result."""
    flags, ok = batch["flags"].to_numpy(), np.asarray(pc.equal(batch["status"], Status.OK.value))
    counted = {False: flags, True: flags[ok]}
    return {(flag, only_ok): int(np.count_nonzero(some & flag)) for flag in Flag for only_ok, some in counted.items()}


def _every(dataset: ds.Dataset) -> tuple[pd.DataFrame, pd.DataFrame]:
    rows = _frame(dataset.to_table(columns=_SOURCE_COLUMNS, **_ONE_AFTER_ANOTHER))
    return rows, rows.iloc[:0]


def _frame(table: pa.Table) -> pd.DataFrame:
    return cast(pd.DataFrame, table.to_pandas(strings_to_categorical=True))


def _drawn(dataset: ds.Dataset, counts: Counter[tuple[str, str, str]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows that are drawn by chance, and those at the ends of each order of the gallery.

    Whether a source is drawn depends on its id and on the size of its group, so the same revision gives the same page.
    """
    groups: Counter[str] = Counter()
    for (field, instrument, _), number in counts.items():
        groups[f"{field}/{instrument}"] += number
    share = MOST_SOURCES / counts.total()
    shares = {name: max(share, _FEWEST_OF_GROUP / number) for name, number in groups.items()}
    drawn, ends = [], pa.schema([dataset.schema.field(name) for name in _SOURCE_COLUMNS]).empty_table()
    for batch in _batches(dataset, columns=_SOURCE_COLUMNS):
        drawn.append(batch.filter(pa.array(_chance(batch) < _share_of_each(batch, shares))))
        results = pa.Table.from_batches([batch.filter(pc.equal(batch["status"], Status.OK.value))])
        ends = _ends(pa.concat_tables([ends.cast(results.schema), results]))
    return _frame(pa.Table.from_batches(drawn)), _frame(ends)


def _chance(batch: pa.RecordBatch) -> Float64Array:
    """(n,) numbers in [0, 1] that follow from the ids."""
    return np.asarray(pd.util.hash_array(batch["source_id"].to_numpy()) / 2.0**64)


def _share_of_each(batch: pa.RecordBatch, shares: Mapping[str, float]) -> Float64Array:
    names = pc.binary_join_element_wise(batch["field"], pc.fill_null(batch["instrument"], ""), "/").dictionary_encode()
    of_each: Float64Array = np.asarray([shares[name] for name in names.dictionary.to_pylist()], np.float64)
    return of_each.take(np.asarray(names.indices))


def _ends(results: pa.Table) -> pa.Table:
    """The results that come first in an order of the gallery, enough for all of its groups."""
    n_each = 8 * GALLERY_SIZE
    if len(results) <= 2 * n_each:
        return results
    frame = results.select(["field", "source_id", "p_pm_mean", "p_contaminated_mean"]).to_pandas()
    orders = [order.head(n_each).index.to_numpy() for _, _, order in _orders(frame, frame.iloc[:0])]
    return results.take(pa.array(np.unique(np.concatenate(orders))))


def status_counts(sources: Sources) -> list[tuple[str, str, dict[str, int]]]:
    """Count sources by field, instrument and status.

    Returns
    -------
    counts
        One (field, instrument, rows by status) for each pair that occurs, sorted. If no instrument was chosen, the instrument
        is ``""`` and comes last in its field. Every entry holds every status that occurs, in the order of `Status`.
    """
    counts = sources.counts
    present = [status.value for status in Status if any(status.value == counted for _, _, counted in counts)]
    pairs = sorted({(field, instrument) for field, instrument, _ in counts}, key=lambda pair: (pair[0], not pair[1], pair[1]))
    return [(*pair, {status: counts.get((*pair, status), 0) for status in present}) for pair in pairs]


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
    for batch in _batches(dataset, columns=columns, filter=pc.field("status") == Status.OK.value):
        for key, counts in _batch_posteriors(batch):
            sums[key] = sums.get(key, np.zeros(HISTOGRAM_BINS, dtype=np.int64)) + counts
    return dict(sorted(sums.items()))


def _batch_posteriors(batch: pa.RecordBatch) -> list[tuple[tuple[str, str], Int64Array]]:
    histograms = batch.column("p_pm_hist").flatten().to_numpy().reshape(-1, HISTOGRAM_BINS)
    groups = batch.select(["field", "instrument"]).to_pandas().groupby(["field", "instrument"]).indices
    return [(cast(tuple[str, str], key), histograms[rows].sum(axis=0, dtype=np.int64)) for key, rows in groups.items()]


def further_rows(catalog: Path, further: Path) -> list[FurtherRows]:
    """Summarise the alternatives, and compare their classes with those of the catalog's rows.

    A source has the same position in both, so one partition of each is in memory at a time.

    Parameters
    ----------
    catalog, further
        Folders of the catalog and of its alternatives.

    Returns
    -------
    One entry for each field and instrument, sorted.
    """
    schemas = {folder: declared_schema(folder) for folder in (catalog, further)}
    read = [reader(folder, pa.schema([schema.field(name) for name in _CLASSED])) for folder, schema in schemas.items()]
    regions = (region for region in regions_of(catalog, further) if region.new)
    sums = [_sums(_ranged(others), _ranged(own)) for region in regions for own, others in region.pieces(*read) if len(others)]
    if not sums:
        return []
    totals = pd.concat(sums).groupby(["field", "instrument"], sort=True, as_index=False).sum()
    return [_further(row) for row in cast(list[dict[str, Any]], totals.to_dict("records"))]


def _further(sums: Mapping[str, Any]) -> FurtherRows:
    """The numbers of a field and instrument, from their sums."""
    n_rows, share = int(sums["rows"]), float(sums["p_range"] / sums["rows"])
    counts = (int(sums[name]) for name in ("is_ok", "is_compared", "differs"))
    n_ok, n_compared, n_other = counts
    return FurtherRows(sums["field"], sums["instrument"], n_rows, n_ok, share, n_compared, n_other)


def _ranged(rows: pa.Table) -> pd.DataFrame:
    """The rows of sources with p(z)."""
    return cast(pd.DataFrame, rows.filter(pc.is_valid(rows["p_range"])).to_pandas()).astype({"p_range": float})


def _sums(others: pd.DataFrame, own: pd.DataFrame) -> pd.DataFrame:
    """The numbers of `FurtherRows` for each field and instrument of a piece of the sky, with the sum of the shares."""
    for rows in (own, others):
        rows["is_ok"] = rows["status"] == Status.OK.value
        rows["is_called"] = rows["p_pm_mean"] > rows["p_sf_mean"]
    pairs = others.merge(own, on=["field", "source_id"], how="left", suffixes=("", "_of_catalog"), validate="many_to_one")
    pairs["is_compared"] = pairs["is_ok"] & (pairs["status_of_catalog"] == Status.OK.value)
    pairs["differs"] = pairs["is_compared"] & (pairs["is_called"] != pairs["is_called_of_catalog"])
    groups = pairs.assign(rows=1).groupby(["field", "instrument"], as_index=False)
    return groups[["rows", "is_ok", "p_range", "is_compared", "differs"]].sum()


def n_calibrated(dataset: ds.Dataset) -> int:
    """The number of sources with a calibrated probability; none in revisions from before there was one."""
    column = "p_pm_calibrated"
    if column not in dataset.schema.names:
        return 0
    return sum(file.count_rows(filter=pc.field(column).is_valid()) for file in file_by_file(dataset))


def choose_galaxies(dataset: ds.Dataset, sources: Sources, size: int = GALLERY_SIZE) -> list[Group]:
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
    drawn = sources.rows[is_ok(sources.rows)].astype({"field": object})
    results = _together(drawn, sources.ends)
    chosen: list[tuple[str, str, list[SourceKey]]] = []
    for title, note, order in _orders(results, drawn):
        taken = {key for _, _, keys in chosen for key in keys}
        keys = [key for key in _keys(order) if key not in taken][:size]
        chosen.append((title, note, keys))
    rows = _read_gallery(dataset, [key for _, _, keys in chosen for key in keys])
    return [Group(title, note, [rows[key] for key in keys]) for title, note, keys in chosen if keys]


def _together(drawn: pd.DataFrame, ends: pd.DataFrame) -> pd.DataFrame:
    """The results that were drawn and those at the ends, each once."""
    if ends.empty:
        return drawn
    every = pd.concat([drawn, ends.astype({"field": object})], ignore_index=True)
    return every.drop_duplicates(["field", "source_id"])


def _orders(results: pd.DataFrame, drawn: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Title, note and candidates of each group, the first to be chosen first; equals are ordered by field and source id.

    The random ones are chosen from those that were drawn.
    """
    ties = ["field", "source_id"]
    by_output = results.sort_values(["p_pm_mean", *ties], ascending=[False, True, True])
    half = (len(by_output) + 1) // 2
    yield "Most probable post-mergers", "The highest p_pm_mean.", by_output.head(half)
    yield "Least probable post-mergers", "The lowest p_pm_mean.", by_output.iloc[half:].iloc[::-1]
    undecided = results.assign(distance=(results["p_pm_mean"] - 0.5).abs()).sort_values(["distance", *ties])
    yield "Undecided", "p_pm_mean is nearest to 0.5.", undecided
    digests = [sha256(f"{field} {number}".encode()).hexdigest() for field, number in _keys(drawn)]
    yield "At random", "Chosen by chance, to show what is typical.", drawn.assign(digest=digests).sort_values("digest")
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
    found = _batches(dataset, columns=columns, filter=wanted)
    return {(row["field"], row["source_id"]): row for rows in found for row in rows.to_pylist()}
