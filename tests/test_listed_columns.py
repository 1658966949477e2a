"""What users bring along in their lists goes through plan, run, diff, verify, rerun and every reader."""

from __future__ import annotations

import json

import numpy as np
import pytest
from astropy.table import Column, Table
from typer.testing import CliRunner

from fake_executors import stub_executor
from stubs import TINY
from surveyflow import api
from surveyflow.api.runs import open_inputs
from surveyflow.commands.main import app
from surveyflow.errors import WorkflowError
from surveyflow.files.durable import file_digest
from surveyflow.measuring.orders import WorkerSettings
from surveyflow.planning.plan import Decision
from surveyflow.releases.publish import latest, list_revisions, open_catalog, read_catalog, read_manifest
from surveyflow.releases.revisions import MANIFEST
from surveyflow.releases.verify import check_revision
from surveyflow.runs.decide import make_plan
from surveyflow.runs.execute import Reporter
from surveyflow.runs.preflight import open_survey
from surveyflow.runs.run import run_survey
from surveyflow.settings.workflow import load_workflow
from surveyflow.sites.serial.profile import SerialProfile
from surveyflow.values.jobs import EngineChoice
from surveyflow.values.listed import key_of_name
from worlds import edit_workflow, write_untrained_models

KEEP = {"COSMOS": ["mag", "flags as list_flags"], "EGS": ["mag", "name"]}


def change_list(survey, field, **columns):
    path = survey.folder / f"{field.lower()}_catalog.fits"
    table = Table.read(path)
    for name, values in columns.items():
        table[name] = values(len(table)) if callable(values) else values
    table.write(path, overwrite=True)


def magnitudes(n):
    return Column(np.linspace(20, 26, n, dtype=np.float32), unit="mag", description="Magnitude in F160W.")


@pytest.fixture
def survey(mini_survey):
    """Both fields' lists are FITS tables of the same columns."""
    write_untrained_models(mini_survey.folder / "models", mini_survey.spec.fields, TINY)
    egs = Table.read(mini_survey.folder / "egs_catalog.cat", format="ascii.sextractor")
    egs.rename_columns(["NUMBER", "ALPHA_J2000", "DELTA_J2000", "z_best"], ["ID", "RA", "DEC", "zbest"])
    egs.write(mini_survey.folder / "egs_catalog.fits")
    columns = {"id": "ID", "ra": "RA", "dec": "DEC", "redshift": "zbest"}
    edit_workflow(mini_survey.workflow, {"fields": {"EGS": {"sources": {"path": "egs_catalog.fits", "columns": columns}}}})
    change_list(mini_survey, "COSMOS", mag=magnitudes, flags=lambda n: np.arange(n, dtype=np.int16))
    change_list(mini_survey, "EGS", mag=magnitudes, name=lambda n: [f"EGS {number}" for number in range(n)])
    keep(mini_survey, KEEP)
    return mini_survey


def keep(survey, columns):
    edit_workflow(
        survey.workflow,
        {"fields": {field: {"sources": {"columns": {"keep": names}}} for field, names in columns.items()}},
    )


def run(workflow, output=None):
    with open_inputs(workflow, output=output) as (opened, original):
        return run_survey(opened, SerialProfile(), factory="stubs:StubWorker", original=original)


def plan(survey):
    settings = WorkerSettings(str(root(survey)), EngineChoice(), models_in_memory=2)
    with (
        open_survey(load_workflow(survey.workflow)) as opened,
        stub_executor(settings) as executor,
    ):
        return make_plan(opened, executor, Reporter([]))


def root(survey):
    return survey.folder / "catalog"


def rows_of(survey, release="latest"):
    return read_catalog(root(survey), release=release).set_index(["field", "source_id"]).drop(columns="p_pm_hist")


def listed(survey, field):
    return Table.read(survey.folder / f"{field.lower()}_catalog.fits")


