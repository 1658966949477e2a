"""Which numbers summarise a galaxy's Monte Carlo draws."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from surveyflow.types import Float32Array, Float64Array

HISTOGRAM_BINS = 50
"""Bins of ``p_pm_hist``, equally wide over [0, 1]."""

QUANTILES = {"q05": 0.05, "q16": 0.16, "q50": 0.50, "q84": 0.84, "q95": 0.95}
"""Names of the quantiles in the catalog, and their probabilities."""

_MOST_DRAWS = 65_535
"""A histogram bin counts in 16 bits."""


@dataclass(frozen=True, slots=True)
class PosteriorSummary:
    """Summaries of each source's draws; every name is that of the catalog's column.

    Parameters
    ----------
    p_pm_mean, p_sf_mean
        (n,) float32: mean over the draws.
    p_pm_std, p_sf_std
        (n,) float32: standard deviation of the draws themselves (divisor T, not T - 1).
    p_pm_q05, p_pm_q16, p_pm_q50, p_pm_q84, p_pm_q95, p_sf_q05, p_sf_q16, p_sf_q50, p_sf_q84, p_sf_q95
        (n,) float32: quantiles, interpolated linearly between the draws.
    f_pm
        (n,) float32: fraction of draws with p_pm > p_sf; a tie is no vote for post-merger. It is not a probability.
    vote_entropy
        (n,) float32: entropy of (f_pm, 1 - f_pm), nats; 0 to ln 2.
    p_pm_hist
        (n, 50) uint16: draws of p_pm in each of 50 equal bins over [0, 1]; half-open but for the last, which holds 1.
    """

    p_pm_mean: Float32Array
    p_pm_std: Float32Array
    p_pm_q05: Float32Array
    p_pm_q16: Float32Array
    p_pm_q50: Float32Array
    p_pm_q84: Float32Array
    p_pm_q95: Float32Array
    p_sf_mean: Float32Array
    p_sf_std: Float32Array
    p_sf_q05: Float32Array
    p_sf_q16: Float32Array
    p_sf_q50: Float32Array
    p_sf_q84: Float32Array
    p_sf_q95: Float32Array
    f_pm: Float32Array
    vote_entropy: Float32Array
    p_pm_hist: NDArray[np.uint16]

    def columns(self) -> dict[str, NDArray[np.generic]]:
        """The summaries by name of column, in the catalog's order."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def summarise(draws: Float32Array) -> PosteriorSummary:
    """Summarise Monte Carlo draws of (p_pm, p_sf), in float64.

    A source's summary depends on its own draws only: not on the batch, nor on the draws' order.

    Parameters
    ----------
    draws
        (n, T, 2) float32 in [0, 1]: column 0 is the post-merger output, column 1 the star-forming one; T from 1 to 65535.

    Raises
    ------
    ValueError
        If the shape is another, or a draw is NaN or lies outside [0, 1].

    Examples
    --------
    >>> summary = summarise(np.array([[[0.9, 0.2], [0.7, 0.2], [0.1, 0.8], [0.3, 0.3]]], dtype=np.float32))
    >>> summary.f_pm, summary.p_pm_mean
    (array([0.5], dtype=float32), array([0.5], dtype=float32))
    """
    if draws.ndim != 3 or draws.shape[2] != 2 or not 1 <= draws.shape[1] <= _MOST_DRAWS:
        raise ValueError(f"draws must have shape (n, T, 2) with 1 <= T <= {_MOST_DRAWS}, not {draws.shape}")
    p_pm, p_sf = sorted_output(draws, 0), sorted_output(draws, 1)
    f_pm = np.count_nonzero(draws[:, :, 0] > draws[:, :, 1], axis=1) / draws.shape[1]
    return PosteriorSummary(
        **distribution("p_pm", p_pm, QUANTILES),
        **distribution("p_sf", p_sf, QUANTILES),
        f_pm=f_pm.astype(np.float32),
        vote_entropy=_binary_entropy(f_pm).astype(np.float32),
        p_pm_hist=_histograms(p_pm),
    )


def sorted_output(draws: Float32Array, output: int) -> Float32Array:
    """(n, T) draws of one output, ascending.

    Parameters
    ----------
    draws
        (n, T, n_outputs) float32, T at least 1.
    output
        Which output.

    Raises
    ------
    ValueError
        If a draw is NaN or lies outside [0, 1].
    """
    ordered = np.sort(draws[:, :, output], axis=1)
    inside = (ordered[:, 0] >= 0) & (ordered[:, -1] <= 1)  # NaN sorts last, and fails the comparison
    if not inside.all():
        source = int(np.flatnonzero(~inside)[0])
        low, high = ordered[source, [0, -1]]
        raise ValueError(f"draws must lie in [0, 1]: output {output} of source {source} ranges from {low} to {high}")
    return ordered


def distribution(name: str, ordered: Float32Array | Float64Array, quantiles: Iterable[str]) -> dict[str, Float32Array]:
    """Mean, standard deviation (divisor T) and quantiles of each source's draws, in float64.

    Parameters
    ----------
    name
        Of the quantity, before the names of the statistics: ``p_pm`` for ``p_pm_mean``.
    ordered
        (n, T) draws, ascending.
    quantiles
        Names in `QUANTILES`.

    Returns
    -------
    (n,) float32 by name of column.
    """
    values = ordered.astype(np.float64, copy=False)
    mean = values.sum(axis=1) / values.shape[1]
    std = np.sqrt(np.square(values - mean[:, None]).sum(axis=1) / values.shape[1])
    moments = {"mean": mean, "std": std} | {key: _quantile(values, QUANTILES[key]) for key in quantiles}
    return {f"{name}_{key}": value.astype(np.float32) for key, value in moments.items()}


def _quantile(ordered: Float64Array, level: float) -> Float64Array:
    """The quantile of ascending draws; Hyndman and Fan (1996), definition 7, numpy's ``linear``."""
    position = level * (ordered.shape[1] - 1)
    below = int(position)
    above = min(below + 1, ordered.shape[1] - 1)
    quantile: Float64Array = ordered[:, below] + (ordered[:, above] - ordered[:, below]) * (position - below)
    return quantile


def _binary_entropy(fraction: Float64Array) -> Float64Array:
    """Entropy of (fraction, 1 - fraction) in nats; 0 at both ends."""
    both = np.stack([fraction, 1 - fraction])
    entropy: Float64Array = -(both * np.log(np.where(both > 0, both, 1))).sum(axis=0)
    return entropy


def _histograms(ordered: Float32Array) -> NDArray[np.uint16]:
    """(n, 50) counts of ascending draws; bin edges are float32, like the draws."""
    edges = np.linspace(0, 1, HISTOGRAM_BINS + 1, dtype=np.float32)[1:-1]
    below = np.zeros((len(ordered), HISTOGRAM_BINS + 1), dtype=np.int64)
    below[:, -1] = ordered.shape[1]
    for row, values in zip(below, ordered, strict=True):
        row[1:-1] = values.searchsorted(edges)
    return np.diff(below, axis=1).astype(np.uint16)
