"""The figures of a report: distributions, votes, maps, sparklines and cutouts.

Every plot is a matplotlib figure made without pyplot. `as_svg` converts it to inline SVG: texts stay texts, and the colours
become CSS variables of the page, so that a figure follows the reader's light or dark setting. A figure contains no text from the
user: names are in the page's captions, where the template escapes them.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from surveyflow.stats.posterior import HISTOGRAM_BINS
from surveyflow.values.arrays import BoolArray, Float32Array, Float64Array, Int64Array

MAX_VECTOR_POINTS = 800
"""A map of more points than this draws them as pixels inside its SVG."""
MAX_POINTS = 5_000
"""More points than this are binned, in maps and votes."""
SKY_CELLS = 120
"""Cells along the longer side of a binned sky map."""

# Colours that are not used elsewhere, so that `as_svg` can replace them by those of the page.
INK, FILL, LINE = "#010203", "#040506", "#070809"
_CSS_COLOURS = {INK: "currentColor", FILL: "var(--series-1)", LINE: "var(--series-2)"}
GREY = "#8d949c"
_VOTE_BINS = 80
_STYLE: dict[str, object] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "surveyflow",
    "font.size": 11,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "figure.constrained_layout.use": True,
}
_NO_METADATA: dict[str, Any] = {"Date": None, "Creator": None, "Format": None, "Type": None}
_MOST_GREYS = 63
_WIDTH_INCH = 4.9


def probability_colours() -> ListedColormap:
    """Viridis without its two ends, which would vanish on a dark or a white page."""
    return ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0.12, 0.95, 256)), name="probability")


def posterior_figure(stacked_counts: Int64Array, means: Float32Array) -> Figure:
    """Plot the distribution of post-merger probabilities of many sources, in two ways.

    Parameters
    ----------
    stacked_counts
        (50,) counts of the draws of all sources, in equally wide bins of [0, 1].
    means
        (n,) mean post-merger output of each source.
    """
    figure, axes = new_figure(2.75)
    density = stacked_counts * HISTOGRAM_BINS / max(int(stacked_counts.sum()), 1)
    axes.stairs(density, np.linspace(0, 1, HISTOGRAM_BINS + 1), fill=True, color=FILL, alpha=0.45, label="all draws")
    heights, edges = np.histogram(means, bins=_n_bins(len(means)), range=(0, 1), density=bool(len(means)))
    axes.stairs(heights, edges, color=LINE, linewidth=1.6, label="means")
    axes.set(xlabel="post-merger output p_pm", ylabel="density (area 1)", xlim=(0, 1))
    axes.set_ylim(0, 1.22 * max(density.max(), heights.max(), 0.1))
    axes.legend(loc="upper right", ncols=2, borderaxespad=0.0)
    return figure


def contamination_figure(p_contaminated: Float32Array, coverage_pct: Float32Array) -> Figure:
    """Plot the distributions of the probability of contamination and of the coverage.

    Parameters
    ----------
    p_contaminated
        (n,) mean probability for each source that a neighbour overlaps the galaxy; n at least 1.
    coverage_pct
        (n,) mean percentage of the galaxy that neighbours cover.
    """
    figure = Figure(figsize=(_WIDTH_INCH, 2.75))
    for axes, values, highest, label in zip(
        figure.subplots(1, 2, sharey=True),
        (p_contaminated, coverage_pct),
        (1, 100),
        ("p_contaminated_mean", "coverage_pct_mean (%)"),
        strict=True,
    ):
        counts, edges = np.histogram(values, bins=_n_bins(len(values)), range=(0, highest))
        axes.stairs(counts / len(values), edges, fill=True, color=FILL, alpha=0.45)
        axes.set(xlabel=label, xlim=(0, highest))
    figure.axes[0].set_ylabel("fraction of sources")
    return figure


def _n_bins(n_sources: int) -> int:
    """Number of bins that suits the number of sources; each consists of one or more bins of the draws."""
    return 10 if n_sources < 200 else 25 if n_sources < 5_000 else HISTOGRAM_BINS


def votes_figure(means: Float32Array, votes: Float32Array) -> Figure:
    """Plot the fraction of draws that vote post-merger, ``f_pm``, against the mean output, ``p_pm_mean``; both (n,)."""
    figure, axes = new_figure(4.0)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.7, linestyle=(0, (4, 4)), alpha=0.6)
    if len(means) <= MAX_POINTS:
        axes.scatter(means, votes, s=9, color=FILL, alpha=0.5, linewidths=0)
    else:
        _add_vote_counts(figure, axes, means, votes)
    axes.set(xlabel="mean post-merger output p_pm_mean", ylabel="fraction of draws f_pm", xlim=(0, 1), ylim=(-0.02, 1.02))
    axes.set_aspect("equal")
    return figure


def _add_vote_counts(figure: Figure, axes: Axes, means: Float32Array, votes: Float32Array) -> None:
    counts, _, _ = np.histogram2d(votes, means, bins=_VOTE_BINS, range=((0, 1), (0, 1)))
    image = axes.imshow(
        np.ma.masked_equal(counts, 0),
        origin="lower",
        extent=(0, 1, 0, 1),
        cmap=probability_colours(),
        norm=LogNorm(1, max(counts.max(), 2)),
        interpolation="nearest",
    )
    _add_colour_bar(figure, axes, image, "sources per cell")


def sky_figure(ra_deg: Float64Array, dec_deg: Float64Array, means: Float32Array, uncovered: BoolArray) -> Figure:
    """Map one field: right ascension increases to the left, and both axes have the same angular scale.

    Parameters
    ----------
    ra_deg, dec_deg
        (n,) positions, ICRS degrees; n at least 1.
    means
        (n,) mean post-merger output; NaN for a source without a result, drawn grey.
    uncovered
        (n,) whether the source lies outside the footprint, drawn as a small cross or, in a binned map, a paler grey.
    """
    ra_deg = unwrapped(ra_deg)
    cos_dec = max(float(np.cos(np.radians(np.median(dec_deg)))), 1e-3)
    left_right, bottom_top = _limits(ra_deg, 1 / cos_dec), _limits(dec_deg, 1.0)
    figure, axes = new_figure(_sky_height_inch(left_right, bottom_top, cos_dec))
    draw = _draw_sky_points if len(ra_deg) <= MAX_POINTS else _draw_sky_cells
    image = draw(axes, ra_deg, dec_deg, means, uncovered)
    axes.set(xlabel="right ascension (deg)", ylabel="declination (deg)", xlim=left_right[::-1], ylim=bottom_top)
    axes.set_aspect(1 / cos_dec)
    _label_degrees(axes)
    _add_colour_bar(figure, axes, image, "mean post-merger output p_pm_mean")
    return figure


def unwrapped(ra_deg: Float64Array) -> Float64Array:
    """Shift right ascensions by multiples of 360 degrees, so that a field across 0 h is in one piece."""
    first = float(ra_deg[0])
    return np.asarray(first + (ra_deg - first + 180) % 360 - 180, dtype=np.float64)


def _limits(coordinate_deg: Float64Array, degree: float) -> tuple[float, float]:
    """Lowest and highest coordinate with a margin of 4 %, at least 5 arcsec; ``degree`` is a degree of sky in the coordinate."""
    low, high = float(coordinate_deg.min()), float(coordinate_deg.max())
    margin = max(0.04 * (high - low), degree * 5 / 3600)
    return low - margin, high + margin


def _sky_height_inch(ra_limits: tuple[float, float], dec_limits: tuple[float, float], cos_dec: float) -> float:
    """Height of the figure at which a map of this shape fills the width, within limits."""
    ratio = (dec_limits[1] - dec_limits[0]) / ((ra_limits[1] - ra_limits[0]) * cos_dec)
    return float(np.clip(1.5 + 4.0 * ratio, 3.0, 7.0))


def _draw_sky_points(
    axes: Axes, ra_deg: Float64Array, dec_deg: Float64Array, means: Float32Array, uncovered: BoolArray
) -> ScalarMappable:
    has_result = np.isfinite(means)
    dense = len(ra_deg) > MAX_VECTOR_POINTS
    size = float(np.clip(9_000 / len(ra_deg), 3, 26))
    style: dict[str, Any] = {"rasterized": dense, "linewidths": 0}
    axes.scatter(ra_deg[uncovered], dec_deg[uncovered], s=size, c=GREY, marker="x", linewidths=0.6, alpha=0.8, rasterized=dense)
    without = ~has_result & ~uncovered
    axes.scatter(ra_deg[without], dec_deg[without], s=0.6 * size, c=GREY, alpha=0.7, **style)
    colours: dict[str, Any] = {"c": means[has_result], "cmap": probability_colours(), "norm": Normalize(0, 1)}
    return axes.scatter(ra_deg[has_result], dec_deg[has_result], s=size, **colours, **style)


def _draw_sky_cells(
    axes: Axes, ra_deg: Float64Array, dec_deg: Float64Array, means: Float32Array, uncovered: BoolArray
) -> ScalarMappable:
    ra_limits, dec_limits = _limits(ra_deg, 1.0), _limits(dec_deg, 1.0)
    shape = _cell_shape(ra_limits, dec_limits, float(np.cos(np.radians(np.median(dec_deg)))))

    def per_cell(chosen: BoolArray, weights: Float32Array | None = None) -> Float64Array:
        return np.histogram2d(dec_deg[chosen], ra_deg[chosen], bins=shape, range=(dec_limits, ra_limits), weights=weights)[0]

    has_result = np.isfinite(means)
    n_results = per_cell(has_result)
    cell_means = np.ma.divide(per_cell(has_result, means[has_result]), np.ma.masked_equal(n_results, 0))
    greys = np.select([per_cell(~has_result & ~uncovered) > 0, per_cell(uncovered) > 0], [0.65, 0.3], default=0.0)
    place: dict[str, Any] = {"origin": "lower", "extent": (*ra_limits, *dec_limits), "interpolation": "nearest"}
    axes.imshow(np.full(shape, 0.55), alpha=np.where(n_results > 0, 0.0, greys), cmap="gray", vmin=0, vmax=1, **place)
    return axes.imshow(cell_means, cmap=probability_colours(), vmin=0, vmax=1, **place)


def _cell_shape(ra_limits: tuple[float, float], dec_limits: tuple[float, float], cos_dec: float) -> tuple[int, int]:
    """Rows and columns of square cells on the sky."""
    height, width = dec_limits[1] - dec_limits[0], (ra_limits[1] - ra_limits[0]) * max(cos_dec, 1e-3)
    cell = max(height, width) / SKY_CELLS
    return max(round(height / cell), 1), max(round(width / cell), 1)


def _label_degrees(axes: Axes) -> None:
    """Label both axes with as many decimals as the steps need, and right ascension from 0 to 360."""
    for axis, n_steps, turn_deg in ((axes.xaxis, 4, 360.0), (axes.yaxis, 5, None)):
        axis.set_major_locator(MaxNLocator(n_steps))
        step_deg = float(np.diff(axis.get_majorticklocs()).min(initial=1.0))
        axis.set_major_formatter(FuncFormatter(partial(_degrees, decimals=_decimals(step_deg), turn_deg=turn_deg)))


def _degrees(value_deg: float, _: int, *, decimals: int, turn_deg: float | None) -> str:
    return f"{value_deg if turn_deg is None else value_deg % turn_deg:.{decimals}f}"


def _decimals(step: float) -> int:
    """Number of decimals that represent multiples of ``step`` without rounding."""
    return next((n for n in range(6) if np.isclose(step * 10**n, round(step * 10**n), rtol=1e-6)), 6)


def _add_colour_bar(figure: Figure, axes: Axes, image: ScalarMappable, label: str) -> None:
    bar = figure.colorbar(image, ax=axes, location="bottom", fraction=0.045, pad=0.03, aspect=32, label=label)
    bar.outline.set_visible(False)
    if bar.solids is not None:
        bar.solids.set_rasterized(True)


def new_figure(height_inch: float) -> tuple[Figure, Axes]:
    """Make a figure as wide as the page, with one plot."""
    figure = Figure(figsize=(_WIDTH_INCH, height_inch))
    return figure, figure.subplots()


@contextmanager
def house_style() -> Iterator[None]:
    """Use the page's style for figures made inside, whatever the user's own matplotlib settings are."""
    with matplotlib.style.context(["default", _STYLE]):
        yield


def as_svg(figure: Figure, name: str) -> str:
    """Render a figure as an ``<svg>`` element for the page; the same figure gives the same bytes.

    Parameters
    ----------
    figure
        Figure made inside `house_style`.
    name
        Name that is unique on the page, put before every id.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", dpi=144, transparent=True, metadata=_NO_METADATA)
    text = buffer.getvalue()
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"| (width|height)="[\d.]+pt"', "", text[text.index("<svg") :], count=4)
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    for colour, css in _CSS_COLOURS.items():
        svg = svg.replace(colour, css)
    return svg


