"""A column of a table file as the file holds it, and a table of which the header has been read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surveyflow.values.arrays import BoolArray

MOST_COLUMNS = 100_000
"""Limit of columns in a header of text."""
NOT_A_VALUE = {"", "-", "--", "---", "nan", "-nan", "null", "none", "n/a", "na", "masked"}
"""Words of tables of text that say that there is no value, in lower case."""
SAME_AS_ICRS = {"", "icrs", "fk5"}
"""Frames of positions that count as ICRS, as far as a file says; FK5 of equinox 2000 differs by some 20 mas."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column as its file holds it.

    Parameters
    ----------
    name
        Its name in the file.
    values
        (n, ...) native byte order; numbers, or text if the file holds text. Arbitrary where ``missing`` is True.
    missing
        (n,) bool: masked, empty, or a text such as ``nan`` among numbers.
    unit
        As the file spells it; None if it does not state one.
    description
        The file's words for what it holds; empty if there are none.
    untyped
        Whether the file states no types, so that the values themselves decide whether the column holds numbers or text.
    frame
        The frame of the positions to which the column belongs, in lower case, such as ``fk4`` or ``galactic``; empty if the file
        states none.
    first_row
        Number of the file's rows before the first of these; more than 0 if only a part of the file was read.
    """

    name: str
    values: NDArray[Any]
    missing: BoolArray
    unit: str | None = None
    description: str = ""
    untyped: bool = False
    frame: str = ""
    first_row: int = 0

    def row(self, place: int) -> int:
        """The number, from 1, that a row has in its file.

        Parameters
        ----------
        place
            Its place among these rows, from 0.
        """
        return self.first_row + int(place) + 1

    def described(self, about: Mapping[str, str]) -> Column:
        """The column with the unit, description and frame of these words, as far as there are any."""
        unit, description = about.get("unit", self.unit), about.get("description", self.description)
        return replace(self, unit=unit, description=description, frame=about.get("frame", self.frame))


@dataclass(frozen=True, slots=True)
class FoundTable:
    """One table of a file, of which only the header has been read.

    Parameters
    ----------
    label
        Number and name, as they are shown: ``2 CAT``.
    names
        The names of its columns.
    read
        Reads columns, by their names.
    ucds
        The Unified Content Descriptors of the columns that have one, by name.
    n_rows
        Number of its rows; None if that is not known before they are read.
    read_rows
        Reads a half-open range of rows of columns; None if the table can only be read as a whole.
    """

    label: str
    names: Sequence[str]
    read: Callable[[Collection[str]], dict[str, Column]]
    ucds: Mapping[str, str] = field(default_factory=dict)
    n_rows: int | None = None
    read_rows: Callable[[Collection[str], slice], dict[str, Column]] | None = None


def is_no_value(value: object) -> bool:
    """Whether a cell says that there is no value: it is NaN, empty, or a word such as ``nan`` or ``masked``."""
    return str(value).strip().lower() in NOT_A_VALUE


def word_of(value: object) -> str:
    """A cell as a word without blanks at its ends; a whole number has no fraction."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip()
    return f"{value:.0f}" if isinstance(value, float | np.floating) and float(value).is_integer() else str(value).strip()


def holds_arrays(column: Column) -> bool:
    """Whether cells of a column are arrays or lists."""
    of_objects = column.values.tolist() if column.values.dtype == object else ()
    return column.values.ndim > 1 or any(isinstance(value, (list, dict, np.ndarray)) for value in of_objects)


def masked_column(name: str, column: Any, about: Any, frame: str = "") -> Column:
    """A column of astropy's.

    Parameters
    ----------
    name
        Its name.
    column
        (n, ...) masked or ordinary array.
    about
        What has its ``unit`` and ``description``.
    frame
        As for `Column`.
    """
    values = np.asarray(np.ma.getdata(column))
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    mask = np.asarray(np.ma.getmaskarray(column))
    if values.shape[1:] == (1,):
        values, mask = values[:, 0], mask[:, 0]
    missing: BoolArray = np.all(mask, axis=tuple(range(1, mask.ndim)))
    if values.ndim > 1 and values.dtype.kind in "iuf":
        values = np.where(mask, np.nan, values)
    unit = None if about.unit is None else str(about.unit)
    return Column(name, values, missing, unit, str(about.description or ""), frame=frame)
