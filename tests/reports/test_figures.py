"""Draw a revision's numbers."""

import base64
import io
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from matplotlib.image import imread

from surveyflow.reports import figures

RNG = np.random.default_rng(11)


@pytest.fixture(autouse=True)
def house_style():
    with figures.house_style():
        yield


def sky(n=50, centre=(150.1, 2.2), side_deg=0.1):
    ra = (centre[0] + RNG.uniform(-side_deg, side_deg, n) / np.cos(np.radians(centre[1]))) % 360
    dec = centre[1] + RNG.uniform(-side_deg, side_deg, n)
    means = np.where(RNG.random(n) < 0.7, RNG.random(n), np.nan).astype(np.float32)
    return figures.sky_figure(ra, dec, means, np.isnan(means) & (RNG.random(n) < 0.5))


def tick_labels(axis):
    return [axis.get_major_formatter()(value, 0) for value in axis.get_majorticklocs()]


def png(uri):
    return imread(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,"))), format="png")


@pytest.mark.parametrize("n", [50, 25_000])
def test_right_ascension_increases_to_the_left_and_declination_upwards(n):
    axes = sky(n).axes[0]
    assert axes.xaxis_inverted()
    assert not axes.yaxis_inverted()


@pytest.mark.parametrize("dec", [-5.2, 52.8, 85.0])
def test_a_degree_is_as_long_in_both_directions(dec):
    axes = sky(centre=(214.8, dec)).axes[0]
    assert axes.get_aspect() == pytest.approx(1 / np.cos(np.radians(dec)), rel=0.02)


def test_a_field_across_0_h_is_in_one_piece():
    axes = sky(centre=(0.0, 2.2)).axes[0]
    low, high = sorted(axes.get_xlim())
    assert high - low < 0.3
    assert all(0 <= float(label) < 360 for label in tick_labels(axes.xaxis))


def test_declinations_in_the_south_are_labelled_as_negative():
    labels = tick_labels(sky(centre=(34.4, -5.2)).axes[0].yaxis)
    assert all(-5.4 < float(label) < -5.0 for label in labels)
    assert len(set(labels)) == len(labels)


def test_one_source_alone_can_be_mapped():
    figure = figures.sky_figure(np.array([10.0]), np.array([-30.0]), np.array([np.nan], np.float32), np.array([True]))
    assert "<svg" in figures.as_svg(figure, "one")


def test_cells_hold_the_mean_of_their_sources(monkeypatch):
    monkeypatch.setattr(figures, "MAX_POINTS", 2)
    ra, dec = np.array([10.0, 10.0, 10.1]), np.array([0.0, 0.0, 0.1])
    figure = figures.sky_figure(ra, dec, np.array([0.2, 0.6, 0.9], np.float32), np.zeros(3, dtype=bool))
    cells = figure.axes[0].images[-1].get_array()
    assert sorted(cells.compressed()) == pytest.approx([0.4, 0.9])


def test_a_dense_map_stays_small():
    assert len(figures.as_svg(sky(15_000), "dense")) < 400_000


def test_both_distributions_have_unit_area():
    counts, means = RNG.integers(0, 1000, 50), RNG.random(300).astype(np.float32)
    for stairs in figures.posterior_figure(counts, means).axes[0].patches:
        heights, edges, _ = stairs.get_data()
        assert np.sum(heights * np.diff(edges)) == pytest.approx(1)


def test_axes_are_named():
    means = RNG.random(30).astype(np.float32)
    for figure in (figures.posterior_figure(np.ones(50, dtype=int), means), figures.votes_figure(means, means), sky()):
        assert figure.axes[0].get_xlabel()
        assert figure.axes[0].get_ylabel()


@pytest.mark.parametrize("n", [0, 30, 25_000])
def test_votes_can_be_drawn_for_any_number_of_sources(n):
    means = RNG.random(n).astype(np.float32)
    assert "f_pm" in figures.as_svg(figures.votes_figure(means, means), "votes")


def test_svg_is_well_formed_asks_for_nothing_and_keeps_its_texts():
    svg = figures.as_svg(sky(), "map")
    ET.fromstring(svg.replace("xlink:href", "href"))
    assert "http" not in svg
    assert "declination (deg)" in svg


def test_svg_follows_the_colours_of_the_page():
    svg = figures.as_svg(figures.posterior_figure(np.ones(50, dtype=int), np.array([0.5], np.float32)), "p")
    assert {"currentColor", "var(--series-1)", "var(--series-2)"} <= set(re.findall(r"currentColor|var\(--[\w-]+\)", svg))
    assert not any(sentinel in svg for sentinel in figures._CSS_COLOURS)


def test_ids_of_two_figures_differ_and_every_reference_has_its_target():
    first, second = (figures.as_svg(sky(), name) for name in ("a", "b"))
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (first, second)]
    assert not ids[0] & ids[1]
    assert set(re.findall(r'(?:url\(|href=")#([^)"]+)', first)) <= ids[0]


def test_the_same_figure_gives_the_same_bytes():
    counts, means = np.arange(50), np.linspace(0, 1, 30, dtype=np.float32)
    assert len({figures.as_svg(figures.posterior_figure(counts, means), "p") for _ in range(2)}) == 1


def test_the_users_matplotlib_settings_change_nothing():
    import matplotlib as mpl

    counts, means = np.arange(50), np.linspace(0, 1, 30, dtype=np.float32)
    usual = figures.as_svg(figures.posterior_figure(counts, means), "p")
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red", "lines.linewidth": 9}), figures.house_style():
        assert figures.as_svg(figures.posterior_figure(counts, means), "p") == usual


def test_sparkline_marks_the_mean_and_the_interval():
    svg = ET.fromstring(figures.sparkline(np.arange(50, dtype=np.uint16), 0.8, 0.7, 0.95))
    band = svg.find("rect")
    assert (float(band.get("x")), float(band.get("width"))) == pytest.approx((70, 25))
    assert svg.find("path[@class='mean']").get("d").startswith("M80.0,")


def test_cutout_shows_the_sky_light_the_source_dark_and_missing_pixels_clear():
    pixels = RNG.normal(0, 0.002, (64, 64)).astype(np.float32)
    pixels[30:34, 30:34] = 1.0
    valid = np.ones((64, 64), dtype=bool)
    valid[:10] = False
    image = png(figures.cutout_png(pixels, valid))
    assert image.shape == (64, 64, 4)
    assert image[32, 32, 0] < 0.05
    assert np.median(image[:50, :, 0]) > 0.5
    assert image[-10:, :, 3].max() == 0
    assert image[:-10, :, 3].min() == 1


@pytest.mark.parametrize("value", [0.0, 0.01, -3.0, 1e30])
def test_a_constant_cutout_is_drawn(value):
    pixels = np.full((16, 16), value, dtype=np.float32)
    for valid in (np.ones((16, 16), dtype=bool), np.zeros((16, 16), dtype=bool)):
        assert png(figures.cutout_png(pixels, valid)).shape[:2] == (16, 16)
