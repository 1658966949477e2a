"""A mosaic cut into overlapping tiles, whose footprints are rotated, as those of real pointings are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from astropy.io import fits

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
