"""Draw how good a model is. Every figure says where the weights came from, so that it cannot be taken for another's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from surveyflow.reports.figures import FILL, GREY, INK, LINE, new_figure

_CLASSES = ("post-merger", "star-forming")
_PAPER_COLOURS = LinearSegmentedColormap.from_list("paper", ["#f4f6f8", "#0072b2"])


def confusion_figure(confusion: Sequence[Sequence[int]], origin: str) -> Figure:
    """Draw a confusion matrix as papers do: rows are the truth, and every cell holds its row's percentage and its count.

    Parameters
    ----------
    confusion
        2 x 2 counts.
    origin
        Where the weights came from.
    """
    counts = np.asarray(confusion, np.float64)
    shares = np.divide(counts, counts.sum(axis=1, keepdims=True), out=np.zeros_like(counts), where=counts > 0)
    figure, axes = new_figure(4.0)
    axes.imshow(shares, cmap=_PAPER_COLOURS, vmin=0, vmax=1)
    for row, column in np.ndindex(2, 2):
        colour = "white" if shares[row, column] > 0.5 else "#1d2126"
        axes.text(column, row - 0.06, f"{100 * shares[row, column]:.1f} %", ha="center", va="center", size=17, color=colour)
        axes.text(column, row + 0.2, f"{int(counts[row, column]):,}", ha="center", va="center", size=11, color=colour)
    axes.set(xticks=[0, 1], yticks=[0, 1], xticklabels=_CLASSES, xlabel="called", ylabel="truth")
    axes.set_yticklabels(_CLASSES, rotation=90, va="center")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    sign(figure, axes, origin)
    return figure


def roc_figure(curves: Mapping[str, Mapping[str, Any]], origin: str) -> Figure:
    """Draw the receiver operating characteristic.

    Parameters
    ----------
    curves
        By label: ``false_share`` and ``true_share`` at each threshold, and ``area``.
    origin
        Where the weights came from.
    """
    figure, axes = new_figure(4.0)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.7, linestyle=(0, (4, 4)), alpha=0.6)
    for colour, (label, one) in zip((FILL, LINE), curves.items(), strict=False):
        axes.plot(one["false_share"], one["true_share"], color=colour, linewidth=1.5, label=label)
    axes.set(xlabel="share of star-forming galaxies above", ylabel="share of post-mergers above", xlim=(0, 1), ylim=(0, 1.005))
    axes.set_aspect("equal")
    sign(figure, axes, origin)
    return figure


def reliability_figure(calibrations: Mapping[str, Mapping[str, Any]], origin: str) -> Figure:
    """Draw how often a post-merger it was over how probable it was said to be.

    Parameters
    ----------
    calibrations
        By label: ``diagram`` (counts, stated, observed), and ``error``.
    origin
        Where the weights came from.
    """
    figure, axes = new_figure(4.0)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.7, linestyle=(0, (4, 4)), alpha=0.6)
    styles: list[dict[str, Any]] = [
        {"color": FILL, "marker": "o"},
        {"color": LINE, "marker": "s"},
        {"color": GREY, "marker": "^"},
        {"color": INK, "marker": "v"},
    ]
    for style, (label, one) in zip(styles, calibrations.items(), strict=False):
        stated, observed, error = _reliability_points(one["diagram"])
        axes.errorbar(
            stated, observed, yerr=error, label=f"{label} (error {one['error']:.3f})", linewidth=1.3, markersize=4, **style
        )
    axes.set(xlabel="stated probability", ylabel="fraction of post-mergers", xlim=(0, 1), ylim=(0, 1.005))
    axes.set_aspect("equal")
    sign(figure, axes, origin)
    return figure


def _reliability_points(diagram: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Stated, observed and its binomial error, of the bins that hold anything."""
    counts = np.asarray(diagram["counts"], np.float64)
    stated, observed = (np.asarray(diagram[key], np.float64)[counts > 0] for key in ("stated", "observed"))
    return stated, observed, np.sqrt(observed * (1 - observed) / counts[counts > 0])


