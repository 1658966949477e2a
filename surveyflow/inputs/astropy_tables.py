"""Tables that astropy's readers read: VOTable, ECSV, IPAC, CDS, LaTeX and others, as ordinary columns.

Columns that astropy makes of several, such as positions (SkyCoord), times and quantities, are taken apart again under the names
that the file gives to the parts: ``sky_centroid.ra``.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from xml.parsers import expat

import numpy as np
from astropy.io import votable
from astropy.io.votable import exceptions as votable_warnings
from astropy.table import Column as AstropyColumn
from astropy.table import MaskedColumn, Table, represent_mixins_as_columns
from astropy.table.meta import get_header_from_yaml

from surveyflow.errors import SourceListError
from surveyflow.inputs.columns import Column, FoundTable, masked_column

_log = logging.getLogger(__name__)
_NULL_CELL = re.compile(rb"<TD>\s*(?:NULL|N/A|--?-?)\s*</TD>", re.IGNORECASE)
_FIELD = re.compile(rb"<(?:\w+:)?FIELD\b[^>]*>")
_NAME_OF_FIELD = re.compile(rb"""\sname\s*=\s*["']([^"']*)""")
_OLD_TYPES = {b'"unsignedInt"': b'"long"', b'"unsignedShort"': b'"int"'}
_FRAMES = {"eq_fk4": "fk4", "eq_fk5": "fk5"}

Described = dict[str, dict[str, str]]


def described_by_astropy(lines: list[str]) -> Described:
    """Units, descriptions and frames by column, from the YAML with which astropy describes a table.

    Parameters
    ----------
    lines
        The lines of the YAML document; empty if there is none.
    """
    header = get_header_from_yaml(lines) if lines else {"datatype": []}
    about: Described = {
        column["name"]: {key: column[key] for key in ("unit", "description") if isinstance(column.get(key), str)}
        for column in header["datatype"]
    }
    frames = _frames_of_mixins(header.get("meta") or {})
    return {name: words | _stated_frame(frames, name.rpartition(".")[0]) for name, words in about.items()}


def _stated_frame(frames: Mapping[str, str], mixin: str) -> dict[str, str]:
    return {"frame": frames[mixin]} if mixin in frames else {}


def _frames_of_mixins(meta: Mapping[str, Any]) -> dict[str, str]:
    """Frames of the positions that were written as several columns, by the name of the position."""
    mixins = meta.get("__serialized_columns__")
    found = mixins.items() if isinstance(mixins, dict) else ()
    stated = {name: (each.get("frame"), each.get("equinox")) for name, each in found if isinstance(each, dict)}
    return {name: _frame(frame, str(equinox or "")) for name, (frame, equinox) in stated.items() if isinstance(frame, str)}


def _frame(name: str, equinox: str) -> str:
    """The frame as columns state it; with its equinox if that is not 2000."""
    lower = name.strip().lower()
    frame = _FRAMES.get(lower, lower)
    other = re.search(r"[BJ]?(\d{4})(?:\.\d+)?", equinox)
    return f"{frame} {equinox}" if frame == "fk5" and other and other[1] != "2000" else frame


def open_ascii(content: bytes, form: str, label: str) -> FoundTable:
    """Read a table of text in one of astropy's formats.

    Parameters
    ----------
    content
        The complete text.
    form
        Astropy's name of the format: ``ipac``, ``cds``, ``ecsv``, ``latex`` and others.
    label
        The table's label.
    """
    text = content.decode("utf-8-sig", "strict" if form == "ecsv" else "replace")
    table = Table.read(text.splitlines(), format=f"ascii.{form}", **_OPTIONS.get(form, {"guess": False}))
    about = described_by_astropy(_yaml_of(text)) if form == "ecsv" else {}
    columns = dict(_plain_columns(table))

    def read(wanted: Collection[str]) -> dict[str, Column]:
        return {
            name: replace(
                masked_column(name, MaskedColumn(columns[name]), columns[name], about.get(name, {}).get("frame", "")),
                untyped=form not in _TYPED,
            )
            for name in wanted
        }

    return FoundTable(label, list(columns), read)


_TYPED = {"ecsv", "ipac", "cds"}
"""Formats whose header says which columns are text."""


_OPTIONS: dict[str, dict[str, Any]] = {
    "ecsv": {},
    "cds": {"guess": False, "fill_values": [("---", "0"), ("--", "0"), ("-", "0")]},
}


def _yaml_of(text: str) -> list[str]:
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line[2:])
    return lines[1:]


def _plain_columns(table: Table) -> Iterator[tuple[str, AstropyColumn]]:
    """The columns of a table, with those that consist of several taken apart."""
    for name in table.colnames:
        if isinstance(table[name], AstropyColumn):
            yield name, table[name]
            continue
        parts = represent_mixins_as_columns(Table({name: table[name]}, copy=False))
        yield from ((part, parts[part]) for part in parts.colnames if isinstance(parts[part], AstropyColumn))


