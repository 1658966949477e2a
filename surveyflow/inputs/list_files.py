"""The files of a source list: one, several, or those of a folder of Parquet files or of a HATS catalog, as one list in parts.

A part is a range of rows of limited size, so that no process ever holds a complete list. FITS and Parquet are cut anywhere; a
file of text is read as a whole, since its size is limited.

No row may be lost or counted twice without a word. So what looks like a part of a folder and cannot be read is refused, and so
is a file that is named twice. A HATS collection stands for its primary table: margins and indexes repeat rows. The partitions and
the number of rows that a HATS catalog states are compared with its files, so that a copy that is not complete is refused.
"""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from surveyflow.errors import SourceListError
from surveyflow.files.paths import Place, file_state, problem_of_file, split_extension
from surveyflow.inputs.columns import Column
from surveyflow.inputs.tables import EVERY_ROW, head_of, rows_in
from surveyflow.values.listed import ColumnHead

MOST_FILES = 100_000
"""Limit of files in a folder."""
ROWS_PER_PART = 2**18
"""Number of rows of a part: some 100 MB in memory while they are matched to mosaics."""
_BYTES_PER_ROW = 40
"""Size of a row of text, by which files whose number of rows is not known are put together."""
_PROPERTIES = ("hats.properties", "properties")
_COLLECTION = "collection.properties"
_AROUND = ".."
"""The primary table of a collection that lies in it, as those of published revisions do."""
_PARTITIONS = "partition_info.csv"
_PARTITION = re.compile(r"Norder=([0-9]+)/Dir=[0-9]+/Npix=([0-9]+)\b")
_REPEATING = ("margin", "index")
"""Kinds of HATS catalogs that repeat the rows of another one."""
_SUFFIXES = (".parquet", ".parq", ".pq")
_MAGIC = b"PAR1"
_MOST_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of one file of a source list.

    Parameters
    ----------
    file
        The file.
    number
        Its number among the files of the list, from 0.
    rows
        The half-open range of its rows.
    """

    file: Place
    number: int
    rows: slice = field(default_factory=lambda: EVERY_ROW)


@dataclass(frozen=True, slots=True)
class ListPart:
    """A part of a source list.

    Parameters
    ----------
    pieces
        Its rows: of each of some files, one range.
    number
        Its number, from 0.
    n_parts
        Number of parts of the list.
    """

    pieces: tuple[Piece, ...]
    number: int = 0
    n_parts: int = 1


def whole_list(files: Iterable[Place]) -> ListPart:
    """All files of a list as its only part."""
    return ListPart(tuple(Piece(file, number) for number, file in enumerate(files)))


def parts_of_list(files: Sequence[Place], wanted: Collection[str], rows_per_part: int = ROWS_PER_PART) -> list[ListPart]:
    """Divide a list into parts of limited size, in the order of its rows.

    Parameters
    ----------
    files
        The files of the list.
    wanted
        The names of the columns that will be read.
    rows_per_part
        Most rows of a part, unless a single file that cannot be divided has more.

    Raises
    ------
    SourceListError
        If the header of a file shows that it cannot be read.
    """
    groups: list[list[Piece]] = [[]]
    room = rows_per_part
    for number, file in enumerate(files):
        for piece, n_rows in _pieces(file, number, rows_in(file, wanted), rows_per_part):
            if n_rows > room and groups[-1]:
                groups.append([])
                room = rows_per_part
            groups[-1].append(piece)
            room -= n_rows
    if not groups[0]:  # no file has a row
        return [whole_list(files)]
    return [ListPart(tuple(group), number, len(groups)) for number, group in enumerate(groups)]


def _pieces(file: Place, number: int, n_rows: int | None, rows_per_part: int) -> Iterator[tuple[Piece, int]]:
    """A file's pieces with their numbers of rows; no piece of a file without rows."""
    if n_rows is None:
        yield Piece(file, number), _size_of(file) // _BYTES_PER_ROW
    elif 0 < n_rows <= rows_per_part:
        yield Piece(file, number), n_rows
    else:
        for start in range(0, n_rows, rows_per_part):
            stop = min(start + rows_per_part, n_rows)
            yield Piece(file, number, slice(start, stop)), stop - start


def _size_of(file: Place) -> int:
    state = file_state(split_extension(file)[0])
    return 0 if state is None else state.size


