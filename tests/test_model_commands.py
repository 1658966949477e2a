"""The verbs for models, on the command line."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import correlate
from typer.testing import CliRunner

from stubs import TINY
from surveyflow import api, cli
from surveyflow.demonstration import write_untrained_models
from surveyflow.errors import InputError, ModelError
from surveyflow.models.store import ModelStore, write_model
from surveyflow.sky.stretch import prepare
from surveyflow.types import ModelKey, Stretch
from worlds import MiniSurvey

KEY = ModelKey("merger", "EGS", "F814W")


@pytest.fixture
def store(tmp_path):
    write_untrained_models(tmp_path / "models", ("COSMOS", "EGS"), TINY)
    return ModelStore(tmp_path / "models")


def invoke(*arguments):
    return CliRunner().invoke(cli.app, ["models", *map(str, arguments)])


def test_list_names_every_model_with_its_origin(store):
    lines = invoke("list", store.path).stdout.splitlines()
    assert len(lines) == 4
    assert all("untrained" in line for line in lines)
    assert json.loads(invoke("list", store.path, "--json").stdout)[str(KEY)]["origin"] == "untrained"


def test_show_prints_the_card(store):
    folder = store.folder(KEY)
    assert invoke("show", folder).stdout.rstrip() == (folder / "card.toml").read_text().rstrip()


def test_show_refuses_weights_that_are_not_the_cards(store):
    folder = store.folder(KEY)
    shutil.copy(store.folder(ModelKey("merger", "COSMOS", "F814W")) / "weights.safetensors", folder)
    with pytest.raises(ModelError, match="weights"):
        api.verified_card(folder)


@pytest.fixture(scope="module")
def crowded(tmp_path_factory):
    """A survey with enough sources in one field to judge by."""
    folder = tmp_path_factory.mktemp("crowded")
    (folder / "models").mkdir()
    return MiniSurvey(folder, fields=("EGS",), n_sources=150, shape_f814w=(1400, 1200))


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
    with pytest.raises(InputError, match=r"only .* of its sources lie wholly on the mosaic"):
        api.check_models(mini_survey.folder / "models", mini_survey.workflow)
