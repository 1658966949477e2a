"""The Parquet files of catalog rows and draws, with the meaning of their columns, and the same bytes for the same values."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from astropy import units as u
from astropy.io.votable.tree import Field, Resource, TableElement, VOTableFile
from astropy.table import Column, Table
from astropy.table.meta import get_yaml_from_table

from surveyflow.catalog.columns import COLUMNS, HISTOGRAM, STRING, CatalogColumn
from surveyflow.catalog.kept import kept_field, kept_of_schema
from surveyflow.catalog.schema import CATALOG_SCHEMA, HISTOGRAM_BINS, SCHEMA_VERSION

_LENGTH_OF_NONE = len(str(None))
"""Astropy reads a null string as the word None."""
_FIRST_MARK = 9_000_000_000
"""Beyond any length of a string in a Parquet file."""
_PERCENT = "%"
"""A unit that is valid in a VOTable, but astropy warns when it reads one; the column's name says it, too."""
_VOTABLE_TYPES = {
    pa.uint8(): "unsignedByte",
    pa.int8(): "short",
    pa.int16(): "short",
    pa.uint16(): "int",
    pa.int32(): "int",
    pa.uint32(): "long",
    pa.int64(): "long",
    pa.float32(): "float",
    pa.float64(): "double",
    STRING: "unicodeChar",
}
"""The type of a VOTable that holds every value of an Arrow type; truth values are left out of the VOTable, since astropy cannot
join its type for them with a column of Parquet that has nulls."""


@dataclass(frozen=True, slots=True)
class RowFacts:
    """The facts about a file's rows that its metadata states.

    Parameters
    ----------
    weights_origins
        The origins of the weights that the results were computed with, sorted; empty without results.
    string_lengths
        Length of the longest string of each string column.
    kept
        The columns of the source lists behind the catalog's own.
    """

    weights_origins: tuple[str, ...] = ()
    string_lengths: Mapping[str, int] = field(default_factory=dict)
    kept: tuple[CatalogColumn, ...] = ()

    @classmethod
    def of(cls, rows: pa.Table) -> Self:
        """Gather the facts of catalog rows."""
        origins = pc.unique(rows["weights_origin"].drop_null()).to_pylist()
        lengths = {name: _longest(rows[name]) for name in _strings(rows.schema)}
        return cls(tuple(sorted(origins)), lengths, kept_of_schema(rows.schema))

    def __or__(self, other: Self) -> Self:
        """Combine the facts of two sets of rows."""
        origins = {*self.weights_origins, *other.weights_origins}
        names = dict.fromkeys([*self.string_lengths, *other.string_lengths])
        lengths = {name: max(self.string_lengths.get(name, 0), other.string_lengths.get(name, 0)) for name in names}
        return type(self)(tuple(sorted(origins)), lengths, self.kept or other.kept)


def _longest(strings: pa.ChunkedArray) -> int:
    """Length of the longest string; 0 if all are null."""
    longest: int = 0 if strings.null_count == len(strings) else pc.max(pc.utf8_length(strings)).as_py()
    return longest


def described_schema(facts: RowFacts) -> pa.Schema:
    """The catalog's schema with the meaning of its columns and the origins of the rows' weights.

    The metadata depends only on the rows, so equal rows make equal files.

    Parameters
    ----------
    facts
        The facts of the file's rows.

    Returns
    -------
    schema
        With the metadata keys ``surveyflow``, ``table_meta_yaml``, ``table::len::*`` and ``IVOA.VOTable-Parquet.*``.
    """
    schema = pa.schema([*CATALOG_SCHEMA, *map(kept_field, facts.kept)])
    lengths = {name: max(facts.string_lengths.get(name, 0), _LENGTH_OF_NONE) for name in _strings(schema)}
    metadata = {
        "surveyflow": json.dumps(_about(facts.weights_origins)),
        "table_meta_yaml": _astropy_yaml(facts.weights_origins, facts.kept),
        "IVOA.VOTable-Parquet.version": "1.0",
        "IVOA.VOTable-Parquet.content": _votable(facts.weights_origins, facts.kept, lengths),
    }
    return schema.with_metadata(metadata | {f"table::len::{name}": str(length) for name, length in lengths.items()})


