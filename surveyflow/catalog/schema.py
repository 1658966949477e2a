"""The schema of the catalog, the rules that every row obeys, and the HEALPix cells that are its spatial index."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from astropy import units as u
from astropy.coordinates import Latitude, Longitude
from cdshealpix.nested import lonlat_to_healpix
from numpy.typing import NDArray

from surveyflow.catalog.columns import COLUMNS, HISTOGRAM, CatalogColumn, Null
from surveyflow.stats.posterior import HISTOGRAM_BINS
from surveyflow.values.arrays import BoolArray, Float64Array, Int64Array
from surveyflow.values.codes import Status

__all__ = ["CATALOG_SCHEMA", "FINEST_ORDER", "HISTOGRAM_BINS", "SCHEMA_VERSION", "SORT_ORDER", "UNIT_SCHEMA_VERSION"]
__all__ += ["build_rows", "cells_at", "check_declared", "check_rows", "completed", "healpix_29", "in_order"]
__all__ += ["schema_version", "span_29", "taken"]

FINEST_ORDER = 29
"""The order of the cells of the index ``_healpix_29``, nested scheme."""


def schema_version(columns: Sequence[CatalogColumn]) -> str:
    """Identify a schema by its columns: their names, types, units, null rules and order, not their descriptions.

    Parameters
    ----------
    columns
        The schema's columns, in order.

    Returns
    -------
    The first 12 hexadecimal digits of a SHA-256.
    """
    facts = [(column.name, str(column.type), column.unit, column.null_rule) for column in columns]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]


SCHEMA_VERSION = schema_version(COLUMNS)
"""Version of the catalog's schema."""

UNIT_SCHEMA_VERSION = schema_version([column for column in COLUMNS if not column.joined])
"""Version of the columns that units fill: part of every unit's key, so that rows of another schema are never reused."""

CATALOG_SCHEMA: pa.Schema = pa.schema([column.field for column in COLUMNS])

SORT_ORDER = [(name, "ascending") for name in ("_healpix_29", "field", "source_id")]
"""Order of the rows in every file."""


_ONLY_OK = (Null.UNLESS_MEASURED, Null.ONE_MEMBER, Null.NO_DOMAIN, Null.NO_CALIBRATION, Null.NO_PREVALENCE)
"""The rules of columns that are null wherever status is not ok, and may be null elsewhere."""


def build_rows(columns: Mapping[str, Any], n_rows: int) -> pa.Table:
    """Make catalog rows: complete, checked and in the catalog's order.

    Parameters
    ----------
    columns
        Values by name of column: an array of ``n_rows`` (NaN, None and masked values mean null), or one value for all rows.
        Nullable columns may be left out.
    n_rows
        Number of rows.

    Returns
    -------
    Rows of `CATALOG_SCHEMA`, sorted by ``_healpix_29``, ``field``, ``source_id``.

    Raises
    ------
    ValueError
        If a column is unknown, or has the wrong length or type; and as `check_rows`.
    """
    unknown = sorted(set(columns) - set(CATALOG_SCHEMA.names))
    if unknown:
        raise ValueError(f"the catalog has no columns {unknown}")
    arrays = [_arrow(column, columns.get(column.name), n_rows) for column in COLUMNS]
    table = pa.Table.from_arrays(arrays, schema=CATALOG_SCHEMA)
    check_rows(table)
    return in_order(table)


def in_order(rows: pa.Table) -> pa.Table:
    """Sort rows of the catalog, perhaps with kept columns behind its own, as `SORT_ORDER` says."""
    return taken(rows, pc.sort_indices(rows, SORT_ORDER))


def taken(rows: pa.Table, places: pa.Array) -> pa.Table:
    """Take rows of the catalog by their numbers, in half the time that ``rows.take`` needs."""
    return pa.Table.from_arrays([_taken(column, places) for column in rows.itercolumns()], schema=rows.schema)


def _taken(values: pa.ChunkedArray, places: pa.Array) -> pa.ChunkedArray | pa.Array:
    """Some values of a column; Arrow looks at each null, and takes the items of a histogram one by one."""
    if values.null_count == len(values):
        return pa.nulls(len(places), values.type)
    if values.type != HISTOGRAM or values.null_count:
        return values.take(places)
    items = values.combine_chunks().flatten()
    own, rows = slice(items.offset, items.offset + len(items)), np.asarray(places)
    is_valid, numbers = items.buffers()
    numbers = np.frombuffer(numbers, np.uint16)[own].reshape(-1, HISTOGRAM_BINS)[rows]
    if is_valid is not None:
        bits = np.unpackbits(np.frombuffer(is_valid, np.uint8), bitorder="little")[own].reshape(-1, HISTOGRAM_BINS)[rows]
        is_valid = pa.py_buffer(np.packbits(bits, bitorder="little"))
    chosen = pa.Array.from_buffers(items.type, numbers.size, [is_valid, pa.py_buffer(numbers)])
    return pa.FixedSizeListArray.from_arrays(chosen, type=HISTOGRAM)


def completed(rows: pa.Table) -> pa.Table:
    """Rows of a unit with nulls in the columns that units do not fill, if it was written before the catalog had them."""
    for place, column in enumerate(COLUMNS):
        if column.joined and column.name not in rows.column_names:
            rows = rows.add_column(min(place, rows.num_columns), column.field, pa.nulls(len(rows), column.type))
    return rows