def bins_figure(bins: Sequence[Mapping[str, Any]], label: str, origin: str) -> Figure:
    """Draw completeness of both classes, and the accuracy of network and baseline, over the bins of one quantity.

    Parameters
    ----------
    bins
        The bins of one quantity, in order. Each holds its ``label``, and scores of ``network`` and ``baseline``.
    label
        The quantity, with its unit.
    origin
        Where the weights came from.
    """
    figure, axes = new_figure(3.6)
    places = np.arange(len(bins))
    completeness = np.array([one["network"]["completeness"] for one in bins], np.float64)
    for values, marker, name in zip(completeness.T, ("^", "v"), _CLASSES, strict=True):
        axes.plot(places, 100 * values, marker=marker, color=GREY, linewidth=0.9, markersize=5, label=f"completeness, {name}")
    _add_accuracies(axes, places, bins)
    axes.set(xticks=places, xticklabels=[one["label"] for one in bins], xlabel=label, ylabel="percent")
    sign(figure, axes, origin)
    return figure


def cuts_figure(cuts: Mapping[str, Sequence[Mapping[str, Any]]], clean_accuracy: float | None, origin: str) -> Figure:
    """Draw the accuracy of what a contamination cut keeps.

    Parameters
    ----------
    cuts
        The cuts in ``true`` and in ``predicted`` contamination. Each holds the share that it keeps, and scores.
    clean_accuracy
        Accuracy on stamps without neighbours, which a perfect cut could reach; None where it was not measured.
    origin
        Where the weights came from.
    """
    figure, axes = new_figure(3.6)
    styles = {"true": (FILL, "o"), "predicted": (LINE, "s")}
    for by, of_order in cuts.items():
        kept = [100 * cut["kept"] for cut in of_order]
        accuracy = [100 * cut["network"]["accuracy"] for cut in of_order]
        error = [100 * cut["network"]["accuracy_error"] for cut in of_order]
        colour, marker = styles[by]
        axes.errorbar(
            kept, accuracy, yerr=error, color=colour, marker=marker, markersize=4, linewidth=1.3, label=f"{by} coverage"
        )
        trees = [100 * cut["baseline"]["accuracy"] for cut in of_order]
        axes.plot(kept, trees, color=colour, linestyle="dotted", linewidth=1.2, label=f"baseline, {by} coverage")
    if clean_accuracy is not None:
        axes.axhline(100 * clean_accuracy, color=INK, linewidth=0.8, linestyle=(0, (4, 4)), label="no neighbours at all")
    axes.set(xlabel="kept, the cleanest first (percent)", ylabel="accuracy (percent)")
    axes.invert_xaxis()
    sign(figure, axes, origin)
    return figure


def truth_figure(points: Mapping[str, Sequence[float]], label: str, origin: str) -> Figure:
    """Draw estimates over truths.

    Parameters
    ----------
    points
        ``truth`` and ``estimate``.
    label
        The quantity, with its unit.
    origin
        Where the weights came from.
    """
    truth, estimate = np.asarray(points["truth"], np.float64), np.asarray(points["estimate"], np.float64)
    top = 1.05 * max(truth.max(initial=0), estimate.max(initial=0), 1e-3)
    figure, axes = new_figure(4.2)
    axes.plot([0, top], [0, top], color=INK, linewidth=0.7, linestyle=(0, (4, 4)), alpha=0.6)
    axes.scatter(truth, estimate, s=8, color=FILL, alpha=0.4, linewidths=0)
    axes.set(xlabel=f"true {label}", ylabel=f"estimated {label}", xlim=(0, top), ylim=(0, top))
    axes.set_aspect("equal")
    sign(figure, axes, origin)
    return figure


def _add_accuracies(axes: Axes, places: np.ndarray, bins: Sequence[Mapping[str, Any]]) -> None:
    for who, colour, marker in (("network", FILL, "o"), ("baseline", LINE, "s")):
        accuracy = [100 * one[who]["accuracy"] for one in bins]
        error = [100 * one[who]["accuracy_error"] for one in bins]
        axes.errorbar(
            places, accuracy, yerr=error, color=colour, marker=marker, markersize=5, linewidth=1.4, label=f"accuracy, {who}"
        )


def sign(figure: Figure, axes: Axes, origin: str) -> None:
    """Say whose weights it is about, above the plot, and put the legend above that."""
    axes.set_title(f"weights: {origin}", loc="right", size=8, color=GREY)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside upper left", ncols=2, fontsize=9)
