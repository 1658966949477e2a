"""The HATS catalog: rows in one file for each HEALPix cell, with smaller cells where sources are dense.

The Hierarchical Adaptive Tiling Scheme (IVOA Note, HATS 1.0) keeps the rows of one cell of the sky in
``dataset/Norder=<order>/Dir=<pixel // 10000 * 10000>/Npix=<pixel>.parquet``; cells with many rows are split into their four
children. A partition's bytes depend only on its rows, so an unchanged partition shares its file with the previous revision.
"""

from __future__ import annotations

import functools
import hashlib
import io
import operator
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import fits

from surveyflow.catalog.parquet import RowFacts, described_schema, parquet_bytes
from surveyflow.catalog.schema import FINEST_ORDER, SORT_ORDER, cells_at, span_29
from surveyflow.files.durable import explained, link_or_copy, make_folder
from surveyflow.files.json_state import MOST_BYTES_OF_LISTS, read_ordinary_file
from surveyflow.values.arrays import Int64Array
from surveyflow.values.jobs import Doing, in_this_process

SKYMAP_ORDER = 10
"""The order of cells of 3.4 arcmin."""

ROWS_PER_PARTITION = 25_000
"""About 3 MB a file: a change in one part of the sky rewrites little, and a reader's worker takes one file at a time."""

FINEST_PARTITION_ORDER = 14
"""The order of cells of 13 arcsec, which are not split further."""

_SOURCES_PER_COUNT = 64
"""Number of sources of rows whose cells are counted in one task."""
_PARTITIONS_PER_TASK = 8
_NOTHING: Int64Array = np.empty(0, np.int64)

DEFAULT_COLUMNS = (
    *("field", "source_id", "source_name", "ra", "dec", "redshift", "instrument", "status", "flags", "weights_origin"),
    *("p_pm_mean", "p_pm_std", "p_pm_q16", "p_pm_q50", "p_pm_q84", "p_sf_mean", "f_pm"),
    *("p_contaminated_mean", "coverage_pct_mean", "_healpix_29"),
)
"""Columns that LSDB reads unless others are asked for."""


class RowSource(Protocol):
    """A source of catalog rows: a unit's file, or a table."""

    def cells(self) -> Int64Array:
        """(n,) int64: ``_healpix_29`` of every row."""
        ...

    def rows(self) -> pa.Table:
        """Every row."""
        ...


@dataclass(frozen=True, slots=True)
class Partition:
    """A cell of the sky whose rows lie in one file.

    Parameters
    ----------
    order, pixel
        HEALPix order, and number in the nested scheme.
    """

    order: int
    pixel: int

    @property
    def path(self) -> Path:
        """Path of the file, relative to the catalog's folder."""
        return Path("dataset", f"Norder={self.order}", f"Dir={self.folder}", f"Npix={self.pixel}.parquet")

    @property
    def folder(self) -> int:
        """Number of the folder that holds the file."""
        return self.pixel // 10_000 * 10_000

    @property
    def span(self) -> tuple[int, int]:
        """The half-open range of ``_healpix_29`` inside the cell."""
        return span_29(self.order, self.pixel)

    @property
    def children(self) -> tuple[Partition, ...]:
        """The four cells of the next order inside the cell."""
        return tuple(Partition(self.order + 1, 4 * self.pixel + quarter) for quarter in range(4))


@dataclass(frozen=True, slots=True)
class Dataset:
    """The Parquet files that were written.

    Parameters
    ----------
    partitions
        The cells, in the order of ``_healpix_29``.
    digests
        SHA-256 of each Parquet file, by path relative to the catalog's folder.
    n_rows
        Number of rows in all files.
    n_bytes
        Size of all files, bytes.
    facts
        The facts of the rows.
    skymap
        Their distribution on the sky.
    near_borders
        What `Borders.keep` returned of each partition; empty if nothing was asked to keep rows.
    """

    partitions: tuple[Partition, ...]
    digests: Mapping[str, str]
    n_rows: int
    n_bytes: int
    facts: RowFacts
    skymap: SkyMap
    near_borders: tuple[tuple[int, ...], ...] = ()


