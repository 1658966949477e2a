"""The margin of a HATS catalog: for each cell of the sky, the rows of other cells near its border.

A cross-match reads one cell at a time. With the margin it also sees the sources just beyond the cell's border, so that no pair
is lost. Cells without rows have a margin, too: a source of another catalog there may belong to one of ours next door.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from cdshealpix.nested import neighbours

from surveyflow.catalog.hats import DEFAULT_COLUMNS, Partition, partition_info, properties_text, put
from surveyflow.catalog.parquet import RowFacts, described_schema, parquet_bytes
from surveyflow.catalog.schema import FINEST_ORDER, SORT_ORDER, cells_at
from surveyflow.values.arrays import BoolArray, Int64Array

MARGIN_ARCSEC = 5.0
"""The promised width of the margin; it holds rows up to about 13 arcsec from the border."""
_ORDER = 14
"""The order of cells that are at least 8 arcsec wide: points within 5 arcsec of each other lie in one, or in neighbours."""


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

    def beyond(self, cells_29: Int64Array) -> Iterator[tuple[int, BoolArray]]:
        """Find which rows of one cell lie near the border of which others.

        Parameters
        ----------
        cells_29
            (n,) int64: ``_healpix_29`` of the rows of one cell, n > 0.

        Yields
        ------
        The number of a neighbouring cell, and (n,) bool: whether each row lies near its border; at least one does.
        """
        occupied, places = np.unique(cells_at(_ORDER, cells_29), return_inverse=True)
        home = int(self.owners(occupied[:1])[0])
        around = np.asarray(neighbours(occupied.astype(np.uint64), _ORDER, num_threads=1), np.int64)
        touched = np.where(around < 0, home, self.owners(around))
        for number in np.unique(touched[touched != home]):
            yield int(number), (touched == number).any(axis=1)[places]


def write_margin(catalog: Path, own: Path, name: str, partitions: Sequence[Partition], before: Path | None = None) -> int:
    """Write the margin of a catalog whose Parquet files are complete, with one partition in memory at a time.

    Parameters
    ----------
    catalog
        The catalog's folder.
    own
        The margin's folder. A catalog without rows has none; one of which no row lies near a border has an empty margin.
    name
        The catalog's name.
    partitions
        Its partitions, in the order of ``_healpix_29``.
    before
        Folder of an earlier margin, whose equal files are shared; None if there is none.

    Returns
    -------
    Number of rows in the margin; a row near several borders counts several times.
    """
    cover = Cover.of(partitions)
    near = _near_borders(catalog, partitions, cover)
    for number, parts in near.items():
        rows = pa.concat_tables(parts).sort_by(SORT_ORDER)
        content = parquet_bytes(rows.replace_schema_metadata(described_schema(RowFacts.of(rows)).metadata))
        put(own, cover.cells[number].path, content, before)
    n_rows = sum(len(part) for parts in near.values() for part in parts)
    if partitions:
        put(own, Path("partition_info.csv"), partition_info([cover.cells[number] for number in sorted(near)]), before)
        put(own, Path("hats.properties"), properties_text("HATS catalog", _properties(name, n_rows)))
        put(own, Path("dataset", "_common_metadata"), (catalog / "dataset" / "_common_metadata").read_bytes(), before)
    return n_rows


def _near_borders(catalog: Path, partitions: Sequence[Partition], cover: Cover) -> dict[int, list[pa.Table]]:
    """The rows near the border of each cell, by the cell's number."""
    near: dict[int, list[pa.Table]] = {}
    for partition in partitions:
        rows = pq.read_table(catalog / partition.path, partitioning=None)
        for number, close in cover.beyond(rows["_healpix_29"].to_numpy()):
            near.setdefault(number, []).append(rows.filter(pa.array(close)))
    return near


def _properties(name: str, n_rows: int) -> dict[str, object]:
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
        "hats_version": "v1.0",
    }
