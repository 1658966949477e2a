"""Tables of text whose values are separated by commas, tabs, semicolons, bars or spaces, whatever their header looks like.

A header is a line of names, a line of names behind ``#``, SExtractor's numbered lines, or names above a rule of dashes, with
units between them, as VizieR writes it. Tables that other programs draw with bars are read, too: ``| id | ra |``.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from surveyflow.errors import SourceListError
from surveyflow.inputs.columns import MOST_COLUMNS, NOT_A_VALUE, Column, FoundTable, is_no_value

_DELIMITERS = (",", "\t", ";", "|", " ")
_NUMBERED = re.compile(r"\(?(?P<number>\d{1,9})\)?[.:]?\s+(?P<name>[^\s=]\S*)(?P<rest>.*)")
_UNIT = re.compile(r"\[([^\[\]]*)\]\s*$")
_VIZIER = re.compile(r"Column\t(?P<name>\S+)\t\([^()]*\)\t(?P<description>[^\t]*)(\t\[ucd=(?P<ucd>[^\]]*)\])?")
_RDB_TYPE = re.compile(r"\d*[NSM][<>]?", re.IGNORECASE)
_RULE = re.compile(rb"[ \t+|:]*[-=][-=+|:;\t ]*")
_PSQL_COUNT = re.compile(rb"\(\d+ rows?\)\s*$")
_TOKEN = re.compile(rb'"((?:[^"\\]|\\.|"")*)"(?=\s|$)|' + rb"'((?:[^'\\]|\\.)*)'(?=\s|$)|(\S+)")
_MOST_HEADER_ROWS = 6

Described = dict[str, dict[str, str]]
_Way = tuple[list[str], str]
"""Names of columns, and the delimiter of the rows."""


class _NotATable(Exception):
    """What is wrong with a text, in words that complete ``FILE ...``, with the remedy."""


@dataclass(frozen=True, slots=True)
class _Text:
    """A text table, ready to be parsed: the names of all columns, and rows with one delimiter between values."""

    names: list[str]
    data: bytes
    delimiter: str
    described: Described = field(default_factory=dict)


def open_text(content: bytes, file: Path, wanted: Collection[str]) -> FoundTable:
    """Find the names in a table of text.

    Parameters
    ----------
    content
        The complete text, UTF-8, at least where names and wanted columns are.
    file
        Its file, for messages.
    wanted
        Names; a header line that holds all of them is preferred.

    Raises
    ------
    SourceListError
        If there are no names, no rows, or more columns than can be read.
    """
    content = content.removeprefix(b"\xef\xbb\xbf")
    content = content if b"\n" in content else content.replace(b"\r", b"\n")
    header, data = _split_header(content)
    try:
        text = _arrange(header, *_without_drawing(data), wanted)
    except _NotATable as error:
        raise SourceListError(f"{file} {error}") from error
    ucds = {name: words["ucd"] for name, words in text.described.items() if "ucd" in words}
    return FoundTable(file.name, text.names, partial(_read, file, text), ucds)


def _read(file: Path, text: _Text, wanted: Collection[str]) -> dict[str, Column]:
    try:
        table = pa_csv.read_csv(
            io.BytesIO(text.data),
            read_options=pa_csv.ReadOptions(column_names=text.names, use_threads=False),
            parse_options=pa_csv.ParseOptions(delimiter=text.delimiter, newlines_in_values=b'"' in text.data),
            convert_options=pa_csv.ConvertOptions(
                include_columns=sorted(wanted), column_types=dict.fromkeys(wanted, pa.string())
            ),
        )
    except pa.ArrowInvalid as error:
        if "UTF8" not in str(error):
            raise
        raise SourceListError(f"{file} holds text that is not UTF-8. Save it as UTF-8.") from error
    return {name: _parsed_column(name, table[name], text.described.get(name, {})) for name in wanted}


def _split_header(content: bytes) -> tuple[list[str], bytes]:
    """Split a text table into its leading ``#`` lines, without the ``#``, and its rows without comments."""
    header = re.match(rb"(?:[ \t]*(?:#[^\n]*)?\r?\n)*", content)
    end = header.end() if header else 0
    lines = content[:end].decode("utf-8", "replace").splitlines()
    rows = content[end:]
    rows = re.sub(rb"(?m)^[ \t]*#.*\n?", b"", rows) if b"#" in rows else rows
    return [line.lstrip(" \t").removeprefix("#").strip(" ") for line in lines if line.strip()], rows


