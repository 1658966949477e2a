"""The story of a new release: a corner drizzled again, a few sources added, removed and with a new redshift.

Only the units concerned are done again, the comparison of the revisions says exactly what happened, the old revision stays as
it is to the last byte, and readers can be given it back.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from astropy.table import Table, vstack

from fake_executors import stub_executor
from other_schemas import DUMMY, catalog_with
from stubs import TINY
from surveyflow import api
from surveyflow.catalog.columns import COLUMNS
from surveyflow.files.durable import file_digest
from surveyflow.measuring.orders import WorkerSettings
from surveyflow.planning.plan import Decision
from surveyflow.releases.comparison import compare
from surveyflow.releases.draws import open_draws
from surveyflow.releases.publish import latest, read_catalog, read_manifest
from surveyflow.releases.rollback import roll_back
from surveyflow.releases.verify import check_revision
from surveyflow.runs.decide import make_plan
from surveyflow.runs.execute import Reporter
from surveyflow.runs.preflight import open_survey
from surveyflow.runs.run import run_survey
from surveyflow.settings.workflow import load_workflow
from surveyflow.sites.serial.profile import SerialProfile
from surveyflow.values.images import Box
from surveyflow.values.jobs import EngineChoice
from worlds import edit_workflow, perturb_mosaic, write_untrained_models

CHANGED_PIXELS = Box(590, 675, 590, 675)
"""One pixel in a hundred of EGS's F814W mosaic, in the window of one tile only."""

CHANGED_TILE = "EGS/F814W/y001x001"


@dataclass(frozen=True)
class Story:
    """What was changed, and what that touches."""

    added: list[int]
    removed: list[int]
    moved: int
    units: set[str]


@pytest.fixture
def survey(mini_survey):
    write_untrained_models(mini_survey.folder / "models", mini_survey.spec.fields, TINY)
    return mini_survey


def run(survey):
    with open_survey(load_workflow(survey.workflow)) as opened:
        return run_survey(opened, SerialProfile(), factory="stubs:StubWorker")


def plan(survey):
    root = survey.folder / "catalog"
    with (
        open_survey(load_workflow(survey.workflow)) as opened,
        stub_executor(WorkerSettings(str(root), EngineChoice(), models_in_memory=2)) as executor,
    ):
        return make_plan(opened, executor, Reporter([]))


def table(survey, release="latest") -> pd.DataFrame:
    rows = read_catalog(survey.folder / "catalog", release=release)
    return rows.set_index(["field", "source_id"]).sort_index()


def unit_names(revision) -> dict[str, str]:
    return {unit["key"]: unit["name"] for unit in read_manifest(revision.path)["unit_keys"]}


def change_inputs(survey) -> Story:
    """Change pixels of EGS and sources of COSMOS."""
    perturb_mosaic(survey.science("EGS", "F814W"), CHANGED_PIXELS, 0.5)
    rows = table(survey).loc["COSMOS"]
    names = rows.unit_key.map(unit_names(latest(survey.folder / "catalog")))
    measured = rows[(rows.status == "ok") & (rows.instrument == "F814W")]
    tiles = [tile.index.tolist() for _, tile in measured.groupby(names)]
    parent, moved, removed = tiles[0][0], tiles[1][0], [tiles[2][0], tiles[2][1]]
    added = [9001, 9002, 9003]
    _edit_list(survey.folder / "cosmos_catalog.fits", parent, added, removed, moved)
    touched = {CHANGED_TILE, "COSMOS/F125W_F160W/y000x000", *names[[parent, moved, *removed]]}
    return Story(added, removed, moved, touched)


def _edit_list(path, parent, added, removed, moved):
    sources = Table.read(path)
    twins = vstack([sources[sources["ID"] == parent]] * len(added))
    twins["ID"], twins["RA"] = added, twins["RA"] + 1e-5 * np.arange(1, 1 + len(added))
    sources["zbest"][sources["ID"] == moved] = 1.6
    vstack([sources[~np.isin(sources["ID"], removed)], twins]).write(path, overwrite=True)


def sees_changed_pixels(rows) -> pd.Series:
    """Whether a source's cutout, of 128 pixels a side, holds a pixel that was changed."""
    lower_x, lower_y = np.ceil(rows.x_pix - 64), np.ceil(rows.y_pix - 64)
    box = CHANGED_PIXELS
    return (lower_x < box.x1) & (lower_x + 128 > box.x0) & (lower_y < box.y1) & (lower_y + 128 > box.y0)


