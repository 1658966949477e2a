"""Ids that are text: the names of sources, and the numbers that stand for them.

Blanks around a name do not belong to it, and its characters are composed (Unicode's form NFC), so that a name that looks the same
is the same. Leading zeros, blanks inside, and upper and lower case belong to it.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from surveyflow.inputs.columns import Column
from surveyflow.inputs.kept_columns import problem_of_texts, shown, text_of
from surveyflow.values.listed import key_of_name

_N_SHOWN = 5
_WHOLE = re.compile(r"[+-]?[0-9]+")


def problems_of_names(column: Column) -> Iterator[str]:
    """Describe everything that is wrong with a column of ids that are text."""
    if (problem := problem_of_texts(column, "Write names of one line.")) or (problem := _numbers_among(column)):
        yield problem
    else:
        names = names_in(column)
        absent = [row for row, name in enumerate(names) if name is None]
        if absent:
            rows = ", ".join(f"row {column.row(row)}" for row in absent[:_N_SHOWN])
            yield f"column {column.name}: {rows}{_more(absent)}: the id is missing. Give each source an id."
        yield from _repeated(column.name, [name for name in names if name is not None])


def _numbers_among(column: Column) -> str | None:
    """What is wrong with a column of which the file does not say that it is text, if some of its ids are whole numbers."""
    names = names_in(column) if column.untyped else []
    numbers = [name for name in names if name is not None and _WHOLE.fullmatch(name)]
    if not numbers:
        return None
    row = next(row for row, name in enumerate(names) if name is not None and not _WHOLE.fullmatch(name))
    found = f"row {column.row(row)} holds {shown(names[row])}, but {len(numbers)} ids are whole numbers"
    return (
        f"column {column.name}: {found}. Correct the row. If the ids are names, write the list as FITS, Parquet, VOTable or "
        "ECSV, which say that a column is text."
    )


def with_keys(column: Column) -> Column:
    """A column of names without problems, as a column of the numbers that stand for them."""
    keys = np.array([key_of_name(str(name)) for name in names_in(column)], np.int64)
    return replace(column, values=keys, missing=np.zeros(len(keys), bool))


def names_of(column: Column) -> pa.Array:
    """The names in a column without problems: (n,) string."""
    return pa.array(names_in(column), pa.string())


def names_in(column: Column) -> list[str | None]:
    """The names in a column of text; None where there is none."""
    return [None if absent else _name(value) for value, absent in zip(column.values.tolist(), column.missing, strict=True)]


def _name(value: Any) -> str | None:
    return unicodedata.normalize("NFC", text_of(value) or "").strip() or None


def _repeated(column: str, names: Sequence[str]) -> Iterator[str]:
    counts = Counter(names)
    if twice := [name for name, count in counts.items() if count > 1]:
        what = f"ids that occur more than once: {_listed(twice)}. Keep one row a source: ids must be unique within a field."
        yield f"column {column}: {what}"
    keys = Counter(map(key_of_name, counts))
    if same := [name for name in counts if keys[key_of_name(name)] > 1]:
        yield f"column {column}: names for which the same number stands: {_listed(same)}. Rename all but one of them."


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(shown, names[:_N_SHOWN])) + _more(names)


def _more(items: Sequence[object]) -> str:
    return f" and {len(items) - _N_SHOWN} more" if len(items) > _N_SHOWN else ""