def _without_drawing(data: bytes) -> tuple[bytes, int | None]:
    """The rows without what programs draw around them, and how many lines stand above the rule below the names, if there is one.

    A rule is a line of dashes; bars at both ends of each line are drawing, too.
    """
    first = data.split(b"\n", _MOST_HEADER_ROWS)[:_MOST_HEADER_ROWS]
    if _is_rule(first[0]):
        data, first = data.partition(b"\n")[2], first[1:]
    ruled = next((place for place, line in enumerate(first) if place and _is_rule(line)), None)
    boxed = bool(first) and first[0].strip().startswith(b"|") and first[0].strip().endswith(b"|")
    if boxed:
        data = b"\n".join(line.strip().removeprefix(b"|").removesuffix(b"|") for line in data.split(b"\n"))
    if boxed or ruled is not None:
        lines = data.split(b"\n")
        lines = [line for place, line in enumerate(lines) if place == ruled or not _is_rule(line)]
        data = _PSQL_COUNT.sub(b"", b"\n".join(lines))
    return data, ruled


def _is_rule(line: bytes) -> bool:
    """Whether a line only separates others; a line with a single dash in each cell may be a row of missing values."""
    return bool(_RULE.fullmatch(line.rstrip())) and any(dashes in line for dashes in (b"---", b"==="))


def _arrange(header: Sequence[str], data: bytes, ruled: int | None, wanted: Collection[str]) -> _Text:
    if ruled is not None:
        return _below_rule(header, data, ruled)
    first = data.split(b"\n", 1)[0].decode("utf-8", "replace").rstrip("\r")
    text = _with_names(header, first, data, wanted)
    if not text.data.strip():
        raise _NotATable("has no rows. Write a list with at least one source.")
    if text.delimiter == " ":
        text = replace(text, data=_separated_by_one_space(text.data))
    return text


def _below_rule(header: Sequence[str], data: bytes, ruled: int) -> _Text:
    """A table whose names stand above a rule, with units between them."""
    *lines, rest = data.split(b"\n", ruled + 1)
    rows = [line.decode("utf-8", "replace").rstrip("\r") for line in lines[:ruled]]
    delimiter = next((mark for mark in _DELIMITERS[:-1] if mark in rows[0]), " ")
    if delimiter == " ":
        raise _NotATable(
            "separates its columns by position below a rule of dashes, in a form that is not known. Write the list again as "
            "ECSV, FITS or CSV."
        )
    names = _cells(rows[0], delimiter)
    described = _described_by_vizier(header)
    for line in rows[1:]:
        for name, unit in zip(names, _cells(line, delimiter), strict=False):
            described[name] = ({"unit": unit} if unit else {}) | described.get(name, {})
    if not rest.strip():
        raise _NotATable("has no rows. Write a list with at least one source.")
    return _Text(names, rest, delimiter, described)


def _described_by_vizier(header: Sequence[str]) -> Described:
    """What VizieR's comments say of the columns: ``#Column  RAJ2000  (F10.6)  Right ascension  [ucd=pos.eq.ra]``."""
    found = filter(None, map(_VIZIER.match, header))
    return {match["name"]: {key: match[key].strip() for key in ("description", "ucd") if match[key]} for match in found}


