"""The verbs for models, on the command line."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import correlate
from typer.testing import CliRunner

from stubs import TINY
from surveyflow import api
from surveyflow.commands import main as cli
from surveyflow.errors import InputError, ModelError
from surveyflow.models.store import ModelStore, write_model
from surveyflow.sky.stretch import Stretch, prepare
from surveyflow.tasks.card import Domain, ModelKey
from surveyflow.values.codes import WeightsOrigin
from worlds import MiniSurvey, write_untrained_models

KEY = ModelKey("merger", "EGS", "F814W")


@pytest.fixture
def store(tmp_path):
    write_untrained_models(tmp_path / "models", ("COSMOS", "EGS"), TINY)
    return ModelStore(tmp_path / "models")


def invoke(*arguments):
    return CliRunner().invoke(cli.app, ["models", *map(str, arguments)])


def test_list_names_every_model_with_its_origin(store):
    lines = invoke("list", store.path).stdout.splitlines()
    assert [line.split()[0] for line in lines[::2]] == list(map(str, store.cards()))
    assert all("untrained" in line for line in lines[::2])
    assert max(map(len, lines)) <= 80
    assert json.loads(invoke("list", store.path, "--json").stdout)[str(KEY)]["origin"] == "untrained"


def test_list_names_a_model_once_however_many_fields_it_serves(tmp_path):
    fields = tuple(f"FIELD_OF_MANY_{number}" for number in range(12))
    write_untrained_models(tmp_path / "lent", ("COSMOS",), TINY, also_for=fields)
    lines = invoke("list", tmp_path / "lent").stdout.splitlines()
    assert sum(line.startswith("merger/COSMOS/") for line in lines) == len([line for line in lines if line[0] != " "]) == 2
    assert all(name in " ".join(lines) for name in fields)
    assert max(map(len, lines)) <= 80


def test_show_prints_the_card(store):
    folder = store.folder(KEY)
    assert invoke("show", folder).stdout.rstrip() == (folder / "card.toml").read_text().rstrip()


def test_show_refuses_weights_that_are_not_the_cards(store):
    folder = store.folder(KEY)
    shutil.copy(store.folder(ModelKey("merger", "COSMOS", "F814W")) / "weights.safetensors", folder)
    with pytest.raises(ModelError, match="weights"):
        api.show_models(folder)


@pytest.fixture(scope="module")
def saved_model(shared_worlds):
    """A SavedModel in the authors' format, of an instrument that they did not use."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    pytest.importorskip("tensorflow", reason="needs an extra: pip install 'surveyflow-mergers[cpu]'", exc_type=ImportError)
    from legacy_models import write_saved_model

    return shared_worlds.get("drawer", lambda folder: write_saved_model(folder / "F115W" / "PRIMER"))


DESCRIPTION = {
    "--band": ["F115W"],
    "--pixel-scale": ["0.02"],
    "--redshift-range": ["1", "2.5"],
}


def import_one(folder, store, **options):
    words = [word for name, values in options.items() for word in (name, *values)]
    return invoke("import", folder, "--store", store, "--stretch", "linear", *words)


def test_a_network_of_another_instrument_can_be_described(saved_model, tmp_path):
    more = {
        "--class-names": ["star_forming, post_merger"],
        "--origin": ["simulated"],
        "--unit": ["MJy/sr"],
        "--sky-rms": ["0.001", "0.01"],
    }
    assert import_one(saved_model, tmp_path, **DESCRIPTION, **more).exit_code == 0
    (card,) = ModelStore(tmp_path).cards().values()
    assert card.key == ModelKey("merger", "PRIMER", "F115W")
    assert (card.band, card.pixel_scale_arcsec, card.redshift_range) == ("F115W", 0.02, (1.0, 2.5))
    assert card.class_names == ("star_forming", "post_merger")
    assert card.domain == Domain("MJy/sr", (0.001, 0.01))
    assert card.origin is WeightsOrigin.SIMULATED
    assert "The origin simulated was given at import" in card.notes