def test_every_row_has_the_values_of_its_own_list(survey):
    run(survey.workflow)
    rows = rows_of(survey)
    assert open_catalog(root(survey)).schema.names[-3:] == ["mag", "list_flags", "name"]
    for field, own, others in (("COSMOS", ["mag", "list_flags"], ["name"]), ("EGS", ["mag", "name"], ["list_flags"])):
        table = listed(survey, field)
        mine = rows.loc[field].loc[list(table["ID"])]
        for name in own:
            expected = table[name.removeprefix("list_")]
            assert mine[name].tolist() == [value.strip() if name == "name" else value for value in expected.tolist()]
        assert mine[others].isna().all(axis=None)


def test_other_values_make_another_revision_without_measuring_anything(survey):
    root_folder = root(survey)
    first = run(survey.workflow)
    units = {path: file_digest(path) for path in (root_folder / "units").rglob("*.parquet")}
    change_list(survey, "EGS", mag=lambda n: np.full(n, 30, np.float32))
    planned = plan(survey)
    assert planned.kept_changed
    assert planned.counts == {"do": 0, "keep": len(planned.units), "drop": 0}
    second = run(survey.workflow)
    assert second.published
    assert second.units["done"] == 0
    assert {path: file_digest(path) for path in (root_folder / "units").rglob("*.parquet")} == units
    old, new = (
        read_catalog(root_folder, release=name).set_index(["field", "source_id"]) for name in (first.revision, second.revision)
    )
    assert (new.loc["EGS"].mag == 30).all()
    assert (old.loc["EGS"].mag <= 26).all()
    assert new.loc["COSMOS"].equals(old.loc["COSMOS"])
    assert not plan(survey).kept_changed
    assert not run(survey.workflow).published


def test_the_difference_counts_changed_values_and_names_new_columns(survey):
    first = run(survey.workflow)
    change_list(survey, "EGS", mag=lambda n: np.where(np.arange(n) < 3, 30, magnitudes(n)).astype(np.float32))
    keep(survey, {"COSMOS": ["mag"], "EGS": ["mag", "name", "ID as number"]})
    run(survey.workflow)
    found = api.diff_releases(root(survey), first.revision).as_json()
    assert found["columns"] == {"mag": 3}
    assert found["rows"]["changed"] == 3
    assert found["schema"] == {"added": ["number"], "removed": ["list_flags"], "retyped": []}


def test_a_revision_states_its_own_columns_and_is_verified_against_them(survey):
    run(survey.workflow)
    revision = latest(root(survey)).path
    about = read_manifest(revision)
    mag = {"name": "mag", "type": "float", "unit": None, "description": "Magnitude in F160W."}
    assert about["kept_columns"][0] == mag | {"unit": "mag"}
    assert [column["name"] for column in about["kept_columns"]] == ["mag", "list_flags", "name"]
    assert check_revision(revision) > 0
    (revision / MANIFEST).chmod(0o644)
    (revision / MANIFEST).write_text(json.dumps(about | {"kept_columns": about["kept_columns"][:2]}))
    (verdict,) = api.verify_releases(root(survey))
    assert "rows must have the catalog's schema and the columns" in verdict.problems[0]


def test_a_manifest_keeps_the_columns_again_or_says_that_they_changed(survey):
    run(survey.workflow)
    manifest = latest(root(survey)).path / MANIFEST
    again = run(manifest, output=survey.folder / "again")
    assert open_catalog(survey.folder / "again").to_table().equals(open_catalog(root(survey)).to_table())
    assert again.published
    change_list(survey, "EGS", mag=lambda n: np.full(n, 30, np.float32))
    with pytest.raises(WorkflowError, match="columns that it keeps from the source lists have other values"):
        run(manifest, output=survey.folder / "third")


def test_a_rolled_back_revision_is_not_mistaken_for_one_with_other_values(survey):
    first = run(survey.workflow)
    change_list(survey, "EGS", mag=lambda n: np.full(n, 30, np.float32))
    second = run(survey.workflow)
    api.rollback_releases(root(survey), first.revision)
    again = run(survey.workflow)
    assert (again.revision, again.published) == (second.revision, False)
    assert again.held


