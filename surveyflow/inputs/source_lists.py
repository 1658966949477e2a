"""Source lists: the columns that `SourceList` declares, read and checked.

Requirements on a list:

- **ids** are integers that fit into 64 bits, or names (`surveyflow.inputs.source_names`), unique within the field. Floating-point
  ids that are not integers, or are so large that their type cannot distinguish neighbouring integers, are refused.
- **positions** are ICRS degrees, and no position is missing. If the file states a unit, it must be degrees; hours without a unit
  cannot be recognised (the sources then lie off the mosaics).
- **redshifts** that are NaN, masked, empty, or -90 and below (the sentinels -99, -999) are unknown. A negative redshift down to
  -0.01 is kept, since stars and nearby galaxies approach us. Between that and -90 it is refused, because it has no physical
  meaning, and the meaning of a list's own sentinel, such as -1, must not be guessed. Instead of a redshift, a list may give p(z)
  (`surveyflow.inputs.redshift_columns`); the redshift is then the median within the most probable range.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
from astropy import units as u
from numpy.typing import NDArray

from surveyflow.errors import SourceListError
from surveyflow.files.paths import Place, split_extension
from surveyflow.inputs.columns import SAME_AS_ICRS, Column
from surveyflow.inputs.joined_tables import TablePiece, check_joined, join
from surveyflow.inputs.kept_columns import kept_column, problem_of_kept
from surveyflow.inputs.list_files import ListPart, Piece, combined, files_of, parts_of_list, whole_list
from surveyflow.inputs.redshift_columns import read_distributions
from surveyflow.inputs.source_names import names_of, problems_of_names, with_keys
from surveyflow.inputs.tables import EVERY_ROW, head_of, read_columns
from surveyflow.settings.workflow import ColumnMap, JoinedTable, RedshiftTable, SourceListSpec
from surveyflow.stats.redshift_distributions import Distributions, SampledRedshifts, range_shares
from surveyflow.values.arrays import BoolArray
from surveyflow.values.listed import Join, ListedSources, RangeShares
from surveyflow.values.sources import SOURCE_COLUMNS, SourceColumn, SourceList, whole_numbers

_N_SHOWN = 10


def read_source_list(
    spec: SourceListSpec, field: str, ranges: Mapping[str, tuple[float, float]], part: ListPart | None = None
) -> ListedSources:
    """Read a field's source list, or a part of it.

    Parameters
    ----------
    spec
        The files, the names of their columns, and the tables that join them.
    field
        Name of the field.
    ranges
        Half-open redshift range of each instrument, over which p(z) is integrated if the list gives it.
    part
        The part to read; all of the list by default. What only all parts together show is left to the caller then: ids that
        occur in several parts, parts that contradict each other, and tables that join no source.

    Returns
    -------
    ListedSources
        Every row of the part, in the order of the files.

    Raises
    ------
    SourceListError
        If the file cannot be read, lacks a column or has no rows; if ids are not unique integers or names, positions are missing
        or out of range, a column of numbers holds text, a column cannot be kept, or a table does not join the list. The error
        lists every problem of the files.
    """
    part = part or whole_list(list_files(spec))
    columns, problems, n_rows = _read(spec, part)
    distributions = _distributions_of_list(spec, columns, problems)
    if problems:
        raise SourceListError("\n".join(problems))
    listed = {name: columns[of_list] for name, of_list in spec.columns.named().items()}
    joined, joins = _join(spec, listed["source_id"], part)
    if spec.redshifts is not None:
        listed |= {"redshift": joined["redshifts"][spec.redshifts.column]} if spec.redshifts.column is not None else {}
        distributions = _distributions_of_table(spec.redshifts, joined["redshifts"])
    shares = None if distributions is None else range_shares(distributions, ranges)
    kept = {name: kept_column(name, columns[of_list]) for name, of_list in spec.columns.kept().items()}
    for role, table in spec.tables.items():
        kept |= {name: kept_column(name, joined[role][of_table]) for name, of_table in table.kept().items()}
    sources = _sources(field, listed, shares)
    cautions, first = tuple(_cautions(listed, spec, field)), split_extension(part.pieces[0].file)[0]
    heads = {name: head_of(first, column) for name, column in columns.items()}
    return ListedSources(sources, kept, _own(listed, shares), shares, joins=joins, cautions=cautions, heads=heads, n_rows=n_rows)


def list_files(spec: SourceListSpec) -> list[Place]:
    """The files of a source list.

    Parameters
    ----------
    spec
        The list.

    Raises
    ------
    SourceListError
        As `files_of`.
    """
    return [spec.path[0]] if spec.is_one_file else files_of(spec.path)


def _read(spec: SourceListSpec, part: ListPart) -> tuple[dict[str, Column], list[str], tuple[int, ...]]:
    """The columns of all files of a part, and what is wrong with them; no columns if that keeps files from being one list.

    The last value is the number of rows of each file.
    """
    parts = {piece.file: read_columns(piece.file, wanted_columns(spec.columns), piece.rows) for piece in part.pieces}
    id_name = spec.columns.named()["source_id"]
    with_rows = {file: columns for file, columns in parts.items() if len(columns[id_name].values)}
    if not with_rows:
        raise SourceListError(f"{', '.join(map(str, spec.path))} has no rows. Write a list with at least one source.")
    problems = [problem for file, columns in with_rows.items() for problem in _problems_of_file(file, spec.columns, columns)]
    columns = next(iter(parts.values())) if len(parts) == 1 else combined(parts) if not problems else {}
    if columns and len(parts) > 1 and part.n_parts == 1:
        problems += (f"{len(parts)} files, {problem}" for problem in _problems_of_ids_or_names(columns[id_name]))
    return columns, problems, tuple(len(columns[id_name].values) for columns in parts.values())


def _problems_of_file(file: Place, names: ColumnMap, columns: Mapping[str, Column]) -> Iterator[str]:
    listed = {name: columns[of_list] for name, of_list in names.named().items()}
    yield from _labelled(file, _problems(listed, names, columns))


def _labelled(file: Place, problems: Iterable[str]) -> Iterator[str]:
    yield from (f"{split_extension(file)[0].name}, {problem}" for problem in problems)


def _join(spec: SourceListSpec, ids: Column, part: ListPart) -> tuple[dict[str, dict[str, Column]], tuple[Join, ...]]:
    """The columns of the tables that join the list, row by row of it, and how each joined it."""
    joined, joins = {}, []
    for role, table in spec.tables.items():
        joined[role], summary = join(table, _pieces(table), ids, role)
        joins.append(summary)
        if part.n_parts == 1:
            check_joined(summary)
    return joined, tuple(joins)


def _pieces(table: JoinedTable) -> Iterator[TablePiece]:
    """A table that joins the list, in pieces of limited size. Ids are read before all else, unless the table is one piece."""
    wanted = {table.id, *table.wanted()}
    for piece in chain.from_iterable(part.pieces for part in parts_of_list([table.path], wanted)):
        if piece.rows == EVERY_ROW:
            columns = _columns_of(table, piece)
            yield TablePiece(columns[table.id], partial(dict, columns))
        else:
            ids = read_columns(piece.file, {table.id}, piece.rows, wanted)[table.id]
            yield TablePiece(ids, partial(_columns_of, table, piece))


def _columns_of(table: JoinedTable, piece: Piece) -> dict[str, Column]:
    """The columns of a piece of a table that joins the list."""
    columns = read_columns(piece.file, {table.id, *table.wanted()}, piece.rows)
    if problems := list(_labelled(table.path, _problems_of_joined(table, columns))):
        raise SourceListError("\n".join(problems))
    return columns


def _problems_of_joined(table: JoinedTable, columns: Mapping[str, Column]) -> Iterator[str]:
    if isinstance(table, RedshiftTable) and table.column is not None:
        yield from problems_of_column(columns[table.column], SOURCE_COLUMNS["redshift"])
    for of_table in dict.fromkeys(table.kept().values()):
        if problem := problem_of_kept(columns[of_table]):
            yield problem


def wanted_columns(columns: ColumnMap) -> set[str]:
    """The list's names of all columns that are read.

    Parameters
    ----------
    columns
        The names of its columns.
    """
    return {*columns.named().values(), *columns.kept().values(), *columns.of_distributions()}


def _problems(listed: Mapping[str, Column], names: ColumnMap, columns: Mapping[str, Column]) -> Iterator[str]:
    for name, column in listed.items():
        yield from _problems_of_ids_or_names(column) if name == "source_id" else problems_of_column(column, SOURCE_COLUMNS[name])
    for of_list in dict.fromkeys(names.kept().values()):
        if problem := problem_of_kept(columns[of_list]):
            yield problem


def _problems_of_ids_or_names(column: Column) -> Iterator[str]:
    yield from problems_of_names(column) if _is_text(column) else problems_of_column(column, SOURCE_COLUMNS["source_id"])


def _distributions_of_list(spec: SourceListSpec, columns: dict[str, Column], problems: list[str]) -> Distributions | None:
    """The redshift distributions, if the list has columns of them; what is wrong with them joins the problems."""
    if not columns or not spec.columns.of_distributions():
        return None
    try:
        return read_distributions(spec.path[0], spec.columns.redshift_samples, spec.columns.redshift_grid, columns)
    except SourceListError as error:
        problems += _labelled(spec.path[0], str(error).splitlines())
        return None


def _distributions_of_table(table: RedshiftTable, columns: dict[str, Column]) -> Distributions | None:
    """The redshift distributions of a table that joined the list, if it has columns of them."""
    if not table.of_distributions():
        return None
    if all(column.missing.all() for column in columns.values()):  # this part of the list has no partner
        return SampledRedshifts(np.full((len(next(iter(columns.values())).missing), 1), np.nan))
    try:
        return read_distributions(table.path, table.samples, table.grid, columns)
    except SourceListError as error:
        raise SourceListError("\n".join(_labelled(table.path, str(error).splitlines()))) from error


def _sources(field: str, listed: Mapping[str, Column], shares: RangeShares | None) -> SourceList:
    ids = listed["source_id"]
    numbers = {**listed, "source_id": with_keys(ids) if _is_text(ids) else ids}
    values = {name: column_values(numbers.get(name), declared, len(ids.values)) for name, declared in SOURCE_COLUMNS.items()}
    if shares is not None:
        values["redshift"] = shares.redshift
    return SourceList(field=field, **values)


def _own(listed: Mapping[str, Column], shares: RangeShares | None) -> dict[str, pa.Array]:
    """The values of the catalog's own columns on which no measurement depends."""
    own = {"source_name": names_of(listed["source_id"])} if _is_text(listed["source_id"]) else {}
    return own if shares is None else own | {"p_range": pa.array(shares.p_range.astype(np.float32), from_pandas=True)}


