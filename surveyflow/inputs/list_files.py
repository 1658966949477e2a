"""The files of a source list: one, several, or those of a folder of Parquet files or of a HATS catalog, as one list.

A HATS collection stands for its primary table: margins and indexes repeat rows. The number of rows that a HATS catalog states is
compared with that of its files, so that a copy that is not complete is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from surveyflow.errors import SourceListError
from surveyflow.files.paths import Place
from surveyflow.inputs.columns import Column

MOST_FILES = 100_000
"""Limit of files in a folder."""
_PROPERTIES = ("hats.properties", "properties")
_COLLECTION = "collection.properties"
_MOST_BYTES = 2**20


def files_of(paths: Iterable[Place]) -> list[Place]:
    """The files of a list, with those of its folders in the order of their names.

    Parameters
    ----------
    paths
        Files, folders and addresses.

    Raises
    ------
    SourceListError
        If a folder holds no Parquet file, or too many, or if a HATS catalog is not complete.
    """
    return [file for path in paths for file in (_files_in(path) if isinstance(path, Path) and path.is_dir() else [path])]


def _files_in(folder: Path) -> list[Path]:
    if (folder / _COLLECTION).is_file():
        return _files_in(_primary(folder))
    stated = next((folder / name for name in _PROPERTIES if (folder / name).is_file()), None)
    found = (folder / "dataset" if stated else folder).rglob("*.parquet")
    shown = (file for file in found if not any(part.startswith((".", "_")) for part in file.relative_to(folder).parts))
    files = sorted(islice((file for file in shown if file.is_file()), MOST_FILES + 1))
    if not files:
        raise SourceListError(f"{folder} is a folder without Parquet files. Name a table, or a folder of Parquet files.")
    if len(files) > MOST_FILES:
        raise SourceListError(f"{folder} holds more than {MOST_FILES:,} files. Write the list as fewer, larger files.")
    if stated:
        _check_complete(folder, _properties(stated), files)
    return files


def _primary(folder: Path) -> Path:
    """The folder of a collection's primary table."""
    named = _properties(folder / _COLLECTION).get("hats_primary_table_url", "")
    primary = folder / named
    if not named or Path(named).is_absolute() or ".." in Path(named).parts or not primary.is_dir():
        raise SourceListError(
            f"{folder} is a HATS collection whose primary table {named!r} is not in it. Name the folder of the primary table."
        )
    return primary


def _properties(file: Path) -> dict[str, str]:
    """The keys of a file of properties."""
    with file.open(encoding="utf-8", errors="replace") as opened:
        lines = opened.read(_MOST_BYTES).splitlines()
    pairs = (line.partition("=") for line in lines if not line.lstrip().startswith("#"))
    return {key.strip(): value.strip() for key, _, value in pairs}


def _check_complete(folder: Path, properties: Mapping[str, str], files: list[Path]) -> None:
    stated = properties.get("hats_nrows", "")
    if not stated.isdecimal() or len(stated) > 18:
        return
    try:
        n_rows = sum(pq.read_metadata(file).num_rows for file in files)
    except Exception as error:
        raise SourceListError(f"{folder}: one of its files is not complete ({error}). Fetch the catalog again.") from error
    if n_rows != int(stated):
        raise SourceListError(
            f"{folder}: its files have {n_rows:,} rows, but it states {int(stated):,}. Fetch the catalog again."
        )


def combined(parts: Mapping[Place, Mapping[str, Column]]) -> dict[str, Column]:
    """The columns of several files, one below the other.

    Parameters
    ----------
    parts
        The same columns of each file, in the order of the rows.

    Raises
    ------
    SourceListError
        If a column has other units, kinds of values or frames in one file than in another.
    """
    return {name: _combined(name, parts) for name in next(iter(parts.values()))}


def _combined(name: str, parts: Mapping[Place, Mapping[str, Column]]) -> Column:
    columns = {file: columns[name] for file, columns in parts.items() if len(columns[name].values)}
    if not columns:
        return next(iter(parts.values()))[name]
    first = next(iter(columns.values()))
    for what, stated in (
        ("unit", {file: column.unit for file, column in columns.items() if column.unit}),
        ("frame", {file: column.frame for file, column in columns.items()}),
        ("kind of values", {file: _kind(column) for file, column in columns.items() if not column.missing.all()}),
    ):
        _check_same(name, what, stated)
    values = np.concatenate([_filled(column, _exact_type(list(columns.values()))) for column in columns.values()])
    missing = np.concatenate([column.missing for column in columns.values()])
    unit = next((column.unit for column in columns.values() if column.unit), None)
    return replace(first, values=values, missing=missing, unit=unit, untyped=any(each.untyped for each in columns.values()))


def _check_same(name: str, what: str, stated: Mapping[Place, str]) -> None:
    """Refuse files that contradict each other."""
    first = next(iter(stated), None)
    for file, found in stated.items():
        if first is not None and found != stated[first]:
            raise SourceListError(
                f"column {name}: its {what} is {found!r} in {file.name}, but {stated[first]!r} in {first.name}. Convert one of "
                "the files."
            )


def _kind(column: Column) -> str:
    shape = "x".join(map(str, column.values.shape[1:]))
    kind = {"i": "numbers", "u": "numbers", "f": "numbers", "b": "truth values"}.get(column.values.dtype.kind, "text")
    return f"{kind} {shape}".strip()


def _exact_type(columns: list[Column]) -> np.dtype[Any] | None:
    """The type of all values; None for what numpy makes of them. Numbers that are whole in all files stay whole."""
    kinds = {column.values.dtype.kind for column in columns}
    if kinds <= set("OSU") and len(kinds) > 1:
        return np.dtype(object)
    return np.dtype(np.int64) if kinds <= set("iuf") and len(kinds) > 1 and all(map(_is_whole, columns)) else None


def _is_whole(column: Column) -> bool:
    """Whether integers of 64 bits hold all values of a column exactly."""
    values = column.values[~column.missing]
    if values.dtype.kind == "f":
        return bool((np.isfinite(values) & (values == np.floor(values)) & (np.abs(values) < 2.0**53)).all())
    return values.dtype.kind == "i" or bool((values <= np.uint64(np.iinfo(np.int64).max)).all())


def _filled(column: Column, kind: np.dtype[Any] | None) -> NDArray[Any]:
    if kind is None:
        return column.values
    values = np.where(column.missing, 0, column.values) if kind == np.int64 else column.values
    return values.astype(kind)
