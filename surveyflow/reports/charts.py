"""The charts of a report: SVG that is drawn from the page's numbers, in which every mark says its own.

A mark holds a ``<title>``, which browsers show where the pointer rests, so the page needs no script. Colours are CSS variables of
the page, and follow the reader's light or dark setting.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from markupsafe import Markup, escape

from surveyflow.reports.figures import GREY, probability_colours
from surveyflow.stats.posterior import HISTOGRAM_BINS
from surveyflow.values.arrays import BoolArray, Float32Array, Float64Array, Int64Array

MOST_POINTS = 600
"""More sources than this are counted in cells."""
SKY_CELLS = 48
"""Cells along the longer side of a map."""
VOTE_CELLS = 40
_WIDTH = 480.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 78.0, 12.0, 10.0, 46.0
_HEIGHT = 180.0
_MIN_SKY, _MAX_SKY = 160.0, 640.0
_KEY_HEIGHT = 42.0
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis of a chart.

    Parameters
    ----------
    label
        What it shows.
    low, high
        Its ends, low < high.
    n_ticks
        About how many labels it has.
    turned
        Whether it is a right ascension, which increases to the left, and is labelled from 0 to 360 degrees.
    """

    label: str
    low: float
    high: float
    n_ticks: int = 5
    turned: bool = False

    def share(self, values: Float64Array) -> Float64Array:
        """Where values lie: 0 at its beginning, 1 at its end."""
        found = (np.asarray(values, np.float64) - self.low) / (self.high - self.low)
        return 1 - found if self.turned else found

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Place, as a share, and text of each label."""
        rough = (self.high - self.low) / self.n_ticks
        unit = 10 ** np.floor(np.log10(rough))
        step = next(factor * unit for factor in _STEPS if factor * unit >= rough * (1 - 1e-9))
        values = np.arange(np.ceil(self.low / step - 1e-9), np.floor(self.high / step + 1e-9) + 1) * step
        decimals = next((n for n in range(9) if np.isclose(step * 10**n, round(step * 10**n))), 9)
        shown = values % 360 if self.turned else values
        return [(float(share), f"{value + 0.0:.{decimals}f}") for share, value in zip(self.share(values), shown, strict=True)]


@dataclass(frozen=True, slots=True)
class _Frame:
    """The rectangle in which marks are drawn."""

    x: Axis
    y: Axis
    height: float = _HEIGHT
    width: float = _WIDTH - _LEFT - _RIGHT

    def across(self, values: Float64Array) -> Float64Array:
        return _LEFT + self.width * self.x.share(values)

    def up(self, values: Float64Array) -> Float64Array:
        return _TOP + self.height * (1 - self.y.share(values))

    def svg(self, marks: str, below: str = "", below_height: float = 0.0) -> Markup:
        """The chart, with what stands below it."""
        bottom = _TOP + self.height
        drawn = [f'<path class="axis" d="M{_LEFT:g} {_TOP:g}V{bottom:g}H{_LEFT + self.width:g}"/>']
        drawn += [_label(_LEFT + self.width * at, bottom + 17, text, "middle") for at, text in self.x.ticks]
        drawn += [_label(_LEFT - 7, _TOP + self.height * (1 - at) + 4.5, text, "end") for at, text in self.y.ticks]
        drawn.append(_label(_LEFT + self.width / 2, bottom + 38, self.x.label, "middle"))
        middle = _TOP + self.height / 2
        drawn.append(f'<text transform="translate(14 {middle:g})rotate(-90)" text-anchor="middle">{escape(self.y.label)}</text>')
        size = f"0 0 {_WIDTH:g} {bottom + _BOTTOM + below_height:g}"
        return Markup(f'<svg class="chart" viewBox="{size}">{"".join(drawn)}{marks}{below}</svg>')  # noqa: S704 -- escaped above


def posterior_chart(stacked_counts: Int64Array, means: Float32Array) -> Markup:
    """Draw the distribution of post-merger probabilities of many sources, in two ways.

    Parameters
    ----------
    stacked_counts
        (50,) counts of the draws of all sources, in equally wide bins of [0, 1].
    means
        (n,) mean post-merger output of each source.
    """
    shares = stacked_counts / max(int(stacked_counts.sum()), 1)
    counts, edges = np.histogram(means, bins=n_bins(len(means)), range=(0, 1))
    of_means = counts / max(len(means), 1)
    filled, lined = shares * HISTOGRAM_BINS, of_means * len(counts)
    fine = np.linspace(0, 1, HISTOGRAM_BINS + 1)
    highest = 1.22 * max(float(filled.max()), float(lined.max()), 0.1)
    frame = _Frame(Axis("post-merger output p_pm", 0, 1), Axis("density (area 1)", 0, highest))
    owner = np.minimum(((fine[:-1] + 1e-9) * len(counts)).astype(int), len(counts) - 1)
    titles = [
        f"{fine[i]:.2f} to {fine[i + 1]:.2f}: {100 * shares[i]:.2g} % of all draws; "
        f"{edges[j]:.2f} to {edges[j + 1]:.2f}: {counts[j]:,} means"
        for i, j in enumerate(owner)
    ]
    marks = _steps(frame, fine, filled, "filled") + _steps(frame, edges, lined, "lined") + _columns(frame, fine, titles)
    return frame.svg(marks + _legend((("filled", "all draws"), ("lined", "means"))))


def share_chart(values: Float32Array, highest: float, label: str) -> Markup:
    """Draw the distribution of sources over a quantity.

    Parameters
    ----------
    values
        (n,) values in [0, highest]; n at least 1.
    highest
        The end of the axis.
    label
        What the quantity is.
    """
    counts, edges = np.histogram(values, bins=n_bins(len(values)), range=(0, highest))
    shares = counts / len(values)
    frame = _Frame(Axis(label, 0, highest), Axis("fraction of sources", 0, 1.08 * float(shares.max()) or 1.0))
    bins = zip(edges, edges[1:], counts, shares, strict=False)
    titles = [f"{low:g} to {high:g}: {_sources(n)}, {100 * share:.2g} %" for low, high, n, share in bins]
    return frame.svg(_steps(frame, edges, shares, "filled") + _columns(frame, edges, titles))


def votes_chart(means: Float32Array, votes: Float32Array, names: Sequence[str]) -> Markup:
    """Draw the fraction of draws that vote post-merger, ``f_pm``, against the mean output, ``p_pm_mean``.

    Parameters
    ----------
    means, votes
        (n,) values in [0, 1].
    names
        Names of the n sources.
    """
    axes = Axis("mean post-merger output p_pm_mean", 0, 1), Axis("fraction of draws f_pm", 0, 1)
    frame = _Frame(*axes, _WIDTH - _LEFT - _RIGHT)
    equal = f'<path class="equal" d="M{_LEFT:g} {_TOP + frame.height:g}L{_LEFT + frame.width:g} {_TOP:g}"/>'
    draw = _vote_points if len(means) <= MOST_POINTS else _vote_cells
    return frame.svg(equal + draw(frame, means, votes, names))


def _vote_points(frame: _Frame, means: Float32Array, votes: Float32Array, names: Sequence[str]) -> str:
    x, y = frame.across(np.asarray(means, np.float64)), frame.up(np.asarray(votes, np.float64))
    titles = [f"{name}: p_pm_mean {mean:.3f}, f_pm {vote:.3f}" for name, mean, vote in zip(names, means, votes, strict=True)]
    drawn = (_circle(x[place], y[place], 3.2, "var(--series-1)", title) for place, title in enumerate(titles))
    return f'<g class="points">{"".join(drawn)}</g>'


def _vote_cells(frame: _Frame, means: Float32Array, votes: Float32Array, _names: Sequence[str]) -> str:
    edges = np.linspace(0, 1, VOTE_CELLS + 1)
    counts, *_ = np.histogram2d(means, votes, bins=(edges, edges))
    scale = np.log1p(counts) / np.log1p(counts.max())

    def words(i: int, j: int) -> str:
        spans = f"p_pm_mean {edges[i]:.3f} to {edges[i + 1]:.3f}, f_pm {edges[j]:.3f} to {edges[j + 1]:.3f}"
        return f"{_sources(counts[i, j])}: {spans}"

    return _cells(frame, (edges, edges), counts, lambda i, j: _colour(float(scale[i, j])), words)


@dataclass(frozen=True, slots=True, eq=False)
class Mapped:
    """The sources of a map.

    Parameters
    ----------
    ra_deg, dec_deg
        (n,) positions, ICRS degrees; n at least 1.
    means
        (n,) mean post-merger output; NaN for a source without a result, drawn grey.
    uncovered
        (n,) whether the source lies outside the footprint, drawn as a small cross or, in cells, a paler grey.
    names
        Names of the n sources; not used for more than `MOST_POINTS`.
    """

    ra_deg: Float64Array
    dec_deg: Float64Array
    means: Float32Array
    uncovered: BoolArray
    names: Sequence[str]


def sky_chart(sources: Mapped) -> Markup:
    """Map one field: right ascension increases to the left, and both axes have the same angular scale."""
    in_one_piece = replace(sources, ra_deg=unwrapped(sources.ra_deg))
    frame = _sky_frame(in_one_piece.ra_deg, sources.dec_deg)
    draw = _sky_points if len(sources.means) <= MOST_POINTS else _sky_cells
    return frame.svg(draw(frame, in_one_piece), _probability_key(frame), _KEY_HEIGHT)


def n_bins(n_sources: int) -> int:
    """Number of bins that suits the number of sources; each consists of one or more bins of the draws."""
    return 10 if n_sources < 200 else 25 if n_sources < 5_000 else HISTOGRAM_BINS


def unwrapped(ra_deg: Float64Array) -> Float64Array:
    """Shift right ascensions by multiples of 360 degrees, so that a field across 0 h is in one piece."""
    first = float(ra_deg[0])
    return np.asarray(first + (ra_deg - first + 180) % 360 - 180, dtype=np.float64)


def _sky_frame(ra: Float64Array, dec: Float64Array) -> _Frame:
    """A frame as wide as the page, in which a degree is as long in both directions; a narrow one for a high field."""
    flat = max(float(np.cos(np.radians(np.median(dec)))), 1e-3)
    (left, right), (low, high) = _limits(ra, 1 / flat), _limits(dec, 1.0)
    ratio, width = (high - low) / ((right - left) * flat), _WIDTH - _LEFT - _RIGHT
    height = width * ratio
    if height > _MAX_SKY:
        width, height = _MAX_SKY / ratio, _MAX_SKY
    if height < _MIN_SKY:
        middle, half = (low + high) / 2, (high - low) / 2 * _MIN_SKY / height
        low, high, height = middle - half, middle + half, _MIN_SKY
    n_ticks = 4 if width > 250 else 2
    return _Frame(
        Axis("right ascension (deg)", left, right, n_ticks, turned=True), Axis("declination (deg)", low, high), height, width
    )


def _limits(values: Float64Array, degree: float) -> tuple[float, float]:
    """Lowest and highest value with a margin of 4 %, at least 5 arcsec; ``degree`` is a degree of sky in the coordinate."""
    low, high = float(values.min()), float(values.max())
    margin = max(0.04 * (high - low), degree * 5 / 3600)
    return low - margin, high + margin


def _sky_points(frame: _Frame, sources: Mapped) -> str:
    radius, known = float(np.clip(70 / np.sqrt(len(sources.means)), 2.2, 4.5)), np.isfinite(sources.means)
    x, y = frame.across(sources.ra_deg), frame.up(sources.dec_deg)
    drawn = []
    for place in np.argsort(known, kind="stable"):
        found = f"p_pm_mean {sources.means[place]:.3f}" if known[place] else "no result"
        title = f"{sources.names[place]}: {found}{', outside the footprint' if sources.uncovered[place] else ''}"
        colour = _colour(float(sources.means[place])) if known[place] else GREY
        is_cross = sources.uncovered[place]
        drawn.append(_cross(x[place], y[place], title) if is_cross else _circle(x[place], y[place], radius, colour, title))
    return "".join(drawn)


def _sky_cells(frame: _Frame, sources: Mapped) -> str:
    side = max(frame.width, frame.height) / SKY_CELLS
    n_x, n_y = max(round(frame.width / side), 1), max(round(frame.height / side), 1)
    edges = np.linspace(frame.x.low, frame.x.high, n_x + 1), np.linspace(frame.y.low, frame.y.high, n_y + 1)
    known = np.isfinite(sources.means)

    def summed(chosen: BoolArray, weights: Float32Array | None = None) -> Float64Array:
        return np.histogram2d(sources.ra_deg[chosen], sources.dec_deg[chosen], bins=edges, weights=weights)[0]

    counts, covered, results = summed(np.ones_like(known)), summed(~sources.uncovered), summed(known)
    mean = summed(known, sources.means[known]) / np.maximum(results, 1)

    def colour(i: int, j: int) -> str:
        return _colour(float(mean[i, j])) if results[i, j] else GREY if covered[i, j] else f'{GREY}" opacity="0.4'

    def words(i: int, j: int) -> str:
        found = f"{results[i, j]:,.0f} with a result, mean p_pm_mean {mean[i, j]:.3f}" if results[i, j] else "no result"
        return f"{_sources(counts[i, j])}, {found}"

    return _cells(frame, edges, counts, colour, words)


def _cells(
    frame: _Frame,
    edges: tuple[Float64Array, Float64Array],
    counts: Float64Array,
    colour: Callable[[int, int], str],
    words: Callable[[int, int], str],
) -> str:
    """A rectangle for each cell of (columns, rows) that holds a source."""
    x, y = frame.across(edges[0]), frame.up(edges[1])
    size = f'width="{abs(x[1] - x[0]) + 0.3:.1f}" height="{abs(y[1] - y[0]) + 0.3:.1f}"'
    drawn = (
        f'<rect x="{min(x[i], x[i + 1]):.1f}" y="{y[j + 1]:.1f}" {size} fill="{colour(i, j)}">{_title(words(i, j))}</rect>'
        for i, j in np.argwhere(counts)
    )
    return f'<g class="cells">{"".join(drawn)}</g>'


def _circle(x: float, y: float, radius: float, colour: str, title: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{colour}">{_title(title)}</circle>'


def _cross(x: float, y: float, title: str) -> str:
    return f'<path class="cross" d="M{x - 3:.1f} {y - 3:.1f}l6 6m0-6l-6 6">{_title(title)}</path>'


def _steps(frame: _Frame, edges: Float64Array, heights: Float64Array, kind: str) -> str:
    x, y = frame.across(edges), frame.up(heights)
    bottom = _TOP + frame.height
    path = "".join(f"V{at:.1f}H{right:.1f}" for at, right in zip(y, x[1:], strict=True))
    return f'<path class="{kind}" d="M{x[0]:.1f} {bottom:g}{path}V{bottom:g}"/>'


def _columns(frame: _Frame, edges: Float64Array, titles: Sequence[str]) -> str:
    """Invisible rectangles over the bins, which say what is in them."""
    x = frame.across(edges)
    size = f'y="{_TOP:g}" width="{x[1] - x[0]:.2f}" height="{frame.height:g}"'
    drawn = (f'<rect x="{at:.1f}" {size}>{_title(title)}</rect>' for at, title in zip(x, titles, strict=False))
    return f'<g class="hits">{"".join(drawn)}</g>'


def _legend(entries: Sequence[tuple[str, str]]) -> str:
    drawn = []
    for number, (kind, word) in enumerate(entries):
        x = _WIDTH - _RIGHT - 190 + 110 * number
        drawn.append(f'<path class="{kind}" d="M{x:g} {_TOP + 12:g}v-9h20v9z"/>{_label(x + 26, _TOP + 12, word, "start")}')
    return "".join(drawn)


def _probability_key(frame: _Frame) -> str:
    """A bar with the colours of probabilities, below a map."""
    top, n, left, width = _TOP + frame.height + _BOTTOM, 32, _LEFT, min(frame.width, 300.0)
    size = f'y="{top:g}" width="{width / n + 0.3:.1f}" height="9"'
    bars = (f'<rect x="{left + width * i / n:.1f}" {size} fill="{_colour((i + 0.5) / n)}"/>' for i in range(n))
    ends = _label(left, top + 25, "0", "middle") + _label(left + width, top + 25, "1", "middle")
    return "".join(bars) + ends + _label(left + width / 2, top + 25, "p_pm_mean", "middle")


def _colour(share: float) -> str:
    red, green, blue, _ = probability_colours()(min(max(share, 0.0), 1.0), bytes=True)
    return f"#{red:02x}{green:02x}{blue:02x}"


def _label(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _sources(number: float) -> str:
    return f"{number:,.0f} source{'' if number == 1 else 's'}"


def _title(text: str) -> str:
    return f"<title>{escape(text)}</title>"
