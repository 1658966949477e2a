"""The reader of columns of table files, whatever their format.

It recognises the format by the file's first bytes, not by its suffix; text may be compressed with gzip. FITS and Parquet are read
here, by columns; text in `surveyflow.inputs.text_tables`, and what astropy reads in `surveyflow.inputs.astropy_tables`.
"""

from __future__ import annotations

import gzip
import io
import re
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from astropy.io import fits
from astropy.table.meta import YamlParseError
from numpy.typing import NDArray

from surveyflow.errors import SourceListError
from surveyflow.files.addresses import Address
from surveyflow.files.paths import Place, problem_of_file, refusing, split_extension
from surveyflow.inputs.astropy_tables import Described, described_by_astropy, open_ascii, open_votable
from surveyflow.inputs.columns import Column, FoundTable
from surveyflow.inputs.packed_fits import NotUnpacked, check_end, unpack_fits
from surveyflow.inputs.remote_files import local_copy, reaching
from surveyflow.inputs.text_tables import form_of, open_text
from surveyflow.values.arrays import BoolArray
from surveyflow.values.listed import ColumnHead

_SAYS_NOTHING = re.compile(r"\s*(label for (field|column)\s*\d*|name of (field|column)\s*\d*|field name)?\s*$", re.IGNORECASE)
"""Comments that programs write beside the name of any column."""
_ASTROPY_COMMENTS = ("--BEGIN-ASTROPY-SERIALIZED-COLUMNS--", "--END-ASTROPY-SERIALIZED-COLUMNS--")
_FIRST_BYTES = 2**16
_BYTES_WITHOUT_NUL = 2048
"""A file without NUL among so many bytes counts as text."""
_MOST_FITS_COLUMNS = 999
_MOST_NESTED = 8
MOST_ROWS = 50_000_000
"""Limit of rows that are read at once: more do not fit into the memory of a worker."""
_MOST_ROWS_IN_PARTS = 10**11
EVERY_ROW = slice(0, None)
"""All rows of a table."""
MOST_TEXT_BYTES = 2**28
"""Size limit of text, after unpacking, which is read as a whole; FITS and Parquet are read by columns, at any size."""


def read_columns(
    path: Place, wanted: Collection[str], rows: slice = EVERY_ROW, beside: Collection[str] = ()
) -> dict[str, Column]:
    """Read the wanted columns of a table file, and no others.

    Parameters
    ----------
    path
        The file, or the address from which it is copied first; ``list.fits[CAT]`` or ``list.fits[2]`` names one of several
        tables in a FITS or VOTable file. Without it, the table that has the wanted columns is taken.
    wanted
        Exact, case-sensitive names.
    rows
        The half-open range of rows to read; all by default. Only tables of which `rows_in` knows the number are read in parts.
    beside
        Names of further columns that the table has, which are not read.

    Returns
    -------
    dict
        The columns, by name.

    Raises
    ------
    SourceListError
        If the file is missing or truncated, is not a table in a format that is read, or lacks the extension or a column.
    """
    with _at_hand(path) as here, _opened(here, frozenset({*wanted, *beside})) as (request, form, tables):
        table = request.choose(tables, form in _WITH_EXTENSIONS)
        if rows == EVERY_ROW:
            request.check_rows(table.n_rows or 0)
            return table.read(frozenset(wanted))
        if table.read_rows is None:
            raise ValueError(f"{path} can only be read as a whole")
        columns = table.read_rows(frozenset(wanted), rows)
        return {name: replace(column, first_row=rows.start) for name, column in columns.items()}


def rows_in(path: Place, wanted: Collection[str]) -> int | None:
    """The number of rows of a table that can be read in parts: FITS and Parquet; None for any other, and for one that is packed.

    Parameters
    ----------
    path, wanted
        As in `read_columns`.

    Raises
    ------
    SourceListError
        As in `read_columns`, as far as the header shows it.
    """
    with _at_hand(path) as here:
        file = split_extension(here)[0]
        if problem_of_file(file) or _is_packed(file) or _format(file) not in _IN_PARTS:
            return None
        with _opened(here, frozenset(wanted)) as (request, form, tables):
            return request.choose(tables, form in _WITH_EXTENSIONS).n_rows