class Borders(Protocol):
    """Keeps the rows of a partition that lie near its border."""

    def keep(self, partition: Partition, rows: pa.Table) -> tuple[int, ...]:
        """Keep the rows near the border, and return the numbers of the cells beyond it."""
        ...


def partition_sky(
    cells_29: Int64Array, max_rows: int = ROWS_PER_PARTITION, counts: Int64Array | None = None
) -> tuple[Partition, ...]:
    """Choose the coarsest cells that hold at most ``max_rows`` rows each.

    Parameters
    ----------
    cells_29
        (n,) int64: ``_healpix_29`` of every row, in any order; or, with ``counts``, the first cell of order 29 in each of some
        coarser cells, which are not divided.
    max_rows
        Most rows in a cell, unless it is of the finest order.
    counts
        (n,) int64: number of rows in each of these cells; one if left out.

    Returns
    -------
    Cells that are not empty, in the order of ``_healpix_29``; each row lies in exactly one.
    """
    order = np.argsort(cells_29)
    ordered = cells_29[order]
    below = np.concatenate([[0], np.cumsum(np.ones_like(ordered) if counts is None else counts[order])])
    pending = [Partition(0, int(pixel)) for pixel in np.unique(cells_at(0, ordered))[::-1]]
    chosen: list[Partition] = []
    while pending:
        cell = pending.pop()
        low, high = np.searchsorted(ordered, cell.span)
        if below[high] - below[low] > max_rows and cell.order < FINEST_PARTITION_ORDER:
            pending.extend(reversed(cell.children))
        elif high > low:
            chosen.append(cell)
    return tuple(chosen)


@dataclass(frozen=True, slots=True)
class CountCells:
    """A task that counts the rows of sources in cells of the sky.

    Parameters
    ----------
    sources
        The sources of rows.
    order
        The order of the cells.
    within
        Count only in these cells of `SKYMAP_ORDER`, increasing; everywhere if None.
    """

    verb: ClassVar[str] = "count"

    sources: tuple[RowSource, ...]
    order: int = SKYMAP_ORDER
    within: tuple[int, ...] | None = None

    def carry_out(self) -> list[tuple[Int64Array, Int64Array]]:
        """For each source: the first cell of order 29 in each cell that holds rows, increasing, and the numbers of rows."""
        return [self._counted(source.cells()) for source in self.sources]

    def _counted(self, cells_29: Int64Array) -> tuple[Int64Array, Int64Array]:
        if self.within is not None:
            cells_29 = cells_29[np.isin(cells_at(SKYMAP_ORDER, cells_29), self.within)]
        cells, counts = np.unique(cells_at(self.order, cells_29), return_counts=True)
        return cells << 2 * (FINEST_ORDER - self.order), counts.astype(np.int64)


