"""The columns of a source list that the catalog keeps: their types, units and descriptions.

Numbers and truth values keep their types. Text may have up to `LONGEST_TEXT` characters; blanks around it are removed. A value
that is masked, NaN or blank is null. Numbers that stand for unknown values, such as -99, are copied as they are.
"""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pyarrow as pa
from astropy import units as u

from surveyflow.inputs.columns import Column
from surveyflow.values.listed import KeptColumn

LONGEST_TEXT = 256
"""Limit of characters in a text."""
LONGEST_DESCRIPTION = 500
"""Longer descriptions are cut."""

_NUMBERS = {"bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)), "float16", "float32", "float64"}
_NOT_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_REMEDY = "Leave it out of `columns.keep`, or write it as numbers, as true and false, or as short text."


def problem_of_kept(column: Column) -> str | None:
    """Describe what prevents a column from being kept; None if nothing does."""
    if column.values.ndim != 1:
        each = "x".join(map(str, column.values.shape[1:]))
        return f"column {column.name}: each row holds {each} values, expected one. {_REMEDY}"
    if column.values.dtype.kind in "OSU":
        return problem_of_texts(column, _REMEDY)
    if column.values.dtype.name not in _NUMBERS:
        return f"column {column.name}: it holds {column.values.dtype.name}, expected numbers of up to 64 bits or text. {_REMEDY}"
    if column.values.dtype == np.uint64 and (column.values[~column.missing] > np.iinfo(np.int64).max).any():
        return f"column {column.name}: it holds integers of 2^63 and more, which few readers of tables know. {_REMEDY}"
    return None


def kept_column(name: str, column: Column) -> KeptColumn:
    """Convert a column without problems to what the catalog keeps of it.

    Parameters
    ----------
    name
        Its name in the catalog.
    column
        The column as its file holds it.
    """
    unit = known_unit(column.unit)
    stated = f" [{column.unit}]" if column.unit and column.unit.strip() and unit is None else ""
    words = " ".join(_NOT_TEXT.sub(" ", f"{column.description}{stated}").split())
    return KeptColumn(name, _values(column), unit, words[:LONGEST_DESCRIPTION])


def known_unit(text: str | None) -> str | None:
    """A unit as astropy writes it; None if astropy does not know it.

    Parameters
    ----------
    text
        A unit as a file spells it; None if it states none.

    Examples
    --------
    >>> known_unit("erg/s/cm2"), known_unit("mag(AB)"), known_unit("furlongs per fortnight")
    ('erg / (s cm2)', 'mag(AB)', None)
    """
    if text is None or not text.strip() or len(text) > LONGEST_TEXT:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # readers need not follow every rule of a standard
        try:
            unit = u.Unit(text.strip())
            words: str = unit.to_string()
            return words if u.Unit(words) == unit else None
        except (ValueError, TypeError, AttributeError, ArithmeticError, RecursionError):
            return None


def problem_of_texts(column: Column, remedy: str) -> str | None:
    """Describe what prevents a column's values from being short texts, or all truth values; None if nothing does."""
    kinds = set()
    for row, value in enumerate(column.values.tolist()):
        if column.missing[row] or value is None:
            continue
        text = text_of(value)
        if text is None and not isinstance(value, bool):
            found = f"row {column.row(row)} holds {shown(value)}"
            return f"column {column.name}: {found}, expected text, numbers, or true and false. {remedy}"
        kinds.add(type(text))
        if text is not None and (len(text) > LONGEST_TEXT or _NOT_TEXT.search(text)):
            limit = f"expected up to {LONGEST_TEXT} characters without control characters"
            return f"column {column.name}: row {column.row(row)} holds {shown(text)} ({len(text)} characters), {limit}. {remedy}"
    return f"column {column.name}: it holds text as well as truth values. {remedy}" if len(kinds) > 1 else None


def shown(value: object) -> str:
    """A value as a message shows it: in one line of ASCII, cut if it is long."""
    words = ascii(value)
    return words if len(words) < 60 else f"{words[:56]}..."


def text_of(value: Any) -> str | None:
    """A text without the blanks around it; None for what is not text."""
    try:
        return value.decode().strip() if isinstance(value, bytes) else value.strip()
    except (AttributeError, UnicodeDecodeError):
        return None


def _values(column: Column) -> pa.Array:
    values, missing = column.values, column.missing
    if values.dtype.kind in "OSU":
        cells = [None if absent else cell for cell, absent in zip(values.tolist(), missing, strict=True)]
        if any(isinstance(cell, bool) for cell in cells):
            return pa.array(cells, pa.bool_())
        return pa.array([(text_of(cell) or None) if cell is not None else None for cell in cells], pa.string())
    if values.dtype.kind == "f":
        missing = missing | np.isnan(values)
    stored = {"float16": np.float32, "uint64": np.int64}.get(values.dtype.name, values.dtype)
    return pa.array(values.astype(stored), mask=missing)
