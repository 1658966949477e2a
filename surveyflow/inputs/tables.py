"""The reader of columns of table files, whatever their format.

It reads FITS, Parquet, CSV (and text separated by tabs or semicolons), ECSV, VOTable, and ASCII tables with a ``#`` header. It
recognises the format by the file's first bytes, not by its suffix; text may be compressed with gzip.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import warnings
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from xml.parsers import expat

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from astropy.io import fits, votable
from astropy.table import MaskedColumn, Table
from astropy.table.meta import YamlParseError, get_header_from_yaml
from numpy.typing import NDArray

from surveyflow.errors import SourceListError
from surveyflow.files.foreign import refusing
from surveyflow.files.paths import problem_of_file, split_extension
from surveyflow.inputs.packed_fits import NotUnpacked, check_end, unpack_fits
from surveyflow.values.arrays import BoolArray

_NOT_A_VALUE = {"", "-", "--", "nan", "-nan", "null", "none", "n/a", "na", "masked"}
_DELIMITERS = (",", "\t", ";")
_SAYS_NOTHING = re.compile(r"\s*(label for (field|column)\s*\d*|name of (field|column)\s*\d*|field name)?\s*$", re.IGNORECASE)
"""Comments that programs write beside the name of any column."""
_ASTROPY_COMMENTS = ("--BEGIN-ASTROPY-SERIALIZED-COLUMNS--", "--END-ASTROPY-SERIALIZED-COLUMNS--")
_FIRST_BYTES = 2048
_MOST_FITS_COLUMNS = 999
MOST_ROWS = 50_000_000
"""Limit of rows: more do not fit into the memory of the machine that starts a run."""
MOST_TEXT_BYTES = 2**28
"""Size limit of text, after unpacking, which is read as a whole; FITS and Parquet are read by columns, at any size."""
MOST_COLUMNS = 100_000
"""Limit of columns in a header of text."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column as its file holds it.

    Parameters
    ----------
    name
        Its name in the file.
    values
        (n, ...) native byte order; numbers, or text if the file holds text. Arbitrary where ``missing`` is True.
    missing
        (n,) bool: masked, empty, or a text such as ``nan`` among numbers.
    unit
        As the file spells it; None if it does not state one.
    description
        The file's words for what it holds; empty if there are none.
    untyped
        Whether the file states no types, so that the values themselves decide whether the column holds numbers or text.
    """

    name: str
    values: NDArray[Any]
    missing: BoolArray
    unit: str | None = None
    description: str = ""
    untyped: bool = False


def read_columns(path: Path, wanted: Collection[str]) -> dict[str, Column]:
    """Read the wanted columns of a table file, and no others.

    Parameters
    ----------
    path
        The file; ``list.fits[CAT]`` or ``list.fits[2]`` names one of several tables in a FITS or VOTable file. Without it,
        the table that has the wanted columns is taken.
    wanted
        Exact, case-sensitive names.

    Returns
    -------
    dict
        The columns, by name.

    Raises
    ------
    SourceListError
        If the file is missing, damaged, of unknown format, or lacks the extension or a column.
    """
    file, extension = split_extension(path)
    if problem := problem_of_file(file):
        raise SourceListError(" ".join(problem))
    with warnings.catch_warnings(), refusing(lambda reason: _damaged(file, reason)):
        warnings.simplefilter("ignore")  # readers warn of deviations that they tolerate; what matters is checked here
        return _FORMATS[_format(file)](_Request(file, extension, frozenset(wanted)))


def _damaged(file: Path, reason: str) -> SourceListError:
    what = f"{file} cannot be read as a table: {reason}."
    return SourceListError(f"{what} The file may be truncated or damaged: fetch or write it again.")


@dataclass(frozen=True, slots=True)
class _Request:
    file: Path
    extension: str | None
    wanted: frozenset[str]

    def choose(self, labels: Sequence[str], names: Sequence[Sequence[str]]) -> int:
        """Choose the table that is meant, by index, and check its columns."""
        candidates = range(len(labels)) if self.extension is None else [_find_extension(self.file, self.extension, labels)]
        fitting = [index for index in candidates if self.wanted <= set(names[index])]
        if len(fitting) > 1:
            tables = ", ".join(labels[index] for index in fitting)
            raise SourceListError(
                f"{self.file} holds several tables with these columns: {tables}. Name one: {self.file.name}[NAME]."
            )
        if not fitting:
            present = list(dict.fromkeys(name for index in candidates for name in names[index]))
            raise SourceListError(self._missing(present))
        self.check_unique(names[fitting[0]])
        return fitting[0]

    def check(self, names: Sequence[str]) -> None:
        """Check the columns of a file that holds one table."""
        if self.extension is not None:
            raise SourceListError(
                f"{self.file} has no extensions. Leave out [{self.extension}]: only FITS and VOTable files have them."
            )
        self.choose([self.file.name], [names])

    def check_unique(self, names: Sequence[str]) -> None:
        if repeated := sorted(name for name in self.wanted if names.count(name) > 1):
            raise SourceListError(f"{self.file} has more than one column {', '.join(repeated)}. Rename all but one of them.")

    def check_rows(self, n_rows: int) -> None:
        """Check the number of rows that a file claims, before they are read."""
        if n_rows > MOST_ROWS:
            raise SourceListError(f"{self.file} says that it has {n_rows:,} rows; at most {MOST_ROWS:,} can be read. Split it.")

    def content(self) -> bytes:
        """The complete content of a file of text, unpacked."""
        with _open(self.file) as opened:
            content = opened.read(MOST_TEXT_BYTES + 1)
        if len(content) > MOST_TEXT_BYTES:
            raise SourceListError(
                f"{self.file} holds more than {MOST_TEXT_BYTES:,} bytes of text. Write the list as Parquet or FITS, which are "
                f"read by columns."
            )
        return content

    def _missing(self, present: Sequence[str]) -> str:
        absent = sorted(self.wanted - set(present))
        close = [(name, get_close_matches(name.lower(), [p.lower() for p in present], n=1)) for name in absent]
        meant = [f"{name} -> {next(p for p in present if p.lower() == match[0])}" for name, match in close if match]
        remedy = f"Did you mean {', '.join(meant)}?" if meant else "Name columns of the file; names are case-sensitive."
        shown = ", ".join(present[:40]) + (f", ... ({len(present)} in all)" if len(present) > 40 else "")
        return f"{self.file} has no column {', '.join(absent)}; it has {shown or 'none'}. {remedy}"


def _find_extension(file: Path, extension: str, labels: Sequence[str]) -> int:
    """Find the table with this number or name; labels are ``2 CAT``."""
    found = [index for index, label in enumerate(labels) if extension.upper() in label.upper().split(" ", 1)]
    if len(found) != 1:
        raise SourceListError(
            f"{file} has {len(found)} tables called [{extension}]; it holds {', '.join(labels)}. Name one of them."
        )
    return found[0]


def _open(file: Path) -> io.BufferedReader | gzip.GzipFile:
    return gzip.open(file, "rb") if _is_packed(file) else file.open("rb")


def _is_packed(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(2) == b"\x1f\x8b"


def _format(file: Path) -> str:
    """Recognise the format by the file's first bytes."""
    with _open(file) as opened:
        head = opened.read(_FIRST_BYTES)
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text:
        raise SourceListError(f"{file} is empty. Fetch or write it again.")
    for name, beginning in _BEGINNINGS:
        if re.match(beginning, text, re.IGNORECASE | re.DOTALL):
            return name
    if b"\0" not in head and not text.startswith(b"<"):
        return "text"
    found = "is a web page" if b"<html" in text.lower() else f"begins with {head[:8]!r}"
    known = "a FITS, Parquet, CSV, ECSV or VOTable file, or ASCII with a # header"
    raise SourceListError(f"{file} {found}, expected {known}. Fetch it again, or convert it.")


