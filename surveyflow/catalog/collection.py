"""A HATS collection beside a catalog: an index that says in which partitions a source lies, and the place of the margin.

``<catalog>/collection`` is a collection whose primary table is the catalog around it (HATS 1.0, IVOA Note). Its margin lies
elsewhere: a margin's files have the names of partitions, and strict validation would count them as the catalog's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from surveyflow.catalog.hats import Partition, properties_text, put
from surveyflow.values.arrays import Int64Array

COLLECTION = "collection"
INDEX = "index_source_id"
"""Folder of the index in the collection."""
_ID = "source_id"


@dataclass(frozen=True, slots=True)
class IndexPart:
    """The index of one partition: each id once, increasing, with the partition's place.

    Parameters
    ----------
    partition
        The partition.
    own
        The index's folder.
    path
        Path of the part in it.
    before
        Folder of an earlier index, whose equal files are shared; None if there is none.
    scratch
        As in `surveyflow.catalog.hats.put`.
    """

    partition: Partition
    own: Path
    path: Path
    before: Path | None
    scratch: Path | None

    def write(self, ids: Int64Array) -> bytes:
        """Write the part, and return its footer as a Parquet file.

        Parameters
        ----------
        ids
            (n,) int64: the partition's ids, in any order; they may repeat.
        """
        part = _part(ids, self.partition)
        put(self.own, self.path, part, self.before, self.scratch)
        footer, sink = pq.read_metadata(pa.BufferReader(part)), pa.BufferOutputStream()
        footer.set_file_path(str(self.path.relative_to("dataset")))
        footer.write_metadata_file(sink)
        return bytes(sink.getvalue())


def index_parts(
    folder: Path, partitions: Sequence[Partition], before: Path | None = None, scratch: Path | None = None
) -> list[IndexPart]:
    """The parts of a catalog's index, in the order of the partitions.

    Parameters
    ----------
    folder
        The catalog's folder.
    partitions
        Its partitions.
    before
        Folder of an earlier catalog, whose equal files are shared; None if there is none.
    scratch
        As in `surveyflow.catalog.hats.put`.
    """
    own, earlier = folder / COLLECTION / INDEX, None if before is None else before / COLLECTION / INDEX
    return [
        IndexPart(partition, own, Path("dataset", "index", f"part.{number}.parquet"), earlier, scratch)
        for number, partition in enumerate(partitions)
    ]


def write_collection(
    folder: Path,
    name: str,
    footers: Sequence[bytes],
    created: str,
    before: Path | None = None,
    *,
    margin: str | None = None,
    n_bytes: int | None = None,
) -> None:
    """Write the collection of a catalog whose Parquet files and parts of the index are complete.

    Parameters
    ----------
    folder
        The catalog's folder.
    name
        The catalog's name.
    footers
        What `IndexPart.write` returned of each part; without any, nothing is written.
    created
        Time of creation, ISO 8601.
    before
        Folder of an earlier catalog, whose equal files are shared; None if there is none.
    margin
        Path of the catalog's margin, relative to the collection; None to name none.
    n_bytes
        Size of the catalog's Parquet files, bytes; not stated if left out.
    """
    if not footers:
        return
    own, earlier = folder / COLLECTION, None if before is None else before / COLLECTION
    n_rows = _write_index(own / INDEX, footers, None if earlier is None else earlier / INDEX)
    index = {
        "obs_collection": f"{name}_{_ID}",
        "dataproduct_type": "index",
        "hats_nrows": n_rows,
        "hats_primary_table_url": name,
        "hats_index_column": _ID,
        "hats_builder": "surveyflow",
        "hats_creation_date": created,
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
        **({} if n_bytes is None else {"hats_estsize": n_bytes // 1024}),
        "hats_version": "v1.0",
    }
    put(own, Path("collection.properties"), properties_text("HATS collection", collection))


def _write_index(own: Path, footers: Sequence[bytes], before: Path | None) -> int:
    """Write the footers of all parts together; returns the number of rows."""
    every = pq.read_metadata(pa.BufferReader(footers[0]))
    schema = every.schema.to_arrow_schema()
    for footer in footers[1:]:
        every.append_row_groups(pq.read_metadata(pa.BufferReader(footer)))
    both, alone = pa.BufferOutputStream(), pa.BufferOutputStream()
    every.write_metadata_file(both)
    pq.write_metadata(schema, alone)
    put(own, Path("dataset", "_metadata"), bytes(both.getvalue()), before)
    put(own, Path("dataset", "_common_metadata"), bytes(alone.getvalue()), before)
    return int(every.num_rows)


def _part(ids: Int64Array, partition: Partition) -> bytes:
    """The index of one partition, as a Parquet file."""
    ordered = np.sort(ids)
    once = ordered[np.append(True, ordered[1:] != ordered[:-1])]
    place = {"Norder": np.uint8(partition.order), "Dir": np.uint64(partition.folder), "Npix": np.uint64(partition.pixel)}
    columns = {key: pa.array(np.full(len(once), value)) for key, value in place.items()}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({_ID: once} | columns), sink, use_dictionary=list(columns))
    return bytes(sink.getvalue())