def test_a_new_release_computes_what_changed_and_can_be_compared_and_taken_back(survey):
    root = survey.folder / "catalog"
    first = run(survey)
    before = table(survey)
    files = {path: file_digest(path) for path in first.path.rglob("*") if path.is_file()}
    story = change_inputs(survey)

    planned = plan(survey)
    assert {unit.name for unit in planned.having(Decision.DO)} == story.units
    again = run(survey)
    assert again.units == {"done": len(story.units), "kept": first.units["done"] - len(story.units), "dropped": 0, "failed": 0}
    assert again.rows == len(before) + 1

    after = table(survey)
    both = before.index.intersection(after.index)
    assert set(after.index.difference(before.index)) == {("COSMOS", source_id) for source_id in story.added}
    assert set(before.index.difference(after.index)) == {("COSMOS", source_id) for source_id in story.removed}
    assert (before.instrument["COSMOS", story.moved], after.instrument["COSMOS", story.moved]) == ("F814W", "F125W_F160W")

    seen = before[(before.status == "ok") & (before.instrument == "F814W")].loc[["EGS"]]
    expected = {*seen[sees_changed_pixels(seen)].index, ("COSMOS", story.moved)}
    found = compare(root, "demo-r1", "demo-r2")
    assert len(expected) > 1
    assert set(found.changes.first) == expected
    assert found.changes.n_changed == len(expected)
    assert set(found.added) == {("COSMOS", source_id) for source_id in story.added}
    assert set(found.removed) == {("COSMOS", source_id) for source_id in story.removed}
    assert found.changes.n_recomputed == (before.unit_key[both] != after.unit_key[both]).sum() - len(expected)
    assert (
        found.changes.shifts["f_pm"].summary()["rows"] == (before.f_pm[both] != after.f_pm[both])[before.f_pm[both].notna()].sum()
    )
    assert not found.changes.transitions

    assert {path: file_digest(path) for path in files} == files
    assert {path for path in first.path.rglob("*") if path.is_file()} == files.keys()
    assert roll_back(root).after.name == "demo-r1"
    pd.testing.assert_frame_equal(table(survey), before)
    for revision in (first, again):
        check_revision(revision.path)


def test_the_plan_says_why_each_unit_is_done(survey):
    run(survey)
    story = change_inputs(survey)
    planned = {unit.name: unit for unit in plan(survey).units}
    assert planned[CHANGED_TILE].reason == "science pixels changed"
    assert planned[CHANGED_TILE].changed == ("science_pixels",)
    assert planned["COSMOS/F125W_F160W/y000x000"].reason == "1 source added"
    changes = [unit.source_changes for unit in planned.values() if unit.source_changes is not None]
    totals = sum((Counter(one.as_json()) for one in changes), Counter())
    assert dict(totals) == {"added": 4, "removed": 3}
    kept = {unit.reason for unit in planned.values() if unit.name not in story.units}
    assert kept == {"nothing it depends on has changed"}


def test_inputs_that_are_put_back_find_their_results_on_disk(survey):
    first = run(survey)
    path = survey.folder / "cosmos_catalog.fits"
    original = path.read_bytes()
    change_inputs(survey)
    run(survey)
    path.write_bytes(original)
    reasons = {unit.reason for unit in plan(survey).units if unit.name.startswith("COSMOS")}
    assert reasons == {"nothing it depends on has changed", "its result is on disk from an earlier run"}
    again = run(survey)
    assert (again.units["done"], again.rows) == (0, first.rows)


def test_kept_draws_are_published_with_the_catalog_and_agree_with_it(survey):
    edit_workflow(survey.workflow, {"sampling": {"keep_draws": True}})
    result = run(survey)
    draws = open_draws(survey.folder / "catalog").to_table().to_pandas().set_index(["field", "source_id"]).p_pm
    rows = table(survey)
    rows = rows[rows.status == "ok"]
    assert set(draws.index) == set(rows.index)
    stacked = np.stack(draws[rows.index])
    assert stacked.shape == (len(rows), survey.spec.draws)
    assert np.allclose(stacked.mean(axis=1), rows.p_pm_mean, atol=1e-6)
    assert np.allclose(np.quantile(stacked, 0.16, axis=1), rows.p_pm_q16, atol=1e-6)
    check_revision(result.path)


def test_pixels_that_changed_behind_the_files_back_are_found_by_reading_again(survey):
    run(survey)
    path = survey.science("EGS", "F814W")
    state = path.stat()
    perturb_mosaic(path, CHANGED_PIXELS, 0.5)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert path.stat().st_ino == state.st_ino
    trusting, reading = (api.plan(survey.workflow, profile="serial", reread=reread) for reread in (False, True))
    assert trusting.counts["do"] == 0
    assert [(unit.name, unit.reason) for unit in reading.having(Decision.DO)] == [(CHANGED_TILE, "science pixels changed")]


def test_units_of_another_schema_are_computed_again_and_the_revisions_remain_comparable(survey):
    root = survey.folder / "catalog"
    first = run(survey)
    before = table(survey)
    with catalog_with((*COLUMNS, DUMMY)) as version:
        assert {(unit.decision, unit.reason) for unit in plan(survey).units} == {(Decision.DO, "catalog schema changed")}
        again = run(survey)
        assert again.units == first.units
        assert read_manifest(again.path)["schema_version"] == version
        assert plan(survey).counts["do"] == 0

        pd.testing.assert_frame_equal(table(survey, "demo-r1"), before)
        pd.testing.assert_frame_equal(table(survey).drop(columns=["dummy", "unit_key"]), before.drop(columns="unit_key"))
        found = compare(root, "demo-r1", "demo-r2")
        assert found.columns.added == ("dummy",)
        assert (found.changes.n_changed, found.changes.n_recomputed) == (0, len(before))
        for revision in (first, again):
            check_revision(revision.path)
        assert roll_back(root).after.name == "demo-r1"

    assert {unit.reason for unit in plan(survey).units} == {"nothing it depends on has changed"}
