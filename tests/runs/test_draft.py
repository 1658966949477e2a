"""A workflow that `init` writes runs unedited but for the seed, and says what was guessed."""

from __future__ import annotations

import os
import re
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import QTable, Table

import surveyflow
from mosaic_tiles import cut_into_tiles
from surveyflow.errors import InputError, WorkflowError
from surveyflow.models.store import ModelStore
from surveyflow.runs.demo import PACKAGED_MODELS
from surveyflow.runs.preflight import open_survey
from surveyflow.settings.workflow import load_workflow
from surveyflow.simulation.headers import INSTRUMENTS
from surveyflow.tasks.card import Architecture
from surveyflow.values.codes import Flag
from worlds import write_untrained_models

CANDELS = {
    ("COSMOS", "F814W"): "hlsp_candels_hst_acs_cos-tot_f814w_v1.0",
    ("COSMOS", "F125W_F160W"): "hlsp_candels_hst_wfc3_cos-tot_f160w_v1.0",
    ("EGS", "F814W"): "hlsp_candels_hst_acs_egs-tot-30mas_f814w_v1.0",
    ("EGS", "F125W_F160W"): "hlsp_candels_hst_wfc3_egs-tot-60mas_f160w_v1.0",
}
SEED = "\n# seed = \n"
CONVERTED = Flag.CONVERTED_UNIT | Flag.BAND_DOMAIN
MJY_SR = 10 ** (-0.4 * INSTRUMENTS["F814W"].zero_point_ab) * 3631e-6 / (0.03 / 206264.806) ** 2
"""Surface brightness, MJy/sr, of an electron per second in a pixel of 0.03 arcsec in F814W."""


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """Models of COSMOS that are not trained, and are lent to EGS."""
    folder = tmp_path_factory.mktemp("models") / "store"
    small = Architecture(filters=(1,), kernel_sizes=(3,), dense=(2,))
    write_untrained_models(folder, ("COSMOS",), small, also_for=("EGS",))
    return folder


@pytest.fixture
def candels(survey_folder, tmp_path) -> Path:
    """The small survey under the names of the archive, with redshifts of COSMOS in a file of their own."""
    folder = tmp_path / "candels"
    (folder / "mosaics").mkdir(parents=True)
    for (field, instrument), name in CANDELS.items():
        shutil.copy(survey_folder.science(field, instrument), folder / "mosaics" / f"{name}_drz.fits")
        shutil.copy(survey_folder.weight(field, instrument), folder / "mosaics" / f"{name}_wht.fits")
    shutil.copy(survey_folder.source_list("EGS"), folder / "hlsp_candels_hst_wfc3_egs-tot-multiband_f160w_v1_cat.txt")
    photometry = Table.read(survey_folder.source_list("COSMOS"))
    photometry["ID", "zbest"].write(folder / "hlsp_candels_hst_wfc3_cos_v1_mass_cat.fits")
    photometry.remove_column("zbest")
    photometry.write(folder / "hlsp_candels_hst_wfc3_cos-tot-multiband_f160w_v1_cat.fits")
    (folder / "README.txt").write_text("Files of a release.\n")
    return folder


@pytest.fixture
def jwst(survey_folder, tmp_path) -> Path:
    """Four overlapping tiles in the layout of i2d files, with a catalog as the pipeline writes it, and redshifts beside it."""
    folder = tmp_path / "jwst"
    folder.mkdir()
    images = survey_folder.science("COSMOS", "F814W"), survey_folder.weight("COSMOS", "F814W")
    for number, paths in enumerate(cut_into_tiles(*images, tmp_path / "tiles", per_side=2)):
        write_i2d(folder / f"jw01345-o00{number}_t021_nircam_clear-f115w_i2d.fits", *paths)
    listed = Table.read(survey_folder.source_list("COSMOS"))
    place = SkyCoord(listed["RA"] * u.one, listed["DEC"] * u.one, unit="deg")
    QTable({"label": listed["ID"], "sky_centroid": place}).write(folder / "jw01345_t021_nircam_clear-f115w_cat.ecsv")
    Table({"label": listed["ID"], "z_phot": listed["zbest"]}).write(folder / "ceers_redshifts.csv")
    return folder


