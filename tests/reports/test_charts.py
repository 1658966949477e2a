"""Charts hold the numbers that they show, in every mark, and nothing in a name breaks out of them."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from surveyflow.reports import charts
from surveyflow.reports.charts import Axis, Mapped, posterior_chart, share_chart, sky_chart, votes_chart

RNG = np.random.default_rng(11)
HOSTILE = """<script>alert(1)</script>"'&"""


def mapped(n=50, centre=(150.1, 2.2), side_deg=0.1):
    ra = (centre[0] + RNG.uniform(-side_deg, side_deg, n) / np.cos(np.radians(centre[1]))) % 360
    dec = centre[1] + RNG.uniform(-side_deg, side_deg, n)
    means = np.where(RNG.random(n) < 0.7, RNG.random(n), np.nan).astype(np.float32)
    uncovered = np.isnan(means) & (RNG.random(n) < 0.5)
    return Mapped(ra, dec, means, uncovered, [f"EGS {number}" for number in range(n)])


def titles(svg):
    return [title.text for title in ET.fromstring(svg).iter("title")]


def places(svg):
    """Where each circle is, by the name in its title."""
    found = ET.fromstring(svg).iter("circle")
    return {one.find("title").text.split(":")[0]: (float(one.get("cx")), float(one.get("cy"))) for one in found}


def test_every_source_of_a_map_has_a_mark_with_its_number():
    sources = mapped(60)
    svg = sky_chart(sources)
    known = np.isfinite(sources.means)
    said = {title.split(":")[0]: title for title in titles(svg)}
    assert len(said) == 60
    for name, mean, is_known, out in zip(sources.names, sources.means, known, sources.uncovered, strict=True):
        assert said[name].endswith(f"p_pm_mean {mean:.3f}" if is_known else "outside the footprint" if out else "no result")
    assert svg.count('class="cross"') == sources.uncovered.sum()


@pytest.mark.parametrize("dec", [-5.2, 52.8, 85.0])
def test_east_is_left_north_is_up_and_a_degree_is_as_long_in_both_directions(dec):
    sources = mapped(centre=(214.8, dec))
    at = places(sky_chart(sources))
    chosen = [number for number in range(50) if f"EGS {number}" in at]
    x, y = np.array([at[f"EGS {number}"] for number in chosen]).T
    ra, sky_dec = sources.ra_deg[chosen], sources.dec_deg[chosen]
    across, up = np.polyfit(ra * np.cos(np.radians(dec)), x, 1)[0], np.polyfit(sky_dec, y, 1)[0]
    assert across < 0
    assert up == pytest.approx(across, rel=0.02)


def test_a_field_across_0_h_is_in_one_piece():
    svg = sky_chart(mapped(centre=(0.0, 2.2)))
    assert np.ptp([x for x, _ in places(svg).values()]) > 200
    labels = [one.text for one in ET.fromstring(svg).iter("text") if re.fullmatch(r"-?[\d.]+", one.text or "")]
    assert all(0 <= float(label) < 360 for label in labels)
    assert {label for label in labels if float(label) > 300}


def test_axes_are_labelled_with_round_numbers_that_differ():
    for low, high in [(-5.35, -5.05), (0, 1), (0, 3.7), (214.82, 214.83), (0, 12_345)]:
        axis = Axis("x", low, high)
        values = [float(text) for _, text in axis.ticks]
        assert len(set(values)) == len(values) >= 3
        assert [share for share, _ in axis.ticks] == pytest.approx([(value - low) / (high - low) for value in values], abs=1e-6)


def test_one_source_alone_can_be_mapped():
    alone = Mapped(np.array([10.0]), np.array([-30.0]), np.array([np.nan], np.float32), np.array([True]), ["A 1"])
    assert titles(sky_chart(alone)) == ["A 1: no result, outside the footprint"]


def test_cells_hold_the_number_and_the_mean_of_their_sources(monkeypatch):
    monkeypatch.setattr(charts, "MOST_POINTS", 2)
    ra, dec = np.array([10.0, 10.0, 10.1]), np.array([0.0, 0.0, 0.1])
    sources = Mapped(ra, dec, np.array([0.2, 0.6, 0.9], np.float32), np.zeros(3, bool), [])
    assert sorted(titles(sky_chart(sources))) == [
        "1 source, 1 with a result, mean p_pm_mean 0.900",
        "2 sources, 2 with a result, mean p_pm_mean 0.400",
    ]


def test_a_map_of_many_sources_stays_small_and_counts_all_of_them():
    svg = sky_chart(mapped(15_000))
    assert len(svg) < 400_000
    assert sum(int(title.split()[0].replace(",", "")) for title in titles(svg)) == 15_000


def test_the_bins_of_a_distribution_say_their_shares():
    counts, means = RNG.integers(0, 1000, 50), RNG.random(300).astype(np.float32)
    said = titles(posterior_chart(counts, means))
    assert len(said) == 50
    assert said[3].startswith(f"0.06 to 0.08: {100 * counts[3] / counts.sum():.2g} % of all draws; 0.04 to 0.08: ")
    assert said[3].endswith(f"{np.histogram(means, 25, (0, 1))[0][1]} means")


def test_both_distributions_have_unit_area():
    root = ET.fromstring(posterior_chart(RNG.integers(0, 1000, 50), RNG.random(300).astype(np.float32)))
    areas = []
    for kind in ("filled", "lined"):
        path = next(one for one in root.iter("path") if one.get("class") == kind).get("d")
        x0, bottom = map(float, re.match(r"M([\d.]+) ([\d.]+)", path).groups())
        area = 0.0
        for y, x in re.findall(r"V([\d.]+)H([\d.]+)", path):
            area, x0 = area + (bottom - float(y)) * (float(x) - x0), float(x)
        areas.append(area)
    assert areas[0] == pytest.approx(areas[1], rel=0.01)


def test_the_bins_of_sources_add_up():
    said = titles(share_chart(RNG.uniform(0, 100, 250).astype(np.float32), 100.0, "coverage_pct_mean (%)"))
    assert said[0].startswith("0 to 4: ")
    assert sum(int(title.split(": ")[1].split()[0]) for title in said) == 250


@pytest.mark.parametrize("n", [0, 30, 25_000])
def test_votes_can_be_drawn_for_any_number_of_sources(n):
    means = RNG.random(n).astype(np.float32)
    svg = votes_chart(means, means, [f"EGS {number}" for number in range(n)])
    assert "fraction of draws f_pm" in svg
    assert len(titles(svg)) == (n if n <= charts.MOST_POINTS else 40)


def test_names_cannot_break_out_of_a_chart():
    one = np.array([0.5], np.float32)
    position = np.array([1.0])
    for svg in (votes_chart(one, one, [HOSTILE]), sky_chart(Mapped(position, position, one, np.zeros(1, bool), [HOSTILE]))):
        assert "<script" not in svg
        assert titles(svg)[0].startswith(HOSTILE)


def test_charts_are_well_formed_have_the_colours_of_the_page_and_are_the_same_each_time():
    counts, means = np.arange(50), np.linspace(0, 1, 30, dtype=np.float32)
    drawn = [posterior_chart(counts, means), votes_chart(means, means, ["x"] * 30), sky_chart(mapped())]
    for svg in drawn:
        assert ET.fromstring(svg).get("viewBox").startswith("0 0 480 ")
        assert not re.search(r"http|style=|\bid=", svg)
    assert drawn[0] == posterior_chart(counts, means)
