"""The pictures of galaxies, cut again from the mosaics that the manifest names, with scale bar and directions on the sky."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from surveyflow.inputs.published_mosaics import PublishedMosaics, SkyCutout
from surveyflow.reports.figures import cutout_uri
from surveyflow.reports.summary import SourceKey

_BARS_ARCSEC = (60.0, 30.0, 20.0, 10.0, 5.0, 2.0, 1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
_LONGEST_BAR = 0.4
"""Length of the scale bar, in sides of the cutout, that is not exceeded."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture.

    Parameters
    ----------
    uri
        ``data:`` URI of a WebP.
    marks
        ``<svg>`` to lay over it, with scale bar and compass.
    """

    uri: str
    marks: Markup


@dataclass(frozen=True, slots=True)
class Pictures:
    """The pictures that could be made, and the reasons why others could not.

    Parameters
    ----------
    by_source
        The pictures, by (field, source id).
    notes
        One sentence for each mosaic that could not be used.
    """

    by_source: Mapping[SourceKey, Picture] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def cut_pictures(
    gallery: Iterable[Mapping[str, Any]], inputs: Sequence[Mapping[str, Any]], size_pix: int, kept: Path | None = None
) -> Pictures:
    """Cut a picture for every row of the gallery whose mosaic still exists with the same size.

    Parameters
    ----------
    gallery
        One row per source: field, source_id, instrument, mosaic, x_pix, y_pix.
    inputs
        The manifest's list of input files.
    size_pix
        Side of the cutouts.
    kept
        The folder in which a run keeps pixels from addresses; nothing is written to it unless it exists.
    """
    by_source: dict[SourceKey, Picture] = {}
    with PublishedMosaics(inputs, kept) as mosaics:
        for row in sorted(gallery, key=lambda row: (row["field"], row["instrument"] or "")):
            cutout = mosaics.cutout(row, size_pix)
            if cutout is not None:
                by_source[row["field"], row["source_id"]] = Picture(cutout_uri(cutout.pixels, cutout.valid), marks(cutout))
        return Pictures(by_source, tuple(note for _, note in sorted(mosaics.notes.items())))


def scale_bar_arcsec(side_arcsec: float) -> float:
    """The longest round angle that fits into a part of a side; the side itself is the fallback for tiny cutouts."""
    return next((angle for angle in _BARS_ARCSEC if angle <= _LONGEST_BAR * side_arcsec), side_arcsec)


def marks(cutout: SkyCutout) -> Markup:
    """Draw the scale bar of a cutout, and the directions of north and east, as an ``<svg>`` with a side of 100.

    Parameters
    ----------
    cutout
        A cutout; its first row is at the bottom.
    """
    side_arcsec = cutout.pixels.shape[0] * cutout.pixel_scale_arcsec
    angle = scale_bar_arcsec(side_arcsec)
    end = 5 + 100 * angle / side_arcsec
    lines = [f"M5 92V95H{end:.1f}V92", *(_arrow(direction) for direction in (cutout.compass.north_xy, cutout.compass.east_xy))]
    letters = "".join(
        _letter(name, direction) for name, direction in (("N", cutout.compass.north_xy), ("E", cutout.compass.east_xy))
    )
    path = "".join(lines)
    drawn = f'<path d="{path}"/><path d="{path}"/><text x="5" y="89">{angle:g}\u2033</text>{letters}'
    return Markup(f'<svg class="marks" viewBox="0 0 100 100" aria-hidden="true">{drawn}</svg>')  # noqa: S704 -- made of numbers


_COMPASS = np.array([82.0, 82.0])
_ARM = 9.0


def _arrow(direction_xy: tuple[float, float]) -> str:
    x, y = _COMPASS + _ARM * np.array([direction_xy[0], -direction_xy[1]])
    return f"M{_COMPASS[0]:g} {_COMPASS[1]:g}L{x:.1f} {y:.1f}"


def _letter(name: str, direction_xy: tuple[float, float]) -> str:
    x, y = _COMPASS + (_ARM + 4.5) * np.array([direction_xy[0], -direction_xy[1]])
    return f'<text x="{x:.1f}" y="{y + 2.4:.1f}" text-anchor="middle">{name}</text>'
