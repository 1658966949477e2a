"""The statistics of every column in every partition, by which readers choose partitions without opening their files.

``per_partition_statistics.parquet`` has a row for each group of rows of a partition's file, with what the file's footer says of
each column: least and greatest value, and numbers of nulls, values and bytes. LSDB reads it for `per_partition_statistics` and
`aggregate_column_statistics` (hats 0.9 and later).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from surveyflow.catalog.hats import Partition
from surveyflow.files.durable import explained

STATISTICS = "per_partition_statistics.parquet"
"""Name of the file in a catalog's folder."""
_PLACE = ("Norder", "Npix", "row_group_index")
_LIMITS = ("min_value", "max_value")
_NUMBERS = ("null_count", "row_count", "disk_bytes", "memory_bytes")
_PIECES_AT_A_TIME = 64


def keep_statistics(scratch: Path, rows: pa.Schema, footers: Sequence[tuple[Partition, pq.FileMetaData]]) -> Path:
    """Keep the statistics of some partitions, until those of all are there.

    Parameters
    ----------
    scratch
        An existing folder.
    rows
        The schema of the rows.
    footers
        The partitions, at least one, with the footers of their Parquet files.

    Returns
    -------
    A file in that folder, whose name depends on the first partition alone.
    """
    groups = [(partition, footer, number) for partition, footer in footers for number in range(footer.num_row_groups)]
    columns = zip(*(_row(*group) for group in groups), strict=True)
    table = pa.Table.from_arrays(list(map(pa.array, columns, _schema(rows).types)), schema=_schema(rows))
    first, _ = footers[0]
    path = scratch / f".statistics-{first.order}-{first.pixel}.arrow"
    own = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    with explained(path):
        with pa.OSFile(str(own), "wb") as file, pa.ipc.new_file(file, table.schema) as kept:
            kept.write_table(table)
        return own.replace(path)


def combined_statistics(pieces: Sequence[Path]) -> bytes:
    """Put the statistics of all partitions into one Parquet file.

    Parameters
    ----------
    pieces
        The files of `keep_statistics`, at least one, which are removed.
    """
    sink = pa.BufferOutputStream()
    plain = {"use_dictionary": False, "write_statistics": False, "store_schema": False}  # half as large with hundreds of columns
    with pq.ParquetWriter(sink, _read(pieces[0]).schema, compression="zstd", **plain) as writer:
        for start in range(0, len(pieces), _PIECES_AT_A_TIME):
            writer.write_table(pa.concat_tables(map(_read, pieces[start : start + _PIECES_AT_A_TIME])))
    for path in pieces:
        path.unlink()
    return bytes(sink.getvalue())


def _read(piece: Path) -> pa.Table:
    with pa.OSFile(str(piece)) as file:
        return pa.ipc.open_file(file).read_all()


def _schema(rows: pa.Schema) -> pa.Schema:
    columns = [(name, pa.int64()) for name in _PLACE]
    for field in rows:
        kind = field.type.value_type if pa.types.is_fixed_size_list(field.type) else field.type
        columns += [(f"{field.name}::{name}", kind) for name in _LIMITS]
        columns += [(f"{field.name}::{name}", pa.int64()) for name in _NUMBERS]
    return pa.schema(columns)


def _row(partition: Partition, footer: pq.FileMetaData, number: int) -> tuple[Any, ...]:
    group = footer.row_group(number)
    columns = map(group.column, range(group.num_columns))
    return (partition.order, partition.pixel, number, *(value for column in columns for value in _of_column(column)))


def _of_column(column: pq.ColumnChunkMetaData) -> Iterator[Any]:
    """Least and greatest value, where the footer has them, and numbers of nulls, values and bytes."""
    stated = column.statistics
    yield from (stated.min, stated.max, stated.null_count) if stated is not None else (None, None, 0)
    yield from (column.num_values, column.total_compressed_size, column.total_uncompressed_size)
