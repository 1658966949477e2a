"""The Parquet files of a HATS catalog: the rows of each partition, merged, sorted and written."""

from __future__ import annotations

import functools
import hashlib
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from surveyflow.catalog.division import ROWS_PER_PARTITION, Counts, RowSource, partition_sky
from surveyflow.catalog.hats import Partition, put
from surveyflow.catalog.parquet import RowFacts, described_schema, parquet_bytes
from surveyflow.catalog.schema import in_order
from surveyflow.catalog.skymap import SkyMap
from surveyflow.catalog.statistics import keep_statistics
from surveyflow.files.durable import make_folder
from surveyflow.values.arrays import Int64Array
from surveyflow.values.jobs import Doing, in_this_process

_PARTITIONS_PER_TASK = (8, 16)
"""Least and largest number of neighbouring partitions that a task writes, but for the last task."""


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
    statistics
        Files with the statistics of the partitions, for `surveyflow.catalog.catalog_files.write_catalog_files`.
    """

    partitions: tuple[Partition, ...]
    digests: Mapping[str, str]
    n_rows: int
    n_bytes: int
    facts: RowFacts
    skymap: SkyMap
    near_borders: tuple[tuple[tuple[int, int], ...], ...] = ()
    statistics: tuple[Path, ...] = ()


class Borders(Protocol):
    """Keeps the rows of a partition that lie near its border."""

    def keep(self, partition: Partition, rows: pa.Table) -> tuple[tuple[int, int], ...]:
        """Keep the rows near the border, and return the number of each cell beyond it with the number of rows near it."""
        ...


@dataclass(frozen=True, slots=True)
class WrittenPartition:
    """What was written of a partition: digest and size of its file, its rows, their facts, and what `Borders.keep` returned."""

    digest: str
    n_bytes: int
    n_rows: int
    facts: RowFacts
    near_borders: tuple[tuple[int, int], ...]


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

    def carry_out(self) -> tuple[list[WrittenPartition], Path]:
        """Write the files, or share those of the earlier catalog; returns the file with their statistics, too."""
        written, footers = [], []
        for partition, found in zip(self.partitions, self._rows(), strict=True):
            rows = in_order(found.combine_chunks())
            one, footer = self._write(partition, rows)
            written.append(one)
            footers.append((partition, footer))
        return written, keep_statistics(self.scratch, rows.schema, footers)

    def _rows(self) -> Iterator[pa.Table]:
        """The rows of each partition; those of a source are in memory from the first partition that needs them to the last."""
        last = {place: number for number, places in enumerate(self.needed) for place in places}
        read: dict[int, pa.Table] = {}
        for number, (partition, places) in enumerate(zip(self.partitions, self.needed, strict=True)):
            read |= {place: self.sources[place].rows() for place in places if place not in read}
            yield pa.concat_tables([_inside(partition, read[place]) for place in places])
            read = {place: rows for place, rows in read.items() if last[place] > number}

    def _write(self, partition: Partition, rows: pa.Table) -> tuple[WrittenPartition, pq.FileMetaData]:
        facts = RowFacts.of(rows)
        content = parquet_bytes(rows.replace_schema_metadata(described_schema(facts).metadata))
        put(self.folder, partition.path, content, self.before, self.scratch)
        near = () if self.borders is None else self.borders.keep(partition, rows)
        written = WrittenPartition(hashlib.sha256(content).hexdigest(), len(content), len(rows), facts, near)
        return written, pq.read_metadata(pa.BufferReader(content))


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
    counts = Counts.of(sources, max_rows, do)
    partitions = partition_sky(counts.starts, max_rows, counts.counts)
    keeping = None if borders is None else borders(partitions)
    needed = [counts.sources_in(partition) for partition in partitions]
    tasks = []
    for batch in _batches(needed):
        every = np.unique(np.concatenate(needed[batch]))
        places = tuple(tuple(np.searchsorted(every, each).tolist()) for each in needed[batch])
        theirs = tuple(sources[number] for number in every)
        tasks.append(WritePartitions(folder, partitions[batch], theirs, places, before, scratch or folder, keeping))
    replies: list[tuple[list[WrittenPartition], Path]] = do(tasks)
    written = [each for some, _ in replies for each in some]
    digests = {str(partition.path): each.digest for partition, each in zip(partitions, written, strict=True)}
    return Dataset(
        partitions,
        digests,
        sum(each.n_rows for each in written),
        sum(each.n_bytes for each in written),
        functools.reduce(operator.or_, (each.facts for each in written), RowFacts()),
        SkyMap.of(counts.starts, counts.counts),
        tuple(each.near_borders for each in written),
        tuple(statistics for _, statistics in replies),
    )


def _batches(needed: Sequence[Int64Array]) -> Iterator[slice]:
    """Divide partitions among tasks, where the fewest of the sources that they need lie on both sides and are read twice."""
    start, shared, (least, most) = 0, _shared(needed), _PARTITIONS_PER_TASK
    while start < len(needed):
        ends = range(min(start + least, len(needed)), min(start + most, len(needed)) + 1)
        end = min(ends, key=lambda end: shared[end])
        yield slice(start, end)
        start = end


def _shared(needed: Sequence[Int64Array]) -> list[int]:
    """The number of sources that are needed on both sides of each place between partitions, from the start to the end."""
    sources = np.concatenate([np.empty(0, np.int64), *needed])
    users = np.repeat(np.arange(len(needed)), [len(each) for each in needed])
    first, last = (users[way][np.unique(sources[way], return_index=True)[1]] for way in (slice(None), slice(None, None, -1)))
    steps = np.bincount(first + 1, minlength=len(needed) + 2) - np.bincount(last + 1, minlength=len(needed) + 2)
    shared: list[int] = np.cumsum(steps).tolist()
    return shared


def _inside(partition: Partition, rows: pa.Table) -> pa.Table:
    """The rows in a partition; without copying them if they are sorted, as those of units are."""
    cells = rows["_healpix_29"].to_numpy()
    if (cells[1:] >= cells[:-1]).all():
        low, high = np.searchsorted(cells, partition.span)
        return rows.slice(low, high - low)
    return rows.filter(pa.array((cells >= partition.span[0]) & (cells < partition.span[1])))
