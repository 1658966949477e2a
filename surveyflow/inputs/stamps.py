"""A user's noiseless images of galaxies, for example from a hydrodynamic simulation: a folder of FITS files, or HDF5.

Their labels, and their groups and redshifts if these are known, are in a table or in data sets beside the images; or one label
applies to all. Images of one group show the same galaxy, for example from several directions: a set of records holds all of them
or none.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from surveyflow.errors import InputError
from surveyflow.inputs.columns import Column, is_no_value
from surveyflow.inputs.fits_images import open_image
from surveyflow.inputs.source_lists import column_values, problems_of_column, rows_of_column
from surveyflow.inputs.tables import read_columns
from surveyflow.settings.simulation import StampsTable
from surveyflow.simulation.observe import Band
from surveyflow.values import remedies
from surveyflow.values.arrays import BoolArray, Float32Array, Float64Array
from surveyflow.values.codes import POST_MERGER, STAR_FORMING
from surveyflow.values.images import Box
from surveyflow.values.sources import SOURCE_COLUMNS

KINDS = (STAR_FORMING, POST_MERGER)
"""Labels by number: 0 and 1."""
_LABELS_EXPECTED = f"expected {POST_MERGER} or 1, {STAR_FORMING} or 0"
_AB_ZERO_JY = 3631.0
_JANSKYS = {"Jy": 1.0, "mJy": 1e-3, "uJy": 1e-6, "nJy": 1e-9}
_ARCSEC2_A_STERADIAN = (180 * 3600 / np.pi) ** 2
_FITS_NAMES = (".fits", ".fits.gz", ".fits.fz", ".fit")
_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Stamps:
    """A library of noiseless images of galaxies.

    Parameters
    ----------
    names
        Name of each image: that of its file, or its number in the data set.
    kinds
        Label of each image, ``post_merger`` or ``star_forming``.
    groups
        The galaxy that each image shows; the image's own name if no group is stated.
    redshifts
        (n,) float64; NaN where unknown.
    read
        Reads the pixels of the image of this number.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    groups: tuple[str, ...]
    redshifts: Float64Array
    read: Callable[[int], Float32Array]

    def image(self, number: int) -> Float32Array:
        """Read the pixels of an image as they are in the file, (rows, columns) float32.

        Raises
        ------
        InputError
            If they cannot be read, include NaN, or have no flux.
        """
        return self.read(number)

    def numbers_in(self, share: tuple[float, float]) -> tuple[int, ...]:
        """Choose the images of a share of the galaxies of each label, in a fixed order that does not follow names.

        Parameters
        ----------
        share
            Ends of the share, from 0 to 1; the low one is included. Shares that do not overlap have no group in common.

        Raises
        ------
        InputError
            If no galaxy lies in the share.
        """
        places = _places(self.groups, self.kinds)
        numbers = [number for number, group in enumerate(self.groups) if share[0] <= places[group] < share[1]]
        if not numbers:
            raise InputError(
                f"[simulation.stamps] share = {list(share)}: none of the {len(places)} galaxies lies in it. Widen the share."
            )
        return tuple(sorted(numbers, key=lambda number: (places[self.groups[number]], number)))

    def identities(self, numbers: Sequence[int]) -> list[list[str]]:
        """Identify images by digests of group, pixels, label and redshift, wherever they lie and whatever they are called."""
        return [[_digest(self.groups[number].encode()), *self._content(number)] for number in numbers]

    def _content(self, number: int) -> tuple[str, str]:
        facts = f"{self.kinds[number]} {self.redshifts[number]!r}"
        image = self.image(number)
        return _digest(repr(image.shape).encode() + np.ascontiguousarray(image, "<f4").tobytes()), _digest(facts.encode())


