"""The pictures of the gallery's galaxies, cut again from the mosaics that the manifest names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from surveyflow.errors import MosaicError
from surveyflow.files.paths import split_extension
from surveyflow.inputs.mosaics import Mosaic, open_mosaic
from surveyflow.reports.figures import cutout_png
from surveyflow.reports.summary import SourceKey
from surveyflow.sky.cutouts import corner, cut
from surveyflow.values.images import Box


@dataclass(frozen=True, slots=True)
class Pictures:
    """The pictures that could be made, and the reasons why others could not.

    Parameters
    ----------
    by_source
        ``data:`` URI of a PNG, by (field, source id).
    notes
        One sentence for each mosaic that could not be used.
    """

    by_source: Mapping[SourceKey, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class _MosaicUnusable(Exception):
    """A file that the manifest names is missing or has changed; the message names it."""


def cut_pictures(gallery: Iterable[Mapping[str, Any]], inputs: Sequence[Mapping[str, Any]], size_pix: int) -> Pictures:
    """Cut a picture for every row of the gallery whose mosaic still exists with the same size.

    Parameters
    ----------
    gallery
        One row per source: field, source_id, instrument, x_pix, y_pix.
    inputs
        The manifest's list of input files.
    size_pix
        Side of the cutouts.
    """
    by_source: dict[SourceKey, str] = {}
    notes = []
    for mosaic_key, rows in _by_mosaic(gallery).items():
        try:
            by_source |= _cut_from_mosaic(rows, _input_files(inputs, *mosaic_key), size_pix)
        except (_MosaicUnusable, MosaicError, OSError) as error:
            notes.append(f"{' '.join(mosaic_key)}: {error}")
    return Pictures(by_source, tuple(notes))


def _by_mosaic(gallery: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], list[Mapping[str, Any]]]:
    """Sort rows by field and instrument."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in gallery:
        groups.setdefault((row["field"], row["instrument"]), []).append(row)
    return dict(sorted(groups.items()))


def _input_files(inputs: Sequence[Mapping[str, Any]], field_name: str, instrument: str) -> dict[str, str]:
    """Paths by kind of the mosaic of one field and instrument, after checking that all of them are unchanged."""
    chosen = [item for item in inputs if (item["field"], item["instrument"]) == (field_name, instrument)]
    files = {str(item["kind"]): str(item["path"]) for item in chosen}
    if "science" not in files:
        raise _MosaicUnusable("the manifest does not name a mosaic.")
    for item in chosen:
        _check_unchanged(str(item["path"]), int(item["size"]))
    return files


def _check_unchanged(path: str, size_bytes: int) -> None:
    """Raise `_MosaicUnusable` unless the file (named with or without an extension) exists and has this size."""
    file, _ = split_extension(path)
    if not file.is_file():
        raise _MosaicUnusable(f"{file} was not found.")
    if file.stat().st_size != size_bytes:
        raise _MosaicUnusable(f"{file} now has {file.stat().st_size} bytes, but had {size_bytes} in the run.")


def _cut_from_mosaic(rows: Iterable[Mapping[str, Any]], files: Mapping[str, str], size_pix: int) -> dict[SourceKey, str]:
    with open_mosaic(files["science"], files.get("weight")) as mosaic:
        return {(row["field"], row["source_id"]): _picture(mosaic, row["x_pix"], row["y_pix"], size_pix) for row in rows}


def _picture(mosaic: Mosaic, x_pix: float, y_pix: float, size_pix: int) -> str:
    x0, y0 = (int(corner(np.asarray([position]), size_pix)[0]) for position in (x_pix, y_pix))
    window = mosaic.read(Box(y0, y0 + size_pix, x0, x0 + size_pix).clipped(mosaic.shape))
    stack = cut(window, np.asarray([x_pix]), np.asarray([y_pix]), size_pix)
    return cutout_png(stack.pixels[0], stack.valid[0])
