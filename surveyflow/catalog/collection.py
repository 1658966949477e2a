"""The parts of a HATS collection beside a catalog: a margin, which completes cross-matches, and an index of source ids.

``<catalog>/collection`` is a collection whose primary table is the catalog around it. Its margin holds, for each partition, the
rows of other partitions near its border; its index says in which partitions a ``source_id`` lies (HATS 1.0, IVOA Note).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from cdshealpix.nested import neighbours

from surveyflow.catalog.hats import Partition, partition_info, properties_text, put
from surveyflow.catalog.healpix import FINEST_ORDER, cells_at
from surveyflow.catalog.parquet import parquet_bytes
from surveyflow.values.arrays import Int64Array

COLLECTION = "collection"
MARGIN, INDEX = "margin", "index_source_id"
"""Folders of a collection."""
MARGIN_ARCSEC = 5.0
"""Width of the margin that is promised; it holds rows up to two cells of `MARGIN_ORDER` from the border."""
MARGIN_ORDER = 14
"""The order of cells of 13 arcsec: points within 5 arcsec of each other lie in one cell, or in neighbouring ones."""


def write_collection(folder: Path, name: str, partitions: Sequence[Partition], created: str, before: Path | None = None) -> None:
    """Write the collection of a catalog whose Parquet files are complete, with a few partitions in memory at a time.

    Parameters
    ----------
    folder
        The catalog's folder.
    name
        The catalog's name.
    partitions
        Its partitions, in the order of ``_healpix_29``.
    created
        Time of creation, ISO 8601.
    before
        Folder of an earlier catalog, whose equal files are shared; None if there is none.
    """
    if not partitions:
        return
    own, earlier = folder / COLLECTION, None if before is None else before / COLLECTION
    has_margin = _write_margin(folder, own / MARGIN, name, partitions, None if earlier is None else earlier / MARGIN)
    _write_index(folder, own / INDEX, name, partitions, None if earlier is None else earlier / INDEX)
    put(own, Path("collection.properties"), properties_text("HATS collection", _collection(name, created, has_margin=has_margin)))


def cells_near_borders(cells_29: Int64Array, partitions: Sequence[Partition]) -> list[Int64Array]:
    """Find the cells of `MARGIN_ORDER` that hold rows and touch a partition from outside.

    Parameters
    ----------
    cells_29
        (n,) int64: ``_healpix_29`` of every row, in any order.
    partitions
        The partitions, in the order of ``_healpix_29``; none is finer than `MARGIN_ORDER`.

    Returns
    -------
    For each partition its cells, int64, increasing.
    """
    occupied = np.unique(cells_at(MARGIN_ORDER, cells_29))
    around = np.asarray(neighbours(occupied.astype(np.uint64), MARGIN_ORDER, num_threads=1), np.int64)
    owner, touched = _owners(occupied, partitions), _owners(around, partitions)
    row, column = np.nonzero((touched >= 0) & (touched != owner[:, None]))
    pairs = np.unique(np.stack([touched[row, column], occupied[row]], axis=1), axis=0)
    starts = np.searchsorted(pairs[:, 0], np.arange(len(partitions) + 1))
    return [pairs[low:high, 1] for low, high in pairwise(starts)]


def _owners(cells: Int64Array, partitions: Sequence[Partition]) -> Int64Array:
    """The partition in which each cell of `MARGIN_ORDER` lies; -1 if in none, or if there is no such cell."""
    spans = np.array([partition.span for partition in partitions], np.int64) >> 2 * (FINEST_ORDER - MARGIN_ORDER)
    place = np.searchsorted(spans[:, 0], cells, side="right") - 1
    inside = (place >= 0) & (cells < spans[place, 1])
    return np.asarray(np.where(inside, place, -1), np.int64)


def _write_margin(folder: Path, own: Path, name: str, partitions: Sequence[Partition], before: Path | None) -> bool:
    """Write the margin; returns whether any row lies near a border."""
    cells = [_column(folder / partition.path, "_healpix_29") for partition in partitions]
    near = cells_near_borders(np.concatenate(cells), partitions)
    bordered = [(partition, wanted) for partition, wanted in zip(partitions, near, strict=True) if len(wanted)]
    n_rows = 0
    for partition, wanted in bordered:
        rows = _rows_in(folder, partitions, wanted)
        put(own, partition.path, parquet_bytes(rows), before)
        n_rows += len(rows)
    if bordered:
        put(own, Path("partition_info.csv"), partition_info([partition for partition, _ in bordered]), before)
        put(own, Path("hats.properties"), properties_text("HATS catalog", _margin(name, n_rows)))
        put(own, Path("dataset", "_common_metadata"), (folder / "dataset" / "_common_metadata").read_bytes(), before)
    return bool(bordered)


def _rows_in(folder: Path, partitions: Sequence[Partition], wanted: Int64Array) -> pa.Table:
    """The rows in cells of `MARGIN_ORDER`, in the order of ``_healpix_29``."""
    parts = []
    for place in np.unique(_owners(wanted, partitions)):
        path = folder / partitions[place].path
        inside = np.isin(cells_at(MARGIN_ORDER, _column(path, "_healpix_29")), wanted)
        parts.append(pq.read_table(path, partitioning=None).filter(pa.array(inside)))
    return pa.concat_tables(parts)


def _write_index(folder: Path, own: Path, name: str, partitions: Sequence[Partition], before: Path | None) -> None:
    """Write the index: a part for each partition, and the footers of all parts together."""
    footers, n_rows = [], 0
    for number, partition in enumerate(partitions):
        ids = np.unique(_column(folder / partition.path, "source_id"))
        place = {
            "Norder": (np.uint8, partition.order),
            "Dir": (np.uint64, partition.folder),
            "Npix": (np.uint64, partition.pixel),
        }
        columns = {key: pa.array(np.full(len(ids), value, kind)) for key, (kind, value) in place.items()}
        path, sink = Path("dataset", "index", f"part.{number}.parquet"), pa.BufferOutputStream()
        pq.write_table(pa.table({"source_id": ids} | columns), sink)
        put(own, path, bytes(sink.getvalue()), before)
        footers.append(pq.read_metadata(own / path))
        footers[-1].set_file_path(str(path.relative_to("dataset")))
        n_rows += len(ids)
    for footer in footers[1:]:
        footers[0].append_row_groups(footer)
    sink = pa.BufferOutputStream()
    footers[0].write_metadata_file(sink)
    put(own, Path("dataset", "_metadata"), bytes(sink.getvalue()), before)
    put(own, Path("hats.properties"), properties_text("HATS catalog", _index(name, n_rows)))


def _column(path: Path, name: str) -> Int64Array:
    return np.asarray(pq.read_table(path, columns=[name], partitioning=None)[name].to_numpy(), np.int64)


def _margin(name: str, n_rows: int) -> Mapping[str, object]:
    return {
        "obs_collection": f"{name}_margin",
        "dataproduct_type": "margin",
        "hats_nrows": n_rows,
        "hats_col_ra": "ra",
        "hats_col_dec": "dec",
        "hats_col_healpix": "_healpix_29",
        "hats_col_healpix_order": FINEST_ORDER,
        "hats_npix_suffix": ".parquet",
        "hats_primary_table_url": name,
        "hats_margin_threshold": MARGIN_ARCSEC,
        "hats_version": "v1.0",
    }


def _index(name: str, n_rows: int) -> Mapping[str, object]:
    return {
        "obs_collection": f"{name}_source_id",
        "dataproduct_type": "index",
        "hats_nrows": n_rows,
        "hats_primary_table_url": name,
        "hats_index_column": "source_id",
        "hats_version": "v1.0",
    }


def _collection(name: str, created: str, *, has_margin: bool) -> Mapping[str, object]:
    return {
        "obs_collection": f"{name}_collection",
        "hats_primary_table_url": "..",
        **({"all_margins": MARGIN, "default_margin": MARGIN} if has_margin else {}),
        "all_indexes": f"source_id {INDEX}",
        "default_index": "source_id",
        "hats_builder": "surveyflow",
        "hats_creation_date": created,
        "hats_version": "v1.0",
    }
