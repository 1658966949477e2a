"""A field of many mosaics: each source is measured once, on the best of those that hold it."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits

from mosaic_tiles import cut_into_tiles, write_turned
from stubs import TINY
from surveyflow.planning.plan import Decision
from surveyflow.releases.publish import read_catalog, read_manifest
from surveyflow.runs.decide import make_plan
from surveyflow.runs.execute import Reporter
from surveyflow.runs.preflight import open_survey
from surveyflow.runs.run import run_survey
from surveyflow.settings.workflow import load_workflow
from surveyflow.sites.serial.profile import SerialProfile
from worlds import copied, edit_workflow, write_untrained_models

PLACES = ["mosaic", "x_pix", "y_pix", "unit_key", "offset_arcsec"]
"""Columns that name the mosaic, or depend on the last digits of a position on it."""


def run(survey):
    with open_survey(load_workflow(survey.workflow)) as opened:
        return run_survey(opened, SerialProfile(), factory="stubs:StubWorker")


def rows_of(survey) -> pd.DataFrame:
    rows = read_catalog(survey.folder / "catalog")
    return rows[rows.field == "COSMOS"].sort_values("source_id").reset_index(drop=True)


def named(tiles) -> dict[str, list[str]]:
    return {"science": [str(science) for science, _ in tiles], "weight": [str(weight) for _, weight in tiles]}


def with_images(survey, name: str, images) -> Path:
    """Another workflow beside a survey's own, with other images in F814W."""
    path = survey.folder / f"{name}.toml"
    path.write_text(survey.workflow.read_text())
    edit_workflow(path, {"fields": {"COSMOS": {"F814W": None}}})
    edit_workflow(path, {"fields": {"COSMOS": {"F814W": images}}})
    return path


def plan(workflow: Path):
    with open_survey(load_workflow(workflow)) as opened:
        return make_plan(opened, NoExecutor(), Reporter([]))


@pytest.fixture(scope="module")
def worlds(survey_folder, tmp_path_factory):
    """A survey that was run on one mosaic, its copy that was run on nine tiles of it, and the tiles."""
    folder = tmp_path_factory.mktemp("sets")
    whole = copied(survey_folder, folder / "whole")
    edit_workflow(whole.workflow, {"fields": {"EGS": None}})
    write_untrained_models(whole.folder / "models", ["COSMOS"], TINY)
    tiled = copied(whole, folder / "tiled")
    tiles = cut_into_tiles(whole.science("COSMOS", "F814W"), whole.weight("COSMOS", "F814W"), folder / "tiles")
    edit_workflow(tiled.workflow, {"fields": {"COSMOS": {"F814W": named(tiles)}}})
    for survey in (whole, tiled):
        run(survey)
    return whole, tiled, tiles


def test_lists_that_other_processes_match_to_mosaics_become_the_same_units(worlds, tmp_path):
    def sent(tasks):
        """Have tasks carried out as by workers, which open mosaics by name."""
        return [pickle.loads(pickle.dumps(task)).carry_out() for task in tasks]

    workflow = load_workflow(worlds[1].workflow)
    elsewhere = workflow.model_copy(update={"output": workflow.output.model_copy(update={"root": tmp_path / "none"})})
    with open_survey(elsewhere) as here, open_survey(elsewhere, sent) as there:
        assert len({unit.mosaic for unit in here.lists.units}) > 3
        assert here.lists.units == there.lists.units
        assert here.kept_digest == there.kept_digest
    assert not list(tmp_path.iterdir())


def test_overlapping_tiles_give_the_catalog_of_the_whole_bit_for_bit(worlds):
    whole, tiled, _ = worlds
    before, after = rows_of(whole), rows_of(tiled)
    assert after.source_id.is_unique
    differing = [name for name in before.columns.difference(PLACES) if not before[name].equals(after[name])]
    assert not differing
    assert np.allclose(before.offset_arcsec, after.offset_arcsec, atol=1e-6, equal_nan=True)
    assert (before.status == "ok").sum() > 20


def test_the_catalog_names_the_mosaic_of_each_source(worlds):
    whole, tiled, tiles = worlds
    before, after = rows_of(whole), rows_of(tiled)
    acs = (after.instrument == "F814W") & (after.status != "off_mosaic")
    assert set(after[acs].mosaic) == {science.name for science, _ in tiles}
    assert set(before[acs].mosaic) == {"cosmos_f814w_sci.fits"}
    corners = {science.name: _corner(science) for science, _ in tiles}
    x = after[acs].x_pix + [corners[name][0] for name in after[acs].mosaic]
    assert np.allclose(x - before[acs].x_pix, (x - before[acs].x_pix).iloc[0], atol=1e-6)
    assert after[after.status == "off_mosaic"].mosaic.isna().all()


