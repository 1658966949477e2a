"""The rows of a published revision, as DuckDB finds them in its Parquet files: some at a time, never all of them.

Columns have names of their own in every statement, so that no name in a file can be taken for SQL, and every value is a
parameter. DuckDB may read the revision's folder and nothing else.

A statement that filters or sorts reads the columns that it names, and gives places: the number of a file and of a row in it.
Files and their rows are in the order of the sky, so places are, too. Only then are other columns read, of the files with a row
that is shown. The first places of an order are remembered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from math import atan2, degrees, hypot
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from surveyflow.catalog.selection import column_named, numeric_column_named
from surveyflow.catalog.selection_sql import Sql, selection_sql
from surveyflow.errors import CatalogError, InputError
from surveyflow.releases.revisions import legible, open_catalog
from surveyflow.values import remedies
from surveyflow.values.arrays import Int64Array

DEEPEST_ROW = 200_000
"""How far into a sorted selection one can page; beyond it, a narrower selection is quicker."""
_FIRST_PLACES = 5_000
"""How many places of an order are found at once; finding 24 takes as long."""
_MOST_FILES_FOR_SPREADS = 40
_PLACE = "file_index, file_row_number"
_EVERYTHING = Sql("true")
_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "ieee_floating_point_ops": True,
    "memory_limit": "2GB",
    "temp_directory": "",
}


@dataclass(frozen=True, slots=True)
class Order:
    """The order of rows.

    Parameters
    ----------
    column
        The column to sort by; null and NaN come last. None for the order of the sky.
    descending
        Whether the largest value comes first.
    """

    column: str | None = None
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis of a plot.

    Parameters
    ----------
    column
        A column of numbers.
    low, high
        Its ends, both included.
    centre_deg
        If it is given, the column is a right ascension, and the axis its distance from this one, in [-180, 180) degrees.
    """

    column: str
    low: float
    high: float
    centre_deg: float | None = None

    @property
    def width(self) -> float:
        """Distance of its ends."""
        return self.high - self.low


