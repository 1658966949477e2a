"""A user's noiseless images of galaxies, for example from a hydrodynamic simulation: a folder of FITS files, or HDF5.

Their labels, and redshifts if they are known, are in a table or in data sets beside the images; or one label applies to all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from surveyflow.errors import InputError
from surveyflow.inputs.fits_images import open_image
from surveyflow.inputs.tables import Column, read_columns
from surveyflow.settings.simulation import StampsTable
from surveyflow.simulation.observe import Band
from surveyflow.values import remedies
from surveyflow.values.arrays import Float32Array, Float64Array
from surveyflow.values.codes import POST_MERGER, STAR_FORMING
from surveyflow.values.images import Box

KINDS = (STAR_FORMING, POST_MERGER)
"""Labels by number: 0 and 1."""
_AB_ZERO_JY = 3631.0
_JANSKYS = {"Jy": 1.0, "mJy": 1e-3, "uJy": 1e-6, "nJy": 1e-9}
_ARCSEC2_A_STERADIAN = (180 * 3600 / np.pi) ** 2
_FITS_NAMES = (".fits", ".fits.gz", ".fits.fz", ".fit")


class Stamps(Protocol):
    """A library of noiseless images of galaxies, in order."""

    @property
    def kinds(self) -> Sequence[str]:
        """Label of each image, ``post_merger`` or ``star_forming``."""
        ...

    @property
    def redshifts(self) -> Float64Array:
        """(n,) float64; NaN where unknown."""
        ...

    def image(self, number: int) -> Float32Array:
        """Read the pixels of an image as they are in the file, (rows, columns) float32.

        Raises
        ------
        InputError
            If they cannot be read, include NaN, or have no flux.
        """
        ...


def open_stamps(table: StampsTable) -> Stamps:
    """Open a library: read everything but its pixels.

    Raises
    ------
    InputError
        If it holds no image, labels are missing or unknown, or h5py is needed and not installed.
    """
    return _fits_folder(table) if table.path.is_dir() else _hdf5_file(table)


def describe_stamps(table: StampsTable) -> list[list[str | int]]:
    """Describe a library independently of its folder: names and sizes of its files."""
    files = sorted(path for path in table.path.iterdir() if path.is_file()) if table.path.is_dir() else [table.path]
    return [[path.name, path.stat().st_size] for path in [*files, *([table.labels] if table.labels else [])]]


def electrons_per_unit(unit: str, pixel_scale_arcsec: float, band: Band) -> float:
    """Compute the factor from a unit of `StampsTable` to e-/s in a band, for pixels of this scale."""
    if unit == "electron/s":
        return 1.0
    if unit == "MJy/sr":
        return 1e6 / _ARCSEC2_A_STERADIAN * pixel_scale_arcsec**2 * electrons_per_unit("Jy", pixel_scale_arcsec, band)
    return _JANSKYS[unit] / _AB_ZERO_JY * band.flux(0.0)


@dataclass(frozen=True)
class _FitsFolder:
    files: tuple[Path, ...]
    kinds: tuple[str, ...]
    redshifts: Float64Array

    def image(self, number: int) -> Float32Array:
        with open_image(self.files[number], preferred="SCI") as image:
            return _checked(image.read(Box(0, image.shape[0], 0, image.shape[1])), str(self.files[number]))


@dataclass(frozen=True)
class _Hdf5File:
    path: Path
    dataset: str
    kinds: tuple[str, ...]
    redshifts: Float64Array

    def image(self, number: int) -> Float32Array:
        with _h5py().File(self.path) as file:
            return _checked(np.asarray(file[self.dataset][number], np.float32), f"{self.path}[{self.dataset}] image {number}")


def _fits_folder(table: StampsTable) -> _FitsFolder:
    files = tuple(sorted(path for path in table.path.iterdir() if path.name.lower().endswith(_FITS_NAMES)))
    if not files:
        raise InputError(f"{table.path} holds no FITS file ({', '.join(_FITS_NAMES)}). Name the folder of the stamps.")
    if table.labels is None:
        return _FitsFolder(files, (str(table.label),) * len(files), np.full(len(files), np.nan))
    wanted = {table.name_column, table.label_column, *([table.redshift_column] if table.redshift_column else [])}
    columns = read_columns(table.labels, wanted)
    rows = _rows_of(files, columns[table.name_column], table.labels)
    kinds = _kinds(list(columns[table.label_column].values[rows]), str(table.labels))
    redshifts = _known_numbers(columns[table.redshift_column])[rows] if table.redshift_column else np.full(len(files), np.nan)
    return _FitsFolder(files, kinds, redshifts)


def _known_numbers(column: Column) -> Float64Array:
    return np.where(column.missing, np.nan, column.values.astype(np.float64))


def _rows_of(files: Sequence[Path], names: Column, labels: Path) -> list[int]:
    rows = {str(name).strip(): row for row, name in enumerate(names.values)}
    missing = [file.name for file in files if file.name not in rows]
    if missing:
        shown = ", ".join(missing[:5]) + (f", ... ({len(missing)} in all)" if len(missing) > 5 else "")
        raise InputError(f"{labels}: column {names.name} has no row for {shown}. Add a row for each file.")
    return [rows[file.name] for file in files]


def _hdf5_file(table: StampsTable) -> _Hdf5File:
    try:
        with _h5py().File(table.path) as file:
            shape = _dataset(table, file, table.dataset).shape
            if len(shape) != 3 or not shape[0]:
                raise InputError(
                    f"{table.path}[{table.dataset}] has shape {shape}, expected (n, rows, columns). Name the images."
                )
            kinds = _hdf5_kinds(table, file, shape[0])
            redshifts = _values(table, file, table.redshift_column, shape[0]) if table.redshift_column else [np.nan] * shape[0]
    except OSError as error:
        raise InputError(
            f"{table.path} cannot be read as HDF5 ({error}). Name a folder of FITS files or an HDF5 file."
        ) from error
    return _Hdf5File(table.path, table.dataset, kinds, np.asarray(redshifts, np.float64))


def _hdf5_kinds(table: StampsTable, file: Any, n_stamps: int) -> tuple[str, ...]:
    if table.label is not None:
        return (table.label,) * n_stamps
    return _kinds(_values(table, file, table.label_column, n_stamps), f"{table.path}[{table.label_column}]")


def _values(table: StampsTable, file: Any, name: str, n_stamps: int) -> list[Any]:
    values = _dataset(table, file, name)[...]
    if values.shape != (n_stamps,):
        raise InputError(f"{table.path}[{name}] has shape {values.shape}, expected ({n_stamps},): a value for each image.")
    return [value.decode() if isinstance(value, bytes) else value for value in values]


def _dataset(table: StampsTable, file: Any, name: str) -> Any:
    if not hasattr(file.get(name), "shape"):
        raise InputError(f"{table.path} has no data set {name}; it holds {', '.join(file)}. Name one of them.")
    return file[name]


def _kinds(labels: Sequence[Any], where: str) -> tuple[str, ...]:
    names = dict(enumerate(KINDS)) | dict(zip(map(str, range(2)), KINDS, strict=True)) | {kind: kind for kind in KINDS}
    unknown = sorted({str(label) for label in labels if _plain(label) not in names})
    if unknown:
        raise InputError(f"{where}: found labels {', '.join(unknown[:5])}, expected {POST_MERGER} or 1, {STAR_FORMING} or 0.")
    return tuple(names[_plain(label)] for label in labels)


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
