"""Tables that join a source list by the id of the source: redshifts, masses, magnitudes, p(z) that a survey publishes beside it.

Every source keeps its row, in the order of its list, whether or not the other table has a row for it. Rows of no source are
counted and left out. An id with several rows is refused if the rows differ, because only the user knows which of them is meant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surveyflow.errors import SourceListError
from surveyflow.files.paths import Place, split_extension
from surveyflow.inputs.columns import Column
from surveyflow.inputs.list_files import combined
from surveyflow.inputs.source_names import names_in
from surveyflow.settings.workflow import JoinedTable
from surveyflow.values.arrays import BoolArray, Int64Array
from surveyflow.values.listed import Join
from surveyflow.values.sources import whole_numbers

_N_SHOWN = 5


@dataclass(frozen=True, slots=True)
class TablePiece:
    """Some rows of a table.

    Parameters
    ----------
    ids
        The column of ids.
    read
        Reads all columns, the ids among them.
    """

    ids: Column
    read: Callable[[], Mapping[str, Column]]


def join(table: JoinedTable, pieces: Iterable[TablePiece], ids: Column, role: str) -> tuple[dict[str, Column], Join]:
    """Put the rows of a table beside those of the source list; one piece of the table is in memory, and the rows that join.

    Of a piece that joins no source, only the ids are read: list and table often have the same order.

    Parameters
    ----------
    table
        The names of its columns.
    pieces
        The table: at least one piece, in the order of the rows.
    ids
        The ids of the source list, which are unique.
    role
        What the table is for, such as ``redshifts``.

    Returns
    -------
    columns
        All but that of ids, by their names in the table, row by row of the source list; missing where it has no row.
    join
        How many sources and rows found a partner.

    Raises
    ------
    SourceListError
        If its ids are of another kind than those of the list, or a source has several rows that differ.
    """
    name = split_extension(table.path)[0].name
    keys = _keys(ids, "the source list")
    columns, n_rows = _with_partners(pieces, keys, name)
    rows = _keys(columns[table.id], name)
    order = np.argsort(rows, kind="stable")
    low, high = (np.searchsorted(rows[order], keys, side=side) for side in ("left", "right"))
    found = high > low
    wanted = {each: columns[each] for each in table.wanted()}
    groups = [order[low[row] : high[row]] for row in np.flatnonzero(high - low > 1)]
    _check_same(list(wanted.values()), groups, columns[table.id], name)
    chosen = order[low[found]]
    summary = Join(role, name, len(keys), int(found.sum()), n_rows, int((high - low).sum()), len(groups))
    return {each: _beside(column, chosen, found) for each, column in wanted.items()}, summary


def _with_partners(pieces: Iterable[TablePiece], keys: NDArray[Any], name: str) -> tuple[dict[str, Column], int]:
    """The rows of a table whose ids the source list has, and the number of all its rows."""
    chosen: dict[Place, dict[str, Column]] = {}
    n_rows, ordered = 0, np.sort(keys)
    for piece in pieces:
        rows = _keys(piece.ids, name)
        _check_kinds(rows, keys, name)
        places = np.minimum(np.searchsorted(ordered, rows), len(ordered) - 1)
        partners = ~piece.ids.missing & (ordered[places] == rows)
        if partners.any() or not chosen:
            place = Path(f"{name}, row {piece.ids.row(0)}")
            chosen[place] = {each: _taken(column, partners) for each, column in piece.read().items()}
        n_rows += len(rows)
    return combined(chosen), n_rows


def check_joined(summary: Join) -> None:
    """Refuse a table that joins no source.

    Parameters
    ----------
    summary
        How it joined all of the list.

    Raises
    ------
    SourceListError
        If no source has a row.
    """
    if not summary.n_found:
        raise SourceListError(
            f"{summary.file}: none of its {summary.n_rows:,} rows has an id of the source list. Correct `id`, or name the table "
            "whose ids are those of the list."
        )


def _keys(column: Column, name: str) -> NDArray[Any]:
    """Ids as whole numbers, or as names."""
    values = column.values
    if values.ndim == 1 and values.dtype.kind in "OSU":
        return np.array([each or "" for each in names_in(column)], np.str_)
    if values.ndim != 1 or values.dtype.kind not in "iuf":
        raise SourceListError(f"{name}, column {column.name}: it holds no ids. Name a column of whole numbers or of names.")
    known = ~column.missing & ~np.isnan(values)
    whole, exact = whole_numbers(np.where(known, values, 0))
    if (odd := known & ~(whole & exact)).any():
        row = int(np.flatnonzero(odd)[0])
        raise SourceListError(
            f"{name}, column {column.name}: row {column.row(row)} ({values[row]}) is not an integer that its type holds exactly. "
            "Name the column of ids."
        )
    return np.where(known, values, 0).astype(np.int64)


def _check_kinds(rows: NDArray[Any], keys: NDArray[Any], name: str) -> None:
    kinds = ["numbers" if each.dtype.kind == "i" else "text" for each in (rows, keys)]
    if kinds[0] != kinds[1]:
        raise SourceListError(
            f"{name}: its ids are {kinds[0]}, but those of the source list are {kinds[1]}. Name the column of ids that the list "
            "has, or write one of them like the other."
        )


def _check_same(columns: list[Column], groups: list[Int64Array], ids: Column, name: str) -> None:
    """Refuse ids whose rows differ."""
    differing = [rows for rows in groups if not all(_are_same(column, rows) for column in columns)]
    if differing:
        shown = ", ".join(str(ids.values[rows[0]]) for rows in differing[:_N_SHOWN])
        more = ", ..." if len(differing) > _N_SHOWN else ""
        raise SourceListError(
            f"{name}: {len(differing)} ids of the source list have several rows that differ: {shown}{more}. Keep the row that is "
            "meant of each."
        )


def _are_same(column: Column, rows: Int64Array) -> bool:
    first = int(rows[0])
    return all(
        bool(column.missing[row]) == bool(column.missing[first])
        and (bool(column.missing[row]) or _equal(column.values[row], column.values[first]))
        for row in rows[1:].tolist()
    )


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, (str, bytes)) or one is None:
        return bool(one == other)
    numbers, others = (np.array(np.asarray(each).tolist()) for each in (one, other))  # arrays of objects hold numbers
    return bool(np.array_equal(numbers, others, equal_nan=numbers.dtype.kind == "f"))


def _taken(column: Column, rows: BoolArray) -> Column:
    return replace(column, values=column.values[rows], missing=column.missing[rows])


def _beside(column: Column, rows: Int64Array, found: BoolArray) -> Column:
    """The rows of a column beside the sources that were found in it; missing beside the others."""
    nothing = {"O": None, "S": "", "U": ""}.get(column.values.dtype.kind, 0)
    values, missing = np.full((len(found), *column.values.shape[1:]), nothing, column.values.dtype), ~found
    values[found], missing[found] = column.values[rows], column.missing[rows]
    return replace(column, values=values, missing=missing, first_row=0)
