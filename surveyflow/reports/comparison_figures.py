"""The figures of a comparison with labels. Every figure says where the weights came from, as those of evaluations do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from surveyflow.reports.evaluation_figures import sign
from surveyflow.reports.figures import FILL, GREY, INK, LINE, new_figure
from surveyflow.values.arrays import Float64Array


def roc_figure(roc: Mapping[str, Any], origin: str) -> Figure:
    """Draw completeness over the false-positive rate, with its interval.

    Parameters
    ----------
    roc
        ``false_positive_rate``, and ``completeness`` with ``value``, ``low`` and ``high``.
    origin
        Where the weights came from.
    """
    figure, axes = new_figure(4.0)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.7, linestyle=(0, (4, 4)), alpha=0.6)
    _add_band(axes, _numbers(roc["false_positive_rate"]), roc["completeness"])
    axes.set(xlabel="share of negatives above", ylabel="completeness: share of positives above", xlim=(0, 1), ylim=(0, 1.005))
    axes.set_aspect("equal")
    sign(figure, axes, origin)
    return figure


def precision_figure(curve: Mapping[str, Any], share: float, origin: str) -> Figure:
    """Draw purity over completeness, with its interval.

    Parameters
    ----------
    curve
        ``completeness``, and ``purity`` with ``value``, ``low`` and ``high``.
    share
        The share of positives, which is the purity by chance.
    origin
        Where the weights came from.
    """
    figure, axes = new_figure(4.0)
    axes.axhline(share, color=INK, linewidth=0.7, linestyle=(0, (4, 4)), alpha=0.6)
    _add_band(axes, _numbers(curve["completeness"]), curve["purity"])
    axes.set(xlabel="completeness", ylabel="purity", xlim=(0, 1), ylim=(0, 1.005))
    axes.set_aspect("equal")
    sign(figure, axes, origin)
    return figure


def bins_figure(bins: Sequence[Mapping[str, Any]], label: str, origin: str) -> Figure:
    """Draw completeness and purity over the bins of one quantity.

    Parameters
    ----------
    bins
        The bins in order: ``low``, ``high``, and ``completeness`` and ``purity`` with ``value``, ``low`` and ``high``.
    label
        The quantity.
    origin
        Where the weights came from.
    """
    figure, axes = new_figure(3.6)
    edges = np.array([[one["low"], one["high"]] for one in bins], np.float64)
    middles, width = edges.mean(axis=1), np.ptp(edges)
    for name, colour, marker, shift in (("completeness", FILL, "o", -0.006), ("purity", LINE, "s", 0.006)):
        value, low, high = (100 * _numbers([one[name][key] for one in bins]) for key in ("value", "low", "high"))
        errors = np.array([value - low, high - value])
        axes.errorbar(
            middles + shift * width, value, yerr=errors, color=colour, marker=marker, markersize=5, linewidth=1.4, label=name
        )
    for edge in np.unique(edges):
        axes.axvline(edge, color=GREY, linewidth=0.5, alpha=0.4)
    axes.set(xlabel=label, ylabel="percent", ylim=(0, 102))
    sign(figure, axes, origin)
    return figure


def _add_band(axes: Any, x: Float64Array, curve: Mapping[str, Any]) -> None:
    low, value, high = (_numbers(curve[key]) for key in ("low", "value", "high"))
    axes.fill_between(x, low, high, color=FILL, alpha=0.25, linewidth=0)
    axes.plot(x, value, color=FILL, linewidth=1.5)


def _numbers(values: Sequence[float | None]) -> Float64Array:
    """Values of a document, in which null is no number."""
    return np.array([np.nan if value is None else value for value in values], np.float64)
