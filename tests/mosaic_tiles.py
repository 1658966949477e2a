"""A mosaic cut into overlapping tiles, whose footprints are rotated, as those of real pointings are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from surveyflow.inputs.astrometry import DISTORTION

MARGIN = 110
"""Pixels by which a tile reaches beyond its cell: half a cutout, and room for the blank corners of a rotated footprint."""


def cut_into_tiles(science: Path, weight: Path, folder: Path, per_side: int = 3) -> list[tuple[Path, Path]]:
    """Write tiles on the pixels of a mosaic; each footprint has a rotation of its own, and holds all cutouts of its cell."""
    folder.mkdir(parents=True, exist_ok=True)
    tiles = []
    for number, (box, covered) in enumerate(_cells(fits.getdata(science).shape, per_side)):
        paths = tuple(folder / f"tile{number}_{kind}.fits" for kind in ("sci", "wht"))
        for original, path in zip((science, weight), paths, strict=True):
            write_part(original, path, box, covered)
        tiles.append(paths)
    return tiles


def write_turned(original: Path, path: Path, box: tuple[slice, slice], angle_deg: float) -> None:
    """Write a part of an image on turned pixels around a tangent point of its own; each has the value of the nearest old one."""
    with fits.open(original, memmap=False) as hdus:
        (hdu,) = (each for each in hdus if each.data is not None)
        header, old, pixels = hdu.header.copy(), plain_wcs(hdu.header), hdu.data
    shape = tuple(part.stop - part.start for part in box)
    middle = [(part.start + part.stop - 1) / 2 for part in box]
    ra, dec = (float(value) for value in old.wcs_pix2world(middle[1], middle[0], 0))
    cos, sin = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    matrix = np.array([[cos, -sin], [sin, cos]]) @ old.pixel_scale_matrix
    header = without(header, re.compile(r"(CD|PC)[12]_[12]|CDELT[12]|CROTA2"))
    header.update({"CRVAL1": ra, "CRVAL2": dec, "CRPIX1": (shape[1] + 1) / 2, "CRPIX2": (shape[0] + 1) / 2})
    header.update({f"CD{row}_{column}": matrix[row - 1, column - 1] for row in (1, 2) for column in (1, 2)})
    y, x = np.mgrid[: shape[0], : shape[1]]
    sky = plain_wcs(header).wcs_pix2world(x.ravel(), y.ravel(), 0)
    columns, rows = (np.rint(value).astype(int).reshape(shape) for value in old.wcs_world2pix(*sky, 0))
    known = (rows >= 0) & (rows < pixels.shape[0]) & (columns >= 0) & (columns < pixels.shape[1])
    turned = np.where(known, pixels[np.where(known, rows, 0), np.where(known, columns, 0)], np.float32(0))
    fits.PrimaryHDU(turned, header).writeto(path)


def plain_wcs(header: fits.Header) -> WCS:
    """The projection without the stale distortion that drizzled images inherit."""
    return WCS(without(header, DISTORTION))


def without(header: fits.Header, names: re.Pattern[str]) -> fits.Header:
    kept = fits.Header([card for card in header.cards if not names.fullmatch(card.keyword)])
    kept.update({key: kept[key].removesuffix("-SIP") for key in ("CTYPE1", "CTYPE2")})
    return kept


def write_part(original: Path, path: Path, box: tuple[slice, slice], covered: np.ndarray) -> None:
    """Write a part of an image, on the same pixels and the same sky, and 0 where it is not covered."""
    with fits.open(original, memmap=False) as hdus:
        (hdu,) = (each for each in hdus if each.data is not None)
        header = hdu.header.copy()
        header["CRPIX1"] -= box[1].start
        header["CRPIX2"] -= box[0].start
        fits.PrimaryHDU(np.where(covered, hdu.data[box], np.float32(0)), header).writeto(path)


def _cells(shape: tuple[int, int], per_side: int) -> Iterator[tuple[tuple[slice, slice], np.ndarray]]:
    edges = [np.linspace(0, length, per_side + 1).astype(int) for length in shape]
    for row in range(per_side):
        for column in range(per_side):
            cell = [(edge[place], edge[place + 1]) for edge, place in zip(edges, (row, column), strict=True)]
            box = tuple(slice(max(a - MARGIN, 0), min(b + MARGIN, n)) for (a, b), n in zip(cell, shape, strict=True))
            yield box, _rotated(box, cell, angle_deg=3.0 * (1 + (row + column) % 2) * (-1) ** column)


def _rotated(box: tuple[slice, slice], cell: list[tuple[int, int]], angle_deg: float) -> np.ndarray:
    """Where a rotated rectangle that holds the cell and half a cutout around it covers a box."""
    centre = [(a + b) / 2 for a, b in cell]
    half = [(b - a) / 2 + 66 for a, b in cell]
    cos, sin = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    y, x = np.mgrid[box] - np.array(centre)[:, None, None]
    across, along = cos * x + sin * y, cos * y - sin * x
    return (np.abs(along) <= cos * half[0] + abs(sin) * half[1]) & (np.abs(across) <= cos * half[1] + abs(sin) * half[0])
