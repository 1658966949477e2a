"""The margin of a HATS catalog: for each cell of the sky, the rows of other cells near its border.

A cross-match reads one cell at a time. With the margin it also sees the sources just beyond the cell's border, so that no pair
is lost. Cells without rows have a margin, too: a source of another catalog there may belong to one of ours next door.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
from cdshealpix.nested import neighbours

from surveyflow.catalog.dataset import Dataset
from surveyflow.catalog.hats import DEFAULT_COLUMNS, Partition, partition_info, properties_text, put
from surveyflow.catalog.parquet import RowFacts, described_schema, parquet_bytes
from surveyflow.catalog.schema import FINEST_ORDER, cells_at, in_order, taken
from surveyflow.files.durable import explained
from surveyflow.values.arrays import BoolArray, Int64Array
from surveyflow.values.jobs import Doing, in_this_process

MARGIN_ARCSEC = 5.0
"""The promised width of the margin; it holds rows up to about 13 arcsec from the border."""
_STARTS = "starts.npy"
_ORDER = 14
"""The order of cells that are at least 8 arcsec wide: points within 5 arcsec of each other lie in one, or in neighbours."""
_X_BITS = 0x5555555555555555
"""The bits of a nested cell's number that say where it lies in one direction; those between them say it in the other."""


@dataclass(frozen=True, slots=True)
class Cover:
    """Cells that cover the whole sky without overlap: the partitions of a catalog, and the coarsest cells that hold no rows.

    Parameters
    ----------
    cells
        The cells, in the order of ``_healpix_29``; no finer than order 14.
    starts
        (n,) int64: the first cell of order 14 in each.
    """

    cells: tuple[Partition, ...]
    starts: Int64Array

    @classmethod
    def of(cls, partitions: Sequence[Partition]) -> Cover:
        """Complete the partitions of a catalog.

        Parameters
        ----------
        partitions
            The partitions, in the order of ``_healpix_29``.
        """
        spans = np.array([partition.span for partition in partitions], np.int64).reshape(-1, 2)
        pending, cells = [Partition(0, pixel) for pixel in range(11, -1, -1)], []
        while pending:
            cell = pending.pop()
            low = int(np.searchsorted(spans[:, 1], cell.span[0], side="right"))
            is_empty = low == len(spans) or spans[low, 0] >= cell.span[1]
            if is_empty or partitions[low] == cell:
                cells.append(cell)
            else:
                pending.extend(reversed(cell.children))
        return cls(tuple(cells), cells_at(_ORDER, np.array([cell.span[0] for cell in cells], np.int64)))

    def owners(self, cells: Int64Array) -> Int64Array:
        """Find the numbers of the cells that contain cells of order 14."""
        return np.asarray(np.searchsorted(self.starts, cells, side="right") - 1, np.int64)

    def beyond(self, cells_29: Int64Array) -> Iterator[tuple[int, Int64Array]]:
        """Find which rows of one cell lie near the border of which others.

        Parameters
        ----------
        cells_29
            (n,) int64: ``_healpix_29`` of the rows of one cell, n > 0.

        Yields
        ------
        The number of a neighbouring cell, and (m,) int64: the numbers of the rows near its border, increasing, m > 0.
        """
        cells = cells_at(_ORDER, cells_29)
        home = int(self.owners(cells[:1])[0])
        outer = np.flatnonzero(self._is_outer(cells, home))
        occupied, places = np.unique(cells[outer], return_inverse=True)
        around = np.asarray(neighbours(occupied.astype(np.uint64), _ORDER, num_threads=1), np.int64)
        touched = np.where(around < 0, home, self.owners(around))
        for number in np.unique(touched[touched != home]):
            yield int(number), outer[(touched == number).any(axis=1)[places]]

    def _is_outer(self, cells: Int64Array, home: int) -> BoolArray:
        """Whether cells of order 14 touch the border of the cell that they lie in: only these have neighbours outside of it."""
        n_cells = int(np.append(self.starts, 12 * 4**_ORDER)[home + 1] - self.starts[home])
        x = _X_BITS & (n_cells - 1)
        return np.asarray(np.isin(cells & x, (0, x)) | np.isin(cells & x << 1, (0, x << 1)))