def _about(origins: tuple[str, ...]) -> dict[str, object]:
    return {"schema_version": SCHEMA_VERSION, "weights_origin": list(origins)}


def _strings(schema: pa.Schema) -> list[str]:
    return [column.name for column in schema if column.type == STRING]


@cache
def _astropy_yaml(origins: tuple[str, ...], kept: tuple[CatalogColumn, ...]) -> str:
    """The description of the columns that astropy's own Parquet writer would write."""
    columns = [_astropy_column(column) for column in (*COLUMNS, *kept)]
    return "\n".join(get_yaml_from_table(Table(columns, meta=_about(origins))))


def _astropy_column(column: CatalogColumn) -> Column:
    is_list = column.type == HISTOGRAM
    kind = column.type.value_type if is_list else column.type
    return Column(
        name=column.name,
        dtype="U1" if kind == STRING else kind.to_pandas_dtype(),
        shape=(HISTOGRAM_BINS,) if is_list else (),
        unit=None if column.unit is None else u.Unit(column.unit),
        description=column.description,
        meta={"ucd": column.ucd} if column.ucd else None,
    )


def _votable(origins: tuple[str, ...], kept: tuple[CatalogColumn, ...], string_lengths: Mapping[str, int]) -> str:
    """A VOTable without data, as the IVOA Note "Parquet in the VO" 1.0 asks for.

    Astropy takes a quarter of a second for it, and each partition has other lengths of strings. So the rest is made once.
    """
    text = _votable_with_marks(origins, kept, tuple(string_lengths))
    for mark, length in enumerate(string_lengths.values(), _FIRST_MARK):
        text = text.replace(f'arraysize="{mark}"', f'arraysize="{length}"')
    return text


@cache
def _votable_with_marks(origins: tuple[str, ...], kept: tuple[CatalogColumn, ...], strings: tuple[str, ...]) -> str:
    """The VOTable with a number that no string is long in the place of each string column's length, in order."""
    votable = VOTableFile(version="1.4")
    resource, table = Resource(), TableElement(votable, name="surveyflow")
    table.description = f"Merger probability distributions by surveyflow; weights: {', '.join(origins) or 'none'}."
    sizes = {name: str(mark) for mark, name in enumerate(strings, _FIRST_MARK)} | {"p_pm_hist": str(HISTOGRAM_BINS)}
    table.fields.extend([_votable_field(votable, column, sizes.get(column.name)) for column in COLUMNS])
    others = [_in_vounits(column) for column in kept if column.type in _VOTABLE_TYPES]
    table.fields.extend([_votable_field(votable, column, sizes.get(column.name)) for column in others])
    resource.tables.append(table)
    votable.resources.append(resource)
    content = io.BytesIO()
    votable.to_xml(content)
    return content.getvalue().decode()


def _votable_field(votable: VOTableFile, column: CatalogColumn, array_size: str | None) -> Field:
    """Describe a column; strings have a fixed size, since astropy cannot join fields of variable size with Parquet's strings."""
    entry = Field(
        votable,
        name=column.name,
        datatype="int" if column.type == HISTOGRAM else _VOTABLE_TYPES[column.type],
        arraysize=array_size,
        unit=None if column.unit in ("", _PERCENT) else column.unit,
        ucd=column.ucd or None,
    )
    entry.description = column.description
    return entry


def _in_vounits(column: CatalogColumn) -> CatalogColumn:
    """A kept column without its unit, if a VOTable cannot state that."""
    if not column.unit:
        return column
    with warnings.catch_warnings():
        warnings.simplefilter("error", u.UnitsWarning)
        try:
            return replace(column, unit=u.Unit(column.unit).to_string("vounit"))
        except (ValueError, u.UnitsWarning):
            return replace(column, unit=None)


