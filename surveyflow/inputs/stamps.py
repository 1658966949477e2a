"""A user's noiseless images of galaxies, for example from a hydrodynamic simulation: a folder of FITS files, or HDF5.

Their labels, and their groups and redshifts if these are known, are in a table or in data sets beside the images; or one label
applies to all. Images of one group show the same galaxy, for example from several directions: a set of records holds all of them
or none.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_area

from surveyflow.errors import InputError
from surveyflow.files.paths import refusing
from surveyflow.inputs.columns import Column, holds_arrays, is_no_value, word_of
from surveyflow.inputs.fits_images import FitsImage, open_image
from surveyflow.inputs.pixel_units import is_same_unit, unit_of
from surveyflow.inputs.source_lists import column_values, problems_of_column, rows_of_column
from surveyflow.inputs.tables import read_columns
from surveyflow.settings.simulation import StampsTable
from surveyflow.simulation.noiseless import shape_of
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
_ARCSEC_A_DEGREE = 3600
_ARCSEC2_A_STERADIAN = (180 * _ARCSEC_A_DEGREE / np.pi) ** 2
_FITS_NAME = re.compile(r"\.(fits|fit|fts)(\.gz|\.fz)?$", re.IGNORECASE)
_NOT_UNPACKED = re.compile(r"\.(fits|fit|fts)\.(7z|bz2|lz4|lzma|tar|tgz|xz|z|zip|zst)$", re.IGNORECASE)
_DIGITS = 16
_FARTHEST_REDSHIFT = 20.0
_SCALE_TOLERANCE = 0.01
_N_SHOWN = 10


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
    is_grouped
        Whether groups are stated.
    redshifts
        (n,) float64; NaN where unknown.
    read
        Reads the pixels of the image of this number.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    groups: tuple[str, ...]
    is_grouped: bool
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

    def identities(self, numbers: Sequence[int], problems_of: Callable[[Float32Array], Iterator[str]]) -> list[list[Any]]:
        """Identify images by group, pixels, label and redshift, and shape, wherever they lie and whatever they are called.

        Parameters
        ----------
        numbers
            The images.
        problems_of
            Says what is wrong with an image.

        Returns
        -------
        For each image, digests of its group (empty if no groups are stated), of its pixels, and of label and redshift, and the
        numbers of `surveyflow.simulation.noiseless.shape_of`.

        Raises
        ------
        InputError
            If anything is wrong with an image; the error lists the problems of all of them.
        """
        found, problems = [], []
        for number in numbers:
            try:
                image = self.image(number)
                problems += [f"{self.names[number]}: {problem}" for problem in problems_of(image)]
            except InputError as error:
                problems.append(str(error))
            else:
                found.append([self._group_digest(number), *self._content(number, image), shape_of(image)])
        if problems:
            more = [f"... ({len(problems)} problems in all)"] if len(problems) > _N_SHOWN else []
            raise InputError("\n".join([*problems[:_N_SHOWN], *more]))
        return found

    def _group_digest(self, number: int) -> str:
        return _digest(self.groups[number].encode()) if self.is_grouped else ""

    def _content(self, number: int, image: Float32Array) -> tuple[str, str]:
        facts = f"{self.kinds[number]} {self.redshifts[number]!r}"
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
    files = _fits_files(table.path)
    columns: Mapping[str, Column] = {}
    rows: Sequence[int] = range(len(files))
    if table.labels is not None:
        columns = read_columns(table.labels, {table.name_column, table.label_column, *_optional(table)})
        rows = _rows_of(files, columns[table.name_column], table.labels)
    return _stamps(table, [file.name for file in files], columns, rows, lambda number: _fits_image(files[number], table))


def _fits_files(folder: Path) -> list[Path]:
    """The FITS files of a folder, in the order of their names; a file that is packed in another way is not left out."""
    names = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    files = [path for path in names if _FITS_NAME.search(path.name)]
    packed = [path.name for path in names if path not in files and _NOT_UNPACKED.search(path.name)]
    if packed:
        raise InputError(f"{folder} holds FITS files that cannot be unpacked: {_listed(packed)}. Unpack them, or remove them.")
    if not files:
        raise InputError(f"{folder} holds no FITS file (.fits, .fit, .fts, also .gz or .fz). Name the folder of the stamps.")
    return files


def _optional(table: StampsTable) -> set[str]:
    """Columns that a library may have: those that the settings name."""
    return {name for name in (table.redshift_column, table.group_column) if name is not None}


def _fits_image(file: Path, table: StampsTable) -> Float32Array:
    with open_image(file, preferred="SCI") as image:
        _check_header(image, table)
        return _checked(image.read(Box(0, image.shape[0], 0, image.shape[1])), str(file))


def _check_header(image: FitsImage, table: StampsTable) -> None:
    """Check that a header does not contradict the settings; it may state less."""
    unit, scale = unit_of(image, None), _scale_of(image)
    if unit is not None and not is_same_unit(unit, table.unit, table.pixel_scale_arcsec):
        raise InputError(
            f"{image.location} has BUNIT {unit!r}, but [simulation.stamps] unit is {table.unit!r}. Correct `unit`, or the header."
        )
    if scale is not None and not math.isclose(scale, table.pixel_scale_arcsec, rel_tol=_SCALE_TOLERANCE):
        raise InputError(
            f"{image.location} has pixels of {scale:.6g} arcsec by its header, but [simulation.stamps] pixel_scale_arcsec is "
            f"{table.pixel_scale_arcsec:g}. Correct `pixel_scale_arcsec`, or the header."
        )


def _scale_of(image: FitsImage) -> float | None:
    """The pixel scale, arcsec, of an image whose header states positions on the sky; None for any other."""
    with refusing(partial(_unusable, image.location)), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of deviations that do not concern the scale
        wcs = WCS(image.header, naxis=2)
        if not wcs.has_celestial:
            return None
        return float(np.sqrt(proj_plane_pixel_area(wcs)) * _ARCSEC_A_DEGREE)


def _unusable(location: str, reason: str) -> InputError:
    return InputError(f"{location}: the WCS cannot be used ({reason}). Correct the header, or delete its WCS.")


def _rows_of(files: Sequence[Path], names: Column, labels: Path) -> list[int]:
    """The row of each file: there must be exactly one."""
    stated = ["" if absent else _name(value) for value, absent in zip(names.values.tolist(), names.missing, strict=True)]
    rows = {name: row for row, name in enumerate(stated)}
    counts = Counter(stated)
    missing = [file.name for file in files if _name(file.name) not in rows]
    if missing:
        held = _listed(list(filter(None, stated)), 3) or "no names"
        raise InputError(
            f"{labels}: column {names.name} has no row for {_listed(missing)}; it holds {held}. "
            "Add a row for each file, with the file's name as it is in the folder."
        )
    repeated = [file.name for file in files if counts[_name(file.name)] > 1]
    if repeated:
        raise InputError(f"{labels}: column {names.name} has several rows for {_listed(repeated)}. Keep one row for each file.")
    return [rows[_name(file.name)] for file in files]


def _name(value: object) -> str:
    """A file's name, whichever way its accents are written."""
    return unicodedata.normalize("NFC", word_of(value))