_BEGINNINGS = (
    ("fits", rb"SIMPLE  ="),
    ("parquet", rb"PAR1"),
    ("votable", rb"(<\?xml.*?)?<(\w+:)?VOTABLE\b"),
    ("ecsv", rb"#\s*%ECSV"),
)


def _read_fits(request: _Request) -> dict[str, Column]:
    with _open_fits(request.file) as hdus:
        for hdu in hdus:
            _check_fits_header(request, hdu.header)
        tables = [hdu for hdu in hdus if type(hdu) in (fits.BinTableHDU, fits.TableHDU)]
        if not tables:
            held = ", ".join(f"{index} {type(hdu).__name__}" for index, hdu in enumerate(hdus))
            remedy = "Name a catalog, or fetch the file again if it may be truncated."
            raise SourceListError(f"{request.file} holds no table; its HDUs are {held}. {remedy}")
        labels = [f"{hdus.index(hdu)} {hdu.name}".strip() for hdu in tables]
        table = tables[request.choose(labels, [hdu.columns.names for hdu in tables])]
        return {name: _fits_column(table, name) for name in request.wanted}


def _open_fits(file: Path) -> fits.HDUList:
    with file.open("rb") as stream:
        try:
            if _is_packed(file):
                return fits.open(io.BytesIO(unpack_fits(stream)), memmap=False)
            check_end(stream, file.stat().st_size)
        except NotUnpacked as error:
            raise SourceListError(f"{file}: {error}") from error
    return fits.open(file, memmap=True)


