"""Every trap is set, and ends as it must."""

from __future__ import annotations

from pathlib import Path

import pytest

from surveyflow.simulation.footprints import footprint
from surveyflow.simulation.headers import FIELDS
from surveyflow.simulation.mosaics import without_holes
from surveyflow.simulation.sources import draw_field
from surveyflow.simulation.survey import SMALLEST_SHAPE
from surveyflow.simulation.traps import placed_traps
from surveyflow.simulation.truth import truth_table
from surveyflow.values.codes import Flag

TRAPS = {
    "edge_left": "ok",
    "edge_right": "ok",
    "edge_bottom": "ok",
    "edge_top": "ok",
    "edge_left_f160w": "ok",
    "corner_bottom_left": "ok",
    "corner_bottom_right": "ok",
    "corner_top_left": "ok",
    "corner_top_right": "ok",
    "corner_top_right_f160w": "ok",
    "corner_tip": "bad_pixels",
    "off_mosaic": "off_mosaic",
    "just_off_mosaic": "off_mosaic",
    "outside_footprint": "no_coverage",
    "no_wfc3_coverage": "no_coverage",
    "mostly_outside": "bad_pixels",
    "tile_corner": "ok",
    "tile_edge": "ok",
    "no_redshift_sentinel": "no_redshift",
    "no_redshift_nan": "no_redshift",
    "z_below": "no_model",
    "z_0p5": "ok",
    "z_1p5": "ok",
    "z_3p0": "no_model",
    "zero_weight_centre": "no_coverage",
    "half_pixel": "ok",
}


def trap(survey, field, name):
    truth = survey.truth
    return truth[(truth.field == field) & (truth.trap == name)].iloc[0]


@pytest.mark.parametrize("field", FIELDS)
def test_every_trap_is_there_once_with_its_status(survey_folder, field):
    truth = survey_folder.truth[survey_folder.truth.field == field]
    traps = truth[truth.trap != ""]
    assert dict(zip(traps.trap, traps.status, strict=True)) == TRAPS
    assert len(traps) == len(TRAPS)


@pytest.mark.parametrize("shape", [SMALLEST_SHAPE, (900, 800), (1500, 1200), (1000, 1600)])
@pytest.mark.parametrize("core_size", [128, 256, 300, 512])
def test_traps_work_on_mosaics_of_many_shapes_and_tilings(shape, core_size):
    half = shape[0] // 2, shape[1] // 2
    coverage = {"F814W": footprint("F814W", shape), "F125W_F160W": footprint("F125W_F160W", half)}
    sources = draw_field(1, "EGS", 0, coverage, core_size)
    valid = {instrument: without_holes(covered, instrument, sources.listed) for instrument, covered in coverage.items()}
    truth = truth_table("EGS", sources.listed, valid)
    assert dict(zip(truth.trap, truth.status, strict=True)) == TRAPS


def test_a_mosaic_of_one_tile_has_no_traps_at_tile_boundaries():
    coverage = {"F814W": footprint("F814W", (900, 800)), "F125W_F160W": footprint("F125W_F160W", (450, 400))}
    names = {trap.name for trap in placed_traps(coverage, core_size=1024)}
    assert {"tile_corner", "tile_edge"} & names == set()
    assert "edge_left" in names


def test_the_documents_table_is_the_traps():
    page = Path(__file__).parents[2] / "docs" / "explanation" / "simulated-survey.md"
    section = page.read_text(encoding="utf-8").split("## Trap sources")[1].split("\n## ")[0]
    rows = [line.split("|") for line in section.splitlines() if line.startswith("| `")]
    assert {row[1].strip(" `"): row[3].strip() for row in rows} == TRAPS


@pytest.mark.parametrize("field", FIELDS)
def test_edges_and_corners_are_flagged_and_tile_boundaries_are_not(survey_folder, field):
    for name in TRAPS:
        flags = Flag(int(trap(survey_folder, field, name)["flags"]))
        if name.startswith(("edge_", "corner_")):
            assert flags == Flag.EDGE | Flag.PARTIAL_COVERAGE, name
        if name.startswith(("tile_", "off_", "just_off")):
            assert flags == Flag(0), name
    assert Flag(int(trap(survey_folder, field, "mostly_outside")["flags"])) == Flag.PARTIAL_COVERAGE
    assert trap(survey_folder, field, "z_1p5")["instrument"] == "F125W_F160W"


@pytest.mark.parametrize("field", FIELDS)
def test_traps_lie_exactly_where_they_must(survey_folder, field):
    corner, edge, half = (trap(survey_folder, field, name) for name in ("tile_corner", "tile_edge", "half_pixel"))
    assert (corner["x_f814w"], corner["y_f814w"]) == (511.5, 511.5)
    assert edge["x_f814w"] == 512
    assert half["x_f814w"] % 1 == half["y_f814w"] % 1 == 0.5
