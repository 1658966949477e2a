"""The figures of evaluations and comparisons, and the sparklines and cutouts of every page.

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
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from surveyflow.values.arrays import BoolArray, Float32Array, Float64Array

# Colours that are not used elsewhere, so that `as_svg` can replace them by those of the page.
INK, FILL, LINE = "#010203", "#040506", "#070809"
_CSS_COLOURS = {INK: "currentColor", FILL: "var(--series-1)", LINE: "var(--series-2)"}
GREY = "#8d949c"
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
_WEBP_QUALITY = 85
_WIDTH_INCH = 4.9


def probability_colours() -> ListedColormap:
    """Viridis without its two ends, which would vanish on a dark or a white page."""
    return ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0.12, 0.95, 256)), name="probability")


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


def cutout_uri(pixels: Float32Array, valid: BoolArray) -> str:
    """Draw a cutout as a ``data:`` URI of a WebP, which is half as large as a PNG; as `grey_png` but for its compression.

    Parameters
    ----------
    pixels
        (size, size) float32; 0 without data.
    valid
        (size, size) bool.
    """
    buffer = io.BytesIO()
    _grey_image(pixels, valid).convert("RGB" if valid.all() else "RGBA").save(buffer, format="webp", quality=_WEBP_QUALITY)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def grey_png(pixels: Float32Array, valid: BoolArray) -> bytes:
    """Draw a cutout as a PNG: asinh stretch in 64 greys, dark on light, row 0 at the bottom, transparent without data.

    Parameters
    ----------
    pixels
        (size, size) float32; 0 without data.
    valid
        (size, size) bool.
    """
    buffer = io.BytesIO()
    _grey_image(pixels, valid).save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def _grey_image(pixels: Float32Array, valid: BoolArray) -> Image.Image:
    grey = np.full(pixels.shape, 255, dtype=np.uint8)
    if valid.any():
        grey[valid] = 255 - 4 * np.round(_MOST_GREYS * display_stretch(pixels[valid])).astype(np.uint8)
    image = Image.fromarray(grey[::-1])
    if not valid.all():
        image.putalpha(Image.fromarray(np.where(valid, 255, 0).astype(np.uint8)[::-1]))
    return image


def display_stretch(values: Float32Array) -> Float64Array:
    """(n,) pixel values -> (n,) in [0, 1]: asinh above the sky level, softened at the sky noise."""
    low, sky, high = np.quantile(values.astype(np.float64), [0.16, 0.5, 0.999])
    noise = max(sky - low, 1e-9 * max(abs(high), 1e-30))
    top = np.arcsinh(max(high - sky, 5 * noise) / (2 * noise))
    bottom = np.arcsinh(-1.0)
    scaled = np.arcsinh((values.astype(np.float64) - sky) / (2 * noise))
    return np.asarray(np.clip((scaled - bottom) / (top - bottom), 0, 1), dtype=np.float64)