def open_stamps(table: StampsTable) -> Stamps:
    """Open a library: read everything but its pixels.

    Raises
    ------
    InputError
        If it holds no image, a label is missing, unknown or stated twice, a redshift is impossible, or h5py is needed and not
        installed. The error lists every problem of a table.
    """
    return _fits_folder(table) if table.path.is_dir() else _hdf5_file(table)


def electrons_per_unit(unit: str, pixel_scale_arcsec: float, band: Band) -> float:
    """Compute the factor from a unit of `StampsTable` to e-/s in a band, for pixels of this scale."""
    if unit == "electron/s":
        return 1.0
    if unit == "MJy/sr":
        return 1e6 / _ARCSEC2_A_STERADIAN * pixel_scale_arcsec**2 * electrons_per_unit("Jy", pixel_scale_arcsec, band)
    return _JANSKYS[unit] / _AB_ZERO_JY * band.flux(0.0)


def _places(groups: Sequence[str], kinds: Sequence[str]) -> dict[str, float]:
    """The place of each group, from 0 to 1, among those of its label; that of its first image, if it has several."""
    kind_of: dict[str, str] = {}
    for group, kind in zip(groups, kinds, strict=True):
        kind_of.setdefault(group, kind)
    places: dict[str, float] = {}
    for kind in KINDS:
        shuffled = sorted((group for group in kind_of if kind_of[group] == kind), key=lambda group: _digest(group.encode()))
        places |= {group: (n + 0.5) / len(shuffled) for n, group in enumerate(shuffled)}
    return places


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGITS]


def _fits_folder(table: StampsTable) -> Stamps:
    files = tuple(sorted(path for path in table.path.iterdir() if path.name.lower().endswith(_FITS_NAMES)))
    if not files:
        raise InputError(f"{table.path} holds no FITS file ({', '.join(_FITS_NAMES)}). Name the folder of the stamps.")
    columns: Mapping[str, Column] = {}
    if table.labels is not None:
        found = read_columns(table.labels, {table.name_column, table.label_column, *_optional(table)})
        rows = _rows_of(files, found[table.name_column], table.labels)
        columns = {name: _taken(column, rows) for name, column in found.items()}
    return _stamps(table, [file.name for file in files], columns, lambda number: _fits_image(files[number]))


def _optional(table: StampsTable) -> set[str]:
    """Columns that a library may have: those that the settings name."""
    return {name for name in (table.redshift_column, table.group_column) if name is not None}


def _taken(column: Column, rows: Sequence[int]) -> Column:
    return Column(column.name, column.values[rows], column.missing[rows], column.unit)


def _fits_image(file: Path) -> Float32Array:
    with open_image(file, preferred="SCI") as image:
        return _checked(image.read(Box(0, image.shape[0], 0, image.shape[1])), str(file))


def _rows_of(files: Sequence[Path], names: Column, labels: Path) -> list[int]:
    """The row of each file: there must be exactly one."""
    stated = [str(name).strip() for name in names.values]
    rows = {name: row for row, name in enumerate(stated)}
    counts = Counter(stated)
    missing = [file.name for file in files if file.name not in rows]
    if missing:
        raise InputError(f"{labels}: column {names.name} has no row for {_listed(missing)}. Add a row for each file.")
    repeated = [file.name for file in files if counts[file.name] > 1]
    if repeated:
        raise InputError(f"{labels}: column {names.name} has several rows for {_listed(repeated)}. Keep one row for each file.")
    return [rows[file.name] for file in files]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f", ... ({len(names)} in all)" if len(names) > 5 else "")


def _hdf5_file(table: StampsTable) -> Stamps:
    with _opened(table.path) as file:
        shape = _dataset(table, file, table.dataset).shape
        if len(shape) != 3 or not shape[0]:
            raise InputError(f"{table.path}[{table.dataset}] has shape {shape}, expected (n, rows, columns). Name the images.")
        wanted = _optional(table) | (set() if table.label is not None else {table.label_column})
        columns = {name: _hdf5_column(table, file, name, shape[0]) for name in wanted}
    return _stamps(table, list(map(str, range(shape[0]))), columns, lambda number: _hdf5_image(table, number))