def _with_names(header: Sequence[str], first: str, data: bytes, wanted: Collection[str]) -> _Text:
    """The table with the names of its columns: from numbered lines, from a ``#`` line, or from the first line."""
    if numbered := _numbered_lines(header):
        names, described = _numbered_names(numbered, len(first.split()))
        return _Text(names, data, " ", described)
    in_header = [(names, mark) for mark in _marks(first) for names in _names_in_header(header, len(_cells(first, mark)))]
    in_first = [(names, mark) for mark in _marks(first) if (names := _names_in_first_line(first, mark))]
    if chosen := _holding(wanted, in_header) or (None if _holding(wanted, in_first) else _last_of_first(in_header)):
        return _Text(chosen[0], data, chosen[1])
    if chosen := _holding(wanted, in_first) or next(iter(in_first), None):
        return _Text(chosen[0], _without_types(data.partition(b"\n")[2], chosen[1]), chosen[1])
    what = f"has no header line that names its {len(_cells(first, _marks(first)[0]))} columns."
    raise _NotATable(f"{what} Begin the file with one, such as `# ID RA DEC zbest`.")


def _holding(wanted: Collection[str], ways: Sequence[_Way]) -> _Way | None:
    """The first way of reading the names that finds all wanted ones."""
    return next((way for way in ways if wanted and set(wanted) <= set(way[0])), None)


def _last_of_first(ways: Sequence[_Way]) -> _Way | None:
    """Of the ways with the likeliest delimiter, the one of the lowest header line."""
    return next((way for way in reversed(ways) if way[1] == ways[0][1]), None)


def _marks(first: str) -> list[str]:
    """The delimiters that may separate the cells of a row, the likeliest first."""
    return [mark for mark in _DELIMITERS if mark in first.strip(" ") or mark == " "]


def _names_in_header(header: Sequence[str], n_columns: int) -> Iterator[list[str]]:
    """The names on each line of a header that has one for each column, whatever separates them there."""
    for line in header:
        ways = (_cells(line.strip(), mark) for mark in _marks(line.strip()))
        yield from (names for names in ways if len(names) == n_columns or (n_columns == 0 and names))


def _names_in_first_line(first: str, mark: str) -> list[str]:
    """The names on the first line that is not a comment, which may leave out that of an index; none if it holds numbers."""
    cells = _cells(first, mark)
    return [] if any(cell and _is_number(cell) for cell in cells) else cells


def _without_types(data: bytes, delimiter: str) -> bytes:
    """The rows without the line of types that stands below the names in an RDB table: ``10N  5S``."""
    first, _, rest = data.partition(b"\n")
    cells = _cells(first.decode("utf-8", "replace").rstrip("\r"), delimiter) if delimiter == "\t" else []
    return rest if cells and all(map(_RDB_TYPE.fullmatch, cells)) else data


def _separated_by_one_space(data: bytes) -> bytes:
    """Rows with one space between values, which may stand in quotes, as TOPCAT writes texts that hold spaces."""
    if b'"' not in data and b"'" not in data:
        return b"\n".join(b" ".join(line.split()) for line in io.BytesIO(data))
    return b"\n".join(b" ".join(map(_quoted, _TOKEN.finditer(line))) for line in io.BytesIO(data))


def _quoted(token: re.Match[bytes]) -> bytes:
    """A value as CSV writes it."""
    value = _unquoted(token)
    return value if token[3] is not None and b'"' not in value else b'"' + value.replace(b'"', b'""') + b'"'


def _unquoted(token: re.Match[bytes]) -> bytes:
    """A value without its quotes, and without what marks quotes inside it."""
    if token[3] is not None:
        return token[3]
    return re.sub(rb"\\(.)", rb"\1", (token[1] or token[2] or b"").replace(b'""', b'"'))


def _cells(line: str, delimiter: str) -> list[str]:
    if delimiter == " ":
        return [_unquoted(token).decode() for token in _TOKEN.finditer(line.encode())]
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return is_no_value(text)
    return True


