"""Tables of labels: the classes that people, or another catalog, gave to galaxies.

They are read and checked as source lists are. A label is a word; a number such as 1 or 1.0 is the word ``1``. A galaxy without a
label, or without a position, keeps its row. Ids may be numbers or text; each may occur only once in a field, since a galaxy with
two labels has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from surveyflow.errors import SourceListError
from surveyflow.files.paths import split_extension
from surveyflow.inputs.columns import Column, holds_arrays, is_no_value, word_of
from surveyflow.inputs.source_lists import problems_of_column, rows_of_column
from surveyflow.inputs.tables import read_columns
from surveyflow.values.arrays import BoolArray, Float64Array
from surveyflow.values.sources import SOURCE_COLUMNS, whole_numbers

_POSITION = ("ra_deg", "dec_deg")
_N_SHOWN = 5


@dataclass(frozen=True, slots=True)
class LabelColumns:
    """The names of a table's columns.

    Parameters
    ----------
    label
        The class.
    id
        The galaxy's id; None if it is not used.
    field
        The galaxy's field; None if all galaxies are of one field, or ids are not used.
    ra, dec
        Its position, ICRS degrees; None if it is not used.
    magnitude
        Its magnitude, or another number to bin by; None if the table has none.
    """

    label: str
    id: str | None = None
    field: str | None = None
    ra: str | None = None
    dec: str | None = None
    magnitude: str | None = None

    def named(self) -> dict[str, str]:
        """The columns that are read, by their meaning."""
        names = {"label": self.label, "id": self.id, "field": self.field, "ra_deg": self.ra, "dec_deg": self.dec}
        return {key: name for key, name in (names | {"magnitude": self.magnitude}).items() if name is not None}


@dataclass(frozen=True, slots=True)
class Labels:
    """A table of labels, in its own order.

    Parameters
    ----------
    label
        (n,) str; ``""`` where there is none.
    id, field
        (n,) str each; None if they were not read. An id that is a whole number is written without a fraction or leading zeros.
    ra_deg, dec_deg
        (n,) float64; NaN where the position is missing; None if they were not read.
    magnitude
        (n,) float64; NaN where unknown; None if it was not read.
    """

    label: NDArray[np.str_]
    id: NDArray[np.str_] | None
    field: NDArray[np.str_] | None
    ra_deg: Float64Array | None
    dec_deg: Float64Array | None
    magnitude: Float64Array | None

    def __len__(self) -> int:
        return len(self.label)


def read_labels(path: Path, columns: LabelColumns, id_prefix: str = "") -> Labels:
    """Read a table of labels.

    Parameters
    ----------
    path
        FITS, Parquet, CSV, ECSV, VOTable or ASCII with a ``#`` header.
    columns
        The names of its columns.
    id_prefix
        What precedes the number in ids that are text: ``egs`` of ``egs10142``. An id without it is left as it is.

    Raises
    ------
    SourceListError
        If the file cannot be read, lacks a column or has no rows; if ids are missing, inexact or occur more than once,
        positions are out of range, numbers are text, or cells hold arrays. The error lists every problem of the file.
    """
    names = columns.named()
    read = read_columns(path, set(names.values()))
    found = {key: read[name] for key, name in names.items()}
    if not len(found["label"].values):
        raise SourceListError(f"{path} has no rows. Write a table with at least one label.")
    problems = list(_problems(found, id_prefix))
    if problems:
        raise SourceListError("\n".join(f"{split_extension(path)[0].name}, {problem}" for problem in problems))
    words = {key: _words(found[key]) if key in found else None for key in ("label", "id", "field")}
    numbers = {key: _position(found, key) for key in _POSITION} | {"magnitude": _magnitude(found.get("magnitude"))}
    ids = words["id"]
    words["id"] = None if ids is None else _without_prefix(ids, id_prefix)
    return Labels(**(words | numbers))  # type: ignore[arg-type]


def _problems(found: Mapping[str, Column], id_prefix: str) -> Iterator[str]:
    of_arrays = [column.name for column in found.values() if holds_arrays(column)]
    if of_arrays:
        yield from (f"column {name}: it holds arrays, expected one value a row. Name another column." for name in of_arrays)
        return
    for key in _POSITION:
        if key in found:
            yield from problems_of_column(_known_positions(found[key]), SOURCE_COLUMNS[key])
    for key in ("id", "field"):
        if key in found and (absent := _absent(found[key])).any():
            yield rows_of_column(found[key], absent, "is missing", f"Give each row its {key}.")
    if "id" in found:
        yield from _inexact(found["id"])
        yield from _repeated(found, id_prefix)
    if "magnitude" in found and found["magnitude"].values.dtype.kind not in "iuf":
        yield f"column {found['magnitude'].name}: it holds text, expected numbers. Name a column of numbers."


def _inexact(ids: Column) -> Iterator[str]:
    """Whole numbers that are so large that their floating-point type does not tell them from their neighbours."""
    if ids.values.dtype.kind != "f":
        return
    whole, exact = whole_numbers(ids.values)
    if (wrong := whole & ~exact & ~_absent(ids)).any():
        remedy = f"Store them as 64-bit integers or text, not {ids.values.dtype}: these may be the ids of other galaxies."
        yield rows_of_column(ids, wrong, "is too large to be exact", remedy)


def _repeated(found: Mapping[str, Column], id_prefix: str) -> Iterator[str]:
    ids = _without_prefix(_words(found["id"]), id_prefix)
    fields = _words(found["field"]) if "field" in found else np.full(len(ids), "")
    keys, counts = np.unique(np.stack([fields, ids]), axis=1, return_counts=True)
    repeated = keys[:, counts > 1].T
    if len(repeated):
        shown = ", ".join(" ".join(filter(None, key)) for key in repeated[:_N_SHOWN]) + (
            ", ..." if len(repeated) > _N_SHOWN else ""
        )
        yield (
            f"column {found['id'].name}: {len(repeated)} ids occur more than once: {shown}. Keep one row a galaxy; if ids "
            f"restart in every field, name the column of fields."
        )


def _absent(column: Column) -> BoolArray:
    return np.asarray(column.missing | np.array([is_no_value(value) for value in column.values], bool))


def _words(column: Column) -> NDArray[np.str_]:
    """(n,) str: the values as words, whole numbers without a fraction; ``""`` where there is no value."""
    words = ["" if absent else word_of(value) for value, absent in zip(column.values.tolist(), _absent(column), strict=True)]
    return np.array(words, np.str_) if words else np.zeros(0, "U1")


def _without_prefix(ids: NDArray[np.str_], prefix: str) -> NDArray[np.str_]:
    bare = [word.removeprefix(prefix) for word in ids.tolist()]
    return np.array(
        [str(int(word)) if word.isascii() and word.isdecimal() and len(word) < 20 else word for word in bare], np.str_
    )


def _known_positions(column: Column) -> Column:
    """The column with 0 in the place of what is missing, which is no problem of a label."""
    if column.values.ndim != 1 or column.values.dtype.kind not in "iuf":
        return column
    missing = _missing_number(column)
    return replace(column, values=np.where(missing, 0, column.values), missing=np.zeros(len(missing), bool))


def _missing_number(column: Column) -> BoolArray:
    return np.asarray(column.missing | ~np.isfinite(column.values.astype(np.float64)))


def _position(found: Mapping[str, Column], key: str) -> Float64Array | None:
    if key not in found:
        return None
    return np.where(_missing_number(found[key]), np.nan, found[key].values.astype(np.float64))


def _magnitude(column: Column | None) -> Float64Array | None:
    """Magnitudes; NaN for missing ones and for the sentinels 90 and above, and -90 and below."""
    if column is None:
        return None
    values = column.values.astype(np.float64)
    return np.where(column.missing | ~(np.abs(values) < 90), np.nan, values)
