"""A selection as a VOTable, written row block by row block; astropy writes the description of its columns."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
from astropy.io.votable.tree import Field, Info, Resource, TableElement, VOTableFile

from surveyflow.catalog.frames import list_texts
from surveyflow.exports.selected import ExportColumn, Selected
from surveyflow.exports.units import in_notation

_TYPES = {
    pa.bool_(): "boolean",
    pa.int8(): "short",
    pa.uint8(): "unsignedByte",
    pa.int16(): "short",
    pa.uint16(): "int",
    pa.int32(): "int",
    pa.uint32(): "long",
    pa.int64(): "long",
    pa.uint64(): "long",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.string(): "unicodeChar",
}
_END = b"</TABLE>"
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_NOT_IN_XML = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x{fffe}\x{ffff}]"


def write_votable(selected: Selected, stream: BinaryIO) -> None:
    """Write a selection as a VOTable 1.4; an empty cell is a missing value.

    Parameters
    ----------
    selected
        The selection.
    stream
        The file.

    Raises
    ------
    CatalogError
        If a file of the catalog is damaged.
    """
    head, _, tail = _description(selected).partition(_END)
    stream.write(head + b"<DATA><TABLEDATA>\n")
    for rows in selected.batches():
        stream.write(_cells(rows))
    stream.write(b"</TABLEDATA></DATA>\n" + _END + tail)


def xml_text(text: str) -> str:
    """A text without the characters that XML has no place for; markup stays, for the writer to escape."""
    return str(pc.replace_substring_regex(text, _NOT_IN_XML, "\ufffd"))


def _description(selected: Selected) -> bytes:
    """The document without rows."""
    votable = VOTableFile(version="1.4")
    resource, table = Resource(type="results"), TableElement(votable, name=xml_text(selected.revision.name))
    notice = f"Galaxies of {selected.revision.name}, exported by surveyflow. {' '.join(selected.warnings)}"
    table.description = xml_text(notice.strip())
    table.fields.extend(_field(votable, in_notation(column, "vounit")) for column in selected.columns)
    resource.infos.extend(Info(name=key, value=xml_text(text)) for key, text in selected.about.items())
    resource.tables.append(table)
    votable.resources.append(resource)
    content = io.BytesIO()
    votable.to_xml(content)
    return content.getvalue()


def _field(votable: VOTableFile, column: ExportColumn) -> Field:
    size: Mapping[str, str] = {}
    if pa.types.is_fixed_size_list(column.type):
        size = {"arraysize": str(column.type.list_size)}
    elif pa.types.is_string(column.type):
        size = {"arraysize": "*"}
    kind = "int" if pa.types.is_fixed_size_list(column.type) else _TYPES[column.type]
    field = Field(votable, name=xml_text(column.name), datatype=kind, unit=column.unit, ucd=column.ucd or None, **size)
    field.description = xml_text(column.description) or None
    return field


def _cells(rows: pa.Table) -> bytes:
    cells = [_texts(rows[name].combine_chunks()) for name in rows.column_names]
    lines = pc.binary_join_element_wise(*cells, "</TD><TD>")
    return "".join(f"<TR><TD>{line}</TD></TR>\n" for line in lines.to_pylist()).encode()


def _texts(column: pa.Array) -> pa.Array:
    """(n,) texts of the cells, escaped; empty where there is no value."""
    if pa.types.is_fixed_size_list(column.type):
        return pc.fill_null(list_texts(column), "")
    texts = column.cast(pa.string())
    if pa.types.is_floating(column.type):
        texts = _as_the_standard_writes(texts)
    if pa.types.is_string(column.type):
        texts = pc.replace_substring_regex(texts, _NOT_IN_XML, "\ufffd")
        for character, escape in _ESCAPES.items():
            texts = pc.replace_substring(texts, character, escape)
    return pc.fill_null(texts, "")


def _as_the_standard_writes(numbers: pa.Array) -> pa.Array:
    for arrow, votable in (("nan", "NaN"), ("-inf", "-Inf"), ("inf", "+Inf")):
        numbers = pc.if_else(pc.equal(numbers, arrow), votable, numbers)
    return numbers
