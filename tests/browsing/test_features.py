"""Galaxies that are alike have similar features in the network that measured them, or the page says why that is not known."""

import json
import shutil
from dataclasses import asdict

import numpy as np
import pyarrow.compute as pc
import pytest
from astropy.io import fits

from networks import SMALL, random_weights, write_small_model
from revisions import RevisionMaker, field_rows, model_entry
from surveyflow.api import load_model
from surveyflow.browsing.features import FEWEST_COMPARED, MOST_COMPARED, PublishedModels, distances
from surveyflow.browsing.rows import Order
from surveyflow.browsing.survey import BrowsedSurvey
from surveyflow.models.store import ModelStore, write_model
from surveyflow.sky.stretch import prepare


def entry_of(card):
    about = {"model_id": card.model_id, "key": str(card.key), "weights_digest": card.weights_digest}
    return model_entry("EGS", "F814W") | about | {"architecture": asdict(SMALL), "softening": card.softening}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A catalog of one model whose store is there."""
    folder = tmp_path_factory.mktemp("features")
    maker = RevisionMaker(folder)
    maker.add_mosaic("EGS", "F814W")
    card = write_small_model(folder / "models")
    rows = field_rows("EGS", 90, redshift=np.full(90, 1.0))
    named = pc.if_else(pc.is_valid(rows["model_id"]), card.model_id, None)
    rows = rows.set_column(rows.schema.get_field_index("model_id"), rows.schema.field("model_id"), named)
    maker(rows, models=[entry_of(card)], workflow={"version": 1, "models": {"store": str(folder / "models")}})
    return folder, card, rows


def first_ok(survey):
    one = survey.rows.page("status == 'ok'", Order(), 0, 1, ["field", "source_id"])[0]
    return survey.rows.row(one["field"], one["source_id"])


def test_the_order_is_that_of_the_features_of_the_same_model(world):
    folder, card, rows = world
    with BrowsedSurvey(folder / "catalog", "latest") as survey:
        row = first_ok(survey)
        found = survey.alike(row, 12)
    ok = rows.filter(pc.equal(rows["status"], "ok")).to_pandas().reset_index(drop=True)
    assert found.why_not == ""
    assert found.n_compared == min(len(ok) - 1, MOST_COMPARED)
    model = load_model(ModelStore(folder / "models").home(card.key), engine="fft")
    pixels = fits.getdata(folder / "egs_f814w_drz.fits").astype(np.float32)
    corners = np.ceil(ok[["y_pix", "x_pix"]].to_numpy() - SMALL.input_size / 2).astype(int)
    cut = np.stack([pixels[y : y + SMALL.input_size, x : x + SMALL.input_size] for y, x in corners])
    features = model.features(prepare(cut, cut != 0, card.stretch, card.softening)).astype(float)
    spread = features.std(axis=0)
    own = int(np.flatnonzero(ok["source_id"] == row["source_id"])[0])
    apart = (((features - features[own])[:, spread > 0] / spread[spread > 0]) ** 2).mean(axis=1)
    expected = [name for name in ok["source_id"].iloc[np.argsort(apart, kind="stable")] if name != row["source_id"]][:12]
    assert [one["source_id"] for one in found.rows] == expected
    assert {one["model_id"] for one in found.rows} == {card.model_id}


def test_another_model_in_the_store_is_refused_and_columns_decide(world, tmp_path):
    folder, card, _ = world
    root = tmp_path / "catalog"
    shutil.copytree(folder / "catalog", root, symlinks=True)
    shutil.copytree(folder / "models", tmp_path / "models")
    write_model(ModelStore(tmp_path / "models").home(card.key), card, random_weights(seed=5), overwrite=True)
    manifest = root / "latest" / "manifest.json"
    text = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(text | {"workflow": {"models": {"store": str(tmp_path / "models")}}}))
    with BrowsedSurvey(root, "latest") as survey:
        found = survey.alike(first_ok(survey), 12)
        assert "another model than merger/EGS/F814W@" in found.why_not
        assert (len(found.rows), found.n_compared) == (12, 0)
        broken = [one | {"key": "merger/EGS"} for one in text["models"]]
        manifest.write_text(json.dumps(text | {"models": broken, "workflow": {"models": {"store": str(tmp_path / "models")}}}))
    with BrowsedSurvey(root, "latest") as survey:
        assert "cannot be found by the manifest" in survey.alike(first_ok(survey), 12).why_not
        manifest.write_text(json.dumps(text | {"workflow": {}}))
    with BrowsedSurvey(root, "latest") as survey:
        assert "does not say where the model" in survey.alike(first_ok(survey), 12).why_not


def test_a_jury_is_compared_with_fewer_galaxies():
    models = [{"model_id": "jury", "members": [{"name": str(n)} for n in range(5)]}, {"model_id": "alone"}]
    known = PublishedModels({"models": models})
    assert (known.n_compared("jury"), known.n_compared("alone"), known.n_compared(None)) == (48, MOST_COMPARED, MOST_COMPARED)
    many = PublishedModels({"models": [{"model_id": "many", "members": [{}] * 50}]})
    assert many.n_compared("many") == FEWEST_COMPARED


def test_distances_count_each_feature_by_its_spread():
    features = np.float32([[0, 0, 7], [1, 0, 7], [0, 100, 7], [np.nan, 0, 7]])
    found = distances(features)
    assert found[:3] == pytest.approx([0, found[2], found[1]])
    assert np.isnan(found[3])
    assert (distances(np.zeros((3, 2), np.float32)) == 0).all()