def _listed(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f", ... ({len(names)} in all)" if len(names) > most else "")


def _hdf5_file(table: StampsTable) -> Stamps:
    with _opened(table.path) as file:
        images = _dataset(table, file, table.dataset)
        shape: tuple[int, ...] = images.shape or ()  # an empty data set has none
        if len(shape) != 3 or 0 in shape:
            raise InputError(f"{table.path}[{table.dataset}] has shape {shape}, expected (n, rows, columns). Name the images.")
        if images.dtype.kind not in "iuf":
            raise InputError(
                f"{table.path}[{table.dataset}] is of type {images.dtype}, expected integers or real numbers. Name the images."
            )
        wanted = _optional(table) | (set() if table.label is not None else {table.label_column})
        columns = {name: _hdf5_column(table, file, name, shape[0]) for name in wanted}
    names = [f"{table.path.name}[{table.dataset}] image {number}" for number in range(shape[0])]
    return _stamps(table, names, columns, range(shape[0]), lambda number: _hdf5_image(table, number))


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


def _stamps(
    table: StampsTable,
    names: list[str],
    columns: Mapping[str, Column],
    rows: Sequence[int],
    read: Callable[[int], Float32Array],
) -> Stamps:
    """A library of these images, with everything that the columns say of them; ``rows`` holds the row of each image."""
    where = (table.labels or table.path).name
    problems = [problem for check in _CHECKS for problem in check(table, columns, rows)]
    if problems:
        raise InputError("\n".join(f"{where}, {problem}" for problem in problems))

    def of_images(name: str | None) -> list[Any] | None:
        return None if name is None else columns[name].values[rows].tolist()

    labels = of_images(table.label_column) if table.label is None else [str(table.label)] * len(names)
    groups = of_images(table.group_column)
    return Stamps(
        names=tuple(names),
        kinds=tuple(_kind(label) for label in labels or ()),
        groups=tuple(names if groups is None else map(word_of, groups)),
        is_grouped=groups is not None,
        redshifts=_redshifts(table, columns, rows),
        read=read,
    )