def _check_fits_header(request: _Request, header: fits.Header) -> None:
    """Check what a header claims, before it is believed: astropy goes through all columns that it is told of."""
    n_columns = header.get("TFIELDS", 0)
    if not isinstance(n_columns, int) or not 0 <= n_columns <= _MOST_FITS_COLUMNS:
        raise SourceListError(
            f"{request.file} has TFIELDS = {n_columns!r}; FITS allows up to {_MOST_FITS_COLUMNS} columns. Write the list again."
        )
    if "TFIELDS" in header:
        request.check_rows(int(header["NAXIS2"]))


def _fits_column(table: fits.BinTableHDU, name: str) -> Column:
    values = _native(np.array(table.data.field(name)))
    null = table.columns[name].null
    missing = np.zeros(len(values), bool)
    if null is not None and values.dtype.kind in "iu" and values.ndim == 1:
        missing |= values == null
    return Column(name, values, missing, table.columns[name].unit, _fits_description(table, name))


def _fits_description(table: fits.BinTableHDU, name: str) -> str:
    """What a header says of a column: in astropy's comments, in TCOMM, or beside its name."""
    number = table.columns.names.index(name) + 1
    comments = [str(line) for line in table.header.get("COMMENT", ())]
    if set(_ASTROPY_COMMENTS) <= set(comments):
        first, last = map(comments.index, _ASTROPY_COMMENTS)
        lines = re.sub(r"\\\n", "", "\n".join(comments[first + 1 : last])).splitlines()
        with suppress(YamlParseError, ValueError, TypeError, KeyError):  # what FITS itself states suffices
            return _described_by_astropy(lines)[name]["description"]
    comment = str(table.header.get(f"TCOMM{number}") or table.header.comments[f"TTYPE{number}"])
    return "" if _SAYS_NOTHING.match(comment) else comment