@dataclass(frozen=True, slots=True)
class WrittenPartition:
    """What was written of a partition: digest and size of its file, its rows, their facts, and what `Borders.keep` returned."""

    digest: str
    n_bytes: int
    n_rows: int
    facts: RowFacts
    near_borders: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class WritePartitions:
    """A task that merges, sorts and writes the rows of partitions, with one partition in memory at a time.

    Neighbouring partitions share sources of rows, so each source is read once for all of them.

    Parameters
    ----------
    folder
        The catalog's folder.
    partitions
        The partitions, in the order of ``_healpix_29``.
    sources
        The sources of their rows; they may have rows elsewhere, too.
    needed
        For each partition, the places in ``sources`` of those that have rows in it.
    before
        As in `write_dataset`.
    scratch
        An existing folder on the same file system, for files that have no name yet.
    borders
        Keeps the rows near borders; None if nothing does.
    """

    verb: ClassVar[str] = "publish"

    folder: Path
    partitions: tuple[Partition, ...]
    sources: tuple[RowSource, ...]
    needed: tuple[tuple[int, ...], ...]
    before: Path | None
    scratch: Path
    borders: Borders | None

    def carry_out(self) -> list[WrittenPartition]:
        """Write the files, or share those of the earlier catalog."""
        return [self._write(partition, rows) for partition, rows in zip(self.partitions, self._rows(), strict=True)]

    def _rows(self) -> Iterator[pa.Table]:
        """The rows of each partition; those of a source are in memory from the first partition that needs them to the last."""
        last = {place: number for number, places in enumerate(self.needed) for place in places}
        read: dict[int, pa.Table] = {}
        for number, (partition, places) in enumerate(zip(self.partitions, self.needed, strict=True)):
            read |= {place: self.sources[place].rows() for place in places if place not in read}
            yield pa.concat_tables([_inside(partition, read[place]) for place in places])
            read = {place: rows for place, rows in read.items() if last[place] > number}

    def _write(self, partition: Partition, found: pa.Table) -> WrittenPartition:
        rows = found.combine_chunks().sort_by(SORT_ORDER)
        facts = RowFacts.of(rows)
        content = parquet_bytes(rows.replace_schema_metadata(described_schema(facts).metadata))
        put(self.folder, partition.path, content, self.before, self.scratch)
        near = () if self.borders is None else self.borders.keep(partition, rows)
        return WrittenPartition(hashlib.sha256(content).hexdigest(), len(content), len(rows), facts, near)