def _redshifts(table: StampsTable, columns: Mapping[str, Column], rows: Sequence[int]) -> Float64Array:
    column = None if table.redshift_column is None else columns[table.redshift_column]
    redshifts = column_values(column, SOURCE_COLUMNS["redshift"], len(rows))
    return np.asarray(redshifts if column is None else redshifts[rows], np.float64)


_KINDS_BY_WORD = {str(number): kind for number, kind in enumerate(KINDS)} | dict(zip(("false", "true"), KINDS, strict=True))


def _kind(label: object) -> str:
    """The kind that a label names; "" if it names none."""
    word = word_of(label)
    return word if word in KINDS else _KINDS_BY_WORD.get(word.lower(), "")


def _label_problems(table: StampsTable, columns: Mapping[str, Column], rows: Sequence[int]) -> Iterator[str]:
    if table.label is not None:
        return
    column = columns[table.label_column]
    if holds_arrays(column):
        yield f"column {column.name}: it holds arrays, {_LABELS_EXPECTED}. Name a column with one label a row."
    elif (unknown := _used(column, rows, lambda value: is_no_value(value) or not _kind(value))).any():
        yield rows_of_column(column, unknown, f"is not a label, {_LABELS_EXPECTED}", "Label each image, or remove it.")


def _group_problems(table: StampsTable, columns: Mapping[str, Column], rows: Sequence[int]) -> Iterator[str]:
    if table.group_column is None:
        return
    column = columns[table.group_column]
    if holds_arrays(column):
        yield f"column {column.name}: it holds arrays, expected names or numbers. Name a column with one galaxy a row."
    elif (nameless := _used(column, rows, _names_no_galaxy)).any():
        yield rows_of_column(column, nameless, "names no galaxy", "Name the galaxy that each image shows.")


def _names_no_galaxy(value: object) -> bool:
    """Whether a cell is empty, a truth value, or a number below 0, by which tables say that there is no galaxy."""
    return is_no_value(value) or re.fullmatch(r"-\d+(\.\d*)?|true|false", word_of(value).lower()) is not None


def _redshift_problems(table: StampsTable, columns: Mapping[str, Column], rows: Sequence[int]) -> Iterator[str]:
    if table.redshift_column is None:
        return
    column, declared = columns[table.redshift_column], SOURCE_COLUMNS["redshift"]
    unused = ~_used(column, rows, lambda _: True)
    column = replace(column, missing=column.missing | unused)
    wrong = list(problems_of_column(column, declared))
    yield from wrong
    if not wrong and (far := column_values(column, declared, len(unused)) > _FARTHEST_REDSHIFT).any():
        remedy = "Write -99 or NaN if the redshift is unknown."
        yield rows_of_column(column, far, f"is not a galaxy's redshift, expected up to {_FARTHEST_REDSHIFT:g}", remedy)


_CHECKS = (_label_problems, _group_problems, _redshift_problems)


def _used(column: Column, rows: Sequence[int], is_meant: Callable[[object], bool]) -> BoolArray:
    """(n,) bool: which cells of the rows of images are missing or meant."""
    used = np.zeros(len(column.values), np.bool_)
    used[list(rows)] = True
    meant = [missing or is_meant(value) for value, missing in zip(column.values.tolist(), column.missing, strict=True)]
    return np.asarray(used & np.array(meant, np.bool_))


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
