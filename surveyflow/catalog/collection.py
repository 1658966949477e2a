"""A HATS collection beside a catalog: an index that says in which partitions a source lies, and the place of the margin.

``<catalog>/collection`` is a collection whose primary table is the catalog around it (HATS 1.0, IVOA Note). Its margin lies
elsewhere: a margin's files have the names of partitions, and strict validation would count them as the catalog's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from surveyflow.catalog.hats import Partition, properties_text, put
from surveyflow.values.jobs import Doing, in_this_process

COLLECTION = "collection"
INDEX = "index_source_id"
"""Folder of the index in the collection."""
_ID = "source_id"


@dataclass(frozen=True, slots=True)
class WriteIndexPart:
    """A task that writes the index of one partition: each id once, increasing, with the partition's place.

    Parameters
    ----------
    folder
        The catalog's folder.
    partition
        The partition.
    own
        The index's folder.
    path
        Path of the part in it.
    before, scratch
        As in `write_collection`.
    """

    verb: ClassVar[str] = "index"

    folder: Path
    partition: Partition
    own: Path
    path: Path
    before: Path | None
    scratch: Path | None

    def carry_out(self) -> bytes:
        """Write the part, and return its footer as a Parquet file."""
        part = _part(self.folder, self.partition)
        put(self.own, self.path, part, self.before, self.scratch)
        footer, sink = pq.read_metadata(pa.BufferReader(part)), pa.BufferOutputStream()
        footer.set_file_path(str(self.path.relative_to("dataset")))
        footer.write_metadata_file(sink)
        return bytes(sink.getvalue())


def write_collection(
    folder: Path,
    name: str,
    partitions: Sequence[Partition],
    created: str,
    before: Path | None = None,
    *,
    margin: str | None = None,
    do: Doing = in_this_process,
    scratch: Path | None = None,
) -> None:
    """Write the collection of a catalog whose Parquet files are complete, with one partition's ids in a process's memory.

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
    do
        Has the tasks carried out.
    scratch
        As in `surveyflow.catalog.hats.put`.
    """
    if not partitions:
        return
    own, earlier = folder / COLLECTION, None if before is None else before / COLLECTION
    index_before = None if earlier is None else earlier / INDEX
    tasks = [
        WriteIndexPart(folder, partition, own / INDEX, _part_path(number), index_before, scratch)
        for number, partition in enumerate(partitions)
    ]
    n_rows = _write_index(own / INDEX, tasks, index_before, do)
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


def _write_index(own: Path, tasks: Sequence[WriteIndexPart], before: Path | None, do: Doing) -> int:
    """Write a part for each partition, and the footers of all parts together; returns the number of rows."""
    footers = [pq.read_metadata(pa.BufferReader(footer)) for footer in do(tasks)]
    schema, n_rows = footers[0].schema.to_arrow_schema(), int(sum(footer.num_rows for footer in footers))
    for footer in footers[1:]:
        footers[0].append_row_groups(footer)
    both, alone = pa.BufferOutputStream(), pa.BufferOutputStream()
    footers[0].write_metadata_file(both)
    pq.write_metadata(schema, alone)
    put(own, Path("dataset", "_metadata"), bytes(both.getvalue()), before)
    put(own, Path("dataset", "_common_metadata"), bytes(alone.getvalue()), before)
    return n_rows


def _part_path(number: int) -> Path:
    return Path("dataset", "index", f"part.{number}.parquet")


def _part(folder: Path, partition: Partition) -> bytes:
    """The index of one partition, as a Parquet file: each id once, increasing, with the partition's place."""
    ids = np.unique(pq.read_table(folder / partition.path, columns=[_ID], partitioning=None)[_ID].to_numpy())
    place = {"Norder": np.uint8(partition.order), "Dir": np.uint64(partition.folder), "Npix": np.uint64(partition.pixel)}
    columns = {key: pa.array(np.full(len(ids), value)) for key, value in place.items()}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({_ID: ids} | columns), sink)
    return bytes(sink.getvalue())
