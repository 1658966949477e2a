"""The mosaics of a field in one instrument: their files, as the workflow or a table lists them, and their names.

Open mosaics travel to another process by name, and are opened there when their pixels or projection are needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from surveyflow.errors import MosaicError, SourceListError
from surveyflow.files.addresses import Address, is_address
from surveyflow.files.paths import FileState, Place, at_home, place_of, problem_of_file, split_extension
from surveyflow.inputs.columns import Column
from surveyflow.inputs.mosaics import Mosaic, open_mosaic
from surveyflow.inputs.tables import read_columns
from surveyflow.settings.workflow import MosaicFiles, MosaicSpec
from surveyflow.values.arrays import Float64Array
from surveyflow.values.images import Box, Stated, Window

_OTHERS = ("weight", "unit", "field", "instrument")
"""Columns that a table of mosaics may have beside ``science``, which may also be called ``path``."""
_SUFFIXES = re.compile(r"\.(fits?|fz|gz)(?=\.|\[|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class MosaicSet:
    """The open mosaics of one field and instrument; close it, or use it as a context manager.

    Parameters
    ----------
    mosaics
        The mosaics.
    files
        Their files.
    names
        Their names in the catalog's column ``mosaic``: the science images' file names, with as many folders as tell them apart.
    labels
        Their names within those of work units; ``""`` for a mosaic that is alone.
    """

    mosaics: tuple[Mosaic, ...]
    files: tuple[MosaicFiles, ...]
    names: tuple[str, ...]
    labels: tuple[str, ...]

    @classmethod
    def of(cls, mosaics: Sequence[Mosaic], files: Sequence[MosaicFiles], release: str) -> Self:
        """Name open mosaics.

        Parameters
        ----------
        mosaics, files
            The mosaics and their files, in the same order.
        release
            Name of the release, which is left out of labels, so that units of several releases can be compared.
        """
        names = distinct_names([each.science for each in files])
        return cls(tuple(mosaics), tuple(files), tuple(names), tuple(_labels(names, release)))

    def __reduce__(self) -> tuple[type[NamedMosaics], tuple[object, ...]]:
        return NamedMosaics, (tuple(map(NamedMosaic.of, self.mosaics)), self.names, self.labels)

    def close(self) -> None:
        """Close the mosaics."""
        for mosaic in self.mosaics:
            mosaic.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class NamedMosaic:
    """A mosaic by name, in a process that has not opened it yet.

    Parameters
    ----------
    places
        What opens its science image and its weight map.
    stated
        What the workflow states of it.
    files
        The states of its files when it was named.
    shape, pixel_scale_arcsec, corners_deg
        As of `surveyflow.inputs.mosaics.Mosaic`.
    """

    places: tuple[str | Address, str | Address | None]
    stated: Stated
    files: tuple[FileState, ...]
    shape: tuple[int, int]
    pixel_scale_arcsec: float
    corners_deg: tuple[Float64Array, Float64Array]

    @classmethod
    def of(cls, mosaic: Mosaic) -> NamedMosaic:
        """Name an open mosaic."""
        scale, corners = mosaic.pixel_scale_arcsec, mosaic.corners_deg
        return cls(mosaic.places, mosaic.stated, mosaic.files, mosaic.shape, scale, corners)

    def to_pixels(self, ra_deg: Float64Array, dec_deg: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Convert positions on the sky to pixels; see `surveyflow.inputs.mosaics.Mosaic.to_pixels`."""
        return self._opened().to_pixels(ra_deg, dec_deg)

    def read(self, box: Box, wanted: Sequence[Box] = ()) -> Window:
        """Read a rectangle; see `surveyflow.inputs.mosaics.Mosaic.read`."""
        return self._opened().read(box, wanted)

    def _opened(self) -> Mosaic:
        """The open mosaic; those that were used last stay open.

        Raises
        ------
        MosaicError
            If it cannot be opened, or has changed since it was named.
        """
        name = self.places, self.stated, self.files
        mosaic = _open.pop(name, None) or open_mosaic(*self.places, self.stated)
        _open[name] = mosaic
        while len(_open) > _MOST_OPEN:
            _open.pop(next(iter(_open))).close()
        if mosaic.files != self.files:
            _open.pop(name).close()
            raise MosaicError(
                f"{mosaic.science} changed while this run was reading it. Wait until it is complete, then run again."
            )
        return mosaic


@dataclass(frozen=True, slots=True)
class NamedMosaics:
    """The mosaics of one field and instrument by name.

    Parameters
    ----------
    mosaics
        The mosaics.
    names, labels
        As of `MosaicSet`.
    """

    mosaics: tuple[NamedMosaic, ...]
    names: tuple[str, ...]
    labels: tuple[str, ...]


_MOST_OPEN = 16
_open: dict[tuple[object, ...], Mosaic] = {}


