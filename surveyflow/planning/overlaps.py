"""The mosaic, of several, on which each source is measured.

Of the mosaics whose image holds the source's centre, it is the one on which the cutout is most complete, then that with the
higher weight, then that in which the source lies deeper, then the first by name. So the choice depends neither on the order of
the mosaics nor on those that do not hold the source. Pixels are read only where mosaics overlap.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np

from surveyflow.errors import MosaicError
from surveyflow.sky.footprints import caps_around, inside
from surveyflow.sky.scattered import CORE_SIZE, StampReader, cut_from_mosaic
from surveyflow.sky.tiling import owning_tiles
from surveyflow.values.arrays import BoolArray, Float64Array, Int64Array

logger = logging.getLogger(__name__)

_BATCH = 256
"""Number of cutouts in memory at a time: 21 MB at 128 pixels."""


class OverlappingMap(StampReader, Protocol):
    """A mosaic, as far as the choice among several needs it."""

    @property
    def pixel_scale_arcsec(self) -> float: ...

    @property
    def corners_deg(self) -> tuple[Float64Array, Float64Array]: ...

    def to_pixels(self, ra_deg: Float64Array, dec_deg: Float64Array) -> tuple[Float64Array, Float64Array]: ...


@dataclass(frozen=True, slots=True)
class Placement:
    """The places of n sources on the mosaics of a field and instrument.

    Parameters
    ----------
    mosaic
        (n,) int64: number of the mosaic; -1 where there is none.
    x_pix, y_pix
        (n,) float64, 0-based position in that mosaic; NaN where there is none.
    on_image
        (n,) bool: whether the pixel of the position lies on the image.
    """

    mosaic: Int64Array
    x_pix: Float64Array
    y_pix: Float64Array
    on_image: BoolArray


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Sources on images: rows of the list, numbers of the mosaics, and positions in pixels."""

    row: Int64Array
    mosaic: Int64Array
    x_pix: Float64Array
    y_pix: Float64Array

    def take(self, chosen: BoolArray | Int64Array) -> Self:
        return replace(self, row=self.row[chosen], mosaic=self.mosaic[chosen], x_pix=self.x_pix[chosen], y_pix=self.y_pix[chosen])


def place_on_several(
    mosaics: Sequence[OverlappingMap], names: Sequence[str], ra_deg: Float64Array, dec_deg: Float64Array, cutout_size: int | None
) -> Placement:
    """Choose a mosaic for each source, and find the source's position on it.

    Parameters
    ----------
    mosaics
        The mosaics.
    names
        Their names, which differ.
    ra_deg, dec_deg
        (n,) degrees, finite.
    cutout_size
        Side of the cutouts, pixels; None if there is no model, and then no pixels are read, and depth and name decide. A cutout
        whose pixels cannot be read counts as one without valid pixels.
    """
    pairs = _pairs(mosaics, ra_deg, dec_deg)
    best = pairs.take(_best(pairs, mosaics, names, cutout_size))
    placement = Placement(
        np.full(len(ra_deg), -1, np.int64),
        np.full(len(ra_deg), np.nan),
        np.full(len(ra_deg), np.nan),
        np.zeros(len(ra_deg), bool),
    )
    placement.mosaic[best.row], placement.on_image[best.row] = best.mosaic, True
    placement.x_pix[best.row], placement.y_pix[best.row] = best.x_pix, best.y_pix
    return placement


def on_images(mosaics: Sequence[OverlappingMap], ra_deg: Float64Array, dec_deg: Float64Array) -> BoolArray:
    """Find the positions whose pixel lies on any of the images.

    Parameters
    ----------
    mosaics
        The mosaics.
    ra_deg, dec_deg
        (n,) degrees, finite.

    Returns
    -------
    (n,) bool.
    """
    found = np.zeros(len(ra_deg), bool)
    found[_pairs(mosaics, ra_deg, dec_deg).row] = True
    return found


