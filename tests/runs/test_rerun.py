"""A manifest makes its tables again, or says what is not as it was."""

from __future__ import annotations

import json
import os
import shutil
from types import MappingProxyType

import pandas as pd
import pytest
from astropy.io import fits

from stubs import TINY
from surveyflow.api.runs import open_inputs
from surveyflow.catalog.schema import SCHEMA_VERSION
from surveyflow.commands.options import moved_folders
from surveyflow.errors import InputError, WorkflowError
from surveyflow.files.durable import file_digest
from surveyflow.models.store import ModelStore
from surveyflow.releases.publish import list_revisions, read_catalog, read_manifest
from surveyflow.runs.run import run_survey
from surveyflow.sites.serial.profile import SerialProfile
from surveyflow.tasks.card import ModelKey
from surveyflow.tasks.merger import MERGER
from surveyflow.values.images import Box
from worlds import perturb_mosaic, write_untrained_models


def run(workflow, output=None, moved=MappingProxyType({})):
    with open_inputs(workflow, output=output, moved=moved) as (survey, original):
        return run_survey(survey, SerialProfile(), factory="stubs:StubWorker", original=original)


@pytest.fixture
def world(finished_survey, tmp_path):
    """A copy of its files with its manifest, but without its catalog."""
    shutil.copytree(finished_survey.folder, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("catalog"))
    manifest = json.dumps(read_manifest(finished_survey.folder / "catalog" / "latest"))
    (tmp_path / "manifest.json").write_text(manifest.replace(str(finished_survey.folder), str(tmp_path)))
    return tmp_path


def rows(root):
    return read_catalog(root).sort_values(["field", "source_id"]).reset_index(drop=True)


def refusals(world):
    with pytest.raises(WorkflowError) as caught:
        run(world / "manifest.json")
    assert list_revisions(world / "catalog") == []
    return [str(problem) for problem in caught.value.problems]


def refusal(world):
    (only,) = refusals(world)
    assert only.startswith("manifest.json: demo-r1 cannot be made again: ")
    assert only.endswith("Restore what it was made from, or run the workflow file to make a new revision.")
    return only


def moved_to(world, folder):
    """Move everything but the manifest, whose paths stay as they were."""
    folder.mkdir()
    for path in world.iterdir():
        if path.name != "manifest.json":
            path.rename(folder / path.name)
    return world / "manifest.json"


def test_a_manifest_makes_its_tables_again_where_the_survey_was_moved_to(finished_survey, world, tmp_path_factory):
    there = tmp_path_factory.mktemp("elsewhere") / "survey"
    manifest = moved_to(world, there)
    with pytest.raises(WorkflowError, match="does not exist"):
        run(manifest)

    assert run(manifest, moved={f"{world}/": str(there)}).root == there / "catalog"
    pd.testing.assert_frame_equal(rows(finished_survey.folder / "catalog"), rows(there / "catalog"))


@pytest.fixture
def moved_world(world, tmp_path_factory):
    """The folder to which a survey was moved with its catalog, and the manifest in it."""
    there = tmp_path_factory.mktemp("elsewhere")
    manifest = there / "catalog" / "releases" / "demo-r1" / "manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text((world / "manifest.json").read_text())
    for path in world.iterdir():
        path.rename(there / path.name)
    return there, manifest


def test_a_manifest_finds_the_files_that_were_moved_with_its_catalog(finished_survey, moved_world, caplog):
    there, manifest = moved_world
    renamed = (there / "catalog").rename(there / "catalog of 2026")

    again = run(renamed / manifest.relative_to(there / "catalog"))

    assert (again.root, again.units["failed"]) == (renamed, 0)
    assert "which is gone: files are looked for at the same place beside" in caplog.text
    pd.testing.assert_frame_equal(rows(finished_survey.folder / "catalog"), rows(renamed))


def test_a_manifest_whose_inputs_went_elsewhere_says_how_to_map_them(world, moved_world, tmp_path_factory):
    there, manifest = moved_world
    inputs = tmp_path_factory.mktemp("inputs")
    for path in there.iterdir():
        if path.name != "catalog":
            path.rename(inputs / path.name)

    with pytest.raises(WorkflowError) as caught:
        run(manifest)

    assert str(caught.value.problems[-1]).endswith(f"add --map {world}=FOLDER, or name a folder in it.")
    assert run(manifest, moved={str(world): str(inputs)}, output=there / "again").units["failed"] == 0


