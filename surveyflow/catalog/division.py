"""The division of the sky: cells that hold at most a partition's rows, and which sources of rows reach into them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import pyarrow as pa

from surveyflow.catalog.hats import Partition
from surveyflow.catalog.schema import FINEST_ORDER, cells_at
from surveyflow.catalog.skymap import SKYMAP_ORDER
from surveyflow.values.arrays import Int64Array
from surveyflow.values.jobs import Doing

ROWS_PER_PARTITION = 25_000
"""About 3 MB a file: a change in one part of the sky rewrites little, and a reader's worker takes one file at a time."""

FINEST_PARTITION_ORDER = 14
"""The order of cells of 13 arcsec, which are not split further."""

_SOURCES_PER_COUNT = 64
"""Number of sources of rows whose cells are counted in one task."""
_NOTHING: Int64Array = np.empty(0, np.int64)


class RowSource(Protocol):
    """A source of catalog rows: a unit's file, or a table."""

    def cells(self) -> Int64Array:
        """(n,) int64: ``_healpix_29`` of every row."""
        ...

    def rows(self) -> pa.Table:
        """Every row."""
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
class Counts:
    """Numbers of rows by source and cell: (n,) arrays, in the order of the cells' first cells of order 29."""

    owners: Int64Array
    starts: Int64Array
    counts: Int64Array

    @classmethod
    def of(cls, sources: Sequence[RowSource], max_rows: int, do: Doing) -> Counts:
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
    ) -> Counts:
        batches = np.array_split(which, max(1, -(-len(which) // _SOURCES_PER_COUNT)))
        found = do([CountCells(tuple(sources[place] for place in batch), order, within) for batch in batches])
        counted = [(_NOTHING, _NOTHING), *(each for reply in found for each in reply)]
        owners = np.repeat(which, [len(starts) for starts, _ in counted[1:]])
        return cls._sorted(owners, *(np.concatenate(arrays) for arrays in zip(*counted, strict=True)))

    @classmethod
    def _sorted(cls, owners: Int64Array, starts: Int64Array, counts: Int64Array) -> Counts:
        order = np.argsort(starts, kind="stable")
        return cls(owners[order], starts[order], counts[order])

    def sources_in(self, partition: Partition) -> Int64Array:
        """Numbers of the sources that have rows in a partition."""
        low, high = np.searchsorted(self.starts, partition.span)
        return np.unique(self.owners[low:high])