def head_of(file: Place, column: Column) -> ColumnHead:
    """What all parts of a list must agree on about a column.

    Parameters
    ----------
    file
        The first file of the part.
    column
        The column as the part holds it.
    """
    return ColumnHead(file.name, column.unit, column.frame, None if column.missing.all() else _kind(column))


def _kind(column: Column) -> str:
    if column.values.dtype == object and isinstance(column.values[~column.missing][0], (list, np.ndarray)):
        return "arrays"  # whether they are of equal length is chance
    shape = "x".join(map(str, column.values.shape[1:]))
    kind = {"i": "numbers", "u": "numbers", "f": "numbers", "b": "truth values"}.get(column.values.dtype.kind, "text")
    return f"{kind} {shape}".strip()


@contextmanager
def _at_hand(path: Place) -> Iterator[Path]:
    """The path itself, or that of a copy of what is at an address, which errors do not mention."""
    if not isinstance(path, Address):
        yield path
        return
    file, extension = split_extension(path)
    with reaching(file, SourceListError):
        copy, _ = local_copy(file)
    try:
        yield copy if extension is None else Path(f"{copy}[{extension}]")
    except SourceListError as error:
        raise SourceListError(str(error).replace(str(copy), str(file))) from None


@contextmanager
def tables_in(path: Path) -> Iterator[list[FoundTable]]:
    """The tables of a file, of which only the headers have been read; columns can be read while the block lasts.

    Raises
    ------
    SourceListError
        As `read_columns`.
    """
    with _opened(path, frozenset()) as (_, _, tables):
        yield tables


@dataclass(frozen=True, slots=True)
class _Request:
    """The request for some columns of a file.

    Parameters
    ----------
    file
        The file.
    extension
        Name or number of one of its tables; None for the table that has the columns.
    wanted
        The columns' exact names.
    """

    file: Path
    extension: str | None
    wanted: frozenset[str]

    def choose(self, tables: Sequence[FoundTable], has_extensions: bool) -> FoundTable:
        """Choose the table that is meant, and check its columns."""
        if self.extension is not None and not has_extensions:
            raise SourceListError(
                f"{self.file} has no extensions. Leave out [{self.extension}]: only FITS and VOTable files have them."
            )
        candidates = tables if self.extension is None else [self._named(self.extension, tables)]
        fitting = [table for table in candidates if self.wanted <= set(table.names)]
        if len(fitting) > 1:
            shown = ", ".join(table.label for table in fitting)
            raise SourceListError(
                f"{self.file} holds several tables with these columns: {shown}. Name one: {self.file.name}[NAME]."
            )
        if not fitting:
            present = list(dict.fromkeys(name for table in candidates for name in table.names))
            raise SourceListError(self._missing(present))
        self._check_unique(fitting[0].names)
        return fitting[0]

    def check_rows(self, n_rows: int, limit: int = MOST_ROWS) -> None:
        """Check the number of rows that a file claims, before they are read."""
        if n_rows > limit:
            raise SourceListError(f"{self.file} says that it has {n_rows:,} rows; at most {limit:,} can be read. Split it.")

    def _named(self, extension: str, tables: Sequence[FoundTable]) -> FoundTable:
        """The table with this number or name."""
        found = [table for table in tables if extension.upper() in table.label.upper().split(" ", 1)]
        if len(found) != 1:
            held = ", ".join(table.label for table in tables)
            raise SourceListError(f"{self.file} has {len(found)} tables called [{extension}]; it holds {held}. Name one of them.")
        return found[0]

    def _check_unique(self, names: Sequence[str]) -> None:
        if repeated := sorted(name for name in self.wanted if names.count(name) > 1):
            raise SourceListError(f"{self.file} has more than one column {', '.join(repeated)}. Rename all but one of them.")

    def _missing(self, present: Sequence[str]) -> str:
        absent = sorted(self.wanted - set(present))
        close = [(name, get_close_matches(name.lower(), [p.lower() for p in present], n=1)) for name in absent]
        meant = [f"{name} -> {next(p for p in present if p.lower() == match[0])}" for name, match in close if match]
        remedy = f"Did you mean {', '.join(meant)}?" if meant else "Name columns of the file; names are case-sensitive."
        shown = ", ".join(present[:40]) + (f", ... ({len(present)} in all)" if len(present) > 40 else "")
        return f"{self.file} has no column {', '.join(absent)}; it has {shown or 'none'}. {remedy}"


