"""The selection of rows by an expression such as ``field == 'EGS' and flags & OUT_OF_DOMAIN == 0``.

The text has Python's grammar, but is never run: it is parsed, and the forms below are translated to an Arrow expression.
Anything else is refused.

- columns by name; numbers, strings in quotes, True and False; names of `Flag` bits
- ``== != < <= > >=``, also chained (``0.5 <= redshift < 1.5``), and ``in [...]``, ``not in [...]``
- ``and``, ``or``, ``not``; ``+ - * /``; ``&`` between an integer column and bits
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from difflib import get_close_matches
from functools import reduce
from itertools import pairwise
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from surveyflow.catalog.schema import CATALOG_SCHEMA
from surveyflow.errors import InputError
from surveyflow.values.codes import Flag

_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_ARITHMETIC: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
}
_ALIASES = {"z": "redshift"}


class Terms(Protocol):
    """A language to which selections are translated.

    Its terms take Python's operators for comparisons, arithmetic and truth values, and the method ``is_valid``.
    """

    def column(self, name: str) -> Any:
        """A column of the schema."""

    def whole(self, name: str) -> Any:
        """A column of integers, in 64 bits, so that sums and products of short ones do not overflow."""

    def constant(self, value: bool | float | str) -> Any:
        """A constant."""

    def quotient(self, left: Any, right: Any) -> Any:
        """The ratio of two numbers, in double precision also if both are integers."""

    def common_bits(self, name: str, bits: int) -> Any:
        """The bits that an integer column and a number have in common."""

    def is_among(self, value: Any, constants: Sequence[Any]) -> Any:
        """Whether a value is one of several constants; never true of null."""


class _ArrowTerms:
    """Arrow's expressions."""

    def column(self, name: str) -> Any:
        return pc.field(name)

    def whole(self, name: str) -> Any:
        return pc.field(name).cast(pa.int64())

    def constant(self, value: bool | float | str) -> Any:
        return pc.scalar(value)

    def quotient(self, left: Any, right: Any) -> Any:
        return pc.divide(left.cast(pa.float64()), right)  # Arrow rounds the ratio of two integers down

    def common_bits(self, name: str, bits: int) -> Any:
        return pc.bit_wise_and(pc.field(name).cast(pa.int64()), pa.scalar(bits, pa.int64()))

    def is_among(self, value: Any, constants: Sequence[Any]) -> Any:
        return value.isin(list(constants))


def parse_selection(text: str, schema: pa.Schema) -> pc.Expression:
    """Translate a selection to an Arrow expression. A row in which a compared value is null is not selected.

    Parameters
    ----------
    text
        The expression; see the module's docstring.
    schema
        The columns that it may name; ``z`` stands for ``redshift``.

    Raises
    ------
    InputError
        If the text is not such an expression, names a column that is not in the schema, or compares incompatible types.

    Examples
    --------
    >>> schema = pa.schema({"redshift": pa.float64(), "flags": pa.int32()})
    >>> rows = pa.table({"redshift": [0.7, 1.2, None], "flags": [0, 4, 0]}, schema=schema)
    >>> rows.filter(parse_selection("z < 1.5 and flags & OUT_OF_DOMAIN == 0", schema))["redshift"].to_pylist()
    [0.7]
    """
    try:
        expression = translated(text, schema, _ArrowTerms())
        ds.dataset(schema.empty_table()).to_table(filter=expression)  # only now does Arrow report what it cannot compare
    except (pa.ArrowException, TypeError, OverflowError) as error:
        raise InputError(f"selection {text!r}: the types do not match ({error}). Quote strings, but not numbers.") from error
    return expression


def translated(text: str, schema: pa.Schema, terms: Terms) -> Any:
    """Translate a selection to another language.

    Parameters
    ----------
    text, schema
        As for `parse_selection`, which also checks the types.
    terms
        The language.

    Raises
    ------
    InputError
        If the text is not such an expression, or names a column that is not in the schema.
    """
    try:
        return _Translator(text, schema, terms).truth(_tree(text))
    except RecursionError as error:
        raise InputError(f"selection {text[:60]!r}...: its parts are nested too deeply. Write a shorter one.") from error


