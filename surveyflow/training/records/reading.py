"""The reading of stamps and their truth from records into memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from surveyflow.simulation.headers import INSTRUMENTS
from surveyflow.sky.measurements import sky_rms
from surveyflow.training.records.labelled import LabelledStamps
from surveyflow.training.records.record_index import RecordIndex
from surveyflow.training.records.shards import check_truth, damage_told, read_index, record_dataset
from surveyflow.values.arrays import Float64Array

_BATCH = 256


def read_stamps(folder: Path, truth: str, at_most: int | None = None) -> LabelledStamps:
    """Read the stamps of a folder of records: the first ones, or all of them.

    Parameters
    ----------
    folder
        Folder of a complete set of records.
    truth
        Variant of the contamination truth: ``sky_sigma`` or ``self_sigma``.
    at_most
        Largest number of stamps; all of them if left out.

    Raises
    ------
    RecordError
        If the set is incomplete, a shard is damaged, or a record has a truth that no galaxy can have.
    """
    index = read_index(folder)
    batches = record_dataset(folder).take(index.n if at_most is None else at_most).batch(_BATCH)
    with damage_told(folder):
        parts = list(batches.as_numpy_iterator())
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    check_truth(folder, columns)
    return _stamps(columns, truth, index)


def _stamps(columns: dict[str, Any], truth: str, index: RecordIndex) -> LabelledStamps:
    pixels = columns["image"].astype(np.float32, copy=False)
    return LabelledStamps(
        field=index.field,
        instrument=index.instrument,
        digest=index.digest,
        pixels=pixels,
        source_id=columns["id"].astype(np.int64),
        is_post_merger=columns["label"] == 1,
        magnitude_ab=columns["magnitude_ab"].astype(np.float64),
        redshift=columns["redshift"].astype(np.float64),
        sky_rms=_depth(columns["sky_rms"].astype(np.float64), pixels),
        coverage_pct=columns[f"coverage_pct_{truth}"].astype(np.float64),
        flux_pp=columns[f"flux_pp_{truth}"].astype(np.float64),
        psf_fwhm_pix=_psf_fwhm_arcsec(columns["psf_fwhm_arcsec"].astype(np.float64), index) / index.pixel_scale_arcsec,
    )


def _psf_fwhm_arcsec(recorded: Float64Array, index: RecordIndex) -> Float64Array:
    """The FWHM of each PSF; of records that do not hold it, that of the settings if it is the same for all."""
    factors, band = index.settings.get("nuisances", {}).get("psf_fwhm", ()), INSTRUMENTS.get(index.instrument)
    alike = band.psf_fwhm_arcsec * factors[0] if band is not None and len(set(factors)) == 1 else np.nan
    return np.where(np.isfinite(recorded), recorded, alike)


def _depth(simulated: Float64Array, pixels: Any) -> Float64Array:
    """The simulated sky rms; where that is unknown, as in patches of a mosaic, the measured one."""
    if np.isfinite(simulated).all():
        return simulated
    return np.where(np.isfinite(simulated), simulated, sky_rms(pixels, np.isfinite(pixels) & (pixels != 0)))