@contextmanager
def _opened(path: Path, wanted: frozenset[str]) -> Iterator[tuple[_Request, str, list[FoundTable]]]:
    """A file's format and tables, of which the headers have been read."""
    file, extension = split_extension(path)
    if problem := problem_of_file(file):
        raise SourceListError(" ".join(problem))
    request, form = _Request(file, extension, wanted), _Form(file)
    with warnings.catch_warnings(), ExitStack() as stack, refusing(form.refusal):
        warnings.simplefilter("ignore")  # readers warn of deviations that they tolerate; what matters is checked here
        form.name = _format(file)
        yield request, form.name, _FORMATS.get(form.name, partial(_open_text_as, form.name))(request, stack)


class _Form:
    """The format of a file, once it is known, for messages."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.name = "a table"

    def refusal(self, reason: str) -> SourceListError:
        """The error for a file that its reader cannot read, be it truncated or complete."""
        shown = _SHOWN.get(self.name, self.name)
        return SourceListError(
            f"{self.file} begins as {shown}, but cannot be read as a table: {reason}. If it was truncated on its way, fetch it "
            "again. If it is complete, write it again as FITS, Parquet or ECSV, for example with TOPCAT or astropy."
        )


_SHOWN = {
    "fits": "FITS",
    "parquet": "Parquet",
    "votable": "VOTable",
    "text": "text",
    "ecsv": "ECSV",
    "ipac": "an IPAC table",
    "cds": "a table of CDS (MRT)",
    "latex": "LaTeX",
    "aastex": "LaTeX (AASTeX)",
    "daophot": "DAOPHOT",
    "rst": "a table of reStructuredText",
    "fixed_width_two_line": "text of fixed width",
}
_WITH_EXTENSIONS = {"fits", "votable"}
_IN_PARTS = {"fits", "parquet"}


def _open(file: Path) -> io.BufferedReader | gzip.GzipFile:
    return gzip.open(file, "rb") if _is_packed(file) else file.open("rb")


def _is_packed(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(2) == b"\x1f\x8b"


def _content(request: _Request) -> bytes:
    """The complete content of a file of text, unpacked."""
    with _open(request.file) as opened:
        content = opened.read(MOST_TEXT_BYTES + 1)
    if len(content) > MOST_TEXT_BYTES:
        raise SourceListError(
            f"{request.file} holds more than {MOST_TEXT_BYTES:,} bytes of text. Write the list as Parquet or FITS, which are "
            f"read by columns."
        )
    return content


def _format(file: Path) -> str:
    """Recognise the format by the file's first bytes."""
    with _open(file) as opened:
        head = opened.read(_FIRST_BYTES)
    for beginning, what in _NAMED:
        if head.startswith(beginning):
            raise SourceListError(f"{file} is {what}. Write the list as FITS, Parquet, ECSV or CSV.")
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text:
        raise SourceListError(f"{file} is empty. Fetch or write it again.")
    for name, beginning in _BEGINNINGS:
        if re.match(beginning, text, re.IGNORECASE | re.DOTALL):
            return name
    if b"\0" not in head[:_BYTES_WITHOUT_NUL] and not text.startswith(b"<"):
        return form_of(text) or "text"
    found = "is a web page (HTML)" if b"<html" in text.lower() else f"begins with {head[:8]!r}"
    known = "a FITS, Parquet, CSV, ECSV or VOTable file, or ASCII with a # header"
    raise SourceListError(f"{file} {found}, expected {known}. Fetch it again, or convert it.")