_HISTOGRAMS = "p_pm_hist"
_HISTOGRAM_ITEMS = f"{_HISTOGRAMS}.list.element"
"""Few different numbers: with a dictionary they take three quarters of the space, and less time to write and to read."""
_PACKED = pa.binary(2 * HISTOGRAM_BINS)
"""A histogram as bytes, the lower of each item's two first: Arrow writes and reads it as one value."""
ROWS_PER_GROUP = 32_768
DRAWS_PER_GROUP = 4_194_304
"""Draws in a row group, 16 MB: a reader of one row group holds them in memory."""


def parquet_bytes(rows: pa.Table, compression: str = "zstd") -> bytes:
    """Make a Parquet file of catalog rows, in memory.

    Parameters
    ----------
    rows
        Rows of the catalog's schema, in its order, perhaps with kept columns behind them.
    compression
        ``zstd``, or ``lz4`` for small files that are read again soon: a tenth larger, and read in two thirds of the time.
    """
    sink = pa.BufferOutputStream()
    pq.write_table(
        rows,
        sink,
        row_group_size=ROWS_PER_GROUP,
        write_batch_size=ROWS_PER_GROUP,
        compression=compression,
        use_dictionary=[*_strings(rows.schema), _HISTOGRAM_ITEMS],
        use_byte_stream_split=[column.name for column in rows.schema if pa.types.is_floating(column.type)],
        sorting_columns=[pq.SortingColumn(0)],
    )
    return bytes(sink.getvalue())


def unit_bytes(rows: pa.Table) -> bytes:
    """Make the Parquet file of a unit's rows, in memory, which `rows_of_unit` reads faster than a file of the catalog.

    Parameters
    ----------
    rows
        Rows of the catalog's schema, in its order.
    """
    place = rows.schema.get_field_index(_HISTOGRAMS)
    return parquet_bytes(rows.set_column(place, _HISTOGRAMS, _packed(rows[_HISTOGRAMS])), "lz4")


def rows_of_unit(stored: pa.Table) -> pa.Table:
    """Restore a unit's rows, or some of their columns.

    Parameters
    ----------
    stored
        What was read of a file of `unit_bytes`, or of one that holds histograms as the catalog does.
    """
    place = stored.schema.get_field_index(_HISTOGRAMS)
    if place < 0 or stored.schema.field(place).type != _PACKED:
        return stored
    return stored.set_column(place, CATALOG_SCHEMA.field(_HISTOGRAMS), _unpacked(stored.column(place)))


def _packed(histograms: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    """Histograms as `_PACKED`; unchanged if items of one are null and others are not."""
    items = pc.list_flatten(histograms).combine_chunks()
    null = np.asarray(items.is_null()).reshape(-1, HISTOGRAM_BINS)
    if histograms.null_count or (null.any(axis=1) != null.all(axis=1)).any():
        return histograms
    numbers = np.asarray(items.fill_null(0)).astype("<u2")
    is_valid = np.packbits(~null[:, 0], bitorder="little")
    return pa.Array.from_buffers(_PACKED, len(null), [pa.py_buffer(is_valid), pa.py_buffer(numbers)])


def _unpacked(packed: pa.ChunkedArray) -> pa.FixedSizeListArray:
    """Histograms that were `_packed`; those that are null have null items."""
    is_valid = np.repeat(np.asarray(packed.is_valid()), HISTOGRAM_BINS)
    values = packed.combine_chunks()
    numbers = np.frombuffer(values.buffers()[1] or b"", "<u2", len(is_valid), values.offset * _PACKED.byte_width)
    bits = pa.py_buffer(np.packbits(is_valid, bitorder="little"))
    items = pa.Array.from_buffers(HISTOGRAM.value_type, len(numbers), [bits, pa.py_buffer(numbers.astype(np.uint16, copy=False))])
    return pa.FixedSizeListArray.from_arrays(items, type=HISTOGRAM)


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