def _pairs(mosaics: Sequence[OverlappingMap], ra_deg: Float64Array, dec_deg: Float64Array) -> _Pairs:
    """Every source on every image that holds its centre."""
    caps = caps_around([mosaic.corners_deg for mosaic in mosaics])
    found = [
        _on_image(number, mosaic, rows, *mosaic.to_pixels(ra_deg[rows], dec_deg[rows]))
        for number, (mosaic, rows) in enumerate(zip(mosaics, inside(caps, ra_deg, dec_deg), strict=True))
    ]
    return _Pairs(*(np.concatenate([getattr(each, name) for each in found]) for name in ("row", "mosaic", "x_pix", "y_pix")))


def _on_image(number: int, mosaic: OverlappingMap, rows: Int64Array, x_pix: Float64Array, y_pix: Float64Array) -> _Pairs:
    on_image = owning_tiles(x_pix, y_pix, mosaic.shape, max(mosaic.shape))[0] >= 0
    return _Pairs(rows, np.full(len(rows), number), x_pix, y_pix).take(on_image)


def _best(pairs: _Pairs, mosaics: Sequence[OverlappingMap], names: Sequence[str], cutout_size: int | None) -> Int64Array:
    """The pair to use for each source, by its index."""
    contested = np.bincount(pairs.row)[pairs.row] > 1
    complete, weight = np.zeros(len(pairs.row)), np.zeros(len(pairs.row))
    if cutout_size is not None:
        for number in np.unique(pairs.mosaic[contested]):
            chosen = np.flatnonzero(contested & (pairs.mosaic == number))
            for members, values in _measured(mosaics[number], pairs.take(chosen), cutout_size):
                complete[chosen[members]], weight[chosen[members]] = values
    ranks = np.argsort(np.argsort(names))[pairs.mosaic]
    order = np.lexsort((ranks, -_depth(pairs, mosaics), -weight, -complete, pairs.row))
    return order[np.unique(pairs.row[order], return_index=True)[1]]


def _measured(
    mosaic: OverlappingMap, pairs: _Pairs, cutout_size: int
) -> Iterator[tuple[Int64Array, tuple[Float64Array, Float64Array]]]:
    """Share of valid pixels and median weight of cutouts, some neighbours at a time; the weight is 0 without a weight map."""
    rows, columns = owning_tiles(pairs.x_pix, pairs.y_pix, mosaic.shape, CORE_SIZE)
    order = np.lexsort((pairs.y_pix, columns, rows))
    for start in range(0, len(order), _BATCH):
        members = order[start : start + _BATCH]
        yield members, _completeness(mosaic, pairs.take(members), cutout_size)


def _completeness(mosaic: OverlappingMap, pairs: _Pairs, cutout_size: int) -> tuple[Float64Array, Float64Array]:
    """Share of valid pixels and median weight of cutouts; both are 0 for one that cannot be read."""
    n_cutouts = len(pairs.row)
    try:
        stack = cut_from_mosaic(mosaic, pairs.x_pix, pairs.y_pix, cutout_size)
    except MosaicError as error:
        if n_cutouts == 1:
            logger.warning("a cutout at x=%.1f y=%.1f is not considered: %s", pairs.x_pix[0], pairs.y_pix[0], error)
            return np.zeros(1), np.zeros(1)
        halves = np.split(np.arange(n_cutouts), [n_cutouts // 2])
        first, second = (_completeness(mosaic, pairs.take(half), cutout_size) for half in halves)
        return np.concatenate([first[0], second[0]]), np.concatenate([first[1], second[1]])
    return stack.valid_fraction.astype(np.float64), np.nan_to_num(stack.weight_median).astype(np.float64)


def _depth(pairs: _Pairs, mosaics: Sequence[OverlappingMap]) -> Float64Array:
    """(n,) float64: distance to the nearest edge of the image, arcsec."""
    sizes = np.array([mosaic.shape for mosaic in mosaics], dtype=np.float64)[pairs.mosaic]
    scales = np.array([mosaic.pixel_scale_arcsec for mosaic in mosaics])[pairs.mosaic]
    x, y = pairs.x_pix + 0.5, pairs.y_pix + 0.5
    nearest = np.min([x, sizes[:, 1] - x, y, sizes[:, 0] - y], axis=0)
    return np.asarray(nearest * scales)
