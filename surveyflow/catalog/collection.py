"""A HATS collection beside a catalog: an index that says in which partitions a source lies, and the place of the margin.

``<catalog>/collection`` is a collection whose primary table is the catalog around it (HATS 1.0, IVOA Note). Its margin lies
elsewhere: a margin's files have the names of partitions, and strict validation would count them as the catalog's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from surveyflow.catalog.hats import Partition, properties_text, put

COLLECTION = "collection"
INDEX = "index_source_id"
"""Folder of the index in the collection."""
_ID = "source_id"


def write_collection(
    folder: Path,
    name: str,
    partitions: Sequence[Partition],
    created: str,
    before: Path | None = None,
    *,
    margin: str | None = None,
) -> None:
    """Write the collection of a catalog whose Parquet files are complete, with one partition's ids in memory at a time.

    Parameters
    ----------
    folder
        The catalog's folder.
    name
        The catalog's name.
    partitions
        Its partitions; without any, nothing is written.
    created
        Time of creation, ISO 8601.
    before
        Folder of an earlier catalog, whose equal files are shared; None if there is none.
    margin
        Path of the catalog's margin, relative to the collection; None to name none.
    """
    if not partitions:
        return
    own, earlier = folder / COLLECTION, None if before is None else before / COLLECTION
    n_rows = _write_index(folder, own / INDEX, partitions, None if earlier is None else earlier / INDEX)
    index = {
        "obs_collection": f"{name}_{_ID}",
        "dataproduct_type": "index",
        "hats_nrows": n_rows,
        "hats_primary_table_url": name,
        "hats_index_column": _ID,
        "hats_version": "v1.0",
    }
    put(own / INDEX, Path("hats.properties"), properties_text("HATS catalog", index))
    collection = {
        "obs_collection": f"{name}_collection",
        "hats_primary_table_url": "..",
        **({"all_margins": margin, "default_margin": margin} if margin else {}),
        "all_indexes": f"{_ID} {INDEX}",
        "default_index": _ID,
        "hats_builder": "surveyflow",
        "hats_creation_date": created,
        "hats_version": "v1.0",
    }
    put(own, Path("collection.properties"), properties_text("HATS collection", collection))


def _write_index(folder: Path, own: Path, partitions: Sequence[Partition], before: Path | None) -> int:
    """Write a part for each partition, and the footers of all parts together; returns the number of rows."""
    footers = []
    for number, partition in enumerate(partitions):
        path, part = Path("dataset", "index", f"part.{number}.parquet"), _part(folder, partition)
        put(own, path, part, before)
        footers.append(pq.read_metadata(pa.BufferReader(part)))
        footers[-1].set_file_path(str(path.relative_to("dataset")))
    schema, n_rows = footers[0].schema.to_arrow_schema(), int(sum(footer.num_rows for footer in footers))
    for footer in footers[1:]:
        footers[0].append_row_groups(footer)
    both, alone = pa.BufferOutputStream(), pa.BufferOutputStream()
    footers[0].write_metadata_file(both)
    pq.write_metadata(schema, alone)
    put(own, Path("dataset", "_metadata"), bytes(both.getvalue()), before)
    put(own, Path("dataset", "_common_metadata"), bytes(alone.getvalue()), before)
    return n_rows


def _part(folder: Path, partition: Partition) -> bytes:
    """The index of one partition, as a Parquet file: each id once, increasing, with the partition's place."""
    ids = np.unique(pq.read_table(folder / partition.path, columns=[_ID], partitioning=None)[_ID].to_numpy())
    place = {"Norder": np.uint8(partition.order), "Dir": np.uint64(partition.folder), "Npix": np.uint64(partition.pixel)}
    columns = {key: pa.array(np.full(len(ids), value)) for key, value in place.items()}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({_ID: ids} | columns), sink)
    return bytes(sink.getvalue())