def open_votable(content: bytes, file: Path, check_rows: Callable[[int], None]) -> list[FoundTable]:
    """Read the tables of a VOTable file.

    Parameters
    ----------
    content
        The complete file.
    file
        Its name, for messages.
    check_rows
        Refuses numbers of rows that are too large.

    Raises
    ------
    SourceListError
        If the rows lie elsewhere, are more than can be read, or if a service reports an error in the place of rows.
    """
    for claim in re.findall(rb"nrows\s*=\s*[\"'](\d{1,30})", content):
        check_rows(int(claim))
    if b"href" in content:
        _check_streams(file, content)
    tree, cut = _parsed_votable(content, str(file))
    _check_status(file, tree)
    untyped = {_name_of(field) for field in _FIELD.findall(content) if b"datatype" not in field}
    tables = list(tree.iter_tables())
    labels = [f"{index} {table.name or table.ID or ''}".strip() for index, table in enumerate(tables)]
    return [
        _found(tree, each, label, partial(_check_field, file, untyped, cut)) for label, each in zip(labels, tables, strict=True)
    ]


def _name_of(field: bytes) -> str:
    match = _NAME_OF_FIELD.search(field)
    return match[1].decode("utf-8", "replace") if match else ""


def _found(tree: Any, table: Any, label: str, check: Callable[[Any], None]) -> FoundTable:
    fields = {field.name or field.ID: field for field in table.fields}

    def read(wanted: Collection[str]) -> dict[str, Column]:
        for name in wanted:
            check(fields[name])
        return {
            name: masked_column(name, _of_rows(table.array[fields[name].ID]), fields[name], _frame_of(tree, fields[name]))
            for name in wanted
        }

    ucds = {name: field.ucd for name, field in fields.items() if field.ucd}
    return FoundTable(label, [field.name or field.ID for field in table.fields], read, ucds)


def _check_field(file: Path, untyped: Collection[str], cut: bool, field: Any) -> None:
    """Refuse a column of which astropy keeps only the first characters."""
    is_character = field.datatype in ("char", "unicodeChar") and field.arraysize in (None, "1")
    if field.name in untyped or (cut and is_character):
        what = "no datatype" if field.name in untyped else "no arraysize, although its texts have several characters"
        raise SourceListError(
            f"{file}: column {field.name}: its FIELD states {what}, so that the values cannot be read with certainty. "
            'Add the attribute, such as datatype="double", or datatype="char" arraysize="*" for text.'
        )


def _of_rows(values: Any) -> Any:
    """Values with an array of up to one value in each row as a column of values."""
    if values.dtype != object or not all(np.shape(each) in ((0,), (1,)) for each in np.ma.getdata(values)):
        return values
    kinds = [np.asarray(each) for each in np.ma.getdata(values)]
    missing = [not each.size or bool(np.ma.getmaskarray(each).any()) for each in np.ma.getdata(values)]
    filled = [kind[0] if kind.size else 0 for kind in kinds]
    return np.ma.MaskedArray(np.array(filled), mask=missing)


def _frame_of(tree: Any, field: Any) -> str:
    """The frame of the coordinate system to which a field refers."""
    system = next((each for each in tree.iter_coosys() if field.ref is not None and field.ref == each.ID), None)
    return "" if system is None else _frame(str(system.system or ""), str(system.equinox or ""))


def _parsed_votable(content: bytes, name: str) -> tuple[Any, bool]:
    """Parse a file, and say whether texts were cut; a file that departs from the standard in known ways is mended first."""

    def parse(text: bytes) -> tuple[Any, bool]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            tree = votable.parse(io.BytesIO(text), filename=name, verify="warn")
        return tree, any(isinstance(each.message, votable_warnings.W46) for each in caught)

    try:
        return parse(content)
    except Exception:
        mended = _FIELD.sub(_mended_field, _NULL_CELL.sub(b"<TD/>", content)) if b"TABLEDATA" in content else content
        if mended == content:
            raise
        return parse(mended)


def _mended_field(field: re.Match[bytes]) -> bytes:
    """A FIELD without the types of services that do not keep to the standard, and without texts of two dimensions."""
    mended = field[0]
    for old, new in _OLD_TYPES.items():
        mended = mended.replace(old, new)
    is_text = b'"char"' in mended or b'"unicodeChar"' in mended
    return re.sub(rb'arraysize="\d+x[\dx*]+"', b'arraysize="*"', mended) if is_text else mended


def _check_status(file: Path, tree: Any) -> None:
    """Refuse what a service sends in the place of rows, and warn of rows that it left out."""
    for resource in tree.resources:
        for info in resource.infos:
            status = str(info.value).upper() if info.name == "QUERY_STATUS" else ""
            if status == "ERROR":
                words = " ".join(str(info.content or "").split())[:200]
                raise SourceListError(f"{file} holds no rows but an error of the service: {words!r}. Ask it again.")
            if status == "OVERFLOW":
                _log.warning("list is incomplete file=%s: the service left out rows beyond its limit", file)


def _check_streams(file: Path, content: bytes) -> None:
    """Refuse rows that lie elsewhere: astropy would read any file and any address that a list names."""

    def check(element: str, attributes: dict[str, str]) -> None:
        if element.rpartition(":")[2] == "STREAM" and "href" in attributes:
            raise SourceListError(
                f"{file} says that its rows are in {attributes['href']!r}; only rows in the file itself are read. "
                "Write the list again, with its rows in it (TABLEDATA, BINARY or BINARY2)."
            )

    parser = expat.ParserCreate()
    parser.StartElementHandler = check
    with suppress(expat.ExpatError):  # astropy says what is wrong
        parser.Parse(content, True)