def _native(values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _read_parquet(request: _Request) -> dict[str, Column]:
    with pq.ParquetFile(request.file) as file:
        request.check_rows(file.metadata.num_rows)
        request.check(file.schema_arrow.names)
        stated = _described_in(file.schema_arrow)
        masks = {f"{name}.mask" for name in request.wanted} & set(file.schema_arrow.names)  # astropy writes masks so
        table = file.read(columns=sorted(request.wanted | masks))
    columns = {name: _arrow_column(name, table[name], **stated.get(name, {})) for name in request.wanted}
    return {name: _masked_by(column, table, f"{name}.mask") for name, column in columns.items()}


def _masked_by(column: Column, table: pa.Table, mask: str) -> Column:
    if mask not in table.column_names:
        return column
    return replace(column, missing=column.missing | table[mask].to_numpy().astype(bool))


def _described_in(schema: pa.Schema) -> dict[str, dict[str, str]]:
    """Units and descriptions of columns, in astropy's words beside the table, or in the fields' own metadata."""
    by_field = {field.name: field.metadata for field in schema if field.metadata}
    own = {name: {key.decode(): text.decode() for key, text in words.items()} for name, words in by_field.items()}
    astropy = _described_by_astropy((schema.metadata or {}).get(b"table_meta_yaml", b"").decode().splitlines())
    stated = {name: own.get(name, {}) | astropy.get(name, {}) for name in {*own, *astropy}}
    return {name: {key: words[key] for key in ("unit", "description") if key in words} for name, words in stated.items()}


def _described_by_astropy(lines: list[str]) -> dict[str, dict[str, str]]:
    """Units and descriptions by column, from the YAML with which astropy describes a table."""
    columns = get_header_from_yaml(lines)["datatype"] if lines else []
    return {
        column["name"]: {key: column[key] for key in ("unit", "description") if isinstance(column.get(key), str)}
        for column in columns
    }


def _arrow_column(name: str, column: pa.ChunkedArray, unit: str | None = None, description: str = "") -> Column:
    missing = column.is_null().to_numpy()
    if pa.types.is_null(column.type):
        return Column(name, np.zeros(len(missing)), missing, unit, description)
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        return Column(name, np.array(column.to_pylist(), dtype=object), missing, unit, description)
    return Column(name, column.fill_null(0).to_numpy(), missing, unit, description)


def _read_votable(request: _Request) -> dict[str, Column]:
    content = request.content()
    for claim in re.findall(rb"nrows\s*=\s*[\"'](\d{1,30})", content):
        request.check_rows(int(claim))
    if b"href" in content:
        _check_streams(request, content)
    tables = list(votable.parse(io.BytesIO(content), filename=str(request.file), verify="ignore").iter_tables())
    labels = [f"{index} {table.name or table.ID or ''}".strip() for index, table in enumerate(tables)]
    table = tables[request.choose(labels, [[field.name for field in table.fields] for table in tables])]
    fields = {field.name: field for field in table.fields}
    return {name: _masked_column(name, table.array[fields[name].ID], fields[name]) for name in request.wanted}


def _check_streams(request: _Request, content: bytes) -> None:
    """Refuse rows that lie elsewhere: astropy would read any file and any address that a list names."""

    def check(element: str, attributes: dict[str, str]) -> None:
        if element.rpartition(":")[2] == "STREAM" and "href" in attributes:
            raise SourceListError(
                f"{request.file} says that its rows are in {attributes['href']!r}; only rows in the file itself are read. "
                "Write the list again, with its rows in it (TABLEDATA, BINARY or BINARY2)."
            )

    parser = expat.ParserCreate()
    parser.StartElementHandler = check
    with suppress(expat.ExpatError):  # astropy says what is wrong
        parser.Parse(content, True)


def _read_ecsv(request: _Request) -> dict[str, Column]:
    text = request.content().decode("utf-8-sig")
    table = Table.read(text.splitlines(), format="ascii.ecsv")
    request.check(table.colnames)
    return {name: _masked_column(name, MaskedColumn(table[name]), table[name]) for name in request.wanted}


def _masked_column(name: str, column: Any, about: Any) -> Column:
    values = _native(np.asarray(np.ma.getdata(column)))
    mask = np.asarray(np.ma.getmaskarray(column))
    missing: BoolArray = np.all(mask, axis=tuple(range(1, mask.ndim)))
    if values.ndim > 1 and values.dtype.kind in "iuf":
        values = np.where(mask, np.nan, values)
    return Column(name, values, missing, None if about.unit is None else str(about.unit), str(about.description or ""))


def _read_text(request: _Request) -> dict[str, Column]:
    content = request.content().removeprefix(b"\xef\xbb\xbf")
    header, data = _split_header(content)
    text = _arrange(request, header, data)
    request.check(text.names)
    table = pa_csv.read_csv(
        io.BytesIO(text.data),
        read_options=pa_csv.ReadOptions(column_names=text.names, use_threads=False),
        parse_options=pa_csv.ParseOptions(delimiter=text.delimiter),
        convert_options=pa_csv.ConvertOptions(
            include_columns=sorted(request.wanted), column_types=dict.fromkeys(request.wanted, pa.string())
        ),
    )
    return {name: _parsed_column(name, table[name], **text.described.get(name, {})) for name in request.wanted}


@dataclass(frozen=True, slots=True)
class _Text:
    """A text table, ready to be parsed: the names of all columns, and rows with one delimiter between values."""

    names: list[str]
    described: dict[str, dict[str, str]]
    data: bytes
    delimiter: str


def _split_header(content: bytes) -> tuple[list[str], bytes]:
    """Split a text table into its leading ``#`` lines, without the ``#``, and its rows without comments."""
    header = re.match(rb"(?:[ \t]*(?:#[^\n]*)?\r?\n)*", content)
    end = header.end() if header else 0
    lines = content[:end].decode("utf-8", "replace").splitlines()
    rows = content[end:]
    rows = re.sub(rb"(?m)^[ \t]*#.*\n?", b"", rows) if b"#" in rows else rows
    return [line.strip().removeprefix("#").strip() for line in lines if line.strip()], rows


def _arrange(request: _Request, header: Sequence[str], data: bytes) -> _Text:
    first = data.split(b"\n", 1)[0].decode("utf-8", "replace").rstrip("\r")
    delimiter = _delimiter(header, first)
    cells = _cells(first, delimiter)
    names, described = _names_in_header(request, header, len(cells), delimiter)
    if not names and cells and not any(_is_number(cell) for cell in cells):
        names, data = cells, data.partition(b"\n")[2]
    if not names:
        what = f"{request.file} has no header line that names its {len(cells)} columns."
        raise SourceListError(f"{what} Begin the file with one, such as `# ID RA DEC zbest`.")
    if not data.strip():
        raise SourceListError(f"{request.file} has no rows. Write a list with at least one source.")
    if delimiter == " ":
        data = b"\n".join(b" ".join(line.split()) for line in io.BytesIO(data))
    return _Text(names, described, data, delimiter)


def _delimiter(header: Sequence[str], first: str) -> str:
    """Find the delimiter; below a header of ``#`` lines, a tab counts as a space; below SExtractor's, it is always a space."""
    if _numbered_lines(header):
        return " "
    return next((mark for mark in _DELIMITERS if mark in first and not (header and mark == "\t")), " ")


def _cells(line: str, delimiter: str) -> list[str]:
    if delimiter == " ":
        return line.split()
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]