def files_of(paths: Iterable[Place]) -> list[Place]:
    """The files of a list, with those of its folders in the order of their names.

    Parameters
    ----------
    paths
        Files, folders and addresses.

    Raises
    ------
    SourceListError
        If a folder holds no Parquet file, or too many, or one whose name or kind leaves open whether it belongs to the list; if
        a HATS catalog is not complete, or repeats the rows of another one; or if a file is named twice.
    """
    files = [file for path in paths for file in (_files_in(path) if isinstance(path, Path) and path.is_dir() else [path])]
    real_folder = cache(os.path.realpath)
    if repeated := [file for file, number in Counter(_real(file, real_folder) for file in files).items() if number > 1]:
        raise SourceListError(f"{repeated[0]} is named twice, and its rows would count twice. Name each file of the list once.")
    return files


def _real(place: Place, real_folder: Callable[[Path], str]) -> str:
    """The name of a file, or of a table in it, without links."""
    if not isinstance(place, Path):
        return str(place)
    file, extension = split_extension(place)
    real = os.path.realpath(file) if file.is_symlink() else f"{real_folder(file.parent)}/{file.name}"
    return real + (f"[{extension}]" if extension else "")


def _files_in(folder: Path) -> list[Path]:
    if (folder / _COLLECTION).is_file():
        return _files_in(_primary(folder))
    stated = next((folder / name for name in _PROPERTIES if (folder / name).is_file()), None)
    found = _partitions_in(folder / "dataset") if stated else _parquet_files(folder)
    files = sorted(islice(found, MOST_FILES + 1))
    if not files:
        raise SourceListError(f"{folder} is a folder without Parquet files. Name a table, or a folder of Parquet files.")
    if len(files) > MOST_FILES:
        raise SourceListError(f"{folder} holds more than {MOST_FILES:,} files. Write the list as fewer, larger files.")
    if stated:
        _check_complete(folder, _properties(stated), files)
    return files


def _partitions_in(dataset: Path) -> Iterator[Path]:
    """The files of a HATS catalog's partitions; beside them there may be a thumbnail, which repeats rows."""
    return (file for file in _parquet_files(dataset) if _PARTITION.match(file.relative_to(dataset).as_posix()))


def _parquet_files(folder: Path) -> Iterator[Path]:
    """The Parquet files in a folder and below it, each folder once, whatever links lead to it; what is hidden is left out."""
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, onerror=_refuse_folder, followlinks=True):
        folders[:] = sorted(filter(_is_shown, folders))
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        yield from filter(_is_part, (Path(place, name) for name in names if _is_shown(name)))


def _is_shown(name: str) -> bool:
    """Whether a name is not hidden; that of a folder with the rows of one value may begin with ``_``, as in ``_order=5``."""
    return not name.startswith((".", "_")) or (name.startswith("_") and "=" in name)


def _refuse_folder(error: OSError) -> NoReturn:
    raise SourceListError(
        f"{error.filename} cannot be read: {error.strerror}. Make it readable (chmod +rx), fetch it again, or move it away."
    ) from error


def _is_part(file: Path) -> bool:
    """Whether a file is a part of the list of its folder."""
    if file.suffix.lower() not in _SUFFIXES:
        if _begins_as_parquet(file):
            ends = f"its name does not end in {', '.join(_SUFFIXES[:-1])} or {_SUFFIXES[-1]}"
            raise SourceListError(f"{file} is a Parquet file, but {ends}. Rename it if it belongs to the list, or move it away.")
        return False
    if not (file.is_file() and os.access(file, os.R_OK)) and (problem := problem_of_file(file)):
        raise SourceListError(" ".join(problem))
    return True


def _begins_as_parquet(file: Path) -> bool:
    if not file.is_file() or not os.access(file, os.R_OK):
        return False
    with file.open("rb") as opened:
        return opened.read(len(_MAGIC)) == _MAGIC


def _primary(folder: Path) -> Path:
    """The folder of a collection's primary table."""
    named = _properties(folder / _COLLECTION).get("hats_primary_table_url", "")
    primary = folder.resolve().parent if named == _AROUND else folder / named
    if not named or Path(named).is_absolute() or ".." in primary.parts or not primary.is_dir():
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
    if (kind := properties.get("dataproduct_type")) in _REPEATING:
        raise SourceListError(f"{folder} is the {kind} of a HATS catalog, and repeats its rows. Name the folder of the catalog.")
    _check_partitions(folder, files)
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