def _is_text(column: Column) -> bool:
    first = next((value for value, absent in zip(column.values, column.missing, strict=True) if not absent), None)
    return column.values.ndim == 1 and isinstance(first, (str, bytes))


def _cautions(listed: Mapping[str, Column], spec: SourceListSpec, field: str) -> Iterator[str]:
    file = ", ".join(map(str, spec.path))
    if "redshift" not in listed and not spec.columns.of_distributions() and spec.redshifts is None:
        yield f"no redshift column field={field} file={file}: it is unknown for all sources"
    for name, column in listed.items():
        if SOURCE_COLUMNS[name].unit == "deg" and column.values.dtype.itemsize < 8 and column.values.dtype.kind == "f":
            yield f"positions of 32 bits field={field} file={file} column={column.name}: they are wrong by up to 0.05 arcsec"


def column_values(column: Column | None, declared: SourceColumn, n_sources: int) -> NDArray[Any]:
    """Convert a column without problems to its declared type, (n,), with NaN for unknown values."""
    if column is None:
        return np.full(n_sources, np.nan)
    values = column.values.astype(declared.dtype)
    if not declared.required:
        values[column.missing | _is_sentinel(values, declared)] = np.nan
    return values


def _is_sentinel(values: NDArray[Any], declared: SourceColumn) -> BoolArray:
    """(n,) bool: which numbers stand for an unknown value."""
    return np.zeros(len(values), bool) if declared.unknown_up_to is None else values <= declared.unknown_up_to