def sparkline(counts: NDArray[np.uint16], mean: float, low: float, high: float) -> str:
    """Draw one source's distribution as a small ``<svg>``.

    Parameters
    ----------
    counts
        (50,) counts of draws in equally wide bins of [0, 1].
    mean
        Mean of the draws, marked by a line.
    low, high
        The 16 % and 84 % quantiles, marked by a band.
    """
    heights = 30 * counts / max(int(counts.max()), 1)
    steps = " ".join(f"V{32 - height:.1f}H{2 * (i + 1)}" for i, height in enumerate(heights))
    return (
        '<svg class="sparkline" viewBox="0 0 100 36" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="interval" x="{100 * low:.1f}" y="0" width="{max(100 * (high - low), 0.5):.1f}" height="32"/>'
        f'<path class="draws" d="M0,32{steps}V32Z"/><path class="axis" d="M0,32H100M0,32v4M50,32v4M100,32v4"/>'
        f'<path class="mean" d="M{100 * mean:.1f},0V36"/></svg>'
    )


def cutout_png(pixels: Float32Array, valid: BoolArray) -> str:
    """Draw a cutout as a ``data:`` URI of a PNG, as `grey_png` does with the stretch ``asinh``.

    Parameters
    ----------
    pixels
        (size, size) float32; 0 without data.
    valid
        (size, size) bool.
    """
    return "data:image/png;base64," + base64.b64encode(grey_png(pixels, valid)).decode("ascii")


