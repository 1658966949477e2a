"""The ten models of the release, made in their format with random weights, imported in one command."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from networks import SMALL, random_weights, reference_features
from surveyflow.commands import main as cli
from surveyflow.models.engines.choice import load_model
from surveyflow.models.store import ModelStore

pytestmark = pytest.mark.timeout(900)  # ten SavedModels are written and read: minutes on a busy machine

FIELDS = ("COSMOS", "EGS", "GOODS_N", "GOODS_S", "UDS")
INSTRUMENTS = ("F814W", "F125W_F160W")
OTHER_KEYS = {("F125W_F160W", "COSMOS"), ("F125W_F160W", "UDS")}
"""As in the release, these two list their trainable variables first."""


@pytest.fixture(scope="module")
def release(keras, shared_worlds):
    """Folder of the ten models: only to be read."""
    pytest.importorskip("tensorflow", reason="needs an extra: pip install 'surveyflow-mergers[cpu]'")
    return shared_worlds.get("saved-release", write_release)


def write_release(folder):
    from legacy_models import write_saved_model

    for number, (instrument, field) in enumerate((instrument, field) for instrument in INSTRUMENTS for field in FIELDS):
        keys = "trainable_variables" if (instrument, field) in OTHER_KEYS else "variables"
        weights = random_weights(SMALL, number)
        write_saved_model(folder / "models" / instrument / field, weights=weights, keys=keys)
    return folder


def import_models(release, store, *options):
    arguments = ["models", "import", release, "--store", store, "--stretch", "asinh_minmax", *options]
    return CliRunner().invoke(cli.app, list(map(str, arguments)))


def test_all_ten_are_imported_in_one_command_and_equal_their_originals(release, tmp_path):
    result = import_models(release, tmp_path / "store", "--json", "--run-original")
    assert result.exit_code == 0, result.output
    imported = json.loads(result.stdout)
    assert len(imported) == 10
    assert max(one["parity"]["largest_difference"] / one["parity"]["largest_feature"] for one in imported) < 1e-5
    cards = ModelStore(tmp_path / "store").cards()
    assert {(key.instrument, key.field) for key in cards} == {(i, f) for i in INSTRUMENTS for f in FIELDS}
    assert {card.pixel_scale_arcsec for key, card in cards.items() if key.instrument == "F814W"} == {0.03}


def test_imported_model_computes_what_the_source_network_computes(release, tmp_path):
    import_models(release, tmp_path / "store")
    store = ModelStore(tmp_path / "store")
    images = np.random.default_rng(1).uniform(size=(3, SMALL.input_size, SMALL.input_size)).astype(np.float32)
    for number, (instrument, field) in enumerate((instrument, field) for instrument in INSTRUMENTS for field in FIELDS):
        (key,) = (key for key in store.cards() if (key.instrument, key.field) == (instrument, field))
        expected = np.stack([reference_features(image, random_weights(SMALL, number)) for image in images])
        found = load_model(store.folder(key), engine="keras").features(images)
        assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


def test_import_without_a_stretch_is_refused(release, tmp_path):
    result = CliRunner().invoke(cli.app, ["models", "import", str(release), "--store", str(tmp_path / "store")])
    assert result.exit_code == 2
    assert not (tmp_path / "store").exists()
