"""Patches of real sky, from a user's mosaic, on which simulated galaxies are put.

A patch is taken at a random position where all of its pixels hold data, in one of eight random orientations. Patches are not
selected by their content: a bright galaxy in the middle of a patch is a chance alignment, and part of the contamination's truth.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from surveyflow.errors import MosaicError
from surveyflow.inputs.mosaics import SCALE_TOLERANCE, Mosaic, open_mosaic
from surveyflow.settings.simulation import BackgroundTable
from surveyflow.simulation.observe import Band, Depth
from surveyflow.simulation.scenes import Patch, oriented
from surveyflow.sky.measurements import sky_rms
from surveyflow.values.arrays import Float32Array
from surveyflow.values.images import Box, Stated

_TRIES = 2000
_UNIT = "electron/s"


def open_background(table: BackgroundTable, band: Band) -> Mosaic:
    """Open the mosaic from which patches are taken.

    Raises
    ------
    MosaicError
        If it cannot be used, its pixel scale is not that of the band, or its unit is not electrons per second.
    """
    mosaic = open_mosaic(table.science, table.weight, Stated(table.unit))
    if problem := _problem(mosaic, band):
        mosaic.close()
        raise MosaicError(problem)
    return mosaic


def _problem(mosaic: Mosaic, band: Band) -> str | None:
    if abs(mosaic.pixel_scale_arcsec / band.pixel_scale_arcsec - 1) > SCALE_TOLERANCE:
        return (
            f"{mosaic.science} has {mosaic.pixel_scale_arcsec:.4f} arcsec/pixel, but {band.name} is simulated at "
            f"{band.pixel_scale_arcsec:.4f}. Use the {1000 * band.pixel_scale_arcsec:.0f} mas mosaic."
        )
    if mosaic.unit != _UNIT:
        remedy = "Convert it, or state `unit` if BUNIT is missing."
        return f"{mosaic.science} has the unit {mosaic.unit}, expected {_UNIT}. {remedy}"
    return None


def draw_patch(mosaic: Mosaic, rng: np.random.Generator, size: int, exposure_s: float) -> Patch:
    """Take a patch from a random position.

    Parameters
    ----------
    mosaic
        The mosaic.
    rng
        Source of the random position and orientation.
    size
        Side of the patch, pixels.
    exposure_s
        Exposure time of the mosaic, seconds, for the galaxy's photon noise; the sky's rms is measured.

    Raises
    ------
    MosaicError
        If no patch without holes was found in 2000 tries.
    """
    rows, columns = mosaic.shape
    if min(rows, columns) < size:
        raise MosaicError(f"{mosaic.science} has {columns} x {rows} pixels: too few for a patch of {size}. Use a larger mosaic.")
    for _ in range(_TRIES):
        y0, x0 = int(rng.integers(rows - size + 1)), int(rng.integers(columns - size + 1))
        if (patch := _whole_patch(mosaic, Box(y0, y0 + size, x0, x0 + size))) is not None:
            rms = float(sky_rms(patch[None], np.ones((1, size, size), bool))[0])
            return Patch(oriented(rng, patch), Depth(rms, exposure_s))
    raise MosaicError(
        f"{mosaic.science}: no patch of {size} pixels without holes was found in {_TRIES} tries. Use a mosaic with more coverage."
    )


def describe_background(mosaic: Mosaic) -> dict[str, Any]:
    """Describe a mosaic independently of its folder: names and sizes of its files, and the cards of its release."""
    return {"files": [[file.path.name, file.size] for file in mosaic.files], "cards": mosaic.release_cards}


def _whole_patch(mosaic: Mosaic, box: Box) -> Float32Array | None:
    # A corner is cheaper to read than a patch, and most holes are larger than a patch.
    corner = mosaic.read(Box(box.y0, box.y0 + 1, box.x0, box.x0 + 1))
    if not corner.valid.all():
        return None
    window = mosaic.read(box)
    return window.pixels if window.valid.all() else None