def column_named(name: str, schema: pa.Schema) -> str:
    """Find the column that a name stands for.

    Parameters
    ----------
    name
        A column of the schema; ``z`` stands for ``redshift``.
    schema
        The columns.

    Raises
    ------
    InputError
        If there is no such column; the message suggests one with a similar name.
    """
    column = _ALIASES.get(name, name) if name not in schema.names else name
    if column in schema.names:
        return column
    raise no_such_column(name, schema.names)


def numeric_column_named(name: str, schema: pa.Schema, remedy: str) -> str:
    """Find the column of numbers that a name stands for.

    Parameters
    ----------
    name, schema
        As for `column_named`.
    remedy
        What to do if it holds something else; a sentence.

    Raises
    ------
    InputError
        If there is no such column, or it holds no numbers.
    """
    column = column_named(name, schema)
    kind = schema.field(column).type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        raise InputError(f"{column} holds {kind}, expected numbers. {remedy}")
    return column


def no_such_column(name: str, known: Collection[str]) -> InputError:
    """Make the error for a column that a catalog does not have; it suggests one with a similar name.

    Parameters
    ----------
    name
        The name that was given.
    known
        The names of the catalog's columns.
    """
    if name in CATALOG_SCHEMA.names:
        return InputError(
            f"the catalog has no column {name!r}, since this revision was published before there was one. Run its workflow "
            "again: the next revision has it."
        )
    close = _similar_column(name, known)
    hint = f"Did you mean {close}?" if close else "docs/reference/catalog.md lists them."
    return InputError(f"the catalog has no column {name!r}. {hint}")


def _similar_column(name: str, known: Collection[str]) -> str | None:
    """The column that a name probably stands for: the mean of the quantity that it names, or else the nearest spelling."""
    if _ALIASES.get(name) in known:
        return _ALIASES[name]
    by_lower = {column.lower(): column for column in known}
    of_quantity = [column for column in by_lower if column.startswith(f"{name.lower()}_")]
    means = [column for column in of_quantity if column.endswith("_mean")]
    near = means or of_quantity or get_close_matches(name.lower(), list(by_lower), n=1)
    return by_lower[near[0]] if near else None


def checked_filter(condition: str | pc.Expression | list[Any], schema: pa.Schema) -> pc.Expression:
    """Translate a condition on rows in any of the forms that are accepted, and check that it can be used.

    Parameters
    ----------
    condition
        An expression as text; or an Arrow expression; or a list of (column, operator, value), as in `pandas.read_parquet`.
    schema
        The columns that it may name.

    Raises
    ------
    InputError
        If it names a column that is not in the schema, compares incompatible types, or is malformed.
    """
    if isinstance(condition, str):
        return parse_selection(condition, schema)
    try:
        expression = pq.filters_to_expression(condition) if isinstance(condition, list) else condition
        ds.dataset(schema.empty_table()).to_table(filter=expression)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise _unusable(str(error), schema) from error
    return expression


def _unusable(why: str, schema: pa.Schema) -> InputError:
    """Shorten Arrow's reason, which may hold the whole schema."""
    missing = re.search(r"No match for FieldRef\.Name\((.+?)\) in ", why)
    if missing:
        return no_such_column(missing[1], schema.names)
    return InputError(
        f"the filter cannot be used ({why.splitlines()[0][:200]}). Write it as text, such as \"status == 'ok' and redshift < 1\"."
    )


def _tree(text: str) -> ast.expr:
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"selection {text!r}: not an expression ({error}). {_advice(text)}") from error


def _advice(text: str) -> str:
    if re.search(r"\bclass\b", text):
        return "class is not stored: write p_pm_mean > p_sf_mean for post-mergers."
    return "Write e.g. 0.5 <= redshift < 1.5."


