"""What a contamination model's outputs say, in percent and e-/s."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from surveyflow.types import CONTAMINATION_OUTPUTS, ContaminationScale, Float32Array, Float64Array

_LOG_FULL = float(np.log(101.0))


@dataclass(frozen=True, slots=True)
class PhysicalDraws:
    """Draws of the two quantities, each (n, T) float64: ``coverage_pct`` in percent, ``flux_pp`` in e-/s/pixel."""

    coverage_pct: Float64Array
    flux_pp: Float64Array


def physical_draws(
    outputs: Float32Array, rms: Float32Array, scale: ContaminationScale, normal: Float64Array, uniform: Float64Array
) -> PhysicalDraws:
    """Draw contamination: 0 as often as nothing is said to be there, else the location with its Gaussian scatter.

    Parameters
    ----------
    outputs
        (n, T, 6) in [0, 1], in the order of `surveyflow.types.CONTAMINATION_OUTPUTS`.
    rms
        (n,) sky rms of the cutouts, e-/s.
    scale
        The model card's.
    normal, uniform
        (n, T, 2): standard normal and uniform numbers, for coverage and for flux.
    """
    of = {name: outputs[..., i].astype(np.float64) for i, name in enumerate(CONTAMINATION_OUTPUTS)}
    sigma_coverage = of["coverage_scatter"] * scale.scatter_limit * scale.interval_scale_coverage
    sigma_flux = of["flux_pp_scatter"] * scale.scatter_limit * scale.interval_scale_flux_pp
    coverage = np.expm1(np.clip(of["coverage"] + sigma_coverage * normal[..., 0], 0, 1) * _LOG_FULL)
    flux = np.sinh(np.clip(of["flux_pp"] + sigma_flux * normal[..., 1], 0, 1) * scale.flux_range) * rms[:, None]
    return PhysicalDraws(
        coverage_pct=np.where(uniform[..., 0] >= of["contaminated"], 0, coverage),
        flux_pp=np.where(uniform[..., 1] >= of["neighbours"], 0, flux),
    )
