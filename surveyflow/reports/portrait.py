"""One galaxy as a picture: its cutout in several stretches, with scale bar and compass, and the distribution of its draws."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from surveyflow.inputs.published_mosaics import SkyCutout
from surveyflow.reports.figures import display_stretch, house_style
from surveyflow.reports.gallery import marks_of
from surveyflow.reports.pictures import scale_bar_arcsec
from surveyflow.stats.posterior import HISTOGRAM_BINS
from surveyflow.values.arrays import Float32Array, Float64Array

_BLUE, _ORANGE, _QUIET = "#0072b2", "#c2500a", "#5a636d"
_LINE_CHARACTERS = 110


def _between(values: Float32Array, low: float, high: float) -> Float64Array:
    return np.asarray(np.clip((values.astype(np.float64) - low) / max(high - low, 1e-30), 0, 1))


def linear_stretch(values: Float32Array) -> Float64Array:
    """(n,) pixel values -> (n,) in [0, 1]: linear between the 1 % and the 99.5 % quantile."""
    low, high = np.quantile(values.astype(np.float64), [0.01, 0.995])
    return _between(values, low, high)


def log_stretch(values: Float32Array) -> Float64Array:
    """(n,) pixel values -> (n,) in [0, 1]: logarithmic above the sky's level, over three decades."""
    sky, high = np.quantile(values.astype(np.float64), [0.5, 0.999])
    scaled = np.clip((values - sky) / max(high - sky, 1e-30), 1e-3, 1)
    return np.asarray(1 + np.log10(scaled) / 3)


STRETCHES: Mapping[str, Callable[[Float32Array], Float64Array]] = {
    "asinh": display_stretch,
    "logarithmic": log_stretch,
    "linear": linear_stretch,
}
"""The stretches of a portrait, by name."""


def portrait_png(row: Mapping[str, Any], cutout: SkyCutout | None, revision: str, cautions: Sequence[str]) -> bytes:
    """Draw a galaxy as a PNG.

    Parameters
    ----------
    row
        A row of the catalog, with the columns of `surveyflow.reports.summary.GALLERY_COLUMNS`.
    cutout
        Its pixels; None if there are none.
    revision
        The revision that the row is from.
    cautions
        What readers of the numbers must know.
    """
    with house_style():
        figure = Figure(figsize=(11.0, 3.7))
        panels = figure.subplots(1, len(STRETCHES) + 1, width_ratios=[*([1.0] * len(STRETCHES)), 1.15])
        for axes, name in zip(panels, STRETCHES, strict=False):
            _draw_cutout(axes, cutout, name)
        _draw_draws(panels[-1], row)
        figure.suptitle("\n".join(_titles(row, revision)), fontsize=11, parse_math=False, color="#1d2126")
        figure.supxlabel(" ".join(cautions)[: 2 * _LINE_CHARACTERS], fontsize=8, color=_ORANGE, parse_math=False, wrap=True)
        return _png(figure)


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)  # names of fields in other scripts
        figure.savefig(content, format="png", dpi=110, facecolor="white", metadata={"Software": None})
    return content.getvalue()


def _titles(row: Mapping[str, Any], revision: str) -> list[str]:
    redshift = "no redshift" if row["redshift"] is None else f"z = {row['redshift']:.3f}"
    facts = [f"{row['ra']:.6f} {row['dec']:+.6f}", redshift, row["instrument"] or "no instrument", str(row["status"])]
    words = ", ".join(mark.word for mark in marks_of(row)) or "no flags"
    name = "".join(character if character.isprintable() else "\ufffd" for character in row["field"])
    return [f"{name} {row['source_id']}, {revision}", "   ".join(facts), words[:_LINE_CHARACTERS]]


def _draw_cutout(axes: Axes, cutout: SkyCutout | None, name: str) -> None:
    axes.set_axis_off()
    axes.set_title(name, fontsize=10, color=_QUIET)
    if cutout is None:
        axes.text(0.5, 0.5, "no picture", ha="center", va="center", color=_QUIET, transform=axes.transAxes)
        return
    image = np.ones(cutout.pixels.shape)
    if cutout.valid.any():
        image[cutout.valid] = 1 - STRETCHES[name](cutout.pixels[cutout.valid])
    axes.imshow(np.ma.masked_array(image, ~cutout.valid), origin="lower", cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    _draw_marks(axes, cutout)


def _draw_marks(axes: Axes, cutout: SkyCutout) -> None:
    side = cutout.pixels.shape[0]
    angle = scale_bar_arcsec(side * cutout.pixel_scale_arcsec)
    x0, y0, length = 0.05 * side, 0.05 * side, angle / cutout.pixel_scale_arcsec
    axes.plot([x0, x0 + length], [y0, y0], color=_BLUE, linewidth=2)
    axes.text(x0, y0 + 0.03 * side, f"{angle:g}\u2033", color=_BLUE, fontsize=9, weight="bold")
    middle = np.array([0.84, 0.16]) * side
    for letter, direction in (("N", cutout.compass.north_xy), ("E", cutout.compass.east_xy)):
        end = middle + 0.1 * side * np.array(direction)
        axes.plot(*zip(middle, end, strict=True), color=_BLUE, linewidth=1.3)
        x, y = middle + 0.145 * side * np.array(direction)
        axes.text(x, y, letter, color=_BLUE, fontsize=8, ha="center", va="center")


def _draw_draws(axes: Axes, row: Mapping[str, Any]) -> None:
    axes.set(xlim=(0, 1), xlabel="post-merger output p_pm", yticks=[])
    axes.spines["left"].set_visible(False)
    if row["p_pm_mean"] is None:
        axes.text(0.5, 0.5, f"no result: {row['status']}", ha="center", va="center", color=_QUIET, transform=axes.transAxes)
        return
    axes.stairs(np.asarray(row["p_pm_hist"]), np.linspace(0, 1, HISTOGRAM_BINS + 1), fill=True, color=_BLUE, alpha=0.6)
    axes.axvspan(row["p_pm_q16"], row["p_pm_q84"], color=_BLUE, alpha=0.13, linewidth=0)
    axes.axvline(row["p_pm_mean"], color=_ORANGE, linewidth=1.6)
    axes.set_title(f"{row['p_pm_mean']:.3f} ({row['p_pm_q16']:.2f} to {row['p_pm_q84']:.2f})", fontsize=10, color=_ORANGE)