def listed_mosaics(spec: MosaicSpec, field: str, instrument: str) -> tuple[MosaicFiles, ...]:
    """The files of each mosaic of a field in one instrument.

    Parameters
    ----------
    spec
        The workflow's table. If it names a table file, this is read: a row for each mosaic, with the columns ``science`` (or
        ``path``) and, if there are such, ``weight``, ``unit``, ``field`` and ``instrument``. Paths are relative to the folder of
        the table file. Rows of other fields or instruments are left out.
    field, instrument
        The field and the instrument.

    Raises
    ------
    MosaicError
        If the table cannot be read, has no row for them, names a file that cannot be read, or an image twice. The error lists
        every problem.
    """
    if spec.mosaics is None:
        return spec.files
    columns = _columns(spec.mosaics)
    n_rows = len(columns["science"].values)
    wanted = {"field": field, "instrument": instrument}
    rows = [row for row in range(n_rows) if all(_text(columns.get(key), row) in (None, word) for key, word in wanted.items())]
    if not rows:
        remedy = "Add one, or correct the columns field and instrument, which may be left out."
        raise MosaicError(f"{spec.mosaics}: none of its {n_rows} rows is for {field} and {instrument}. {remedy}")
    files = [_files(spec, columns, row) for row in rows]
    if problems := list(_problems(spec.mosaics, rows, files)):
        raise MosaicError("\n".join(problems))
    return tuple(files)


_QUERY = re.compile(r"\?[^\[]*")


def distinct_names(places: Sequence[Place]) -> list[str]:
    """The shortest ends of different paths that differ from each other: file names, with folders where names are the same.

    Examples
    --------
    >>> distinct_names([Path("/data/a/egs.fits"), Path("/data/b/egs.fits[SCI]"), Path("/data/b/uds.fits")])
    ['egs.fits', 'egs.fits[SCI]', 'uds.fits']
    >>> distinct_names([Path("/data/a/egs.fits"), Path("/data/b/egs.fits")])
    ['a/egs.fits', 'b/egs.fits']
    >>> distinct_names([Address("https://archive.org/egs.fits?version=2")])
    ['egs.fits']
    """
    shown = [_QUERY.sub("", str(place)) if isinstance(place, Address) else str(place) for place in places]
    parts = [one.split("/") for one in shown]
    for depth in range(1, max(map(len, parts), default=1)):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(places):
            return names
    return [str(place) for place in places]


def _labels(names: Sequence[str], release: str) -> Iterator[str]:
    """Names for units: without suffixes and the release, of letters that paths may have, each once."""
    taken: set[str] = set()
    for name in names:
        bare = re.sub(r"[^A-Za-z0-9_+-]+", "_", _SUFFIXES.sub("", name).replace(release, "")).strip("_") or "mosaic"
        label = next(each for each in (bare, *(f"{bare}-{n}" for n in range(2, len(names) + 2))) if each not in taken)
        taken.add(label)
        yield label if len(names) > 1 else ""


def _columns(path: Path) -> dict[str, Column]:
    science = _column(path, "science") or _column(path, "path")
    if science is None:
        raise MosaicError(f"{path} has no column science. Write a table with a row for each mosaic, and its path in that column.")
    others = {name: column for name in _OTHERS if (column := _column(path, name)) is not None}
    return {"science": science} | others


def _column(path: Path, name: str) -> Column | None:
    """A column of a table file; None if it has no such column."""
    try:
        return read_columns(path, {name})[name]
    except SourceListError as error:
        if f"has no column {name}" in str(error):
            return None
        raise MosaicError(str(error)) from error


def _text(column: Column | None, row: int) -> str | None:
    """A cell's text; None if it is empty, or there is no such column."""
    if column is None or column.missing[row]:
        return None
    value = column.values[row]
    return (value.decode() if isinstance(value, bytes) else str(value)).strip() or None


def _files(spec: MosaicSpec, columns: dict[str, Column], row: int) -> MosaicFiles:
    science, weight, unit = (_text(columns.get(name), row) for name in ("science", "weight", "unit"))
    folder = spec.mosaics.parent if spec.mosaics is not None else Path()
    image, weights = (None if text is None else _place(folder, text) for text in (science, weight))
    told = (unit or spec.unit, spec.weight_kind, spec.zero_point, spec.resample, spec.psf_fwhm)
    return MosaicFiles(image or Path(), weights, *told)


def _place(folder: Path, text: str) -> Place:
    return place_of(text) if is_address(text) else folder / at_home(text)


def _problems(table: Path, rows: Sequence[int], files: Sequence[MosaicFiles]) -> Iterator[str]:
    seen: dict[Place, int] = {}
    for row, each in zip(rows, files, strict=True):
        for path in (each.science, each.weight):
            if path == Path():
                yield f"{table}: row {row + 1} names no science image. Write its path, or remove the row."
            elif path is not None:
                file = split_extension(path)[0]
                if isinstance(file, Path) and (problem := problem_of_file(file)):
                    yield f"{table}: row {row + 1}: {' '.join(problem)}"
                if path in seen:
                    yield f"{table}: row {row + 1} names {path}, as row {seen[path] + 1} does. Name each image once."
                seen[path] = row
