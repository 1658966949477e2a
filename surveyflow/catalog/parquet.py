"""The Parquet files of catalog rows and draws: compressed, in row groups, with the same bytes for the same values."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from surveyflow.catalog.columns import COLUMNS, STRING

ROWS_PER_GROUP = 32_768
DRAWS_PER_GROUP = 4_194_304
"""Draws in a row group, 16 MB: a reader of one row group holds them in memory."""

_STRINGS = [column.name for column in COLUMNS if column.type == STRING]
_FLOATS = [column.name for column in COLUMNS if pa.types.is_floating(column.type)]


def parquet_bytes(rows: pa.Table) -> bytes:
    """Make a Parquet file of catalog rows, in memory.

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


def draws_bytes(draws: pa.Table) -> bytes:
    """Make a Parquet file of draws, in memory.

    Parameters
    ----------
    draws
        Rows as `surveyflow.catalog.draws.build_draws` makes them.
    """
    sink = pa.BufferOutputStream()
    pq.write_table(
        draws,
        sink,
        row_group_size=max(1, DRAWS_PER_GROUP // draws.schema.field("p_pm").type.list_size),
        compression="zstd",
        use_dictionary=["field"],
        use_byte_stream_split=["p_pm.list.element"],
    )
    return bytes(sink.getvalue())