def test_without_kept_columns_the_next_revision_has_only_the_catalog_s_own(survey):
    run(survey.workflow)
    keep(survey, {"COSMOS": [], "EGS": []})
    result = run(survey.workflow)
    assert result.published
    assert result.units["done"] == 0
    assert "mag" not in open_catalog(root(survey)).schema.names


def test_every_contradiction_is_found_before_anything_runs(survey):
    change_list(survey, "EGS", mag=lambda n: Column(np.ones(n), unit="uJy"))
    keep(survey, {"COSMOS": ["mag", "flags"]})
    with pytest.raises(WorkflowError) as caught:
        run(survey.workflow)
    assert [problem.where for problem in caught.value.problems] == [
        f"{survey.workflow.name}: [fields.EGS.sources] columns.keep",
        f"{survey.workflow.name}: [fields.COSMOS.sources] columns.keep",
    ]
    assert list_revisions(root(survey)) == []


def test_selections_reports_and_fractions_know_kept_columns(survey):
    run(survey.workflow)
    assert api.report(root(survey)).stat().st_size > 10_000
    found = api.fractions(root(survey), edges=[19, 23, 27], bins="mag", where="name != 'EGS 3' and mag > 0")
    measured = read_catalog(root(survey), filter=[("status", "==", "ok"), ("name", "!=", "EGS 3")])
    assert sum(item.n_galaxies for item in found.bins) == measured.name.notna().sum()


def name_sources(survey, field="EGS"):
    """Give a field's sources names instead of numbers; returns the names by number."""
    numbers = listed(survey, field)["ID"].tolist()
    change_list(survey, field, ID=lambda n: [f"{field}-{number:04d}" for number in numbers])
    return {number: f"{field}-{number:04d}" for number in numbers}


def test_sources_with_names_are_found_by_them_and_measured_as_before(survey):
    first = run(survey.workflow)
    by_number = rows_of(survey, first.revision).loc["EGS"]
    names = name_sources(survey)
    second = run(survey.workflow)
    assert "measured sources have lost their result" in second.held[0]
    rows = rows_of(survey, second.revision)
    assert rows.loc["COSMOS"].source_name.isna().all()
    by_name = rows.loc["EGS"].reset_index().set_index("source_name")
    assert {name: key_of_name(name) for name in by_name.index} == by_name.source_id.to_dict()
    for number, name in names.items():
        assert by_name.loc[name, ["ra", "dec", "status", "mag"]].equals(by_number.loc[number, ["ra", "dec", "status", "mag"]])
    assert check_revision(second.path) > 0
    chosen = api.read_catalog(root(survey), filter=f"source_name == '{names[3]}'", release=second.revision)
    assert chosen.source_id.tolist() == [key_of_name(names[3])]
    assert not run(survey.workflow).published


def test_a_source_that_is_named_anew_is_another_source(survey):
    names = name_sources(survey)
    first = run(survey.workflow)
    change_list(survey, "EGS", ID=lambda n: [f"{name}b" if name == names[3] else name for name in listed(survey, "EGS")["ID"]])
    run(survey.workflow)
    rows = api.diff_releases(root(survey), first.revision).as_json()["rows"]
    assert (rows["added"], rows["removed"]) == (1, 1)


def test_verify_finds_an_id_that_does_not_stand_for_its_name(survey, monkeypatch):
    name_sources(survey)
    run(survey.workflow)
    monkeypatch.setattr("surveyflow.releases.verify.key_of_name", lambda name: 7)
    (verdict,) = api.verify_releases(root(survey))
    assert "does not stand for 'EGS-" in verdict.problems[0]


def test_the_plan_on_the_command_line_says_that_kept_columns_changed(survey, monkeypatch):
    run(survey.workflow)
    change_list(survey, "EGS", mag=lambda n: np.full(n, 30, np.float32))
    done = CliRunner().invoke(app, ["plan", str(survey.workflow), "--profile", "serial"])
    assert done.exit_code == 0, done.output
    assert "Kept columns of the source lists changed" in done.output
    assert Decision.DO.value + " " not in done.output.splitlines()[0]