def write_i2d(path: Path, science: Path, weight: Path) -> None:
    """Write an image and its weights as the pipeline of JWST does: only the image has a projection, and its unit is MJy/sr."""
    pixels, header = fits.getdata(science, header=True)
    for key in ("FILTER", "TELESCOP", "PHOTFLAM", "PHOTPLAM"):
        header.remove(key, ignore_missing=True)
    primary = fits.PrimaryHDU()
    primary.header.update({"TELESCOP": "JWST", "INSTRUME": "NIRCAM", "FILTER": "F115W", "TARGNAME": "CEERS-NIRCAM1"})
    header["BUNIT"] = "MJy/sr"
    weights = fits.getdata(weight) / np.float32(MJY_SR) ** 2
    error = np.where(weights > 0, 1 / np.sqrt(np.maximum(weights, 1e-30)), 0).astype(np.float32)
    maps = {"ERR": error, "CON": np.ones((1, *error.shape), np.int32), "WHT": weights, "VAR_RNOISE": error**2}
    hdus = [fits.ImageHDU(numbers, name=name) for name, numbers in maps.items()]
    fits.HDUList([primary, fits.ImageHDU(pixels * np.float32(MJY_SR), header, name="SCI"), *hdus]).writeto(path)


def with_seed(workflow: Path) -> Path:
    text = workflow.read_text()
    assert text.count(SEED) == 1
    workflow.write_text(text.replace(SEED, "\nseed = 7\n"))
    return workflow


def test_a_candels_release_runs_from_init_to_catalog(candels, store):
    workflow = surveyflow.init(candels, models=store)
    result = surveyflow.run(with_seed(workflow), profile="serial", engine="fft")
    catalog = surveyflow.read_catalog(candels / "catalogs" / "candels", columns=["field", "source_id", "status"])
    assert result.exit_code == 0
    assert set(catalog["field"]) == {"COSMOS", "EGS"}
    assert (catalog["status"] == "ok").groupby(catalog["field"].astype(str)).sum().min() > 5


def test_the_workflow_says_what_was_guessed_and_why(candels, store):
    text = surveyflow.init(candels, models=store).read_text()
    for line in (
        'science = "mosaics/hlsp_candels_hst_acs_egs-tot-30mas_f814w_v1.0_drz.fits"',
        'weight = "mosaics/hlsp_candels_hst_wfc3_cos-tot_f160w_v1.0_wht.fits"  # by "wht" in the name, and its shape',
        'columns = { id = "NUMBER", ra = "ALPHA_J2000", dec = "DELTA_J2000", redshift = "z_best" }',
        'redshifts = { path = "hlsp_candels_hst_wfc3_cos_v1_mass_cat.fits", id = "ID", column = "zbest" }',
        "F814W = [0.5, 1.5]",
        "# COSMOS: a field of 2 mosaics; its name is from the names of its files or targets.",
        "# seed = ",
    ):
        assert line in text
    assert "models = " not in text  # the models are lent to EGS


def test_a_jwst_survey_of_tiles_runs_from_init_to_catalog(jwst, survey_folder, store):
    workflow = with_seed(surveyflow.init(jwst, models=store))
    text = workflow.read_text()
    assert 'columns = { id = "label", ra = "sky_centroid.ra", dec = "sky_centroid.dec" }' in text
    assert re.search(r"\[fields\.(CEERS)\]\n# The models were not trained for CEERS; those of COSMOS measure it\.", text)
    assert re.search(r'science = \[\n    "jw01345-o000_t021_nircam_clear-f115w_i2d\.fits\[SCI\]",\n', text)
    assert '_i2d.fits[WHT]",\n]  # by the extension WHT, and its shape' in text
    assert "The model was trained on F814W: rows will be flagged." in text
    result = surveyflow.run(workflow, profile="serial", engine="fft")
    assert (result.exit_code, result.rows) == (0, len(Table.read(survey_folder.source_list("COSMOS"))))
    catalog = surveyflow.read_catalog(result.root)
    measured = catalog[catalog["status"] == "ok"]
    assert len(measured) > 10
    assert measured["mosaic"].nunique() == 4
    assert ((measured["flags"] & CONVERTED) == CONVERTED).all()
    assert not (measured["flags"] & (Flag.UNIT_DOMAIN | Flag.NOISE_DOMAIN)).any()  # the factor is right, for pixels and weights
    assert np.isfinite(measured["p_pm_mean"]).all()


