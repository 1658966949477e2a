"""Two catalogs side by side, piece by piece of the sky, so that one partition of each is in memory at a time.

Cells of HEALPix are nested: either two of them do not overlap, or one contains the other. A region is a cell of one catalog that
no cell of the other contains, with all cells of the other inside it. Sources keep their place unless their position changed, so
nearly all of them have both their rows in one piece of a region.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from surveyflow.catalog.hats import Partition, read_partitions

CELL = "_healpix_29"
"""The column by which rows are assigned to cells."""
Reader = Callable[[Path | None], pa.Table]
"""A function that reads some columns of a partition's file, `CELL` among them; without a path, a table without rows."""


@dataclass(frozen=True, slots=True)
class Region:
    """The cells of two catalogs in a part of the sky: one cell of one of them, and any number of the other's inside it.

    Parameters
    ----------
    old, new
        The cells of either catalog, in the order of ``_healpix_29``.
    """

    old: tuple[Partition, ...]
    new: tuple[Partition, ...]

    def pieces(self, read_old: Reader, read_new: Reader) -> Iterator[tuple[pa.Table, pa.Table]]:
        """Read the rows of both catalogs, at most a partition of each at a time; every row is in one piece.

        Parameters
        ----------
        read_old, read_new
            Read a partition's file of either catalog, given its path in the catalog's folder; None gives a table without rows.

        Yields
        ------
        The rows of either catalog in a piece of the region; one of them may be empty.
        """
        if len(self.old) > 1:
            yield from ((old, new) for new, old in Region(self.new, self.old).pieces(read_new, read_old))
            return
        rest = read_old(self.old[0].path if self.old else None)
        for cell in self.new:
            inside = _inside(rest, cell)
            yield rest.filter(inside), read_new(cell.path)
            rest = rest.filter(pc.invert(inside))
        if len(rest):
            yield rest, read_new(None)


def _inside(rows: pa.Table, cell: Partition) -> pa.ChunkedArray:
    low, high = cell.span
    cells = rows[CELL]
    return pc.and_(pc.greater_equal(cells, low), pc.less(cells, high))


def regions_of(old: Path, new: Path) -> Iterator[Region]:
    """Divide the sky into the regions of two catalogs, in the order of ``_healpix_29``.

    Parameters
    ----------
    old, new
        The folders of the catalogs.
    """
    cells = [(cell, side) for side, folder in enumerate((old, new)) for cell in read_partitions(folder)]
    region: list[tuple[Partition, int]] = []
    for cell, side in sorted(cells, key=lambda entry: (entry[0].span[0], -entry[0].span[1])):
        if region and cell.span[0] >= region[0][0].span[1]:
            yield _region(region)
            region = []
        region.append((cell, side))
    if region:
        yield _region(region)


def _region(cells: list[tuple[Partition, int]]) -> Region:
    old, new = (tuple(cell for cell, of_side in cells if of_side == side) for side in (0, 1))
    return Region(old, new)


MOST_ROWS = 250_000
"""Most rows of sources that moved or are gone that are in memory at once."""


def in_batches(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Put tables together until they have `MOST_ROWS` rows or more; tables without rows are left out.

    Parameters
    ----------
    tables
        Tables of one schema.
    """
    held: list[pa.Table] = []
    n_held = 0
    for table in filter(len, tables):
        held.append(table)
        n_held += len(table)
        if n_held >= MOST_ROWS:
            yield pa.concat_tables(held)
            held, n_held = [], 0
    if held:
        yield pa.concat_tables(held)


def reader(folder: Path, columns: pa.Schema) -> Reader:
    """A reader of some columns of a catalog's files.

    Parameters
    ----------
    folder
        The catalog's folder.
    columns
        The columns, in order, with their types; ``_healpix_29`` is among them.
    """
    empty = columns.empty_table().replace_schema_metadata(None)

    def read(path: Path | None) -> pa.Table:
        if path is None:
            return empty
        rows = pq.read_table(folder / path, columns=columns.names, partitioning=None, use_threads=False, pre_buffer=False)
        return rows.select(columns.names).replace_schema_metadata(None)

    return read
