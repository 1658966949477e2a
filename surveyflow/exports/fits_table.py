"""A selection as a FITS binary table, written row block by row block.

The header is the one that astropy writes for such a table, so that ``Table.read`` gives units, descriptions and UCDs back; TUCD
and TCOMM say the same to TOPCAT and others. A missing integer has the value of TNULL, a missing number is NaN, and a missing
text is empty.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from astropy import units as u
from astropy.io import fits
from astropy.table import Column, Table
from numpy.typing import NDArray

from surveyflow.catalog.frames import list_values
from surveyflow.errors import InputError
from surveyflow.exports.selected import ExportColumn, Selected
from surveyflow.exports.units import in_notation

_BLOCK = 2880
_INTEGERS = {
    pa.bool_(): ">u1",
    pa.int8(): ">i2",
    pa.uint8(): ">i2",
    pa.int16(): ">i4",
    pa.uint16(): ">i4",
    pa.int32(): ">i4",
    pa.uint32(): ">i8",
    pa.int64(): ">i8",
    pa.uint64(): ">i8",
}
"""The type of FITS that holds every value of an Arrow type, or all but those that a catalog does not have. A truth value is 0 or
1, since astropy reads a missing value of the type L as false."""
_FLOATS = {pa.float32(): ">f4", pa.float64(): ">f8"}
_CARDS = {"survey": "SURVEY", "revision": "REVISION", "published": "PUBDATE", "selection": "SELECTED"}
_CARDS |= {"weights_origin": "WEIGHTS", "warning": "WARNING", "made_with": "CREATOR"}


@dataclass(frozen=True, slots=True)
class _Form:
    """How a column is stored: its numpy type with the byte order of FITS, items in a cell, and the value that means null."""

    column: ExportColumn
    dtype: np.dtype[Any]
    n_items: int = 1
    null: int | None = None


def write_fits(selected: Selected, stream: BinaryIO) -> None:
    """Write a selection as a FITS file with one binary table.

    Parameters
    ----------
    selected
        The selection.
    stream
        The file.

    Raises
    ------
    InputError
        If an integer cannot be told from a missing one.
    CatalogError
        If a file of the catalog is damaged.
    """
    widths = _text_widths(selected)
    forms = [_form(in_notation(column, "fits"), widths.get(column.name, 1)) for column in selected.columns]
    stream.write(fits.PrimaryHDU().header.tostring().encode("ascii"))
    stream.write(_header(selected, forms).tostring().encode("ascii"))
    n_bytes = 0
    for rows in selected.batches():
        n_bytes += stream.write(_records(rows, forms).tobytes())
    stream.write(bytes(-n_bytes % _BLOCK))


def ascii_text(text: str) -> str:
    """A text as FITS can hold it: other characters are written as Python escapes them, line breaks as blanks."""
    return " ".join(text.split()).encode("ascii", "backslashreplace").decode()


def _text_widths(selected: Selected) -> dict[str, int]:
    """Bytes of the longest text of each column of texts; at least 1."""
    names = [column.name for column in selected.columns if pa.types.is_string(column.type)]
    widths = dict.fromkeys(names, 1)
    for rows in selected.batches(names):
        for name in names:
            widths[name] = max(widths[name], _texts(rows[name]).dtype.itemsize)
    return widths


def _form(column: ExportColumn, width: int) -> _Form:
    if pa.types.is_string(column.type):
        return _Form(column, np.dtype(f"S{width}"))
    if pa.types.is_fixed_size_list(column.type):
        return _Form(column, np.dtype(">i4"), column.type.list_size, int(np.iinfo(np.int32).min))
    if column.type in _FLOATS:
        return _Form(column, np.dtype(_FLOATS[column.type]))
    dtype = np.dtype(_INTEGERS[column.type])
    limits = np.iinfo(dtype)
    return _Form(column, dtype, null=(limits.max if dtype.kind == "u" else limits.min) if column.nullable else None)


def _header(selected: Selected, forms: Sequence[_Form]) -> fits.Header:
    header = _header_of(Table([_empty_column(form) for form in forms]))
    for number, form in enumerate(forms, start=1):
        _describe(header, number, form)
    header["EXTNAME"], header["NAXIS2"] = "CATALOG", selected.n_rows
    header.update({_CARDS[key]: ascii_text(text) for key, text in selected.about.items()})
    return header


def _header_of(table: Table) -> fits.Header:
    """The header that astropy writes for a table, with the comments in which it keeps descriptions."""
    content = io.BytesIO()
    table.write(content, format="fits")
    content.seek(0)
    return fits.getheader(content, 1)


def _describe(header: fits.Header, number: int, form: _Form) -> None:
    if form.null is not None:
        header.set(f"TNULL{number}", form.null, after=f"TFORM{number}")
    for key, text in (("TUCD", form.column.ucd), ("TCOMM", form.column.description)):
        if text:
            header[f"{key}{number}"] = ascii_text(text)


def _empty_column(form: _Form) -> Column:
    column = form.column
    return Column(
        name=ascii_text(column.name),
        dtype=form.dtype.newbyteorder("="),
        length=0,
        shape=(form.n_items,) if form.n_items > 1 else (),
        unit=None if column.unit is None else u.Unit(column.unit, format="fits"),
        description=ascii_text(column.description) or None,
        meta={"ucd": column.ucd} if column.ucd else None,
    )


def _records(rows: pa.Table, forms: Sequence[_Form]) -> NDArray[np.void]:
    fields = [(f"c{number}", form.dtype, (form.n_items,) if form.n_items > 1 else ()) for number, form in enumerate(forms)]
    records = np.zeros(len(rows), dtype=fields)
    for number, form in enumerate(forms):
        records[f"c{number}"] = _values(rows[form.column.name], form)
    return records


def _values(column: pa.ChunkedArray, form: _Form) -> NDArray[Any]:
    if pa.types.is_string(column.type):
        return _texts(column)
    if form.n_items > 1:
        return _lists(column, form)
    if form.null is None:
        return np.asarray(column.to_numpy())
    values = np.asarray(pc.fill_null(column, False if pa.types.is_boolean(column.type) else 0))
    null = np.asarray(pc.is_null(column))
    if (values[~null].astype(np.int64, casting="unsafe") == form.null).any() or values.max(initial=0) > np.iinfo(np.int64).max:
        raise InputError(
            f"the column {form.column.name} holds an integer that FITS cannot tell from a missing one ({form.null}). Leave the "
            "column out with --columns, or export another format."
        )
    return np.asarray(np.where(null, form.null, values.astype(form.dtype)))


def _lists(column: pa.ChunkedArray, form: _Form) -> NDArray[Any]:
    """(n, items): lists of numbers; a list with null items, as the catalog writes one that is missing, holds the null value."""
    lists = pc.is_valid(pc.list_element(column, 0))
    cells = np.full((len(column), form.n_items), form.null, form.dtype)
    cells[np.asarray(lists)] = list_values(column.filter(lists))
    return cells


def _texts(column: pa.ChunkedArray) -> NDArray[np.bytes_]:
    """(n,) texts in ASCII."""
    encoded = column.combine_chunks().dictionary_encode()
    words = np.array([ascii_text(word or "").encode() for word in encoded.dictionary.to_pylist()] or [b""], np.bytes_)
    places = np.asarray(pc.fill_null(encoded.indices, -1))
    return np.asarray(np.where(places < 0, np.bytes_(b""), words[places]))
