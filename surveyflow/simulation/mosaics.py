"""The science mosaics and weight maps of a simulated field: its sky is observed, cut to the footprint and written as FITS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.io import fits

from surveyflow.simulation.headers import FIELDS, INSTRUMENTS, LAYOUTS, mosaic_header, wcs_header
from surveyflow.simulation.observe import PSF_SIZE_PIX, blur, shot_noise, sky_noise
from surveyflow.simulation.scenes import paint
from surveyflow.simulation.sources import FieldSources, ListedSource, random_stream
from surveyflow.simulation.traps import ZERO_WEIGHT_TRAP
from surveyflow.values.arrays import BoolArray, Float32Array


def observe_mosaic(seed: int, field: str, instrument: str, sources: FieldSources, shape: tuple[int, int]) -> Float32Array:
    """A field as an instrument sees it, over the complete image: (rows, columns) float32, e-/s."""
    band, depth = INSTRUMENTS[instrument], FIELDS[field].depths[instrument]
    shining = [*(source.sky for source in sources.listed), *sources.unlisted]
    margin = PSF_SIZE_PIX // 2
    sky = blur(paint(shining, band, shape, margin), band)[margin:-margin, margin:-margin]
    rng = random_stream(seed, field, f"noise {instrument}")
    return sky + sky_noise(rng, shape, depth.sky_rms) + shot_noise(rng, sky, depth.exposure_s)


def without_holes(covered: BoolArray, instrument: str, listed: Sequence[ListedSource]) -> BoolArray:
    """The footprint without the pixel at the centre of the trap that stands for a flagged cosmic ray."""
    valid = covered.copy()
    for source in listed:
        if source.trap is not None and source.trap.name == ZERO_WEIGHT_TRAP:
            row, column = source.sky.pixel(INSTRUMENTS[instrument])
            valid[int(np.floor(row + 0.5)), int(np.floor(column + 0.5))] = False
    return valid


def write_science(path: Path, field: str, instrument: str, pixels: Float32Array, covered: BoolArray) -> None:
    """Write a science mosaic in its field's layout, without data outside the footprint."""
    layout = LAYOUTS[field, instrument]
    inside = np.where(covered, pixels, np.float32(layout.outside))
    _write_image(path, inside, mosaic_header(field, instrument), layout.extension)


def write_weight(path: Path, field: str, instrument: str, valid: BoolArray) -> None:
    """Write a weight map: the inverse variance, (e-/s)^-2, where the image is valid, and 0 elsewhere."""
    inverse_variance = np.float32(FIELDS[field].depths[instrument].sky_rms ** -2)
    extension = "WHT" if LAYOUTS[field, instrument].extension else None
    _write_image(path, valid * inverse_variance, wcs_header(field, instrument), extension)


def _write_image(path: Path, pixels: Float32Array, header: fits.Header, extension: str | None) -> None:
    if extension is None:
        hdus = fits.HDUList([fits.PrimaryHDU(pixels, header)])
    else:
        hdus = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(pixels, header, name=extension)])
    hdus.writeto(path, overwrite=True)