def grey_png(pixels: Float32Array, valid: BoolArray) -> bytes:
    """Draw a cutout as a PNG: asinh stretch in 64 greys, dark on light, row 0 at the bottom, transparent without data.

    Parameters
    ----------
    pixels
        (size, size) float32; 0 without data.
    valid
        (size, size) bool.
    """
    grey = np.full(pixels.shape, 255, dtype=np.uint8)
    if valid.any():
        grey[valid] = 255 - 4 * np.round(_MOST_GREYS * display_stretch(pixels[valid])).astype(np.uint8)
    image = Image.fromarray(grey[::-1])
    if not valid.all():
        image.putalpha(Image.fromarray(np.where(valid, 255, 0).astype(np.uint8)[::-1]))
    buffer = io.BytesIO()
    image.save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def display_stretch(values: Float32Array) -> Float64Array:
    """(n,) pixel values -> (n,) in [0, 1]: asinh above the sky level, softened at the sky noise."""
    low, sky, high = np.quantile(values.astype(np.float64), [0.16, 0.5, 0.999])
    noise = max(sky - low, 1e-9 * max(abs(high), 1e-30))
    top = np.arcsinh(max(high - sky, 5 * noise) / (2 * noise))
    bottom = np.arcsinh(-1.0)
    scaled = np.arcsinh((values.astype(np.float64) - sky) / (2 * noise))
    return np.asarray(np.clip((scaled - bottom) / (top - bottom), 0, 1), dtype=np.float64)