class BrowsedRows:
    """The rows of a revision. Any number of threads may ask at a time.

    Parameters
    ----------
    root
        The output folder.
    revision
        Name of the revision.

    Raises
    ------
    CatalogNotFound, CatalogError
        If there is no such revision, or it cannot be read.
    """

    def __init__(self, root: Path, revision: str) -> None:
        self._root = root
        with legible(root):
            dataset = open_catalog(root, revision)
            self.n_rows = dataset.count_rows()
        self.schema: pa.Schema = dataset.schema
        self._files = list(dataset.files)
        self._names = {name: f"c{place}" for place, name in enumerate(self.schema.names)}
        columns = ", ".join(self._names.values())
        self._source = f"read_parquet(?, hive_partitioning = false) AS rows({columns})"
        self._connection = _connected(root / "releases" / revision)
        self.count = lru_cache(maxsize=256)(self._count)
        self._first_places = lru_cache(maxsize=32)(self._ordered)
        self.span = lru_cache(maxsize=64)(self._span)
        self.spreads = lru_cache(maxsize=8)(self._spreads)

    @property
    def sortable(self) -> list[str]:
        """Names of the columns that rows can be sorted by."""
        return [field.name for field in self.schema if not pa.types.is_nested(field.type)]

    @property
    def numeric(self) -> list[str]:
        """Names of the columns of numbers."""
        return [field.name for field in self.schema if pa.types.is_floating(field.type) or pa.types.is_integer(field.type)]

    def page(self, where: str, order: Order, offset: int, limit: int, columns: Sequence[str]) -> list[dict[str, Any]]:
        """Some rows of a sorted selection.

        Parameters
        ----------
        where
            The selection, in the language of ``--where``; ``""`` for all rows.
        order
            Their order; rows of the same value are in the order of the sky.
        offset, limit
            Number of rows to skip, and to return at most.
        columns
            Columns to return; those that the revision does not have are None.

        Raises
        ------
        InputError
            If the selection or the order cannot be used, or the rows lie deeper than `DEEPEST_ROW`.
        """
        if offset + limit > DEEPEST_ROW:
            raise InputError(f"row {offset + limit:,} of a selection; expected at most {DEEPEST_ROW:,}. Select fewer galaxies.")
        known = _FIRST_PLACES if offset + limit <= _FIRST_PLACES else DEEPEST_ROW
        return self._rows_at(self._first_places(where, order, known)[offset : offset + limit], columns)

    def row(self, field: str, source_id: int) -> dict[str, Any] | None:
        """Every column of one galaxy; None if there is none."""
        condition = Sql(f"({self._names['source_id']} = ? AND {self._names['field']} = ?)", (source_id, field))
        return next(iter(self._matching(condition, self.schema.names, limit=1)), None)

    def with_id(self, source_id: int, field: str | None, columns: Sequence[str], limit: int) -> list[dict[str, Any]]:
        """The galaxies of an id, in one field or in all."""
        return self._matching(self._in_field(Sql(f"{self._names['source_id']} = ?", (source_id,)), field), columns, limit=limit)

    def named(self, name: str, field: str | None, columns: Sequence[str], limit: int) -> list[dict[str, Any]]:
        """The galaxies of a name, in one field or in all."""
        if "source_name" not in self._names:
            return []
        return self._matching(self._in_field(Sql(f"{self._names['source_name']} = ?", (name,)), field), columns, limit=limit)

    def near(
        self, ra_deg: float, dec_deg: float, radius_arcsec: float, columns: Sequence[str], limit: int
    ) -> list[dict[str, Any]]:
        """The galaxies within a radius of a position, the nearest first; ``separation_arcsec`` is added to each row.

        Parameters
        ----------
        ra_deg, dec_deg
            The position, ICRS degrees.
        radius_arcsec
            The radius.
        columns, limit
            As for `page`.
        """
        ra, dec, radius = self._names["ra"], self._names["dec"], radius_arcsec / 3600
        half = f"sin(radians({ra} - ?) / 2)"
        sine = f"pow(sin(radians({dec} - ?) / 2), 2) + cos(radians(?)) * cos(radians({dec})) * pow({half}, 2)"
        separation = f"2 * degrees(asin(least(1, sqrt({sine}))))"
        values = (dec_deg, dec_deg, ra_deg)
        condition = Sql(f"({dec} BETWEEN ? AND ? AND {separation} <= ?)", (dec_deg - radius, dec_deg + radius, *values, radius))
        statement = (
            f"SELECT {_PLACE}, 3600 * {separation} AS apart FROM {self._source} WHERE {condition.text} ORDER BY apart LIMIT ?"
        )
        found = self._ask(statement, [*values, self._files, *condition.values, limit])
        rows = self._rows_at([place[:2] for place in found], columns)
        return [row | {"separation_arcsec": place[2]} for row, place in zip(rows, found, strict=True)]

    def alike(
        self, row: Mapping[str, Any], measured: Sequence[str], columns: Sequence[str], limit: int, same: str = "instrument"
    ) -> list[dict[str, Any]]:
        """The galaxies of the same instrument, or model, whose columns are most like those of one galaxy.

        Parameters
        ----------
        row
            The galaxy.
        measured
            Columns of numbers, none of them null in the row. Distances are sums of squared differences, each in units of the
            column's standard deviation; a galaxy in which one of them is null is left out.
        columns, limit
            As for `page`.
        same
            A column of texts that is the same in all of them, and not null in the row.
        """
        spreads = self.spreads(tuple(measured))
        used = [name for name in measured if spreads[name] > 0]
        if not used:
            return []
        apart = "(({0} - ?) * ?)".format  # a product takes half as long as pow
        terms = " + ".join(f"{apart(self._names[name])} * {apart(self._names[name])}" for name in used)
        values = [value for name in used for value in (float(row[name]), 1 / spreads[name]) * 2]
        other = Sql(
            f"({self._names[same]} = ? AND NOT ({self._names['source_id']} = ? AND {self._names['field']} = ?))",
            (row[same], row["source_id"], row["field"]),
        )
        return self._matching(other, columns, f"({terms}) NULLS LAST, {_PLACE}", values, limit=limit)

    def binned(self, x: Axis, y: Axis, where: str, cells: int) -> list[tuple[int, int, int]]:
        """Count the rows of a selection in cells of the plane of two columns.

        Parameters
        ----------
        x, y
            The axes.
        where
            The selection.
        cells
            Cells along each axis.

        Returns
        -------
        (column, row, number) of each cell that holds a row.
        """
        condition = self._condition(where)
        (across, turned), (along, _) = self._drawn(x), self._drawn(y)
        cell = "CAST(least(floor((? * ({0} - ?)) / ?), ?) AS INTEGER)".format
        plane = f"SELECT {across} AS x, {along} AS y FROM {self._source} WHERE {condition.text}"
        statement = (
            f"SELECT {cell('x')} AS i, {cell('y')} AS j, count(*) FROM ({plane}) WHERE x BETWEEN ? AND ? AND y BETWEEN ? AND ? "
            "GROUP BY i, j ORDER BY i, j"
        )
        places = [value for axis in (x, y) for value in (cells, axis.low, axis.width or 1.0, cells - 1)]
        values = [*places, *turned, self._files, *condition.values, x.low, x.high, y.low, y.high]
        return self._ask(statement, values)

    def fields(self) -> dict[str, tuple[float, float]]:
        """Where each field lies: the mean direction of its galaxies, right ascension and declination in degrees."""
        field, ra, dec = (self._names[name] for name in ("field", "ra", "dec"))
        flat, high = f"cos(radians({dec}))", f"avg(sin(radians({dec})))"
        towards = f"avg({flat} * cos(radians({ra}))), avg({flat} * sin(radians({ra}))), {high}"
        found = self._ask(f"SELECT {field}, {towards} FROM {self._source} GROUP BY {field} ORDER BY {field}", [self._files])
        return {name: _direction(*vector) for name, *vector in found}

    def _span(self, name: str, where: str, centre_deg: float | None = None) -> tuple[float, float] | None:
        """The smallest and the largest finite value of a column in a selection; None if there is none."""
        condition = self._condition(where)
        drawn, turned = self._drawn(Axis(name, 0, 0, centre_deg))
        inner = f"SELECT CAST({drawn} AS DOUBLE) AS x FROM {self._source} WHERE {condition.text}"
        ((low, high),) = self._ask(
            f"SELECT min(x), max(x) FROM ({inner}) WHERE isfinite(x)", [*turned, self._files, *condition.values]
        )
        return None if low is None else (low, high)

    def _count(self, where: str) -> int:
        """Number of rows of a selection."""
        condition = self._condition(where)
        ((number,),) = self._ask(f"SELECT count(*) FROM {self._source} WHERE {condition.text}", [self._files, *condition.values])
        return int(number)

    def _spreads(self, names: tuple[str, ...]) -> dict[str, float]:
        """The standard deviation of each column's finite values, in some of many files; 0 where there are too few."""
        column = "stddev_samp({0}) FILTER (isfinite(CAST({0} AS DOUBLE)))".format
        parts = ", ".join(column(self._names[name]) for name in names)
        few = self._files[:: -(-len(self._files) // _MOST_FILES_FOR_SPREADS)]
        (found,) = self._ask(f"SELECT {parts} FROM {self._source}", [few])
        return {name: float(value or 0) for name, value in zip(names, found, strict=True)}

    def _in_field(self, condition: Sql, field: str | None) -> Sql:
        return condition if field is None else condition & Sql(f"{self._names['field']} = ?", (field,))

    def _condition(self, where: str) -> Sql:
        return selection_sql(where, self.schema, self._names) if where.strip() else _EVERYTHING

    def _sorted(self, order: Order) -> str:
        if order.column is None:
            return _PLACE
        name = column_named(order.column, self.schema)
        if name not in self.sortable:
            raise InputError(f"{name} holds lists. Sort by another column.")
        column, direction = self._names[name], "DESC" if order.descending else "ASC"
        is_floating = pa.types.is_floating(self.schema.field(name).type)
        value = f"CASE WHEN isnan({column}) THEN NULL ELSE {column} END" if is_floating else column
        return f"{value} {direction} NULLS LAST, {_PLACE}"

    def _drawn(self, axis: Axis) -> tuple[str, list[float]]:
        """An axis as SQL, and the values of its parameters."""
        column = self._names[numeric_column_named(axis.column, self.schema, "Choose another.")]
        if axis.centre_deg is None:
            return column, []
        return f"((({column} - ?) % 360 + 540) % 360 - 180)", [axis.centre_deg]

    def _ordered(self, where: str, order: Order, limit: int) -> Int64Array:
        """(n, 2) the first places of a sorted selection."""
        condition = self._condition(where)
        statement = f"SELECT {_PLACE} FROM {self._source} WHERE {condition.text} ORDER BY {self._sorted(order)} LIMIT ?"
        return np.array(self._ask(statement, [self._files, *condition.values, limit]), np.int64).reshape(-1, 2)

    def _matching(
        self, condition: Sql, columns: Sequence[str], order: str = _PLACE, order_values: Sequence[Any] = (), *, limit: int
    ) -> list[dict[str, Any]]:
        statement = f"SELECT {_PLACE} FROM {self._source} WHERE {condition.text} ORDER BY {order} LIMIT ?"
        places = self._ask(statement, [self._files, *condition.values, *order_values, limit])
        return self._rows_at(places, columns)

    def _rows_at(self, places: Sequence[Sequence[int]] | Int64Array, columns: Sequence[str]) -> list[dict[str, Any]]:
        """The rows at some places, in their order; other files are not touched."""
        if not len(places):
            return []
        numbers = {number: at for at, number in enumerate(sorted({int(file) for file, _ in places}))}
        asked = [(numbers[int(file)], int(row)) for file, row in places]
        stored = [name for name in dict.fromkeys(columns) if name in self._names]
        chosen = "".join(f", {self._names[name]}" for name in stored)
        statement = (
            f"SELECT {_PLACE}{chosen} FROM {self._source} JOIN (VALUES {', '.join(['(?, ?)'] * len(asked))}) AS places(f, r) "
            "ON file_index = f AND file_row_number = r"
        )
        found = self._ask(statement, [[self._files[number] for number in numbers], *chain(*asked)])
        by_place = {row[:2]: dict(zip(stored, row[2:], strict=True)) for row in found}
        return [dict.fromkeys(columns) | by_place[place] for place in asked]

    def _ask(self, statement: str, values: Sequence[Any]) -> list[Any]:
        with self._explained():
            return self._connection.cursor().execute(statement, list(values)).fetchall()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (duckdb.OutOfRangeException, duckdb.ConversionException) as error:
            raise InputError(f"the selection cannot be computed ({_first_line(error)}). Change its numbers.") from error
        except duckdb.Error as error:
            raise CatalogError(
                f"{self._root}: the catalog cannot be read ({_first_line(error)}). See which files are damaged: "
                f"`{remedies.verify_releases(self._root)}`."
            ) from error


def _connected(folder: Path) -> duckdb.DuckDBPyConnection:
    """A database in memory that reads one folder, and whose settings no statement can change."""
    connection = duckdb.connect(config=_SETTINGS)
    quoted = str(folder.resolve()).replace("'", "''")
    connection.execute("SET parquet_metadata_cache = true")
    connection.execute(f"SET allowed_directories = ['{quoted}']")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def _direction(x: float, y: float, z: float) -> tuple[float, float]:
    return degrees(atan2(y, x)) % 360, degrees(atan2(z, hypot(x, y)))


def _first_line(error: duckdb.Error) -> str:
    return str(error).splitlines()[0][:200]