_BEGINNINGS = (
    ("fits", rb"SIMPLE  ="),
    ("parquet", rb"PAR1"),
    ("votable", rb"(<\?xml.*?)?<(\w+:)?VOTABLE\b"),
    ("ecsv", rb"#\s*%ECSV"),
)
_NAMED = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, of which lists are not read"),
    (b"#ASDF", "an ASDF file, of which lists are not read"),
    (b"ARROW1", "a Feather (Arrow) file, which is not read"),
    (b"ORC", "an ORC file, which is not read"),
    (b"PARE", "an encrypted Parquet file, which is not read"),
    (b"Obj\x01", "an Avro file, which is not read"),
    (b"SQLite format 3", "an SQLite database, which is not read"),
    (b"PK\x03\x04", "a ZIP archive, perhaps an Excel workbook or numpy's .npz, which is not read"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook, which is not read"),
    (b"\x93NUMPY", "a numpy array, which is not read"),
    (b"\x80\x02", "a Python pickle, which is never read, since it can run code"),
    (b"\x80\x03", "a Python pickle, which is never read, since it can run code"),
    (b"\x80\x04", "a Python pickle, which is never read, since it can run code"),
    (b"\x80\x05", "a Python pickle, which is never read, since it can run code"),
    (b"BZh", "packed with bzip2, which is not unpacked"),
    (b"\xfd7zXZ", "packed with xz, which is not unpacked"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd, which is not unpacked"),
    (b"\x1f\x9d", "packed with compress (.Z), which is not unpacked"),
    (b"\xff\xfe", "text in UTF-16, expected UTF-8"),
    (b"\xfe\xff", "text in UTF-16, expected UTF-8"),
    (b"%PDF", "a PDF document, which is not a table"),
    (b"SR\x00\x04", "an IDL save file, which is not read"),
    (b"root\x00", "a ROOT file, which is not read"),
    (b"<HEADER>", "a TDAT file of HEASARC, which is not read"),
    (b"# Region file format", "a DS9 region file, which is not a table"),
    (b"{", "JSON, which is not read"),
    (b"[", "JSON, which is not read"),
)
"""Beginnings of files in other formats, and how they are called."""


def _open_text_as(form: str, request: _Request, _: ExitStack) -> list[FoundTable]:
    """The table of a file of text, in one of astropy's formats or separated by delimiters."""
    content = _content(request)
    return [open_text(content, request.file, request.wanted) if form == "text" else open_ascii(content, form, request.file.name)]


def _open_votable(request: _Request, _: ExitStack) -> list[FoundTable]:
    return open_votable(_content(request), request.file, request.check_rows)


def _open_fits_tables(request: _Request, stack: ExitStack) -> list[FoundTable]:
    hdus = stack.enter_context(_open_fits(request.file))
    for hdu in hdus:
        _check_fits_header(request, hdu.header)
    tables = [hdu for hdu in hdus if type(hdu) in (fits.BinTableHDU, fits.TableHDU)]
    if not tables:
        held = ", ".join(f"{index} {type(hdu).__name__}" for index, hdu in enumerate(hdus))
        remedy = "Name a catalog, or fetch the file again if it may be truncated."
        raise SourceListError(f"{request.file} holds no table; its HDUs are {held}. {remedy}")
    return [_fits_table(f"{hdus.index(hdu)} {hdu.name}".strip(), hdu) for hdu in tables]


def _fits_table(label: str, table: fits.BinTableHDU) -> FoundTable:
    names = list(table.columns.names)
    ucds = {name: str(ucd) for number, name in enumerate(names, 1) if (ucd := table.header.get(f"TUCD{number}"))}

    def read_rows(wanted: Collection[str], rows: slice) -> dict[str, Column]:
        about = _fits_yaml(table)
        data = table.data if rows == EVERY_ROW else table.data[rows]
        return {name: _fits_column(table, data, name, about.get(name, {})) for name in wanted}

    return FoundTable(label, names, partial(read_rows, rows=EVERY_ROW), ucds, int(table.header["NAXIS2"]), read_rows)


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
    if header.get("ZTABLE"):
        raise SourceListError(
            f"{request.file} holds a table that was packed by fpack, which is not read. Unpack it with funpack."
        )
    n_columns = header.get("TFIELDS", 0)
    if not isinstance(n_columns, int) or not 0 <= n_columns <= _MOST_FITS_COLUMNS:
        raise SourceListError(
            f"{request.file} has TFIELDS = {n_columns!r}; FITS allows up to {_MOST_FITS_COLUMNS} columns. Write the list again."
        )
    if "TFIELDS" in header:
        request.check_rows(int(header["NAXIS2"]), _MOST_ROWS_IN_PARTS)


def _fits_column(table: fits.BinTableHDU, data: fits.FITS_rec, name: str, about: dict[str, str]) -> Column:
    number = table.columns.names.index(name)
    _check_scaled_arrays(table.columns[number])
    values = _readable(_native(np.array(data.field(number))))
    values = values[:, 0] if values.shape[1:] == (1,) else values
    missing = _missing_in_fits(table, data, number)
    if missing.ndim > 1:
        values = np.where(missing, np.nan, values) if values.dtype.kind in "iuf" and missing.any() else values
        missing = np.all(missing, axis=tuple(range(1, missing.ndim)))
    description = about.get("description") or _fits_comment(table, number + 1)
    return Column(name, values, missing, table.columns[number].unit, description, frame=about.get("frame", ""))


def _check_scaled_arrays(column: fits.Column) -> None:
    """Refuse arrays of variable length that are scaled: astropy scales those of the first row only (astropy issue 8194)."""
    if any(kind in str(column.format) for kind in "PQ") and (column.bscale or 1, column.bzero or 0) != (1, 0):
        raise SourceListError(
            f"column {column.name}: it holds arrays of variable length that are scaled by TSCAL or TZERO, which cannot be read "
            "with certainty. Write them as floating-point numbers without scaling."
        )


def _native(values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _readable(values: NDArray[Any]) -> NDArray[Any]:
    """Arrays of characters of different lengths as texts."""
    if values.dtype == object and len(values) and isinstance(values[0], np.char.chararray):
        return np.array(["".join(each.tolist()) for each in values], object)
    return values


def _missing_in_fits(table: fits.BinTableHDU, data: fits.FITS_rec, number: int) -> BoolArray:
    """Which values a file marks as missing; TNULL is a value as it is stored, before TSCAL and TZERO."""
    column, stored = table.columns[number], data.view(np.ndarray)
    raw = stored[stored.dtype.names[number]]
    if isinstance(table, fits.TableHDU):
        texts = np.char.strip(raw.astype("S"))
        return np.asarray((texts == str(column.null or "").strip().encode()) | (texts == b""))
    if str(column.format).endswith("L"):
        return np.asarray(raw == 0)
    is_array = any(kind in str(column.format) for kind in "PQ")
    if column.null is None or raw.dtype.kind not in "iu" or is_array:
        return np.zeros(len(raw), bool)
    return np.asarray(raw == column.null)


def _fits_yaml(table: fits.BinTableHDU) -> Described:
    """What astropy's comments in a header say of the columns."""
    comments = [str(line) for line in table.header.get("COMMENT", ())]
    if set(_ASTROPY_COMMENTS) <= set(comments):
        first, last = map(comments.index, _ASTROPY_COMMENTS)
        lines = re.sub(r"\\\n", "", "\n".join(comments[first + 1 : last])).splitlines()
        with suppress(YamlParseError, ValueError, TypeError, KeyError):  # what FITS itself states suffices
            return described_by_astropy(lines)
    return {}


def _fits_comment(table: fits.BinTableHDU, number: int) -> str:
    """What a header says of a column in TCOMM, or beside its name."""
    comment = str(table.header.get(f"TCOMM{number}") or table.header.comments[f"TTYPE{number}"])
    return "" if _SAYS_NOTHING.match(comment) else comment


def _open_parquet(request: _Request, stack: ExitStack) -> list[FoundTable]:
    file = stack.enter_context(pq.ParquetFile(request.file))
    request.check_rows(file.metadata.num_rows, _MOST_ROWS_IN_PARTS)
    names = list(_leaves(file.schema_arrow))

    def read_rows(wanted: Collection[str], rows: slice) -> dict[str, Column]:
        masks = {f"{name}.mask" for name in wanted} & set(names)  # astropy writes masks so
        table = _flat(_rows_of_parquet(file, sorted({*wanted, *masks}), rows))
        stated = _described_in(file.schema_arrow)
        columns = {name: _arrow_column(name, table[name], stated.get(name, {})) for name in wanted}
        return {name: _masked_by(column, table, f"{name}.mask") for name, column in columns.items()}

    reading = partial(read_rows, rows=EVERY_ROW)
    return [FoundTable(request.file.name, names, reading, n_rows=file.metadata.num_rows, read_rows=read_rows)]


def _rows_of_parquet(file: pq.ParquetFile, columns: list[str], rows: slice) -> pa.Table:
    """A range of rows, of which only the row groups that hold them are read."""
    if rows == EVERY_ROW:
        return file.read(columns=columns)
    ends = np.cumsum([file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)])
    first, last = np.searchsorted(ends, [rows.start, rows.stop - 1], side="right")
    before = int(ends[first - 1]) if first else 0
    return file.read_row_groups(range(first, last + 1), columns=columns).slice(rows.start - before, rows.stop - rows.start)


def _leaves(fields: Any, prefix: str = "", depth: int = 0) -> Iterator[str]:
    """Names of all columns, and of those inside columns: ``coord`` and ``coord.ra``."""
    for field in fields:
        yield f"{prefix}{field.name}"
        if pa.types.is_struct(field.type) and depth < _MOST_NESTED:
            yield from _leaves(field.type, f"{prefix}{field.name}.", depth + 1)


def _flat(table: pa.Table) -> pa.Table:
    """The table with the columns inside columns in their place."""
    for _ in range(_MOST_NESTED):
        if not any(pa.types.is_struct(field.type) for field in table.schema):
            break
        table = table.flatten()
    return table


def _masked_by(column: Column, table: pa.Table, mask: str) -> Column:
    if mask not in table.column_names:
        return column
    return replace(column, missing=column.missing | table[mask].to_numpy().astype(bool))


def _described_in(schema: pa.Schema) -> Described:
    """Units, descriptions and frames of columns, in astropy's words beside the table, or in the fields' own metadata."""
    by_field = {field.name: field.metadata for field in schema if field.metadata}
    own = {name: {key.decode(): text.decode() for key, text in words.items()} for name, words in by_field.items()}
    astropy = described_by_astropy((schema.metadata or {}).get(b"table_meta_yaml", b"").decode().splitlines())
    return {name: own.get(name, {}) | astropy.get(name, {}) for name in {*own, *astropy}}


def _arrow_column(name: str, column: pa.ChunkedArray, about: dict[str, str]) -> Column:
    column = _plain_arrow(column)
    missing = column.is_null().to_numpy()
    if pa.types.is_null(column.type):
        return Column(name, np.zeros(len(missing)), missing).described(about)
    if _is_number(column.type):
        return Column(name, column.fill_null(0).to_numpy(), missing).described(about)
    if _holds_lists_of_numbers(column):
        return Column(name, _lists_of_numbers(column), missing).described(about)
    return Column(name, np.array(column.to_pylist(), dtype=object), missing).described(about)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _holds_lists_of_numbers(column: pa.ChunkedArray) -> bool:
    """Whether cells are lists of numbers, of which none is missing if they are integers."""
    kind = column.type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not (is_list and _is_number(kind.value_type)):
        return False
    return pa.types.is_floating(kind.value_type) or not any(chunk.flatten().null_count for chunk in column.chunks)


def _lists_of_numbers(column: pa.ChunkedArray) -> NDArray[Any]:
    """Lists as (n, k) objects if all have k numbers, else as (n,) arrays; a number that is missing is NaN, a list None."""
    lengths = pc.list_value_length(column)
    if len(column) and not lengths.null_count and len(lengths.unique()) == 1:
        numbers = np.concatenate([chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks])
        return np.asarray(numbers.reshape(len(column), -1).astype(object))
    return np.fromiter(_arrays(column), object, len(column))


def _arrays(column: pa.ChunkedArray) -> Iterator[NDArray[Any] | None]:
    """Each list as an array with memory of its own, so that a few rows do not keep the table that they are taken from."""
    for chunk in column.chunks:
        numbers, lengths = chunk.flatten().to_numpy(zero_copy_only=False), pc.list_value_length(chunk)
        ends = np.cumsum(lengths.fill_null(0).to_numpy()).tolist()
        for start, end, length in zip([0, *ends], ends, lengths.to_pylist(), strict=False):
            yield None if length is None else numbers[start:end].copy()


def _plain_arrow(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column without the types of databases: dictionaries as their values, decimal numbers as integers or as float64."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not pa.types.is_decimal(column.type):
        return column
    if column.type.scale <= 0:
        with suppress(pa.ArrowInvalid):  # more digits than an integer has
            return column.cast(pa.int64())
    return column.cast(pa.float64())


_FORMATS: dict[str, Callable[[_Request, ExitStack], list[FoundTable]]] = {
    "fits": _open_fits_tables,
    "parquet": _open_parquet,
    "votable": _open_votable,
}