@dataclass(frozen=True, slots=True)
class _Counts:
    """Numbers of rows by source and cell: (n,) arrays, in the order of the cells' first cells of order 29."""

    owners: Int64Array
    starts: Int64Array
    counts: Int64Array

    @classmethod
    def of(cls, sources: Sequence[RowSource], max_rows: int, do: Doing) -> _Counts:
        """Count in cells of `SKYMAP_ORDER`, and in finer ones where more rows lie in one than a partition may have."""
        coarse = cls._counted(sources, np.arange(len(sources)), SKYMAP_ORDER, None, do)
        cells, places = np.unique(coarse.starts, return_inverse=True)
        is_crowded = (np.bincount(places, coarse.counts, len(cells)) > max_rows)[places]
        if not is_crowded.any():
            return coarse
        within = tuple(np.unique(cells_at(SKYMAP_ORDER, coarse.starts[is_crowded])).tolist())
        fine = cls._counted(sources, np.unique(coarse.owners[is_crowded]), FINEST_PARTITION_ORDER, within, do)
        return cls._sorted(
            np.concatenate([coarse.owners[~is_crowded], fine.owners]),
            np.concatenate([coarse.starts[~is_crowded], fine.starts]),
            np.concatenate([coarse.counts[~is_crowded], fine.counts]),
        )

    @classmethod
    def _counted(
        cls, sources: Sequence[RowSource], which: Int64Array, order: int, within: tuple[int, ...] | None, do: Doing
    ) -> _Counts:
        batches = np.array_split(which, max(1, -(-len(which) // _SOURCES_PER_COUNT)))
        found = do([CountCells(tuple(sources[place] for place in batch), order, within) for batch in batches])
        counted = [(_NOTHING, _NOTHING), *(each for reply in found for each in reply)]
        owners = np.repeat(which, [len(starts) for starts, _ in counted[1:]])
        return cls._sorted(owners, *(np.concatenate(arrays) for arrays in zip(*counted, strict=True)))

    @classmethod
    def _sorted(cls, owners: Int64Array, starts: Int64Array, counts: Int64Array) -> _Counts:
        order = np.argsort(starts, kind="stable")
        return cls(owners[order], starts[order], counts[order])

    def sources_in(self, partition: Partition) -> Int64Array:
        """Numbers of the sources that have rows in a partition."""
        low, high = np.searchsorted(self.starts, partition.span)
        return np.unique(self.owners[low:high])


def write_dataset(
    folder: Path,
    sources: Sequence[RowSource],
    max_rows: int = ROWS_PER_PARTITION,
    before: Path | None = None,
    *,
    do: Doing = in_this_process,
    scratch: Path | None = None,
    borders: Callable[[Sequence[Partition]], Borders] | None = None,
) -> Dataset:
    """Write the Parquet files of a catalog, with one partition in a process's memory; the caller makes the files durable.

    Parameters
    ----------
    folder
        The catalog's folder.
    sources
        The sources of rows.
    max_rows
        Most rows in a partition.
    before
        Folder of an earlier catalog, whose equal files are shared; None if there is none.
    do
        Has the tasks carried out.
    scratch
        A folder on the same file system, for files that have no name yet; by default the catalog's.
    borders
        Makes what keeps the rows near borders, when the partitions are known; None if nothing does.
    """
    make_folder(folder)
    counts = _Counts.of(sources, max_rows, do)
    partitions = partition_sky(counts.starts, max_rows, counts.counts)
    keeping = None if borders is None else borders(partitions)
    batches = [partitions[start : start + _PARTITIONS_PER_TASK] for start in range(0, len(partitions), _PARTITIONS_PER_TASK)]
    tasks = []
    for batch in batches:
        needed = [counts.sources_in(partition) for partition in batch]
        every = np.unique(np.concatenate(needed))
        places = tuple(tuple(np.searchsorted(every, each).tolist()) for each in needed)
        theirs = tuple(sources[number] for number in every)
        tasks.append(WritePartitions(folder, batch, theirs, places, before, scratch or folder, keeping))
    written: list[WrittenPartition] = [each for reply in do(tasks) for each in reply]
    digests = {str(partition.path): each.digest for partition, each in zip(partitions, written, strict=True)}
    return Dataset(
        partitions,
        digests,
        sum(each.n_rows for each in written),
        sum(each.n_bytes for each in written),
        functools.reduce(operator.or_, (each.facts for each in written), RowFacts()),
        SkyMap.of(counts.starts, counts.counts),
        tuple(each.near_borders for each in written),
    )


def write_catalog_files(
    folder: Path,
    name: str,
    dataset: Dataset,
    max_rows: int = ROWS_PER_PARTITION,
    before: Path | None = None,
    *,
    created: str = "",
) -> None:
    """Write the files that make a folder of Parquet files a HATS catalog: properties, list of partitions, sky map, schema.

    Parameters
    ----------
    folder
        The catalog's folder.
    name
        The catalog's name.
    dataset
        Its files.
    max_rows
        Most rows in a partition.
    before
        As in `write_dataset`.
    created
        Time of creation, ISO 8601; not stated if left out.
    """
    put(folder, Path("partition_info.csv"), partition_info(dataset.partitions), before)
    put(folder, Path("hats.properties"), properties_text("HATS catalog", _properties(name, dataset, max_rows, created)))
    put(folder, Path("skymap.fits"), dataset.skymap.to_fits(), before)
    sink = pa.BufferOutputStream()
    pq.write_metadata(described_schema(dataset.facts), sink)
    put(folder, Path("dataset", "_common_metadata"), bytes(sink.getvalue()), before)


def read_partitions(folder: Path) -> tuple[Partition, ...]:
    """Read the list of partitions of a HATS catalog, in the order of ``_healpix_29``.

    Parameters
    ----------
    folder
        The catalog's folder.
    """
    lines = read_ordinary_file(folder / "partition_info.csv", MOST_BYTES_OF_LISTS).decode().split()[1:]
    cells = [Partition(*map(int, line.split(","))) for line in lines]
    return tuple(sorted(cells, key=lambda cell: cell.span))


def put(folder: Path, path: Path, content: bytes, before: Path | None = None, scratch: Path | None = None) -> None:
    """Write a file of a catalog, or share that of an earlier catalog if it is equal.

    Parameters
    ----------
    folder
        The catalog's folder.
    path
        The file's path relative to it.
    content
        Its bytes.
    before
        As in `write_dataset`.
    scratch
        A folder on the same file system. The file is prepared there, and gets its name when it is complete: a worker that was
        given up may still be writing it when another does.
    """
    own = (scratch or (folder / path).parent) / f".{path.name}.{secrets.token_hex(8)}"
    with explained(folder / path):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        if before is not None and _holds(before / path, content):
            link_or_copy(before / path, own)
        else:
            own.write_bytes(content)
        own.replace(folder / path)


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content


def _inside(partition: Partition, rows: pa.Table) -> pa.Table:
    """The rows in a partition; without copying them if they are sorted, as those of units are."""
    cells = rows["_healpix_29"].to_numpy()
    if (cells[1:] >= cells[:-1]).all():
        low, high = np.searchsorted(cells, partition.span)
        return rows.slice(low, high - low)
    return rows.filter(pa.array((cells >= partition.span[0]) & (cells < partition.span[1])))


def partition_info(partitions: Sequence[Partition]) -> bytes:
    """The content of ``partition_info.csv``."""
    return ("\n".join(["Norder,Npix", *(f"{cell.order},{cell.pixel}" for cell in partitions)]) + "\n").encode()


def properties_text(heading: str, properties: Mapping[str, object]) -> bytes:
    """The content of a file of properties."""
    return (f"#{heading}\n" + "".join(f"{key}={value}\n" for key, value in properties.items())).encode()


def _properties(name: str, dataset: Dataset, max_rows: int, created: str) -> Mapping[str, object]:
    return {
        "obs_collection": name,
        "dataproduct_type": "object",
        "hats_nrows": dataset.n_rows,
        "hats_col_ra": "ra",
        "hats_col_dec": "dec",
        "hats_col_healpix": "_healpix_29",
        "hats_col_healpix_order": FINEST_ORDER,
        "hats_cols_default": " ".join(DEFAULT_COLUMNS),
        "hats_max_rows": max_rows,
        "hats_npix_suffix": ".parquet",
        "hats_order": max((cell.order for cell in dataset.partitions), default=0),
        "hats_skymap_order": SKYMAP_ORDER,
        "moc_sky_fraction": dataset.skymap.sky_fraction,
        "hats_estsize": dataset.n_bytes // 1024,
        "hats_builder": "surveyflow",
        **({"hats_creation_date": created} if created else {}),
        "hats_version": "v1.0",
        "surveyflow_weights_origin": " ".join(dataset.facts.weights_origins),
    }


@dataclass(frozen=True, slots=True)
class SkyMap:
    """The number of rows in each cell.

    Parameters
    ----------
    pixels
        (n,) int64: numbers of the cells of `SKYMAP_ORDER` that hold rows, increasing.
    counts
        (n,) int64: rows in each.
    """

    pixels: Int64Array
    counts: Int64Array

    @classmethod
    def of(cls, cells_29: Int64Array, counts: Int64Array) -> SkyMap:
        """Add up the rows in each cell.

        Parameters
        ----------
        cells_29
            (n,) int64: cells of order 29, in any order; several may be equal.
        counts
            (n,) int64: number of rows in or near each, in the same cell of `SKYMAP_ORDER`.
        """
        pixels, places = np.unique(cells_at(SKYMAP_ORDER, cells_29), return_inverse=True)
        return cls(pixels, np.bincount(places, counts, len(pixels)).astype(np.int64))

    @property
    def sky_fraction(self) -> float:
        """Share of the whole sky in the cells that hold rows."""
        return float(len(self.pixels) / (12 * 4**SKYMAP_ORDER))

    def to_fits(self) -> bytes:
        """Write the map as a FITS file: a table of PIXEL and VALUE."""
        columns = [fits.Column("PIXEL", "K", array=self.pixels), fits.Column("VALUE", "K", array=self.counts)]
        table = fits.BinTableHDU.from_columns(columns)
        table.header.update(
            PIXTYPE="HEALPIX",
            INDXSCHM="EXPLICIT",
            ORDERING="NESTED",
            COORDSYS="C",
            NSIDE=2**SKYMAP_ORDER,
            OBS_NPIX=len(self.pixels),
        )
        content = io.BytesIO()
        fits.HDUList([fits.PrimaryHDU(), table]).writeto(content)
        return content.getvalue()
