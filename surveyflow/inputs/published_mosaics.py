"""Cutouts of the galaxies of a published revision, from the mosaics that its manifest names, if they are still the same."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from astropy.io import fits

from surveyflow.errors import MosaicError
from surveyflow.files.paths import file_state, refusing, split_extension
from surveyflow.inputs.astrometry import Compass, read_astrometry
from surveyflow.inputs.fits_images import open_image
from surveyflow.inputs.mosaics import Mosaic, open_mosaic
from surveyflow.sky.tiling import corner, cut
from surveyflow.values.arrays import BoolArray, Float32Array, Float64Array
from surveyflow.values.images import Box

MOSAICS_KEPT_OPEN = 4
"""Rows come in the order of the sky, so that few mosaics are in use at a time; a packed one takes its size in memory."""

MosaicKey = tuple[str, str, str]
"""Field, instrument and the mosaic's name in the catalog; empty in revisions that do not name mosaics."""


@dataclass(frozen=True, slots=True)
class SkyCutout:
    """The pixels around one galaxy, and where they lie on the sky.

    Parameters
    ----------
    pixels
        (size, size) float32 in the mosaic's unit; 0 where there is no data.
    valid
        (size, size) bool; True where the pixel holds data.
    header
        Projection, frame, unit and release of the cutout.
    pixel_scale_arcsec
        Side of a pixel, arcsec.
    compass
        The directions of north and east at its centre.
    mosaic
        The science image.
    """

    pixels: Float32Array
    valid: BoolArray
    header: fits.Header
    pixel_scale_arcsec: float
    compass: Compass
    mosaic: str


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """The border of a mosaic's image on the sky, whatever its pixels hold.

    Parameters
    ----------
    instrument, name
        The mosaic's instrument and file.
    ra_deg, dec_deg
        (n,) float64: positions along the border, in the mosaic's own frame, degrees. The last is not the first again.
    """

    instrument: str
    name: str
    ra_deg: Float64Array
    dec_deg: Float64Array


class PublishedMosaics:
    """The mosaics of a revision, each opened when a galaxy on it is asked for; a context manager that closes them.

    Parameters
    ----------
    inputs
        The manifest's list of input files.
    kept
        The folder in which a run keeps pixels from addresses; nothing is written to it unless it exists.

    Attributes
    ----------
    notes
        One sentence for each mosaic of which no cutout could be made.
    """

    def __init__(self, inputs: Sequence[Mapping[str, Any]], kept: Path | None = None) -> None:
        self._kept = kept if kept is not None and kept.is_dir() else None
        self.notes: dict[MosaicKey, str] = {}
        self._inputs = inputs
        self._open: OrderedDict[MosaicKey, Mosaic] = OrderedDict()

    def cutout(self, row: Mapping[str, Any], size_pix: int) -> SkyCutout | None:
        """Cut around a galaxy; None without a mosaic, or if it was changed or cannot be read, which `notes` then says.

        Parameters
        ----------
        row
            A row of the catalog: field, instrument, mosaic, x_pix, y_pix; the first revisions have no mosaic. A row without an
            instrument or a position has no cutout.
        size_pix
            Side of the cutout.
        """
        key = (row["field"], row["instrument"], row.get("mosaic") or "")
        if None in (*key, row["x_pix"], row["y_pix"]) or key in self.notes:
            return None
        with self._noting(key):
            return _cutout(self._mosaic(key), float(row["x_pix"]), float(row["y_pix"]), size_pix)
        return None

    def problem(self, row: Mapping[str, Any]) -> str:
        """Why there is no picture of a galaxy, as far as manifest, sizes and earlier attempts tell; ``""`` if there may be one.

        Parameters
        ----------
        row
            As for `cutout`; its instrument is not null.
        """
        key = (row["field"], row["instrument"], row.get("mosaic") or "")
        with self._noting(key):
            if key not in self.notes and key not in self._open:
                _unchanged_files(self._inputs, *key)
        return self.notes.get(key, "")

    @contextmanager
    def _noting(self, key: MosaicKey) -> Iterator[None]:
        try:
            yield
        except (MosaicError, OSError) as error:
            self.notes[key] = f"{' '.join(key[:2])}: {error}"

    def _mosaic(self, key: MosaicKey) -> Mosaic:
        if key not in self._open:
            files = _unchanged_files(self._inputs, *key)
            while len(self._open) >= MOSAICS_KEPT_OPEN:
                self._open.popitem(last=False)[1].close()
            self._open[key] = open_mosaic(files["science"], files.get("weight"), kept=self._kept)
        self._open.move_to_end(key)
        return self._open[key]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for mosaic in self._open.values():
            mosaic.close()


