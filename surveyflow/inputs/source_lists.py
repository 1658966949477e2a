"""Which sources a field's list holds: their ids, positions and redshifts.

What a list must be:

- **ids** are whole numbers that fit into 64 bits, unique within the field. Text is refused, and so are floating-point ids that
  are not whole or too large for their type to tell from their neighbours.
- **positions** are ICRS degrees, 0 <= ra < 360 and -90 <= dec <= 90, none missing. A unit that the file tells must be degrees;
  hours that no unit tells of cannot be noticed (the sources then fall off the mosaics).
- **redshifts** that are NaN, masked, empty, or -90 and below (the sentinels -99, -999) are unknown. Down to -0.01 a negative
  redshift is kept, since stars and near galaxies approach us; between that and -90 it has no meaning and is refused, because a
  sentinel such as -1 is the list's own and must not be guessed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surveyflow.errors import SourceListError
from surveyflow.files.paths import split_extension
from surveyflow.inputs.tables import Column, read_columns
from surveyflow.settings.workflow import SourceListSpec
from surveyflow.values.arrays import BoolArray, Float64Array
from surveyflow.values.sources import SourceList

UNKNOWN_REDSHIFT = -90.0
LOWEST_REDSHIFT = -0.01

_N_SHOWN = 10

_log = logging.getLogger(__name__)


def read_source_list(spec: SourceListSpec, field: str) -> SourceList:
    """Read a field's source list.

    Parameters
    ----------
    spec
        The file and what it calls its columns.
    field
        Name of the field.

    Returns
    -------
    SourceList
        Every row of the file, in its order.

    Raises
    ------
    SourceListError
        With every problem of the file: it cannot be read, lacks a column or has no rows; ids that are not unique whole
        numbers; positions that are missing or out of range; text where numbers belong.
    """
    names = spec.columns
    columns = read_columns(spec.path, {name for name in names.model_dump().values() if name is not None})
    redshift = columns[names.redshift] if names.redshift is not None else None
    if not len(columns[names.id].values):
        raise SourceListError(f"{spec.path} has no rows. Write a list with at least one source.")
    problems = [
        *_problems_of_ids(columns[names.id]),
        *_problems_of_position(columns[names.ra], 0.0, np.nextafter(360.0, 0.0), "[0, 360)"),
        *_problems_of_position(columns[names.dec], -90.0, 90.0, "[-90, 90]"),
        *(_problems_of_redshift(redshift) if redshift is not None else ()),
    ]
    if problems:
        file = split_extension(spec.path)[0]
        raise SourceListError("\n".join(f"{file.name}, {problem}" for problem in problems))
    _warn(columns, spec, field)
    return SourceList(
        field=field,
        source_id=columns[names.id].values.astype(np.int64),
        ra_deg=columns[names.ra].values.astype(np.float64),
        dec_deg=columns[names.dec].values.astype(np.float64),
        redshift=_redshift(redshift, len(columns[names.id].values)),
    )


def _warn(columns: Mapping[str, Column], spec: SourceListSpec, field: str) -> None:
    if spec.columns.redshift is None:
        _log.warning("no redshift column field=%s file=%s: every source is no_redshift", field, spec.path)
    for name in (spec.columns.ra, spec.columns.dec):
        if columns[name].values.dtype.itemsize < 8 and columns[name].values.dtype.kind == "f":
            _log.warning(
                "positions of 32 bits field=%s file=%s column=%s: they are off by up to 0.05 arcsec", field, spec.path, name
            )


def _redshift(column: Column | None, n_sources: int) -> Float64Array:
    if column is None:
        return np.full(n_sources, np.nan)
    redshift = column.values.astype(np.float64)
    redshift[column.missing | (redshift <= UNKNOWN_REDSHIFT)] = np.nan
    return redshift


def _problems_of_ids(column: Column) -> Iterator[str]:
    if problem := _not_numbers(column, "Number the sources in a column of their own."):
        yield problem
        return
    whole, exact = _whole_numbers(column.values)
    absent = column.missing | ~whole
    if absent.any():
        yield _rows(column, absent, "is missing or no whole number", "Give each source an id.")
    elif not exact.all():
        remedy = f"Store them as 64-bit integers, not {column.values.dtype}, and below 2^63."
        yield _rows(column, ~exact, "is too large to be told from its neighbours", remedy)
    elif repeated := _repeated(column):
        yield repeated


def _whole_numbers(ids: NDArray[Any]) -> tuple[BoolArray, BoolArray]:
    """Whether each is a whole number, and whether its type and int64 tell it from the whole numbers beside it."""
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
    return f"column {column.name}: {count}: {', '.join(shown)}{more}. Keep one row a source; ids are unique within a field."


def _problems_of_position(column: Column, low: float, high: float, range_words: str) -> Iterator[str]:
    if problem := _not_numbers(column, "Write positions in decimal degrees."):
        yield problem
        return
    if column.unit and not column.unit.strip().lower().startswith("deg"):
        yield f"column {column.name}: its unit is {column.unit!r}, expected degrees. Convert the column, or correct its unit."
    outside = column.missing | ~((column.values >= low) & (column.values <= high))
    if outside.any():
        what = f"is missing or not in {range_words} degrees"
        remedy = "Correct these positions, or remove their rows; if most rows are listed, are ra and dec exchanged in `columns`?"
        yield _rows(column, outside, what, remedy)


def _problems_of_redshift(column: Column) -> Iterator[str]:
    if problem := _not_numbers(column, "Write numbers, and leave unknown redshifts empty."):
        yield problem
        return
    redshift = column.values.astype(np.float64)
    meaningless = ((redshift > UNKNOWN_REDSHIFT) & (redshift < LOWEST_REDSHIFT)) | (redshift == np.inf)
    if (meaningless & ~column.missing).any():
        what = f"is no redshift (below {LOWEST_REDSHIFT}, above {UNKNOWN_REDSHIFT}, or infinite)"
        yield _rows(column, meaningless & ~column.missing, what, "Write -99 or NaN where the redshift is unknown.")


def _not_numbers(column: Column, remedy: str) -> str | None:
    """Why a column's values are not one number a row; None where they are."""
    if column.values.ndim != 1:
        each = "x".join(map(str, column.values.shape[1:]))
        return f"column {column.name}: each row holds {each} values, expected one. Name a column of one number a row."
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


def _rows(column: Column, selected: BoolArray, what: str, remedy: str) -> str:
    """``column RA: row 3 (nan) is missing. ...``: the first rows of those selected, counted from 1, and how many there are."""
    rows = np.flatnonzero(selected)
    shown = ", ".join(f"row {row + 1} ({'missing' if column.missing[row] else column.values[row]})" for row in rows[:_N_SHOWN])
    count = f" and {len(rows) - _N_SHOWN} more" if len(rows) > _N_SHOWN else ""
    return f"column {column.name}: {shown}{count}: {what}. {remedy}"


def _listed(rows: NDArray[np.intp]) -> str:
    shown = ", ".join(map(str, rows[:3]))
    return shown + (", ..." if len(rows) > 3 else "")