def test_the_copy_of_a_manifest_names_the_map_that_works_while_the_first_place_is_there(world, moved_world):
    there, manifest = moved_world
    (world / "catalog").mkdir()

    with pytest.raises(WorkflowError) as caught:
        run(manifest)

    assert str(caught.value.problems[-1]).endswith(f"add --map {world}={there}.")


def test_a_folder_that_no_path_of_a_manifest_has_is_refused(world):
    with pytest.raises(WorkflowError, match=r"holds no path that begins with the folder /nowhere\. Name a folder of one of its"):
        run(world / "manifest.json", moved={"/nowhere": "/mnt"})
    with pytest.raises(WorkflowError, match="only the paths of a manifest can be mapped"):
        run(world / "workflow.toml", moved={"/nowhere": "/mnt"})


@pytest.mark.parametrize("option", ["data=/mnt", "/data", "/data="])
def test_what_is_no_pair_of_folders_is_refused(option):
    with pytest.raises(InputError, match=f"--map: found '{option}', expected two folders"):
        moved_folders([option])


def test_a_manifest_makes_its_tables_again(finished_survey, world):
    result = run(world / "manifest.json")
    assert (result.root, result.revision, result.units["kept"]) == (world / "catalog", "demo-r1", 0)
    pd.testing.assert_frame_equal(rows(finished_survey.folder / "catalog"), rows(world / "catalog"))


@pytest.mark.parametrize(
    "tables", [{"notify": {"command": "touch {}"}}, {"publish": {"notify": "touch {}", "notify_timeout_s": 60}}]
)
def test_a_manifest_starts_no_command_in_either_place_that_manifests_have_had_for_it(world, caplog, tables):
    manifest = json.loads((world / "manifest.json").read_text())
    del manifest["workflow"]["notify"]
    manifest["workflow"] |= json.loads(json.dumps(tables).replace("{}", f"{world}/started"))
    (world / "manifest.json").write_text(json.dumps(manifest))
    assert run(world / "manifest.json").published
    assert not (world / "started").exists()
    assert "manifest.json names a command to tell people by, which is left out" in caplog.text


def test_the_tables_can_be_made_in_another_folder_beside_the_published_ones(finished_survey, world):
    run(world / "manifest.json", output=world / "again")
    pd.testing.assert_frame_equal(rows(finished_survey.folder / "catalog"), rows(world / "again"))
    assert not (world / "catalog").exists()


def test_the_published_manifest_itself_finds_everything_done(finished_survey):
    result = run(finished_survey.folder / "catalog" / "latest" / "manifest.json")
    assert (result.published, result.revision) == (False, "demo-r1")


def test_the_manifest_holds_what_making_again_needs(finished_survey):
    manifest = read_manifest(finished_survey.folder / "catalog" / "latest")
    entries = {(entry["instrument"], entry["kind"]): entry for entry in manifest["inputs"]}
    listed = entries[None, "sources"]
    assert (listed["digest"], listed["digest_of"]) == (file_digest(finished_survey.source_list("EGS")), "file")
    assert listed["size"] == finished_survey.source_list("EGS").stat().st_size
    science = entries["F814W", "science"]
    assert science["size"] == finished_survey.science("EGS", "F814W").stat().st_size
    assert science["digest_of"] == "pixels of 4 windows"
    assert science["digest"] != entries["F814W", "weight"]["digest"]
    assert science["cards"]["TELESCOP"] == "HST"
    assert manifest["precision"] == "float32"
    assert manifest["timings"]["wall_seconds"] > 0
    assert {model["weights_digest"] for model in manifest["models"]}
    assert manifest["workflow"]["notify"]["command"] == "true"


def test_another_size_is_reported_with_both_sizes(world):
    path = world / "egs_f814w_wht.fits"
    before = path.stat().st_size
    with fits.open(path, mode="append") as hdus:
        hdus.append(fits.ImageHDU(name="MORE"))
    assert f"EGS F814W weight: {path} has {before + 2880:,} bytes, but had {before:,}." in refusal(world)