def _numbered_lines(header: Sequence[str]) -> list[re.Match[str]]:
    """Find lines as SExtractor's ``1 NUMBER Running object number [count]``, counted from 1 or 0, with gaps at vector columns."""
    block: list[re.Match[str]] = []
    for match in filter(None, (_NUMBERED.fullmatch(line.strip()) for line in header)):
        number, last = int(match["number"]), int(block[-1]["number"]) if block else None
        if last is None or (number <= 1 and last >= number):
            block = [match] if number <= 1 else []
        elif number > last:
            block.append(match)
    return block if len(block) > 2 else []


def _numbered_names(lines: Sequence[re.Match[str]], n_columns: int) -> tuple[list[str], Described]:
    first, last = int(lines[0]["number"]), int(lines[-1]["number"])
    if last > MOST_COLUMNS:
        what = f"names column {last} in its header, but at most {MOST_COLUMNS} columns can be read."
        raise _NotATable(f"{what} Correct the header.")
    if 0 < n_columns < last - first + 1:
        what = f"names column {last} in its header, but its first row has {n_columns} values."
        raise _NotATable(f"{what} Correct the header, or fetch the file again.")
    names = [f"column {number}" for number in range(first, first + max(n_columns, last - first + 1))]
    for line in lines:
        names[int(line["number"]) - first] = line["name"]
    return names, {line["name"]: _described(line["rest"].strip()) for line in lines}


def _described(words: str) -> dict[str, str]:
    """Description and unit of ``Right ascension of barycenter (J2000)  [deg]``."""
    unit = _UNIT.search(words)
    return {"description": words} if unit is None else {"description": words[: unit.start()].strip(), "unit": unit[1]}


def _parsed_column(name: str, column: pa.ChunkedArray, about: dict[str, str]) -> Column:
    """Convert text to int64 if all of it is integers, else to float64 if all of it is numbers; else leave it as text."""
    stripped = pc.utf8_trim_whitespace(column)
    missing = pc.is_in(pc.utf8_lower(stripped), value_set=pa.array(sorted(NOT_A_VALUE)))
    numbers = pc.if_else(missing, "0", stripped)
    unit, description = about.get("unit"), about.get("description", "")
    for kind in (pa.int64(), pa.float64()):
        try:
            return Column(name, numbers.cast(kind).to_numpy(), missing.to_numpy(), unit, description)
        except pa.ArrowInvalid:
            continue
    texts = np.array(stripped.to_pylist(), dtype=object)
    return Column(name, texts, missing.to_numpy(), unit, description, untyped=True)


_FORMS: Sequence[tuple[str, Callable[[bytes], bool]]] = (
    ("ipac", lambda head: bool(re.match(rb"(\\[^\n]*\n)*\|[^\n]*\|\s*\n(\|[^\n]*\n)*[^|\n]", head)) and _is_ipac(head)),
    ("cds", lambda head: bool(re.search(rb"(?m)^Byte-by-byte Description of", head))),
    ("aastex", lambda head: head.startswith((b"\\", b"%")) and b"\\begin{deluxetable" in head),
    ("latex", lambda head: head.startswith((b"\\", b"%")) and bool(re.search(rb"\\begin\{(table|tabular|longtable)", head))),
    ("daophot", lambda head: bool(re.match(rb"#K ", head)) and b"\n#N " in head),
    ("rst", lambda head: bool(re.match(rb"=+( +=+)+\s*\n", head))),
    ("fixed_width_two_line", lambda head: bool(re.match(rb"(#[^\n]*\n)*[^\n,;|\t]+\n *(-+( +-+)+|=+( +=+)+) *\r?\n", head))),
)


def _is_ipac(head: bytes) -> bool:
    """Whether rows below the lines between bars stand without bars: IPAC's names stand between bars, its values do not."""
    rows = [line for line in head.split(b"\n") if line.strip() and not line.startswith((b"\\", b"|", b"+"))]
    return bool(rows) and not rows[0].strip().startswith(b"|")


def form_of(head: bytes) -> str | None:
    """Astropy's name of a format of text that is recognised by its form; None for columns separated by delimiters.

    Parameters
    ----------
    head
        The beginning of the text.
    """
    return next((name for name, is_it in _FORMS if is_it(head)), None)