def _hdf5_image(table: StampsTable, number: int) -> Float32Array:
    with _opened(table.path) as file:
        return _checked(np.asarray(file[table.dataset][number], np.float32), f"{table.path}[{table.dataset}] image {number}")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with _h5py().File(path) as file:
            yield file
    except OSError as error:
        raise InputError(f"{path} cannot be read as HDF5 ({error}). Name a folder of FITS files or an HDF5 file.") from error


def _hdf5_column(table: StampsTable, file: Any, name: str, n_stamps: int) -> Column:
    values = _dataset(table, file, name)[...]
    if values.shape != (n_stamps,):
        raise InputError(f"{table.path}[{name}] has shape {values.shape}, expected ({n_stamps},): a value for each image.")
    if values.dtype.kind in "OS":
        values = np.array([value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in values], object)
    return Column(name, values, np.zeros(n_stamps, np.bool_))


def _dataset(table: StampsTable, file: Any, name: str) -> Any:
    if not hasattr(file.get(name), "shape"):
        raise InputError(f"{table.path} has no data set {name}; it holds {', '.join(file)}. Name one of them.")
    return file[name]


def _stamps(table: StampsTable, names: list[str], columns: Mapping[str, Column], read: Callable[[int], Float32Array]) -> Stamps:
    """A library of these images, with everything that its columns say of them."""
    where = (table.labels or table.path).name
    kinds: tuple[str, ...] = (str(table.label),) * len(names)
    groups, redshifts = tuple(names), np.full(len(names), np.nan)
    problems: list[str] = []
    if table.label is None:
        problems += _label_problems(columns[table.label_column])
        kinds = tuple(_KIND_OF.get(_plain(value), "") for value in columns[table.label_column].values)
    if table.group_column is not None:
        problems += _group_problems(columns[table.group_column])
        groups = tuple(str(_plain(value)) for value in columns[table.group_column].values)
    if table.redshift_column is not None:
        column, declared = columns[table.redshift_column], SOURCE_COLUMNS["redshift"]
        wrong = list(problems_of_column(column, declared))
        redshifts = redshifts if wrong else column_values(column, declared, len(names))
        problems += wrong
    if problems:
        raise InputError("\n".join(f"{where}, {problem}" for problem in problems))
    return Stamps(tuple(names), kinds, groups, redshifts, read)


_KIND_OF = dict(enumerate(KINDS)) | {str(number): kind for number, kind in enumerate(KINDS)} | {each: each for each in KINDS}


def _label_problems(column: Column) -> Iterator[str]:
    unknown = np.array([_plain(value) not in _KIND_OF for value in column.values], np.bool_) | _absent(column)
    if unknown.any():
        yield rows_of_column(column, unknown, f"is not a label, {_LABELS_EXPECTED}", "Label each image, or remove it.")


def _group_problems(column: Column) -> Iterator[str]:
    if _absent(column).any():
        yield rows_of_column(column, _absent(column), "names no galaxy", "Name the galaxy that each image shows.")


def _absent(column: Column) -> BoolArray:
    absent: BoolArray = column.missing | np.array([is_no_value(value) for value in column.values], np.bool_)
    return absent


def _plain(label: Any) -> Any:
    return label.strip() if isinstance(label, str) else label


def _checked(image: Float32Array, where: str) -> Float32Array:
    if not np.isfinite(image).all():
        raise InputError(f"{where} holds NaN or infinite pixels. Replace them: a noiseless image has a flux, or 0, everywhere.")
    if not image.sum(dtype=np.float64) > 0:
        raise InputError(f"{where} holds no flux. Remove it, or correct it.")
    return image


def _h5py() -> Any:
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise InputError(f"HDF5 files need h5py, which is not installed: `{remedies.install('train')}`.") from error
    return h5py
