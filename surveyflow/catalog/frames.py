"""The catalog's rows as a pandas table, with the units, descriptions and derived columns that Parquet has no place for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from astropy.table.meta import get_header_from_yaml

from surveyflow.catalog.selection import no_such_column
from surveyflow.errors import InputError
from surveyflow.stats.fractions import called_post_merger
from surveyflow.values.codes import POST_MERGER, STAR_FORMING, ClassRule, flags_text

CLASS, FLAGS_TEXT = "class", "flags_text"
CLASSES = (POST_MERGER, STAR_FORMING)
"""The values of the derived column ``class``, and their order."""

_DERIVED: Mapping[str, tuple[tuple[str, ...], str]] = {
    CLASS: (
        ("p_pm_mean", "p_sf_mean"),
        f"{POST_MERGER} if p_pm_mean exceeds p_sf_mean, else {STAR_FORMING}, as in the authors' code; missing without a result.",
    ),
    FLAGS_TEXT: (("flags",), "Names of the bits that are set in flags, joined with |; empty if none is."),
}
"""The columns that are computed when a catalog is read: the stored columns that each needs, and its meaning."""

_NULLABLE = {
    pa.int8(): pd.Int8Dtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.uint8(): pd.UInt8Dtype(),
    pa.uint16(): pd.UInt16Dtype(),
    pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
}


def readable_columns(schema: pa.Schema) -> list[str]:
    """Every column that `to_frame` can make of a catalog: the stored ones, then those that are derived from them.

    Parameters
    ----------
    schema
        The catalog's schema. A stored column is never replaced by a derived one of the same name.
    """
    stored = set(schema.names)
    return [*schema.names, *(name for name, (needs, _) in _DERIVED.items() if name not in stored and stored.issuperset(needs))]


def stored_columns(wanted: Sequence[str], schema: pa.Schema) -> list[str]:
    """The stored columns that have to be read for the wanted ones, each once.

    Parameters
    ----------
    wanted
        Names of stored or derived columns.
    schema
        The catalog's schema.

    Raises
    ------
    InputError
        If there is no such column; the message suggests one with a similar name. Or if one text was given in place of a list.
    """
    known = readable_columns(schema)
    for name in listed_columns(wanted):
        if name not in known:
            raise no_such_column(name, known)
    return list(dict.fromkeys(part for name in wanted for part in _parts(name, schema)))


def listed_columns(wanted: Sequence[Any]) -> Sequence[str]:
    """Check that names of columns are a list of texts.

    Raises
    ------
    InputError
        If they are one text, or one of them is not a text.
    """
    if isinstance(wanted, str):
        raise InputError(f"columns is the text {wanted!r}, expected a list of names. Write columns=[{wanted!r}].")
    if strange := [name for name in wanted if not isinstance(name, str)]:
        raise InputError(f"columns holds {strange[0]!r:.60}, which is not the name of a column. Give names, in quotes.")
    return wanted


def to_frame(rows: pa.Table, wanted: Sequence[str], schema: pa.Schema) -> pd.DataFrame:
    """Make a pandas table of rows of a catalog.

    Parameters
    ----------
    rows
        Rows with at least the columns that `stored_columns` names.
    wanted
        Names of the table's columns, in order; a repeated name counts once.
    schema
        The catalog's schema, whose metadata describe its columns.

    Returns
    -------
    frame
        Integers and truth values that may be missing have pandas' nullable types, whatever the rows; other integers are numpy's.
        Floats are float32 or float64, with NaN where they are missing. A list of fixed size is a numpy array of its own type in
        each row, None where it is missing. ``frame.attrs`` holds ``units`` and ``descriptions`` by column; a dimensionless
        quantity has the unit ``""``; names, counts and codes have none.
    """
    names = list(dict.fromkeys(wanted))
    frame = pd.DataFrame({name: _derived(name, rows) if name not in schema.names else _stored(rows, name) for name in names})
    units, descriptions = _described(schema)
    frame.attrs["units"] = {name: units[name] for name in names if name in units}
    frame.attrs["descriptions"] = {name: descriptions[name] for name in names if name in descriptions}
    return frame


def list_values(column: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    """A column of lists of one fixed size as a two-dimensional array.

    Parameters
    ----------
    column
        (n,) lists of k numbers, none of them null.

    Returns
    -------
    (n, k), in the type of the list's items.
    """
    flat = pc.list_flatten(column).to_numpy()
    return np.asarray(flat.reshape(len(column), column.type.list_size))


def list_texts(column: pa.Array) -> pa.Array:
    """A column of lists of one fixed size as texts: the items separated by blanks; null if the first item is.

    Parameters
    ----------
    column
        (n,) lists of k numbers; the catalog writes a missing list as one of null items.
    """
    items = pc.fill_null(pc.list_flatten(column).cast(pa.string()), "")
    offsets = pa.array(np.arange(0, len(items) + 1, column.type.list_size, dtype=np.int32))
    joined = pc.binary_join(pa.ListArray.from_arrays(offsets, items), " ")
    return pc.if_else(pc.is_valid(pc.list_element(column, 0)), joined, None)


def _parts(name: str, schema: pa.Schema) -> Iterable[str]:
    return (name,) if name in schema.names else _DERIVED[name][0]


def _stored(rows: pa.Table, name: str) -> pd.Series[Any]:
    field, values = rows.schema.field(name), rows[name]
    if pa.types.is_fixed_size_list(field.type):
        return pd.Series(_arrays(values), dtype=object)
    mapper = _NULLABLE.get if field.nullable else None
    series: pd.Series[Any] = values.to_pandas(types_mapper=mapper)
    return series


def _arrays(values: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    """(n,) object: a numpy array for each list; None for a null list, and for one whose items are null, as the catalog has it."""
    arrays = np.full(len(values), None, object)
    first_items = pc.list_element(values, 0)
    kept = np.flatnonzero(np.asarray(pc.is_valid(first_items)))
    for row, items in zip(kept, list_values(values.take(pa.array(kept))), strict=True):
        arrays[row] = items
    return arrays


def _derived(name: str, rows: pa.Table) -> pd.Series[Any]:
    if name == FLAGS_TEXT:
        return pd.Series(flags_text(rows["flags"].to_numpy()))
    p_pm, p_sf = (rows[column].to_numpy() for column in ("p_pm_mean", "p_sf_mean"))
    merger = called_post_merger(p_pm, p_sf, p_pm, ClassRule.MEAN_OUTPUT)
    codes = np.where(
        np.isnan(p_pm) | np.isnan(p_sf), -1, np.where(merger, CLASSES.index(POST_MERGER), CLASSES.index(STAR_FORMING))
    )
    return pd.Series(pd.Categorical.from_codes(codes, categories=pd.Index(CLASSES)))


def column_entries(schema: pa.Schema) -> dict[str, dict[str, Any]]:
    """What the metadata that a revision was written with say of each column, as astropy writes it: name, unit, description, meta.

    Parameters
    ----------
    schema
        The revision's schema.
    """
    text = (schema.metadata or {}).get(b"table_meta_yaml", b"{datatype: []}").decode()
    return {entry["name"]: entry for entry in get_header_from_yaml(text.splitlines())["datatype"]}


def meaning_of_derived(name: str) -> str:
    """The meaning of a derived column; empty for any other."""
    return _DERIVED[name][1] if name in _DERIVED else ""


def with_derived(rows: pa.Table, wanted: Sequence[str]) -> pa.Table:
    """Make rows with the wanted columns, stored or derived, in their order.

    Parameters
    ----------
    rows
        Rows with at least the columns that `stored_columns` names.
    wanted
        Names of columns.
    """
    return pa.table({name: rows[name] if name in rows.schema.names else _derived_texts(name, rows) for name in wanted})


def _derived_texts(name: str, rows: pa.Table) -> pa.Array:
    return pa.array(_derived(name, rows).astype(object), pa.string(), from_pandas=True)


def _described(schema: pa.Schema) -> tuple[dict[str, str], dict[str, str]]:
    """Units and descriptions by column, from the metadata that the revision itself was written with."""
    entries = column_entries(schema)
    units = {name: str(entry["unit"]) for name, entry in entries.items() if entry.get("unit") is not None}
    descriptions = {name: str(entry["description"]) for name, entry in entries.items() if entry.get("description")}
    return units, {name: meaning for name, (_, meaning) in _DERIVED.items()} | descriptions