def test_another_source_list_of_the_same_size_is_reported(world):
    path = world / "egs_catalog.cat"
    path.write_text(path.read_text().replace("DEC_Lotz2008", "DEC_Lotz2009"))
    assert f"EGS sources: the content of {path} changed." in refusal(world)


def test_other_pixels_in_a_file_of_the_same_size_and_time_are_reported(world):
    path = world / "egs_f814w_sci.fits"
    status = path.stat()
    perturb_mosaic(path, Box(700, 705, 700, 705), 0.25)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert f"EGS F814W science: the pixels of {path} changed." in refusal(world)


def test_a_file_that_is_gone_is_reported(world):
    (world / "egs_f814w_sci.fits").unlink()
    (only,) = refusals(world)
    assert only.startswith("manifest.json: [fields.EGS.F814W] science:")
    assert "egs_f814w_sci.fits does not exist" in only


def test_other_weights_are_reported(world):
    shutil.rmtree(world / "models")
    write_untrained_models(world / "models", ("COSMOS", "EGS"), TINY)  # the second field's weights have other seeds
    assert len([line for line in refusals(world) if "model merger/EGS/" in line and "has the weights" in line]) == 2


def test_another_card_is_reported(world):
    card = ModelStore(world / "models").folder(ModelKey(MERGER.name, "EGS", "F814W")) / "card.toml"
    text = card.read_text()
    assert "softening = 0.001" in text
    card.chmod(0o644)
    card.write_text(text.replace("softening = 0.001", "softening = 0.002"))
    assert "the card of model merger/EGS/F814W has another softening." in refusal(world)


def test_a_model_that_is_gone_is_reported(world):
    shutil.rmtree(ModelStore(world / "models").folder(ModelKey(MERGER.name, "EGS", "F125W_F160W")))
    assert "model merger/EGS/F125W_F160W is no longer in" in refusal(world)


def test_other_positions_of_the_same_pixels_are_reported(world):
    for kind in ("sci", "wht"):
        with fits.open(world / f"egs_f814w_{kind}.fits", mode="update") as hdus:
            next(hdu for hdu in hdus if hdu.data is not None).header["CRPIX1"] += 0.001
    lines = refusals(world)
    assert any("unit EGS/F814W/y000x000: it would be made from other inputs or settings." in line for line in lines)


def test_a_text_that_is_not_a_manifest_is_refused(world):
    (world / "manifest.json").write_text("{}")
    with pytest.raises(WorkflowError, match=r"is not a manifest of surveyflow: it lacks failed_units, .*workflow"):
        run(world / "manifest.json")
    (world / "manifest.json").write_text("[survey]")
    with pytest.raises(WorkflowError, match="Invalid JSON"):
        run(world / "manifest.json")


def test_a_manifest_is_of_one_release(world):
    with pytest.raises(WorkflowError, match="cannot make v2"), open_inputs(world / "manifest.json", release="v2"):
        pass


def test_other_versions_of_packages_are_reported_and_stop_nothing(world, caplog):
    manifest = json.loads((world / "manifest.json").read_text())
    manifest["versions"]["numpy"] = "1.0"
    (world / "manifest.json").write_text(json.dumps(manifest))
    assert run(world / "manifest.json").exit_code == 0
    assert "was 1.0 in demo-r1: last digits may differ" in caplog.text


def test_another_precision_is_reported_with_the_option_that_restores_it(world):
    manifest = json.loads((world / "manifest.json").read_text())
    (world / "manifest.json").write_text(json.dumps(manifest | {"precision": "bf16"}))
    assert "would be computed in float32, but were computed in bf16; add --precision bf16" in refusal(world)


def test_a_manifest_of_another_schema_is_refused_with_the_release_that_made_it(world):
    manifest = json.loads((world / "manifest.json").read_text()) | {"schema_version": 1, "surveyflow_version": "0.1.0"}
    (world / "manifest.json").write_text(json.dumps(manifest))
    assert f"of schema 1, but here they are {SCHEMA_VERSION}; use surveyflow 0.1.0" in refusal(world)