class _Translator:
    """Translator of one text; every method takes a node of its syntax tree."""

    def __init__(self, text: str, schema: pa.Schema, terms: Terms) -> None:
        self.text, self.schema, self.terms = text, schema, terms

    def truth(self, node: ast.expr) -> Any:
        """Translate a node that is true or false."""
        match node:
            case ast.BoolOp(op=op, values=values):
                return reduce(operator.and_ if isinstance(op, ast.And) else operator.or_, map(self.truth, values))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return ~self.truth(operand)
            case ast.Compare(left=left, ops=ops, comparators=rights):
                pairs = zip(ops, pairwise([left, *rights]), strict=True)
                return reduce(operator.and_, (self.comparison(op, *pair) for op, pair in pairs))
        raise self.refusal(node, "a comparison is expected here")

    def comparison(self, op: ast.cmpop, left: ast.expr, right: ast.expr) -> Any:
        """Translate a comparison of two nodes."""
        if isinstance(op, ast.In | ast.NotIn):  # codespell:ignore notin
            values = self.value(left)
            found = self.terms.is_among(values, self.items(right))
            return values.is_valid() & (found if isinstance(op, ast.In) else ~found)
        if type(op) not in _COMPARISONS:
            raise self.refusal(right, "use == or !=; comparisons with null are never true")
        return _COMPARISONS[type(op)](self.value(left), self.value(right))

    def items(self, node: ast.expr) -> list[Any]:
        """Translate a list of constants."""
        if not isinstance(node, ast.List | ast.Tuple | ast.Set) or not node.elts:
            raise self.refusal(node, "a list of values in brackets is expected after in")
        return [self.constant(item) for item in node.elts]

    def value(self, node: ast.expr) -> Any:
        """Translate a node that has a number or a string in each row."""
        match node:
            case ast.Name(id=name) if name not in Flag.__members__:
                return self.terms.column(column_named(name, self.schema))
            case ast.BinOp(op=ast.BitAnd(), left=left, right=right):
                return self.terms.common_bits(self.integers(left), self.bits(right))
            case ast.BinOp(op=ast.Div(), left=left, right=right):
                return self.terms.quotient(self.value(left), self.value(right))
            case ast.BinOp(op=op, left=left, right=right) if type(op) in _ARITHMETIC:
                return _ARITHMETIC[type(op)](self.operand(left), self.operand(right))
        return self.terms.constant(self.constant(node))

    def operand(self, node: ast.expr) -> Any:
        """Translate a part of a sum, difference or product."""
        if isinstance(node, ast.Name) and node.id not in Flag.__members__:
            name = column_named(node.id, self.schema)
            return self.terms.whole(name) if pa.types.is_integer(self.schema.field(name).type) else self.terms.column(name)
        return self.value(node)

    def constant(self, node: ast.expr) -> Any:
        """Translate a number, string, truth value or flag."""
        match node:
            case ast.Constant(value=bool() | int() | float() | str() as value):
                return value
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return -value
            case ast.Name(id=name) if name in Flag.__members__:
                return Flag[name].value
        raise self.refusal(node, "only columns, numbers, quoted strings and flags can be compared")

    def integers(self, node: ast.expr) -> str:
        """Name of an integer column."""
        if isinstance(node, ast.Name) and node.id in self.schema.names and pa.types.is_integer(self.schema.field(node.id).type):
            return node.id
        raise self.refusal(node, "& takes bits of an integer column such as flags; join comparisons with and")

    def bits(self, node: ast.expr) -> int:
        """Translate bits: an integer, a flag, or several joined with ``|`` in parentheses."""
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            return self.bits(node.left) | self.bits(node.right)
        value = self.constant(node)
        if type(value) is not int:
            raise self.refusal(node, "bits are integers or names of flags")
        return value

    def refusal(self, node: ast.expr, why: str) -> InputError:
        """Make the error for a node that is not allowed."""
        part = ast.get_source_segment(self.text.strip(), node) or self.text
        return InputError(f"selection {self.text!r}: {why}, not {part!r}.")
