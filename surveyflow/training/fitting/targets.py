"""What should a network have answered? Its outputs' targets, from the truth of a simulation.

==============  =============================================================================================
merger          post_merger, star_forming: 1 and 0, or 0 and 1
contamination   contaminated, coverage, neighbours, flux_pp: as `surveyflow.stats.contamination` has them;
                NaN for what is unknown, or means nothing because there is no neighbour
==============  =============================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from surveyflow.stats.contamination import COVERAGE_RANGE
from surveyflow.tasks.card import CONTAMINATION_TASK
from surveyflow.values.arrays import Float32Array, Float64Array


def targets_of(task: str, columns: Mapping[str, Any], rms: Float32Array, truth: str) -> Float32Array:
    """The targets of records.

    Parameters
    ----------
    task
        ``merger`` or ``contamination``.
    columns
        The records' columns by name, each (n,).
    rms
        (n,) sky rms measured on each image, e-/s.
    truth
        Variant of the contamination truth.

    Returns
    -------
    (n, 2) or (n, 4) float32. The flux is still ``arcsinh(flux_pp / rms)``: whoever knows its largest value divides by it.
    """
    if task != CONTAMINATION_TASK:
        label = np.asarray(columns["label"], np.float32)
        return np.stack([label, 1 - label], axis=1)
    coverage = np.asarray(columns[f"coverage_pct_{truth}"], np.float64)
    flux = np.asarray(columns[f"flux_pp_{truth}"], np.float64)
    parts = *_two_parts(coverage, _scaled_coverage(coverage)), *_two_parts(flux, _scaled_flux(flux, rms))
    return np.stack(parts, axis=1).astype(np.float32)


def _two_parts(amount: Float64Array, scaled: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Whether there is anything, and how much, given that there is."""
    there = np.where(np.isnan(amount), np.nan, (amount > 0).astype(np.float64))
    return there, np.where(amount > 0, scaled, np.nan)


def _scaled_coverage(coverage_pct: Float64Array) -> Float64Array:
    return np.asarray(np.log1p(np.maximum(coverage_pct, 0)) / COVERAGE_RANGE)


def _scaled_flux(flux_pp: Float64Array, rms: Float32Array) -> Float64Array:
    return np.asarray(np.arcsinh(flux_pp / np.where(rms > 0, rms, np.nan)))