def problems_of_column(column: Column, declared: SourceColumn) -> Iterator[str]:
    """Describe everything that is wrong with a column: its unit, its type, and values that are missing or out of range."""
    if problem := _not_numbers(column, declared.remedy):
        yield problem
    elif declared is SOURCE_COLUMNS["source_id"]:
        yield from _problems_of_ids(column)
    else:
        yield from _problems_of_values(column, declared)


def _problems_of_ids(column: Column) -> Iterator[str]:
    whole, exact = whole_numbers(column.values)
    absent = column.missing | ~whole
    if absent.any():
        yield rows_of_column(column, absent, "is missing or not an integer", "Give each source an id.")
    elif not exact.all():
        remedy = f"Store them as 64-bit integers, not {column.values.dtype}, and below 2^63."
        yield rows_of_column(column, ~exact, "is too large to be exact", remedy)
    elif repeated := _repeated(column):
        yield repeated


def _repeated(column: Column) -> str | None:
    ids, inverse, counts = np.unique(column.values, return_inverse=True, return_counts=True)
    repeated = np.flatnonzero(counts > 1)
    if not len(repeated):
        return None
    shown = [f"{int(ids[i])} (rows {_listed(column.first_row + np.flatnonzero(inverse == i) + 1)})" for i in repeated[:_N_SHOWN]]
    count = f"{len(repeated)} id{'s occur' if len(repeated) > 1 else ' occurs'} more than once"
    more = ", ..." if len(repeated) > _N_SHOWN else ""
    return f"column {column.name}: {count}: {', '.join(shown)}{more}. Keep one row a source: ids must be unique within a field."


