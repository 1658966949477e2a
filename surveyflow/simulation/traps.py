"""The traps of a simulated survey: difficult sources, each with its name, position, redshift and expected status.

``docs/explanation/simulated-survey.md`` lists them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_erosion, uniform_filter

from surveyflow.values.arrays import BoolArray, Float32Array
from surveyflow.values.codes import Status

ACS, WFC3 = "F814W", "F125W_F160W"
Z_ACS, Z_WFC3 = 0.9, 2.1

REDSHIFT_TRAPS = (
    ("no_redshift_sentinel", -99.0, Status.NO_REDSHIFT),
    ("no_redshift_nan", np.nan, Status.NO_REDSHIFT),
    ("z_below", 0.4999, Status.NO_MODEL),
    ("z_0p5", 0.5, Status.OK),
    ("z_1p5", 1.5, Status.OK),
    ("z_3p0", 3.0, Status.NO_MODEL),
)
ZERO_WEIGHT_TRAP = "zero_weight_centre"
"""The one trap that changes its mosaic: the weight of the pixel at its centre is set to 0."""


@dataclass(frozen=True, slots=True)
class Trap:
    """A source that tests a difficult case.

    Parameters
    ----------
    name
        Name of the trap, such as ``edge_left``.
    x_pix, y_pix
        Its position in the F814W mosaic, 0-based, integers at pixel centres.
    redshift
        Redshift in the list: -99 or NaN if unknown.
    status
        The status that it must get.
    """

    name: str
    x_pix: float
    y_pix: float
    redshift: float
    status: Status = Status.OK


def placed_traps(coverage: Mapping[str, BoolArray], core_size: int) -> list[Trap]:
    """The traps whose position matters: at edges, corners, footprints and tile boundaries.

    Parameters
    ----------
    coverage
        Footprint by instrument; F125W_F160W has half as many pixels on a side as F814W.
    core_size
        Side of a tile's core, pixels.
    """
    rows, columns = coverage[ACS].shape
    return [
        *_edges(rows, columns),
        *_corners(rows, columns),
        *_beyond(rows, columns),
        *_around_the_footprint(coverage),
        *_at_tile_boundaries(rows, columns, core_size),
    ]


def free_traps(places: list[tuple[float, float]]) -> list[Trap]:
    """The traps that may lie anywhere with full coverage; needs ``n_free_traps()`` positions (x, y) in the F814W mosaic."""
    *anywhere, (hole_x, hole_y), (half_x, half_y) = places
    traps = [Trap(name, x, y, z, status) for (name, z, status), (x, y) in zip(REDSHIFT_TRAPS, anywhere, strict=True)]
    traps.append(Trap(ZERO_WEIGHT_TRAP, hole_x, hole_y, Z_ACS, Status.NO_COVERAGE))
    traps.append(Trap("half_pixel", np.floor(half_x) + 0.5, np.floor(half_y) + 0.5, Z_ACS))
    return traps


def n_free_traps() -> int:
    """Number of positions that ``free_traps`` needs."""
    return len(REDSHIFT_TRAPS) + 2


def _edges(rows: int, columns: int) -> list[Trap]:
    return [
        Trap("edge_left", 4.3, 0.5 * rows, Z_ACS),
        Trap("edge_right", columns - 5.6, 0.5 * rows, Z_ACS),
        Trap("edge_bottom", 0.505 * columns, 4.7, Z_ACS),
        Trap("edge_top", 0.435 * columns, rows - 5.2, Z_ACS),
        Trap("edge_left_f160w", 9.1, 0.36 * rows, Z_WFC3),
    ]


def _corners(rows: int, columns: int) -> list[Trap]:
    """Sources 40 pixels from a corner, with two thirds of a cutout on the mosaic, and one at the tip, with a quarter."""
    left, right, bottom, top = 40.4, columns - 41.4, 40.2, rows - 41.3
    return [
        Trap("corner_bottom_left", left, bottom, Z_ACS),
        Trap("corner_bottom_right", right, bottom, Z_ACS),
        Trap("corner_top_left", left, top, Z_ACS),
        Trap("corner_top_right", right, top, Z_ACS),
        Trap("corner_tip", 1.3, 1.8, Z_ACS, Status.BAD_PIXELS),
        Trap("corner_top_right_f160w", columns - 82.4, rows - 81.7, Z_WFC3),
    ]


def _beyond(rows: int, columns: int) -> list[Trap]:
    return [
        Trap("off_mosaic", columns + 300.2, rows + 200.1, Z_ACS, Status.OFF_MOSAIC),
        Trap("just_off_mosaic", -0.75, 0.6 * rows, Z_ACS, Status.OFF_MOSAIC),
    ]


def _around_the_footprint(coverage: Mapping[str, BoolArray]) -> list[Trap]:
    acs, wfc3 = coverage[ACS], coverage[WFC3]
    # Every second pixel of F814W, so that the maps of both instruments have the same grid.
    acs_half = acs[::2, ::2]
    fraction = local_fraction(acs_half, 64)
    far_from_edges = np.zeros(wfc3.shape, bool)
    far_from_edges[34:-34, 34:-34] = True
    just_inside = far_from_edges & binary_erosion(acs_half, iterations=2)
    outside = far_from_edges & ~acs_half
    only_acs = np.where(acs_half & ~wfc3, local_fraction(~wfc3, 9), 0)
    return [
        _at("outside_footprint", np.where(outside, fraction, 1).argmin(), wfc3.shape, Z_ACS, Status.NO_COVERAGE),
        _at("mostly_outside", np.where(just_inside, fraction, 1).argmin(), wfc3.shape, Z_ACS, Status.BAD_PIXELS),
        _at("no_wfc3_coverage", only_acs.argmax(), wfc3.shape, Z_WFC3, Status.NO_COVERAGE),
    ]


def _at(name: str, flat_index: np.intp, shape: tuple[int, ...], redshift: float, status: Status) -> Trap:
    row, column = np.unravel_index(flat_index, shape)
    return Trap(name, 2 * float(column) + 0.3, 2 * float(row) + 0.2, redshift, status)


def _at_tile_boundaries(rows: int, columns: int, core_size: int) -> list[Trap]:
    """A source at the point where four cores meet, and one in the first column of a core; no sources in a mosaic of one tile."""
    x, y = _boundary_near_the_middle(columns, core_size), _boundary_near_the_middle(rows, core_size)
    if x is None or y is None:
        return []
    return [Trap("tile_corner", x - 0.5, y - 0.5, Z_ACS), Trap("tile_edge", float(x), 0.45 * rows, Z_ACS)]


def _boundary_near_the_middle(length: int, core_size: int) -> int | None:
    boundaries = np.arange(core_size, length - 64, core_size)
    boundaries = boundaries[boundaries > 134]
    return int(boundaries[abs(boundaries - length / 2).argmin()]) if len(boundaries) else None


def local_fraction(covered: BoolArray, size: int) -> Float32Array:
    """Share of covered pixels in the square around each pixel; pixels beyond the image are not covered."""
    return np.asarray(uniform_filter(covered.astype(np.float32), size, mode="constant"), np.float32)