def _check_partitions(folder: Path, files: list[Path]) -> None:
    """Compare the files of a HATS catalog with its list of partitions, if it has one."""
    listing = folder / _PARTITIONS
    if not listing.is_file():
        return
    places = (_PARTITION.match(file.relative_to(folder / "dataset").as_posix()) for file in files)
    there = {(int(place[1]), int(place[2])) for place in places if place}
    stated = _listed_in(listing)
    for cells, what in ((stated - there, "is listed, but has no file"), (there - stated, "has a file, but is not listed")):
        if cells:
            order, pixel = min(cells)
            raise SourceListError(f"{listing}: the partition Norder={order}, Npix={pixel} {what}. Fetch the catalog again.")


def _listed_in(listing: Path) -> set[tuple[int, int]]:
    """The partitions that a HATS catalog lists: order and number of each."""
    try:
        with listing.open(encoding="utf-8", newline="") as opened:
            return {(int(row["Norder"]), int(row["Npix"])) for row in csv.DictReader(opened)}
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise SourceListError(f"{listing} is not a list of partitions ({error!r}). Fetch the catalog again.") from error


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


def check_alike(heads: Iterable[Mapping[str, ColumnHead]]) -> None:
    """Refuse a list of which a column has other units, kinds of values or frames in one part than in another.

    Parameters
    ----------
    heads
        What is said of the columns in each part, in the order of the parts.

    Raises
    ------
    SourceListError
        The error names the files.
    """
    parts = list(heads)
    for name in parts[0]:
        _check_heads(name, [part[name] for part in parts])


def _check_heads(name: str, heads: Sequence[ColumnHead]) -> None:
    for what, stated in (
        ("unit", [(head.file, head.unit) for head in heads if head.unit]),
        ("frame", [(head.file, head.frame) for head in heads]),
        ("kind of values", [(head.file, head.kind) for head in heads if head.kind is not None]),
    ):
        _check_same(name, what, stated)


def _combined(name: str, parts: Mapping[Place, Mapping[str, Column]]) -> Column:
    columns = {file: columns[name] for file, columns in parts.items() if len(columns[name].values)}
    if not columns:
        return next(iter(parts.values()))[name]
    first = next(iter(columns.values()))
    _check_heads(name, [head_of(file, column) for file, column in columns.items()])
    _check_digits(name, columns)
    values = np.concatenate(_of_one_shape([_filled(column, _exact_type(list(columns.values()))) for column in columns.values()]))
    missing = np.concatenate([column.missing for column in columns.values()])
    unit = next((column.unit for column in columns.values() if column.unit), None)
    return replace(first, values=values, missing=missing, unit=unit, untyped=any(each.untyped for each in columns.values()))


def _check_same(name: str, what: str, stated: Sequence[tuple[str, str | None]]) -> None:
    """Refuse files that contradict each other."""
    for file, found in stated:
        if found != stated[0][1]:
            raise SourceListError(
                f"column {name}: its {what} is {found!r} in {file}, but {stated[0][1]!r} in {stated[0][0]}. Convert one of "
                "the files."
            )


def _check_digits(name: str, columns: Mapping[Place, Column]) -> None:
    """Refuse integers that floating-point numbers of other files would round."""
    large = [file for file, column in columns.items() if column.values.dtype.kind in "iu" and _is_large(column)]
    fractions = [file for file, column in columns.items() if column.values.dtype.kind == "f" and not _is_whole(column)]
    if large and fractions:
        raise SourceListError(
            f"column {name}: it holds integers beyond 2^53 in {large[0].name} and fractions in {fractions[0].name}, and no type "
            "holds all of their digits. Convert one of the files."
        )


def _is_large(column: Column) -> bool:
    values = column.values[~column.missing]
    return bool(len(values)) and max(int(values.max()), -int(values.min())) > 2**53


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
        values = values.astype(np.float64)
        return bool((np.isfinite(values) & (values == np.floor(values)) & (np.abs(values) < 2.0**53)).all())
    return values.dtype.kind == "i" or bool((values <= np.uint64(np.iinfo(np.int64).max)).all())


def _of_one_shape(parts: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """Values of several files; arrays of objects as one object for each row, unless all files hold equally many of them."""
    if len({part.shape[1:] for part in parts}) == 1 or any(part.dtype != object for part in parts):
        return parts
    return [_one_object_a_row(part) for part in parts]


def _one_object_a_row(values: NDArray[Any]) -> NDArray[Any]:
    rows = np.empty(len(values), object)
    for number, row in enumerate(values.tolist()):
        rows[number] = row
    return rows


def _filled(column: Column, kind: np.dtype[Any] | None) -> NDArray[Any]:
    if kind is None:
        return column.values
    values = np.where(column.missing, 0, column.values) if kind == np.int64 else column.values
    return values.astype(kind)