def _problems_of_values(column: Column, declared: SourceColumn) -> Iterator[str]:
    if declared.unit and column.unit and not column.unit.strip().lower().startswith(declared.unit):
        found = f"its unit is {column.unit!r}, expected {_unit_words(declared)}"
        yield f"column {column.name}: {found}. Convert the column, or correct its unit."
    if declared.unit == "deg" and column.frame not in SAME_AS_ICRS:
        yield f"column {column.name}: its frame is {column.frame}, expected ICRS. Transform the positions: `table[...].icrs`."
    values = column.values.astype(declared.dtype)
    if declared.required:
        outside = column.missing | ~declared.allowed.holds(values)
        what = f"is missing or not in {declared.allowed} {_unit_words(declared)}".rstrip()
        remedy = "Correct these values, or remove their rows. If most rows are listed, check the names in `columns`."
    else:
        outside = ~(column.missing | np.isnan(values) | _is_sentinel(values, declared) | declared.allowed.holds(values))
        what = f"is not a {declared.key}, expected {declared.allowed}{_sentinels(declared)}"
        remedy = f"Write {'NaN' if declared.unknown_up_to is None else '-99 or NaN'} if the {declared.key} is unknown."
    if outside.any():
        yield rows_of_column(column, outside, what, remedy)


def _unit_words(declared: SourceColumn) -> str:
    """``degrees``: a column's unit in words; empty for a number without one."""
    if not declared.unit:
        return ""
    names = getattr(u.Unit(declared.unit), "long_names", ())  # a compound unit has none
    return f"{names[0]}s" if names else declared.unit


def _sentinels(declared: SourceColumn) -> str:
    return "" if declared.unknown_up_to is None else f", or {declared.unknown_up_to:g} and below if it is unknown"


def _not_numbers(column: Column, remedy: str) -> str | None:
    """Why a column does not have one number in each row; None if it has."""
    if column.values.ndim != 1:
        each = "x".join(map(str, column.values.shape[1:]))
        return f"column {column.name}: each row holds {each} values, expected one. Name a column with one number in each row."
    if column.values.dtype.kind in "iuf":
        return None
    row = next((row for row, value in enumerate(column.values) if not column.missing[row] and not _is_number(value)), 0)
    return f"column {column.name}: row {column.row(row)} holds {str(column.values[row])!r}, expected numbers. {remedy}"


def _is_number(value: object) -> bool:
    try:
        float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return not isinstance(value, (bool, np.bool_, np.ndarray))


def rows_of_column(column: Column, selected: BoolArray, what: str, remedy: str) -> str:
    """Describe what is wrong with rows, counted from 1, of which the first are named: ``column RA: row 3 (nan): ...``."""
    rows = np.flatnonzero(selected)
    values = {row: "missing" if column.missing[row] else column.values[row] for row in rows[:_N_SHOWN]}
    shown = ", ".join(f"row {column.row(row)} ({value})" for row, value in values.items())
    count = f" and {len(rows) - _N_SHOWN} more" if len(rows) > _N_SHOWN else ""
    return f"column {column.name}: {shown}{count}: {what}. {remedy}"


def _listed(rows: NDArray[np.intp]) -> str:
    shown = ", ".join(map(str, rows[:3]))
    return shown + (", ..." if len(rows) > 3 else "")