@dataclass(frozen=True, slots=True)
class KeptBorders:
    """A folder that keeps the rows near the border of each partition, until all are there; a `dataset.Borders`.

    Parameters
    ----------
    folder
        The folder.
    """

    folder: Path

    @classmethod
    def of(cls, partitions: Sequence[Partition], folder: Path) -> KeptBorders:
        """Note in a folder which cells cover the sky.

        Parameters
        ----------
        partitions
            The partitions, in the order of ``_healpix_29``.
        folder
            The folder, which is made.
        """
        with explained(folder):
            folder.mkdir(parents=True)
            np.save(folder / _STARTS, Cover.of(partitions).starts)
        return cls(folder)

    def keep(self, partition: Partition, rows: pa.Table) -> tuple[tuple[int, int], ...]:
        """Keep the rows near the border, and return how many lie near which cell beyond it: see `dataset.Borders`."""
        near = list(Cover((), _starts(self.folder)).beyond(_cells(rows)))
        if near:
            own = self.folder / f".{secrets.token_hex(8)}"
            chosen = taken(rows, pa.array(np.concatenate([places for _, places in near]))).combine_chunks()
            with explained(self.place(partition)):
                with pa.OSFile(str(own), "wb") as file, pa.ipc.new_file(file, rows.schema) as kept:
                    kept.write_table(chosen)
                own.replace(self.place(partition))
        return tuple((number, len(places)) for number, places in near)

    def place(self, partition: Partition) -> Path:
        """The file with the rows of a partition: those near each cell beyond its border, in the order of the cells' numbers."""
        return self.folder / f"{partition.order}-{partition.pixel}.arrow"


def _cells(rows: pa.Table) -> Int64Array:
    cells: Int64Array = rows["_healpix_29"].to_numpy()
    return cells


@lru_cache(maxsize=2)
def _starts(folder: Path) -> Int64Array:
    starts: Int64Array = np.load(folder / _STARTS)
    return starts


@dataclass(frozen=True, slots=True)
class WriteMargin:
    """A task that writes the margin of one cell.

    Parameters
    ----------
    own
        The margin's folder.
    cell
        The cell.
    parts
        The files with rows near its border, and the half-open range of these rows in each.
    before
        As in `write_margin`.
    """

    verb: ClassVar[str] = "margin"

    own: Path
    cell: Partition
    parts: tuple[tuple[Path, int, int], ...]
    before: Path | None

    def carry_out(self) -> int:
        """Write the file, and return its number of rows."""
        rows = in_order(pa.concat_tables(map(_kept_rows, self.parts)).combine_chunks())
        content = parquet_bytes(rows.replace_schema_metadata(described_schema(RowFacts.of(rows)).metadata))
        put(self.own, self.cell.path, content, self.before, self.parts[0][0].parent)
        return len(rows)


def _kept_rows(part: tuple[Path, int, int]) -> pa.Table:
    path, start, end = part
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all().slice(start, end - start)


def write_margin(
    catalog: Path,
    own: Path,
    name: str,
    dataset: Dataset,
    borders: Path,
    *,
    before: Path | None = None,
    do: Doing = in_this_process,
    created: str = "",
) -> int:
    """Write the margin of a catalog whose Parquet files are complete, with one cell's margin in a process's memory.

    Parameters
    ----------
    catalog
        The catalog's folder.
    own
        The margin's folder. A catalog without rows has none; one of which no row lies near a border has an empty margin.
    name
        The catalog's name.
    dataset
        Its files, which were written with `KeptBorders`.
    borders
        The folder of these.
    before
        Folder of an earlier margin, whose equal files are shared; None if there is none.
    do
        Has the tasks carried out.
    created
        Time of creation, ISO 8601; not stated if left out.

    Returns
    -------
    Number of rows in the margin; a row near several borders counts several times.
    """
    cells, near = Cover.of(dataset.partitions).cells, _by_cell(dataset, KeptBorders(borders))
    n_rows = sum(do([WriteMargin(own, cells[number], parts, before) for number, parts in near.items()]))
    if dataset.partitions:
        put(own, Path("partition_info.csv"), partition_info([cells[number] for number in near]), before)
        put(own, Path("hats.properties"), properties_text("HATS catalog", _properties(name, n_rows, created)))
        put(own, Path("dataset", "_common_metadata"), (catalog / "dataset" / "_common_metadata").read_bytes(), before)
    return n_rows


def _by_cell(dataset: Dataset, borders: KeptBorders) -> dict[int, tuple[tuple[Path, int, int], ...]]:
    """The files with rows near the border of each cell, by the cell's number, with the range of these rows in each."""
    near: dict[int, list[tuple[Path, int, int]]] = {}
    for partition, cells in zip(dataset.partitions, dataset.near_borders, strict=True):
        start = 0
        for number, n_rows in cells:
            near.setdefault(number, []).append((borders.place(partition), start, start + n_rows))
            start += n_rows
    return {number: tuple(near[number]) for number in sorted(near)}


def _properties(name: str, n_rows: int, created: str) -> dict[str, object]:
    return {
        "obs_collection": f"{name}_margin",
        "dataproduct_type": "margin",
        "hats_nrows": n_rows,
        "hats_col_ra": "ra",
        "hats_col_dec": "dec",
        "hats_col_healpix": "_healpix_29",
        "hats_col_healpix_order": FINEST_ORDER,
        "hats_cols_default": " ".join(DEFAULT_COLUMNS),
        "hats_npix_suffix": ".parquet",
        "hats_primary_table_url": name,
        "hats_margin_threshold": MARGIN_ARCSEC,
        "hats_builder": "surveyflow",
        **({"hats_creation_date": created} if created else {}),
        "hats_version": "v1.0",
    }