def test_without_a_seed_the_workflow_is_refused_and_names_it(candels, store):
    workflow = surveyflow.init(candels, models=store)
    with pytest.raises(WorkflowError, match="seed"):
        load_workflow(workflow)
    assert "seed = 12\n" in surveyflow.init(candels, output=candels / "other.toml", models=store, seed=12).read_text()
    with pytest.raises(InputError, match="the seed is -1, expected a whole number from 0"):
        surveyflow.init(candels, output=candels / "third.toml", models=store, seed=-1)


def test_nothing_is_overwritten(candels, store):
    workflow = surveyflow.init(candels, models=store)
    before = workflow.read_bytes()
    with pytest.raises(InputError, match=r"workflow\.toml exists. Remove it first, or name another file"):
        surveyflow.init(candels, models=store)
    assert workflow.read_bytes() == before


def test_a_workflow_elsewhere_names_the_files_from_there(candels, store, tmp_path):
    workflow = surveyflow.init(candels, output=tmp_path / "elsewhere" / "w.toml", models=store, seed=1)
    with open_survey(load_workflow(workflow)) as survey:
        assert set(survey.fields) == {"COSMOS", "EGS"}


def test_the_packages_models_are_copied_beside_the_workflow_and_models_there_are_used(candels, store, tmp_path):
    first = surveyflow.init(candels, output=tmp_path / "work" / "first.toml")
    models = tmp_path / "work" / "models"
    assert 'store = "models"\n' in first.read_text()
    assert ModelStore(models).cards() == ModelStore(PACKAGED_MODELS).cards()
    shutil.rmtree(models)
    shutil.copytree(store, models)
    second = surveyflow.init(candels, output=tmp_path / "work" / "second.toml")
    assert 'store = "models"\n' in second.read_text()
    assert ModelStore(models).cards() == ModelStore(store).cards()
    shutil.rmtree(models)
    (models / "galfit").mkdir(parents=True)
    third = surveyflow.init(candels, output=tmp_path / "work" / "third.toml", seed=1)
    assert 'store = "models-2"\n' in third.read_text()
    with open_survey(load_workflow(third)) as survey:
        assert survey.fields["EGS"].cards


def test_folders_that_cannot_be_used_are_refused_with_the_reason(candels, store, tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        surveyflow.init(tmp_path / "gone", models=store)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no mosaic"):
        surveyflow.init(tmp_path / "empty", models=store)
    with pytest.raises(InputError, match="holds 0 tables with ids, but none with positions on its mosaics"):
        surveyflow.init(candels / "mosaics", models=store)


def test_files_that_are_not_what_their_names_say_are_left_out_and_listed(candels, store):
    (candels / "broken.fits").write_bytes(b"SIMPLE  = but nothing else")
    (candels / "page.csv").write_bytes(b"<html>login</html>")
    text = surveyflow.init(candels, models=store, seed=1).read_text()
    assert re.search(r"#   broken\.fits is left out, because it ", text)
    assert "#   page.csv is left out, because it is a web page (HTML)" in text
    load_workflow(candels / "workflow.toml")


def test_no_name_of_a_file_or_column_adds_a_key_to_the_workflow(candels, store):
    (listed,) = candels.glob("*_cat.txt")
    key = '\n[notify]\ncommand = "touch stranger"\n'
    shutil.copy(listed, candels / f"other{key}# .txt")
    Table.read(listed, format="ascii").to_pandas().to_parquet(candels / "egs_\U0001f30c\x7f\u00a0.parquet")
    shutil.copy(listed, os.fsencode(candels) + b"/egs_\xff.txt")
    listed.unlink()
    document = tomllib.loads(surveyflow.init(candels, models=store, seed=1).read_text())
    assert set(document) == {"version", "survey", "output", "models", "sampling", "routing", "fields"}
    assert document["fields"]["EGS"]["sources"]["path"] == "egs_\U0001f30c\x7f\u00a0.parquet"
    assert r"\udcff.txt is left out, because it has a name that is not UTF-8" in (candels / "workflow.toml").read_text()


def test_a_field_may_have_a_name_that_toml_writes_in_quotes(candels, store):
    for image in (candels / "mosaics").iterdir():
        fits.setval(image, "TARGNAME", value="J1419+5252")
        image.rename(image.with_name(re.sub("egs-tot-..mas|cos-tot", "", image.name)))
    document = tomllib.loads(surveyflow.init(candels, models=store, seed=1).read_text())
    assert set(document["fields"]) == {"J1419+5252", "J1419+5252_2"}
    assert load_workflow(candels / "workflow.toml").fields["J1419+5252"].mosaics
