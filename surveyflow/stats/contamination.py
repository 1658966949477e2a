"""What a contamination network says of a galaxy, in percent and in flux.

A network answers in six numbers between 0 and 1, `CONTAMINATION_OUTPUTS`. Two are probabilities: that a neighbour lies on the
galaxy, and that there is a neighbour at all. The others are location and scatter of how much of it, given that it is there, on
scales on which the truth is about normal:

====================  =====================================================
coverage (%)          ``log1p(coverage) / log(101)``
flux per pixel        ``arcsinh(flux / rms) / flux_range``, the sky rms of the cutout itself, so that gain and depth cancel
====================  =====================================================

Every draw of the network becomes one draw of what is there: nothing at all with the probability that nothing is, or else a normal
number about the location. So the spread of the physical draws holds what the network cannot know of a single image, not only what
its dropout makes of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from surveyflow.stats.philox import philox4x32
from surveyflow.stats.posterior import distribution, sorted_output
from surveyflow.values.arrays import BoolArray, Float32Array, Float64Array, UInt64Array

CONTAMINATION_OUTPUTS = ("contaminated", "coverage", "coverage_scatter", "neighbours", "flux_pp", "flux_pp_scatter")
"""Outputs of a contamination network, in the order of `surveyflow.stats.contamination`."""
CONTAMINATION_TRUTHS = ("sky_sigma", "self_sigma")
"""How the truth of contamination was found: masks at 2 sigma of the sky, or of each image itself."""


@dataclass(frozen=True, slots=True)
class ContaminationScale:
    """How the outputs of a contamination network become percent, and flux in the cutout's unit.

    Parameters
    ----------
    truth
        Which truth it was trained on, one of `CONTAMINATION_TRUTHS`.
    flux_range
        The arcsinh of the flux per pixel, in units of the cutout's sky rms, that an output of 1 stands for; in (0, 50].
    scatter_limit
        Standard deviation, of an output's location, that a scatter output of 1 stands for; in (0, 1].
    interval_scale_coverage, interval_scale_flux_pp
        By what the standard deviations are multiplied, so that intervals hold as many held-out truths as they claim; above 0.
    """

    truth: str
    flux_range: float
    scatter_limit: float = 0.5
    interval_scale_coverage: float = 1.0
    interval_scale_flux_pp: float = 1.0

    def __post_init__(self) -> None:
        if self.truth not in CONTAMINATION_TRUTHS:
            raise ValueError(f"truth must be one of {', '.join(CONTAMINATION_TRUTHS)}, not {self.truth!r}")
        if not 0 < self.flux_range <= 50:
            raise ValueError(f"flux_range must lie in (0, 50], not {self.flux_range}")
        if not 0 < self.scatter_limit <= 1:
            raise ValueError(f"scatter_limit must lie in (0, 1], not {self.scatter_limit}")
        for name in ("interval_scale_coverage", "interval_scale_flux_pp"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")


COVERAGE_RANGE = math.log(101)
"""``log1p`` of a coverage of 100 %: what a location of 1 stands for."""

_NOISE_BLOCK = 2**32 - 1
"""Last word of the counters; the blocks of dropout masks are counted from 0 and never come so far."""
_QUANTILES = ("q16", "q50", "q84")


@dataclass(frozen=True, slots=True)
class ContaminationDraws:
    """Draws of a source's contamination.

    Parameters
    ----------
    coverage_pct
        (n, T) float64, 0 to 100: share of the galaxy's mask that neighbours' masks cover.
    flux_pp
        (n, T) float64, at least 0, in the cutouts' unit a pixel: neighbours' flux over their number of pixels.
    """

    coverage_pct: Float64Array
    flux_pp: Float64Array


@dataclass(frozen=True, slots=True)
class ContaminationSummary:
    """Summaries of each source's draws, (n,) float32; every name is that of the catalog's column.

    Parameters
    ----------
    p_contaminated_mean, p_contaminated_std
        Mean and standard deviation, over the draws, of the probability that a neighbour lies on the galaxy.
    coverage_pct_mean, coverage_pct_std, coverage_pct_q16, coverage_pct_q50, coverage_pct_q84
        Of the distribution of the coverage, percent; draws without a neighbour on the galaxy count as 0.
    flux_pp_mean, flux_pp_std, flux_pp_q16, flux_pp_q50, flux_pp_q84
        Of the distribution of the flux per pixel, in the cutouts' unit; draws without any neighbour count as 0.
    """

    p_contaminated_mean: Float32Array
    p_contaminated_std: Float32Array
    coverage_pct_mean: Float32Array
    coverage_pct_std: Float32Array
    coverage_pct_q16: Float32Array
    coverage_pct_q50: Float32Array
    coverage_pct_q84: Float32Array
    flux_pp_mean: Float32Array
    flux_pp_std: Float32Array
    flux_pp_q16: Float32Array
    flux_pp_q50: Float32Array
    flux_pp_q84: Float32Array

    @classmethod
    def joined(cls, parts: Sequence[ContaminationSummary]) -> ContaminationSummary:
        """The summaries of several batches of sources, one after another; there must be one part at least."""
        names = [field.name for field in fields(cls)]
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})

    def columns(self) -> dict[str, NDArray[np.generic]]:
        """The summaries by name of column, in the catalog's order."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def predictive_noise(source_keys: UInt64Array, n_draws: int, seed: int, model_word: int) -> tuple[Float64Array, Float64Array]:
    """Random numbers of each source and draw, which depend on neither batch nor order, and on no dropout mask.

    Philox4x32-10 with the key of the masks, (seed, model word), and the counter (source key, draw, 2**32 - 1). The first two
    words make the normal numbers (Box & Muller 1958), the third the uniform one.

    Parameters
    ----------
    source_keys
        (n,) uint64: one for each source.
    n_draws
        T.
    seed
        0 to 2**32 - 1.
    model_word
        `surveyflow.tasks.card.ModelCard.model_word`.

    Returns
    -------
    normal
        (n, T, 2) float64, standard normal and independent: for coverage and flux.
    uniform
        (n, T) float64 in [0, 1).
    """
    low, high = ((source_keys >> np.uint64(shift)).astype(np.uint32)[:, None] for shift in (0, 32))
    draws = np.arange(n_draws, dtype=np.uint32)[None, :]
    words = philox4x32((low, high, draws, np.full((1, 1), _NOISE_BLOCK, np.uint32)), (seed, model_word))
    radius = np.sqrt(-2 * np.log((words[0] + 1.0) / 2**32))
    angle = words[1] * (2 * math.pi / 2**32)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1), words[2] / 2**32