def _corner(science: Path) -> tuple[float, float]:
    header = fits.getheader(science)
    return -header["CRPIX1"], -header["CRPIX2"]


class NoExecutor:
    """An executor for plans that need no pixels."""

    def run(self, jobs):
        assert not jobs
        return iter(())


def test_a_mosaic_added_far_away_recomputes_nothing(worlds, tmp_path):
    _, tiled, tiles = worlds
    added = [tmp_path / path.name.replace("tile4", "far") for path in tiles[4]]
    for path, source in zip(added, tiles[4], strict=True):
        with fits.open(source, memmap=False) as hdus:
            hdus[0].header["CRVAL2"] += 1.5
            hdus.writeto(path)
    planned = plan(with_images(tiled, "far", named([*tiles, added])))
    assert {unit.decision for unit in planned.units} == {Decision.KEEP}
    assert not planned.kept_changed


def test_the_manifest_describes_each_mosaic(worlds):
    _, tiled, tiles = worlds
    manifest = read_manifest((tiled.folder / "catalog" / "latest").resolve())
    entries = [entry for entry in manifest["inputs"] if (entry["instrument"], entry["kind"]) == ("F814W", "weight")]
    assert [entry["path"] for entry in entries] == [str(weight) for _, weight in tiles]
    assert len({entry["digest"] for entry in entries if "digest" in entry}) > 1
    assert any(unit["name"].startswith("COSMOS/F814W/tile4_sci/y") for unit in manifest["unit_keys"])


@pytest.mark.parametrize("listed", ["table", "wildcards"])
def test_a_table_and_wildcards_name_the_same_mosaics_as_a_list(worlds, listed):
    _, tiled, tiles = worlds
    if listed == "table":
        rows = [f"{science},{weight},COSMOS" for science, weight in reversed(tiles)]
        (tiled.folder / "tiles.csv").write_text("\n".join(["path,weight,field", "nowhere.fits,,EGS", *rows]))
        images = {"mosaics": "tiles.csv"}
    else:
        images = {role: f"{tiles[0][0].parent}/tile*_{kind}.fits" for role, kind in (("science", "sci"), ("weight", "wht"))}
    planned = plan(with_images(tiled, listed, images))
    assert {unit.decision for unit in planned.units} == {Decision.KEEP}


@pytest.fixture(scope="module")
def turned(worlds, tmp_path_factory):
    """Two overlapping tiles, each with a rotation and a tangent point of its own."""
    whole, folder = worlds[0], tmp_path_factory.mktemp("turned")
    images = {"sci": whole.science("COSMOS", "F814W"), "wht": whole.weight("COSMOS", "F814W")}
    tiles = []
    for name, angle_deg, box in (("one", 25.0, np.s_[0:640, 0:800]), ("two", -160.0, np.s_[260:900, 0:800])):
        for kind, original in images.items():
            write_turned(original, folder / f"{name}_{kind}.fits", box, angle_deg)
        tiles.append((folder / f"{name}_sci.fits", folder / f"{name}_wht.fits"))
    return tiles


def test_each_source_on_tiles_with_projections_of_their_own_is_measured_as_on_the_better_tile_alone(worlds, turned):
    whole = worlds[0]
    together = run_on(whole, "together", turned)
    alone = {tile[0].name: run_on(whole, f"alone_{number}", [tile]) for number, tile in enumerate(turned)}
    on_tiles = together[(together.instrument == "F814W") & together.mosaic.notna()]
    assert on_tiles.source_id.is_unique
    contested = 0
    for row in on_tiles.itertuples():
        rows = {name: table.loc[table.source_id == row.source_id].iloc[0] for name, table in alone.items()}
        here, there = rows.pop(row.mosaic), next(iter(rows.values()))
        same = on_tiles.columns.difference(["unit_key"])
        assert repr(here[same].tolist()) == repr(on_tiles.loc[row.Index, same].tolist())
        if there.status != "off_mosaic":
            contested += 1
            assert here.valid_fraction >= there.valid_fraction
    assert contested > 5
    assert (on_tiles.status == "ok").sum() > 15
    assert set(on_tiles.mosaic) == set(alone)


def run_on(survey, name: str, tiles) -> pd.DataFrame:
    workflow = with_images(survey, name, named(tiles))
    edit_workflow(workflow, {"output": {"root": name}})
    with open_survey(load_workflow(workflow)) as opened:
        run_survey(opened, SerialProfile(), factory="stubs:StubWorker")
    return read_catalog(survey.folder / name)