def _cutout(mosaic: Mosaic, x_pix: float, y_pix: float, size_pix: int) -> SkyCutout:
    x0, y0 = (int(corner(np.asarray([position]), size_pix)[0]) for position in (x_pix, y_pix))
    window = mosaic.read(Box(y0, y0 + size_pix, x0, x0 + size_pix).clipped(mosaic.shape))
    stack = cut(window, np.asarray([x_pix]), np.asarray([y_pix]), size_pix)
    return SkyCutout(
        pixels=stack.pixels[0],
        valid=stack.valid[0],
        header=mosaic.header_of((y0, x0)),
        pixel_scale_arcsec=mosaic.pixel_scale_arcsec,
        compass=mosaic.compass(x_pix, y_pix),
        mosaic=mosaic.science,
    )


POINTS_A_SIDE = 8
"""Points of an outline along each side of an image: sides of large mosaics are curved lines of the sky."""


def outlines(inputs: Sequence[Mapping[str, Any]], field_name: str) -> tuple[list[Outline], list[str]]:
    """The borders of the mosaics of a field, from their headers, and a sentence for each mosaic whose header cannot be read now.

    Parameters
    ----------
    inputs
        The manifest's list of input files.
    field_name
        The field.
    """
    found, notes = [], []
    for item in inputs:
        if (item["field"], item["kind"]) == (field_name, "science"):
            try:
                found.append(_outline(item))
            except (MosaicError, OSError) as error:
                notes.append(f"{item['instrument']}: {error}")
    return found, notes


def _outline(item: Mapping[str, Any]) -> Outline:
    path, size = str(item["path"]), int(item["size"])
    _check_unchanged(path, size)
    if (file := str(split_extension(path)[0])).endswith(".gz"):
        raise MosaicError(f"{path} would have to be unpacked for its outline.")
    with open_image(path, preferred="SCI") as image:
        sky = read_astrometry(image.header, image.shape, image.location).to_sky(*_border(image.shape))
    return Outline(str(item["instrument"]), Path(file).name, *sky)


def _border(shape: tuple[int, int]) -> tuple[Float64Array, Float64Array]:
    """Points around an image: x and y, 0-based."""
    height, width = shape
    along, ends = np.arange(POINTS_A_SIDE) / POINTS_A_SIDE, np.ones(POINTS_A_SIDE)
    x = np.concatenate([along, ends, 1 - along, 0 * ends]) * width - 0.5
    y = np.concatenate([0 * ends, along, ends, 1 - along]) * height - 0.5
    return x, y


def _unchanged_files(inputs: Sequence[Mapping[str, Any]], field_name: str, instrument: str, mosaic: str) -> dict[str, str]:
    """Paths by kind of one mosaic of a field and instrument, after checking that all of them are unchanged."""
    images = [item for item in inputs if (item["field"], item["instrument"]) == (field_name, instrument)]
    chosen = [item for item in images if item["kind"] != "mosaics" and item.get("mosaic", mosaic) == mosaic]
    files = {str(item["kind"]): str(item["path"]) for item in chosen}
    if "science" not in files:
        raise MosaicError("the manifest does not name a mosaic.")
    for item in chosen:
        _check_unchanged(str(item["path"]), int(item["size"]))
        if "resampled_arcsec" in item:
            raise MosaicError(f"{item['path']} was resampled in the run, and its own pixels are not those that were measured.")
    return files


def _check_unchanged(path: str, size_bytes: int) -> None:
    """Refuse a file (named with or without an extension) that is gone or has another size than in the run."""
    with refusing(MosaicError):  # a manifest may hold any text
        state = file_state(file := split_extension(path)[0])
    if state is None:
        raise MosaicError(f"{file} was not found.")
    if state.size != size_bytes:
        raise MosaicError(f"{file} now has {state.size} bytes, but had {size_bytes} in the run.")
