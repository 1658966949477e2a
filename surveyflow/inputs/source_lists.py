"""Source lists: the columns that `SourceList` declares, read and checked.

Requirements on a list:

- **ids** are integers that fit into 64 bits, or names (`surveyflow.inputs.source_names`), unique within the field. Floating-point
  ids that are not integers, or are so large that their type cannot distinguish neighbouring integers, are refused.
- **positions** are ICRS degrees, and no position is missing. If the file states a unit, it must be degrees; hours without a unit
  cannot be recognised (the sources then lie off the mosaics).
- **redshifts** that are NaN, masked, empty, or -90 and below (the sentinels -99, -999) are unknown. A negative redshift down to
  -0.01 is kept, since stars and nearby galaxies approach us. Between that and -90 it is refused, because it has no physical
  meaning, and the meaning of a list's own sentinel, such as -1, must not be guessed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from astropy import units as u
from numpy.typing import NDArray

from surveyflow.errors import SourceListError
from surveyflow.files.paths import split_extension
from surveyflow.inputs.kept_columns import kept_column, problem_of_kept
from surveyflow.inputs.source_names import names_of, problems_of_names, with_keys
from surveyflow.inputs.tables import Column, read_columns
from surveyflow.settings.workflow import SourceListSpec
from surveyflow.values.arrays import BoolArray
from surveyflow.values.listed import ListedSources
from surveyflow.values.sources import SOURCE_COLUMNS, SourceColumn, SourceList

_N_SHOWN = 10

_log = logging.getLogger(__name__)


def read_source_list(spec: SourceListSpec, field: str) -> ListedSources:
    """Read a field's source list.

    Parameters
    ----------
    spec
        The file, and the names of its columns.
    field
        Name of the field.

    Returns
    -------
    ListedSources
        Every row of the file, in its order.

    Raises
    ------
    SourceListError
        If the file cannot be read, lacks a column or has no rows; if ids are not unique integers or names, positions are missing
        or out of range, a column of numbers holds text, or a column cannot be kept. The error lists every problem of the file.
    """
    names, kept = spec.columns.named(), spec.columns.kept()
    columns = read_columns(spec.path, {*names.values(), *kept.values()})
    listed = {name: columns[of_list] for name, of_list in names.items()}
    n_sources = len(listed["source_id"].values)
    if not n_sources:
        raise SourceListError(f"{spec.path} has no rows. Write a list with at least one source.")
    named = listed["source_id"] if _is_text(listed["source_id"]) else None
    problems = [] if named is None else list(problems_of_names(named))
    numbers = {name: column for name, column in listed.items() if column is not named}
    problems += [problem for name, column in numbers.items() for problem in problems_of_column(column, SOURCE_COLUMNS[name])]
    problems += filter(None, (problem_of_kept(columns[of_list]) for of_list in dict.fromkeys(kept.values())))
    if problems:
        file = split_extension(spec.path)[0]
        raise SourceListError("\n".join(f"{file.name}, {problem}" for problem in problems))
    _warn(listed, spec, field)
    if named is not None:
        listed["source_id"] = with_keys(named)
    values = {name: column_values(listed.get(name), declared, n_sources) for name, declared in SOURCE_COLUMNS.items()}
    return ListedSources(
        SourceList(field=field, **values),
        {name: kept_column(name, columns[of_list]) for name, of_list in kept.items()},
        {} if named is None else {"source_name": names_of(named)},
    )


def _is_text(column: Column) -> bool:
    first = next((value for value, absent in zip(column.values, column.missing, strict=True) if not absent), None)
    return column.values.ndim == 1 and isinstance(first, (str, bytes))


def _warn(listed: Mapping[str, Column], spec: SourceListSpec, field: str) -> None:
    for name, declared in SOURCE_COLUMNS.items():
        column = listed.get(name)
        if column is None:
            _log.warning("no %s column field=%s file=%s: it is unknown for all sources", declared.key, field, spec.path)
        elif declared.unit == "deg" and column.values.dtype.itemsize < 8 and column.values.dtype.kind == "f":
            _log.warning(
                "positions of 32 bits field=%s file=%s column=%s: they are wrong by up to 0.05 arcsec",
                field,
                spec.path,
                column.name,
            )


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
    whole, exact = _whole_numbers(column.values)
    absent = column.missing | ~whole
    if absent.any():
        yield rows_of_column(column, absent, "is missing or not an integer", "Give each source an id.")
    elif not exact.all():
        remedy = f"Store them as 64-bit integers, not {column.values.dtype}, and below 2^63."
        yield rows_of_column(column, ~exact, "is too large to be exact", remedy)
    elif repeated := _repeated(column):
        yield repeated


def _whole_numbers(ids: NDArray[Any]) -> tuple[BoolArray, BoolArray]:
    """Whether each id is an integer, and whether its type and int64 distinguish it from neighbouring integers."""
    if ids.dtype.kind in "iu":
        return np.ones(len(ids), bool), ids <= np.iinfo(np.int64).max
    whole = np.isfinite(ids) & (np.floor(ids) == ids)
    return whole, np.abs(ids) < 2.0 ** (np.finfo(ids.dtype).nmant + 1)


def _repeated(column: Column) -> str | None:
    ids, inverse, counts = np.unique(column.values, return_inverse=True, return_counts=True)
    repeated = np.flatnonzero(counts > 1)
    if not len(repeated):
        return None
    shown = [f"{ids[i]:.0f} (rows {_listed(np.flatnonzero(inverse == i) + 1)})" for i in repeated[:_N_SHOWN]]
    count = f"{len(repeated)} id{'s occur' if len(repeated) > 1 else ' occurs'} more than once"
    more = ", ..." if len(repeated) > _N_SHOWN else ""
    return f"column {column.name}: {count}: {', '.join(shown)}{more}. Keep one row a source: ids must be unique within a field."


def _problems_of_values(column: Column, declared: SourceColumn) -> Iterator[str]:
    if declared.unit and column.unit and not column.unit.strip().lower().startswith(declared.unit):
        found = f"its unit is {column.unit!r}, expected {_unit_words(declared)}"
        yield f"column {column.name}: {found}. Convert the column, or correct its unit."
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
    return f"column {column.name}: row {row + 1} holds {str(column.values[row])!r}, expected numbers. {remedy}"


def _is_number(value: object) -> bool:
    try:
        float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return not isinstance(value, (bool, np.bool_))


def rows_of_column(column: Column, selected: BoolArray, what: str, remedy: str) -> str:
    """Describe what is wrong with rows, counted from 1, of which the first are named: ``column RA: row 3 (nan): ...``."""
    rows = np.flatnonzero(selected)
    shown = ", ".join(f"row {row + 1} ({'missing' if column.missing[row] else column.values[row]})" for row in rows[:_N_SHOWN])
    count = f" and {len(rows) - _N_SHOWN} more" if len(rows) > _N_SHOWN else ""
    return f"column {column.name}: {shown}{count}: {what}. {remedy}"


def _listed(rows: NDArray[np.intp]) -> str:
    shown = ", ".join(map(str, rows[:3]))
    return shown + (", ..." if len(rows) > 3 else "")
