"""The selection of rows as SQL, with its constants as parameters: the same rows as the Arrow expression of the same text.

Null is as in SQL and in Arrow. NaN is as in IEEE 754 and in Arrow: it is neither equal to, nor less or greater than, any number.
DuckDB alone takes it for the greatest number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from surveyflow.catalog.selection import parse_selection, translated

_SQL_TYPES = {pa.float32(): "FLOAT", pa.float64(): "DOUBLE"}


@dataclass(frozen=True, slots=True, eq=False)
class Sql:
    """A part of an SQL statement, and the values of its parameters.

    Parameters
    ----------
    text
        The part, in parentheses where it needs them, with ``?`` for each parameter.
    values
        The values, in the order of the parameters.
    kind
        The type of a column; None for anything else.
    may_be_nan
        Whether it may be NaN.
    """

    text: str
    values: tuple[bool | float | str, ...] = ()
    kind: pa.DataType | None = None
    may_be_nan: bool = False

    def __and__(self, other: Sql) -> Sql:
        return _joined(self, "AND", other)

    def __or__(self, other: Sql) -> Sql:
        return _joined(self, "OR", other)

    __hash__ = None  # type: ignore[assignment]  # equality is a part of a statement

    def __invert__(self) -> Sql:
        return Sql(f"(NOT {self.text})", self.values)

    def __eq__(self, other: object) -> Sql:  # type: ignore[override]
        return _compared(self, "=", other)

    def __ne__(self, other: object) -> Sql:  # type: ignore[override]
        return ~_compared(self, "=", other)

    def __lt__(self, other: Sql) -> Sql:
        return _compared(self, "<", other)

    def __le__(self, other: Sql) -> Sql:
        return _compared(self, "<=", other)

    def __gt__(self, other: Sql) -> Sql:
        return _compared(self, ">", other)

    def __ge__(self, other: Sql) -> Sql:
        return _compared(self, ">=", other)

    def __add__(self, other: Sql) -> Sql:
        return _joined(self, "+", other, number=True)

    def __sub__(self, other: Sql) -> Sql:
        return _joined(self, "-", other, number=True)

    def __mul__(self, other: Sql) -> Sql:
        return _joined(self, "*", other, number=True)

    def is_valid(self) -> Sql:
        """Whether it is not null."""
        return Sql(f"({self.text} IS NOT NULL)", self.values)


@dataclass(frozen=True, slots=True)
class _SqlTerms:
    """SQL's expressions over columns with other names than the schema's."""

    schema: pa.Schema
    names: Mapping[str, str]

    def column(self, name: str) -> Sql:
        kind = self.schema.field(name).type
        return Sql(self.names[name], kind=kind, may_be_nan=pa.types.is_floating(kind))

    def whole(self, name: str) -> Sql:
        return Sql(f"CAST({self.names[name]} AS BIGINT)")

    def constant(self, value: bool | float | str) -> Sql:
        return Sql("?", (value,))

    def quotient(self, left: Sql, right: Sql) -> Sql:
        return _joined(Sql(f"CAST({left.text} AS DOUBLE)", left.values), "/", right, number=True)

    def common_bits(self, name: str, bits: int) -> Sql:
        return Sql(f"(CAST({self.names[name]} AS BIGINT) & CAST(? AS BIGINT))", (bits,))

    def is_among(self, value: Sql, constants: Sequence[bool | float | str]) -> Sql:
        """Arrow converts the constants to the column's type, and then compares."""
        kind = None if value.kind is None else _SQL_TYPES.get(value.kind)
        one = f"CAST(? AS {kind})" if kind else "?"
        return Sql(f"({value.text} IN ({', '.join([one] * len(constants))}))", (*value.values, *constants))


def selection_sql(text: str, schema: pa.Schema, names: Mapping[str, str]) -> Sql:
    """Translate a selection to a condition of DuckDB's SQL.

    Parameters
    ----------
    text, schema
        As for `surveyflow.catalog.selection.parse_selection`.
    names
        What each column is called in the statement; these names need no quotation marks.

    Returns
    -------
    The condition. The text's own words are not in it: constants are parameters, and columns have the given names.

    Raises
    ------
    InputError
        As `surveyflow.catalog.selection.parse_selection`.

    Examples
    --------
    >>> schema = pa.schema({"redshift": pa.float64(), "flags": pa.int32()})
    >>> selection_sql("z < 1.5 and flags & EDGE == 0", schema, {"redshift": "c0", "flags": "c1"}).values
    (1.5, 1, 0)
    """
    parse_selection(text, schema)
    found: Sql = translated(text, schema, _SqlTerms(schema, names))
    return found


def _joined(left: Sql, word: str, right: Sql, *, number: bool = False) -> Sql:
    return Sql(f"({left.text} {word} {right.text})", (*left.values, *right.values), may_be_nan=number)


def _compared(left: Sql, word: str, right: object) -> Sql:
    assert isinstance(right, Sql)
    found, values = f"{left.text} {word} {right.text}", (*left.values, *right.values)
    guarded, other = (left, right) if word in (">", ">=") else (right, left)
    if not guarded.may_be_nan or (word == "=" and not other.may_be_nan):
        return Sql(f"({found})", values)
    if other.text == "?":  # what is never null needs no CASE, and DuckDB skips row groups by the plain comparison
        return Sql(f"({found} AND NOT isnan({guarded.text}))", (*values, *guarded.values))
    never = f"CASE WHEN isnan({guarded.text}) THEN nullif({other.text} IS NULL, true) ELSE {found} END"
    return Sql(f"({never})", (*guarded.values, *other.values, *values))