def check_rows(table: pa.Table) -> None:
    """Check that rows obey the catalog's rules.

    Raises
    ------
    ValueError
        If the schema is not `CATALOG_SCHEMA`, a status is unknown, or a column is null where it must not be or not null
        where it must be.
    """
    check_declared(table, CATALOG_SCHEMA)
    strange = set(pc.unique(table["status"]).to_pylist()) - set(Status)
    if strange:
        raise ValueError(f"status must be one of {[str(word) for word in Status]}, not {sorted(strange)}")
    ok = pc.equal(table["status"], Status.OK.value)
    for column in COLUMNS:
        _check_nulls(column, table[column.name], ok)


def check_declared(table: pa.Table, schema: pa.Schema) -> None:
    """Check rows of any version of the schema, as far as Arrow can express its rules.

    Parameters
    ----------
    table
        The rows.
    schema
        The schema that they must have.

    Raises
    ------
    ValueError
        If names, types or order of the columns differ, or a column holds nulls that its field does not allow.
    """
    if not table.schema.equals(schema):
        raise ValueError(f"rows must have the catalog's schema, not {table.schema.to_string(show_schema_metadata=False)}")
    for field in schema:
        if not field.nullable and table[field.name].null_count:
            _refuse(field.name, Null.NEVER.value, np.asarray(pc.is_null(table[field.name])))


def _check_nulls(column: CatalogColumn, values: pa.ChunkedArray, ok: pa.ChunkedArray) -> None:
    is_empty = values.null_count == len(values)
    if column.null not in (Null.UNLESS_OK, *_ONLY_OK) or (is_empty and column.null is not Null.UNLESS_OK):
        return
    null = _null_rows(values)
    breaks = pc.invert(pc.xor(null, ok) if column.null is Null.UNLESS_OK else pc.or_(null, ok))
    if pc.any(breaks).as_py():
        _refuse(column.name, column.when_null, np.asarray(breaks))


def _refuse(name: str, when_null: str, breaks: BoolArray) -> None:
    """Raise an error if any row of a column breaks its rule."""
    rows = np.flatnonzero(breaks)
    if len(rows):
        raise ValueError(f"{name} is null {when_null}: {len(rows)} rows break that, the first is {rows[0]}")


def _null_rows(values: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    """(n,) bool: which rows of a column are null; a histogram is null if all its items are."""
    if values.type != HISTOGRAM or not len(values):
        return pc.is_null(values)
    null = pc.is_null(pc.list_flatten(values).combine_chunks())
    bits = np.unpackbits(np.frombuffer(null.buffers()[1], np.uint8), bitorder="little")[null.offset : null.offset + len(null)]
    return pa.array(bits.reshape(len(values), HISTOGRAM_BINS).all(axis=1))


def _arrow(column: CatalogColumn, values: Any, n_rows: int) -> pa.Array:
    """One column's values as an Arrow array; NaN, None and masked values become null."""
    if column.type == HISTOGRAM:
        return _histograms(values, n_rows)
    if values is None:
        return pa.nulls(n_rows, column.type)
    array = np.ma.asanyarray(values)
    array = np.full(n_rows, values) if array.ndim == 0 else array
    if array.shape != (n_rows,):
        raise ValueError(f"{column.name} must have shape ({n_rows},), not {array.shape}")
    return _converted(column.name, array, column.type) if n_rows else pa.nulls(0, column.type)


def _histograms(values: Any, n_rows: int) -> pa.Array:
    """Histograms as an Arrow array; a missing one has 50 null items, since astropy cannot read a null list of fixed size."""
    missing = np.ma.masked_array(np.zeros((n_rows, HISTOGRAM_BINS), np.uint16), mask=True)
    array = missing if values is None else np.ma.asanyarray(values)
    if array.shape != (n_rows, HISTOGRAM_BINS):
        raise ValueError(f"p_pm_hist must have shape ({n_rows}, {HISTOGRAM_BINS}), not {array.shape}")
    items = _converted("p_pm_hist", array.ravel(), HISTOGRAM.value_type)
    return pa.FixedSizeListArray.from_arrays(items, type=HISTOGRAM)


def _converted(name: str, array: NDArray[Any], kind: pa.DataType) -> pa.Array:
    values = np.ma.getdata(array)
    try:
        return pa.array(values, kind, mask=np.ma.getmaskarray(array) | pd.isna(values))
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise ValueError(f"{name} must hold {kind}: {error}") from error


def healpix_29(ra_deg: Float64Array, dec_deg: Float64Array) -> Int64Array:
    """Find the cells of order 29 that hold positions, nested scheme; each cell is 0.4 mas wide.

    Parameters
    ----------
    ra_deg, dec_deg
        (n,) float64, ICRS degrees, finite; -90 <= dec <= 90.

    Returns
    -------
    (n,) int64

    Examples
    --------
    >>> healpix_29(np.array([150.1]), np.array([2.2]))
    array([1918129809776324852])
    """
    lon, lat = Longitude(ra_deg, u.deg), Latitude(dec_deg, u.deg)
    return np.asarray(lonlat_to_healpix(lon, lat, FINEST_ORDER, num_threads=1)).astype(np.int64)


def cells_at(order: int, cells_29: Int64Array) -> Int64Array:
    """Find the cells of a coarser order that contain cells of order 29.

    Parameters
    ----------
    order
        0 to 29.
    cells_29
        (n,) int64.
    """
    return cells_29 >> 2 * (FINEST_ORDER - order)


def span_29(order: int, cell: int) -> tuple[int, int]:
    """The half-open range of cells of order 29 inside a coarser cell."""
    shift = 2 * (FINEST_ORDER - order)
    return cell << shift, (cell + 1) << shift