def physical_draws(
    outputs: Float32Array, rms: Float32Array, scale: ContaminationScale, normal: Float64Array, uniform: Float64Array
) -> ContaminationDraws:
    """Turn draws of a network into draws of what it describes.

    One uniform number decides on both parts of a draw: since masks that overlap belong to neighbours that were detected, a draw
    with coverage is then one with flux wherever the network holds the second to be at least as probable as the first.

    Parameters
    ----------
    outputs
        (n, T, 6) float32 in [0, 1], in the order of `CONTAMINATION_OUTPUTS`.
    rms
        (n,) sky rms of each cutout, as `surveyflow.sky.noise.sky_rms` measures it; where it is NaN, so are fluxes that are not 0.
    scale
        What the outputs stand for.
    normal
        (n, T, 2) standard normal numbers, for coverage and flux.
    uniform
        (n, T) numbers in [0, 1).

    Raises
    ------
    ValueError
        If shapes do not belong together, or an output is NaN or lies outside [0, 1].

    Examples
    --------
    >>> outputs = np.array([[[0.9, 0.5, 0.1, 0.9, 0.5, 0.1]]], dtype=np.float32)
    >>> scale = ContaminationScale("sky_sigma", flux_range=8.0)
    >>> draws = physical_draws(outputs, np.array([1e-3], np.float32), scale, np.zeros((1, 1, 2)), np.full((1, 1), 0.5))
    >>> draws.coverage_pct.round(2), draws.flux_pp.round(4)
    (array([[9.05]]), array([[0.0273]]))
    """
    _check(outputs, rms, normal, uniform)
    contaminated, coverage, coverage_scatter, neighbours, flux, flux_scatter = np.moveaxis(outputs.astype(np.float64), -1, 0)
    coverage_sigma = coverage_scatter * scale.scatter_limit * scale.interval_scale_coverage
    flux_sigma = flux_scatter * scale.scatter_limit * scale.interval_scale_flux_pp
    covered = np.clip(coverage + coverage_sigma * normal[..., 0], 0, 1)
    bright = np.clip(flux + flux_sigma * normal[..., 1], 0, 1)
    return ContaminationDraws(
        coverage_pct=np.where(uniform < contaminated, np.expm1(COVERAGE_RANGE * covered), 0),
        flux_pp=np.where(uniform < neighbours, rms[:, None].astype(np.float64) * np.sinh(scale.flux_range * bright), 0),
    )


def summarise_contamination(outputs: Float32Array, draws: ContaminationDraws) -> ContaminationSummary:
    """Summarise a network's draws, and those of what they describe, in float64.

    Parameters
    ----------
    outputs
        (n, T, 6) float32 in [0, 1], in the order of `CONTAMINATION_OUTPUTS`.
    draws
        What `physical_draws` makes of them.

    Raises
    ------
    ValueError
        If a probability is NaN or lies outside [0, 1].
    """
    return ContaminationSummary(
        **distribution("p_contaminated", sorted_output(outputs, CONTAMINATION_OUTPUTS.index("contaminated")), ()),
        **distribution("coverage_pct", np.sort(draws.coverage_pct, axis=1), _QUANTILES),
        **distribution("flux_pp", np.sort(draws.flux_pp, axis=1), _QUANTILES),
    )


def can_be_measured(rms: Float32Array) -> BoolArray:
    """(n,) bool: which cutouts have a sky rms by which fluxes can be told; not where it is NaN or 0."""
    measurable: BoolArray = rms > 0
    return measurable


def _check(outputs: Float32Array, rms: Float32Array, normal: Float64Array, uniform: Float64Array) -> None:
    n_sources, n_draws = outputs.shape[:2]
    expected = ((n_sources, n_draws, len(CONTAMINATION_OUTPUTS)), (n_sources,), (n_sources, n_draws, 2), (n_sources, n_draws))
    found = (outputs.shape, rms.shape, normal.shape, uniform.shape)
    if found != expected:
        raise ValueError(f"outputs, rms, normal and uniform must have shapes {expected}, not {found}")
    outside = ~((outputs >= 0) & (outputs <= 1))
    if outside.any():
        source, _, output = np.argwhere(outside)[0]
        raise ValueError(f"outputs must lie in [0, 1]: {CONTAMINATION_OUTPUTS[output]} of source {source} does not")