def is_no_value(value: object) -> bool:
    """Whether a cell says that there is no value: it is NaN, empty, or a word such as ``nan`` or ``masked``."""
    return str(value).strip().lower() in _NOT_A_VALUE


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return is_no_value(text)
    return True


_NUMBERED = re.compile(r"\(?(?P<number>\d{1,9})\)?[.:]?\s+(?P<name>[^\s=]\S*)(?P<rest>.*)")
_UNIT = re.compile(r"\[([^\[\]]*)\]\s*$")


def _names_in_header(
    request: _Request, header: Sequence[str], n_columns: int, delimiter: str
) -> tuple[list[str], dict[str, dict[str, str]]]:
    """Names of the columns, and what the header says of them: one column a line with its number, or all on one line."""
    if numbered := _numbered_lines(header):
        return _numbered_names(request, numbered, n_columns)
    lines = [_cells(line, delimiter) for line in header]
    fitting = [names for names in lines if len(names) == n_columns or (n_columns == 0 and names)]
    chosen = next((names for names in fitting if request.wanted <= set(names)), fitting[-1] if fitting else [])
    return chosen, {}


def _numbered_lines(header: Sequence[str]) -> list[re.Match[str]]:
    """Find lines as SExtractor's ``1 NUMBER Running object number [count]``, counted from 1 or 0, with gaps at vector columns."""
    block: list[re.Match[str]] = []
    for match in filter(None, map(_NUMBERED.fullmatch, header)):
        number, last = int(match["number"]), int(block[-1]["number"]) if block else None
        if last is None or (number <= 1 and last >= number):
            block = [match] if number <= 1 else []
        elif number > last:
            block.append(match)
    return block if len(block) > 2 else []


def _numbered_names(
    request: _Request, lines: Sequence[re.Match[str]], n_columns: int
) -> tuple[list[str], dict[str, dict[str, str]]]:
    first, last = int(lines[0]["number"]), int(lines[-1]["number"])
    if last > MOST_COLUMNS:
        what = f"{request.file} names column {last} in its header, but at most {MOST_COLUMNS} columns can be read."
        raise SourceListError(f"{what} Correct the header.")
    if 0 < n_columns < last - first + 1:
        what = f"{request.file} names column {last} in its header, but its first row has {n_columns} values."
        raise SourceListError(f"{what} Correct the header, or fetch the file again.")
    names = [f"column {number}" for number in range(first, first + max(n_columns, last - first + 1))]
    for line in lines:
        names[int(line["number"]) - first] = line["name"]
    return names, {line["name"]: _described(line["rest"].strip()) for line in lines}


def _described(words: str) -> dict[str, str]:
    """Description and unit of ``Right ascension of barycenter (J2000)  [deg]``."""
    unit = _UNIT.search(words)
    return {"description": words} if unit is None else {"description": words[: unit.start()].strip(), "unit": unit[1]}


def _parsed_column(name: str, column: pa.ChunkedArray, unit: str | None = None, description: str = "") -> Column:
    """Convert text to int64 if all of it is integers, else to float64 if all of it is numbers; else leave it as text."""
    stripped = pc.utf8_trim_whitespace(column)
    missing = pc.is_in(pc.utf8_lower(stripped), value_set=pa.array(sorted(_NOT_A_VALUE)))
    numbers = pc.if_else(missing, "0", stripped)
    for kind in (pa.int64(), pa.float64()):
        try:
            return Column(name, numbers.cast(kind).to_numpy(), missing.to_numpy(), unit, description)
        except pa.ArrowInvalid:
            continue
    return Column(name, np.array(stripped.to_pylist(), dtype=object), missing.to_numpy(), unit, description, untyped=True)


_FORMATS: dict[str, Callable[[_Request], dict[str, Column]]] = {
    "fits": _read_fits,
    "parquet": _read_parquet,
    "votable": _read_votable,
    "ecsv": _read_ecsv,
    "text": _read_text,
}
