"""Stamps with known truth, for the evaluation of models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from surveyflow.values.arrays import BoolArray, Float32Array, Float64Array, Int64Array


@dataclass(frozen=True, slots=True)
class LabelledStamps:
    """Stamps of one field and instrument with their truth.

    Parameters
    ----------
    field, instrument
        The field and the instrument whose depth and PSF were simulated.
    digest
        Digest of the settings that made them.
    pixels
        (n, size, size) float32, e-/s; 0 where there is no data.
    source_id
        (n,) int64; it seeds the dropout masks, as in a catalog.
    is_post_merger
        (n,) bool.
    magnitude_ab, redshift
        (n,) float64.
    sky_rms
        (n,) float64, e-/s: the simulated depth.
    coverage_pct
        (n,) float64: percent of the galaxy's mask that neighbours' masks cover; NaN if the galaxy has no mask.
    flux_pp
        (n,) float64, e-/s/pixel: neighbours' flux in their own masks; 0 if none is detected.
    psf_fwhm_pix
        (n,) float64, pixels: FWHM of the PSF, which a user would state in a workflow; NaN if it is unknown.
    """

    field: str
    instrument: str
    digest: str
    pixels: Float32Array
    source_id: Int64Array
    is_post_merger: BoolArray
    magnitude_ab: Float64Array
    redshift: Float64Array
    sky_rms: Float64Array
    coverage_pct: Float64Array
    flux_pp: Float64Array
    psf_fwhm_pix: Float64Array

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.shape[1] != self.pixels.shape[2]:
            raise ValueError(f"pixels must have shape (n, size, size), not {self.pixels.shape}")
        for name in _COLUMNS:
            if getattr(self, name).shape != (len(self.pixels),):
                raise ValueError(f"{name} must have shape ({len(self.pixels)},), not {getattr(self, name).shape}")

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def valid(self) -> BoolArray:
        """(n, size, size) bool: whether a pixel holds data, as for a mosaic without a weight map."""
        has_data: BoolArray = np.isfinite(self.pixels) & (self.pixels != 0)
        return has_data

    @property
    def has_contamination_truth(self) -> BoolArray:
        """(n,) bool: whether the galaxy has a mask that could be covered."""
        known: BoolArray = np.isfinite(self.coverage_pct)
        return known

    def take(self, rows: Int64Array | BoolArray | slice) -> LabelledStamps:
        """The chosen stamps, in that order."""
        return replace(self, **{name: getattr(self, name)[rows] for name in ("pixels", *_COLUMNS)})


_COLUMNS = tuple(item.name for item in fields(LabelledStamps) if item.name not in ("field", "instrument", "digest", "pixels"))


def pooled(sets: Sequence[LabelledStamps]) -> dict[str, Any]:
    """Columns of several sets, in order; all columns except the pixels."""
    return {name: np.concatenate([getattr(one, name) for one in sets]) for name in _COLUMNS}
