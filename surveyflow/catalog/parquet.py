"""How catalog rows lie in a Parquet file: compressed, in row groups, and the same bytes for the same rows."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from surveyflow.catalog.columns import COLUMNS, STRING

ROWS_PER_GROUP = 32_768

_STRINGS = [column.name for column in COLUMNS if column.type == STRING]
_FLOATS = [column.name for column in COLUMNS if pa.types.is_floating(column.type)]


def parquet_bytes(rows: pa.Table) -> bytes:
    """A Parquet file of catalog rows, in memory.

    Parameters
    ----------
    rows
        Rows of the catalog's schema, in its order.
    """
    sink = pa.BufferOutputStream()
    pq.write_table(
        rows,
        sink,
        row_group_size=ROWS_PER_GROUP,
        compression="zstd",
        use_dictionary=_STRINGS,
        use_byte_stream_split=_FLOATS,
        sorting_columns=[pq.SortingColumn(0)],
    )
    return bytes(sink.getvalue())