@pytest.mark.parametrize("left_out", DESCRIPTION)
def test_what_a_description_lacks_is_named_as_an_option(saved_model, tmp_path, left_out):
    given = {name: values for name, values in DESCRIPTION.items() if name != left_out}
    error = import_one(saved_model, tmp_path / "store", **given).exception
    assert isinstance(error, ModelError)
    assert f"({left_out})" in str(error)
    assert not any(f"({option})" in str(error) for option in given)
    assert not (tmp_path / "store").exists()


def test_a_range_of_noise_must_be_one(saved_model, tmp_path):
    error = import_one(saved_model, tmp_path, **DESCRIPTION, **{"--sky-rms": ["2", "1"]}).exception
    assert isinstance(error, ModelError)
    assert str(error).startswith("--sky-rms: sky_rms must be a range (low, high)")


@pytest.mark.parametrize(("option", "codes"), [("origin", WeightsOrigin), ("stretch", Stretch)])
def test_every_origin_and_stretch_can_be_asked_for(option, codes):
    shown = CliRunner().invoke(cli.app, ["models", "import", "--help"], env={"COLUMNS": "400"}).output
    assert f"--{option} <{'|'.join(codes)}>" in " ".join(shown.split())


@pytest.fixture(scope="module")
def crowded(shared_worlds):
    """A survey with enough sources in one field to judge by."""

    def make(folder):
        (folder / "models").mkdir()
        return MiniSurvey(folder, fields=("EGS",), n_sources=150, shape_f814w=(1400, 1200))

    return shared_worlds.get("crowded", make)


def remember(store: ModelStore, key: ModelKey, images) -> None:
    """Leave a network's first normalisation as training on these images would: written with scipy, not with our own code."""
    weights = store.weights(key)
    kernels, biases = weights["conv.0.kernel"][..., 0, :], weights["conv.0.bias"]
    for channel, bias in enumerate(biases):
        kernel = kernels[None, ..., channel]
        activations = np.maximum(correlate(images, kernel, mode="valid", method="direct") + bias, 0)
        weights["bn.0.mean"][channel] = activations.mean(dtype=np.float64)
        weights["bn.0.variance"][channel] = activations.var(dtype=np.float64)
    write_model(store.folder(key), store.card(key), weights, overwrite=True)


@pytest.mark.parametrize(("told", "agrees"), [(Stretch.ASINH_MINMAX, True), (Stretch.MINMAX, False)])
def test_check_finds_the_stretch_that_a_network_remembers(crowded, tmp_path, told, agrees):
    store = ModelStore(tmp_path)
    write_untrained_models(store.path, ("EGS",), replace(TINY, filters=(8,), kernel_sizes=(5,)))
    rows = crowded.truth[(crowded.truth.status == "ok") & (crowded.truth.valid_fraction == 1)]
    for key, card in store.cards().items():
        mine = rows[rows.instrument == key.instrument]
        stack = api.cutouts(crowded.science("EGS", key.instrument), mine.ra_deg, mine.dec_deg)
        remember(store, key, prepare(stack.pixels, stack.valid, Stretch.ASINH_MINMAX, card.softening))
        write_model(store.folder(key), replace(store.card(key), stretch=told), store.weights(key), overwrite=True)
    result = invoke("check", store.path, "--workflow", crowded.workflow, "--json")
    checks = json.loads(result.stdout)
    assert [one["evidence"][0]["stretch"] for one in checks] == ["asinh_minmax"] * 2
    assert [one["card_agrees"] for one in checks] == [agrees] * 2
    assert result.exit_code == (0 if agrees else 1)
    assert ("DOES NOT AGREE" in invoke("check", store.path, "--workflow", crowded.workflow).stdout) != agrees


def test_check_needs_enough_sources(mini_survey):
    write_untrained_models(mini_survey.folder / "models", ("COSMOS", "EGS"), TINY)
    with pytest.raises(InputError, match=r"only .* of its sources have fully covered cutouts"):
        api.check_models(mini_survey.folder / "models", mini_survey.workflow)


def test_check_needs_enough_cutouts(tmp_path):
    with pytest.raises(InputError, match=r"found n_cutouts = 0, expected at least 20"):
        api.check_models(tmp_path, tmp_path / "workflow.toml", n_cutouts=0)
