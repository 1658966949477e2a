"""Draw a revision's numbers."""

import base64
import io
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from surveyflow.reports import figures

RNG = np.random.default_rng(11)


@pytest.fixture(autouse=True)
def house_style():
    with figures.house_style():
        yield


def drawn():
    """A figure with a line, an area, and an image whose clip path has an id."""
    figure, axes = figures.new_figure(2.75)
    axes.stairs(np.arange(1, 6), np.linspace(0, 1, 6), fill=True, color=figures.FILL)
    axes.plot([0, 1], [0, 5], color=figures.LINE)
    axes.set(xlabel="declination (deg)")
    return figure


def picture(uri):
    """(size, size, 4) the pixels of a picture, in [0, 1]."""
    content = base64.b64decode(uri.removeprefix("data:image/webp;base64,"))
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGBA")) / 255


def test_svg_is_well_formed_asks_for_nothing_and_keeps_its_texts():
    svg = figures.as_svg(drawn(), "map")
    ET.fromstring(svg.replace("xlink:href", "href"))
    assert "http" not in svg
    assert "declination (deg)" in svg


def test_svg_follows_the_colours_of_the_page():
    svg = figures.as_svg(drawn(), "p")
    assert {"currentColor", "var(--series-1)", "var(--series-2)"} <= set(re.findall(r"currentColor|var\(--[\w-]+\)", svg))
    assert not any(sentinel in svg for sentinel in figures._CSS_COLOURS)


def test_ids_of_two_figures_differ_and_every_reference_has_its_target():
    first, second = (figures.as_svg(drawn(), name) for name in ("a", "b"))
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (first, second)]
    assert not ids[0] & ids[1]
    assert set(re.findall(r'(?:url\(|href=")#([^)"]+)', first)) <= ids[0]


def test_the_same_figure_gives_the_same_bytes():
    assert len({figures.as_svg(drawn(), "p") for _ in range(2)}) == 1


def test_the_users_matplotlib_settings_change_nothing():
    import matplotlib as mpl

    usual = figures.as_svg(drawn(), "p")
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red", "lines.linewidth": 9}), figures.house_style():
        assert figures.as_svg(drawn(), "p") == usual


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
    image = picture(figures.cutout_uri(pixels, valid))
    assert image.shape == (64, 64, 4)
    assert image[32, 32, 0] < 0.05
    assert np.median(image[:50, :, 0]) > 0.5
    assert image[-10:, :, 3].max() == 0
    assert image[:-10, :, 3].min() == 1


@pytest.mark.parametrize("value", [0.0, 0.01, -3.0, 1e30])
def test_a_constant_cutout_is_drawn(value):
    pixels = np.full((16, 16), value, dtype=np.float32)
    for valid in (np.ones((16, 16), dtype=bool), np.zeros((16, 16), dtype=bool)):
        assert picture(figures.cutout_uri(pixels, valid)).shape[:2] == (16, 16)
