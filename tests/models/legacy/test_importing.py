"""The authors' files are imported by name and role, without running them, or refused with a reason."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from networks import SMALL, random_weights, reference_features
from surveyflow.errors import ModelError
from surveyflow.models.store import ModelStore
from surveyflow.sky.stretch import Stretch
from surveyflow.tasks.card import Architecture, Domain, ModelKey
from surveyflow.values.codes import WeightsOrigin

KEYS = ["variables", "trainable_variables"]
EGS = ModelKey("merger", "EGS", "F814W")


@pytest.fixture(scope="module")
def legacy_models(keras):
    pytest.importorskip("tensorflow", reason="needs an extra: pip install 'surveyflow-mergers[cpu]'")
    import legacy_models

    return legacy_models


@pytest.fixture(scope="module")
def saved_models(legacy_models, shared_worlds):
    """One SavedModel of each kind of keys: only to be read."""

    def make(folder):
        return {keys: legacy_models.write_saved_model(folder / keys / "F814W" / "EGS", keys=keys) for keys in KEYS}

    return shared_worlds.get("saved-models", make)


@pytest.fixture
def legacy():
    from surveyflow.models.legacy import importing as legacy

    return legacy


@pytest.fixture
def store(tmp_path):
    return ModelStore(tmp_path / "store")


@pytest.mark.parametrize("keys", KEYS)
def test_the_test_models_have_the_keys_of_the_release(legacy_models, saved_models, keys):
    reader = legacy_models.tf.train.load_checkpoint(str(saved_models[keys] / "variables" / "variables"))
    found = {key.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE") for key in reader.get_variable_to_shape_map()}
    trainable = {f"{keys}/{i}" for i in range(24 if keys == "trainable_variables" else 36)}
    moving = {f"variables/{i}" for first in (8, 20, 32) for i in range(first, first + 4)}
    dense = {f"layer_with_weights-{j}/{role}" for j in (3, 4, 5) for role in ("kernel", "bias")}
    weights = {key for key in found if key.startswith(("variables", "trainable", "layer")) and "SLOT" not in key}
    assert weights == trainable | moving | dense
    assert any("OPTIMIZER_SLOT" in key for key in found)
    assert any("keras_api/metrics" in key for key in found)


@pytest.mark.parametrize("keys", KEYS)
def test_weights_land_in_their_roles(saved_models, legacy, store, keys):
    card = legacy.import_legacy(saved_models[keys], store.path, stretch="minmax")
    weights, expected = store.weights(EGS), random_weights()
    assert card.key == EGS
    assert weights.keys() == expected.keys()
    for role, values in expected.items():
        np.testing.assert_array_equal(weights[role], values, err_msg=role)


@pytest.mark.parametrize("keys", KEYS)
def test_features_equal_those_of_the_files_own_graph(saved_models, legacy, store, keys):
    from surveyflow.models.legacy.parity import check_parity

    legacy.import_legacy(saved_models[keys], store.path, stretch="minmax")
    report = check_parity(saved_models[keys], store.folder(EGS))
    assert report.passed
    assert report.relative_difference <= 1e-5
    assert report.largest_feature > 0.1
    written = json.loads((store.folder(EGS) / "parity.json").read_text())
    assert written["passed"] is True
    assert written["model_id"] == store.card(EGS).model_id
    expected = [reference_features(image, random_weights()) for image in np.random.default_rng(0).uniform(size=(4, 48, 48))]
    assert report.largest_feature == pytest.approx(np.abs(expected).max(), rel=1e-5)


def test_features_that_are_all_zero_are_compared_without_dividing_by_them(saved_models, legacy, legacy_models, store, tmp_path):
    from surveyflow.models.legacy.parity import check_parity

    def silence(tensors):
        for role in ("kernel", "bias"):
            tensors[f"layer_with_weights-3/{role}/.ATTRIBUTES/VARIABLE_VALUE"][...] = 0

    silent = shutil.copytree(saved_models["variables"], tmp_path / "F814W" / "EGS")
    legacy_models.edit_variables(silent, silence)
    legacy.import_legacy(silent, store.path, stretch="minmax")
    report = check_parity(silent, store.folder(EGS))
    assert (report.largest_feature, report.relative_difference, report.passed) == (0, 0, True)
    legacy.import_legacy(saved_models["variables"], store.path, stretch="minmax", overwrite=True)
    report = check_parity(silent, store.folder(EGS))
    assert (report.relative_difference, report.passed) == (np.inf, False)
    assert json.loads((store.folder(EGS) / "parity.json").read_text())["relative_difference"] is None


def test_parity_fails_for_the_wrong_model(saved_models, legacy, legacy_models, store, tmp_path):
    from surveyflow.models.legacy.parity import check_parity

    legacy.import_legacy(saved_models["variables"], store.path, stretch="minmax")
    other = shutil.copytree(saved_models["variables"], tmp_path / "F814W" / "EGS")
    legacy_models.edit_variables(other, lambda tensors: tensors["variables/10/.ATTRIBUTES/VARIABLE_VALUE"].__iadd__(0.01))
    report = check_parity(other, store.folder(EGS))
    assert not report.passed
    assert 1e-5 < report.relative_difference < 0.1


def test_import_needs_no_graph(saved_models, legacy, legacy_models, store, tmp_path):
    """Whatever program a file holds, it is not run: without it, the import is the same."""
    folder = shutil.copytree(saved_models[KEYS[0]], tmp_path / "F814W" / "EGS")
    saved = legacy_models.saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    saved.meta_graphs[0].ClearField("graph_def")
    saved.meta_graphs[0].ClearField("signature_def")
    (folder / "saved_model.pb").write_bytes(saved.SerializeToString())
    legacy.import_legacy(folder, store.path, stretch="minmax")
    np.testing.assert_array_equal(store.weights(EGS)["bn.5.variance"], random_weights()["bn.5.variance"])


def test_layers_numbered_within_a_process_are_mapped_by_place(saved_models, legacy, legacy_models, store, tmp_path):
    def renumber(metadata):
        for path, values in metadata.items():
            if path.startswith("layer-2/") and values:
                values["name"] = f"{path.split('/')[1]}_1{path[-1]}"

    folder = legacy_models.edited_copy(saved_models[KEYS[0]], tmp_path / "F814W" / "EGS", renumber)
    legacy.import_legacy(folder, store.path, stretch="minmax")
    np.testing.assert_array_equal(store.weights(EGS)["conv.3.kernel"], random_weights()["conv.3.kernel"])


def test_the_layout_of_the_release_fills_the_card(saved_models, legacy, store):
    card = legacy.import_legacy(saved_models[KEYS[0]], store.path, stretch="asinh_minmax", softening=0.5)
    assert (card.band, card.pixel_scale_arcsec, card.redshift_range) == ("F814W", 0.03, (0.5, 1.5))
    assert (card.stretch, card.softening) == (Stretch.ASINH_MINMAX, 0.5)
    assert card.class_names == ("post_merger", "star_forming")
    assert card.domain == Domain("electron/s", (0.00024, 0.0036))
    assert card.architecture == SMALL


@pytest.mark.parametrize(
    ("instrument", "field_rms"),
    [
        ("F814W", [0.000721, 0.000691, 0.000629, 0.000487, 0.000549]),
        ("F125W_F160W", [0.003130, 0.003176, 0.003180, 0.002788, 0.002564, 0.002652, 0.002624, 0.002155, 0.002371, 0.003260]),
    ],
)
def test_the_noise_range_leaves_room_around_that_of_the_five_fields(saved_models, legacy, instrument, field_rms):
    """Their sky rms, e-/s, from the authors' simulator (candelizer, constants.py)."""
    card, _ = legacy.read_legacy(saved_models[KEYS[0]], stretch="minmax", instrument=instrument)
    low, high = card.domain.sky_rms
    assert low == pytest.approx(0.5 * min(field_rms), rel=0.05)
    assert high == pytest.approx(5 * max(field_rms), rel=0.05)
    said = Domain("MJy/sr", (1.0, 2.0))
    assert legacy.read_legacy(saved_models[KEYS[0]], stretch="minmax", domain=said)[0].domain == said


@pytest.fixture
def released_egs(saved_models, monkeypatch):
    """A file of the tests that counts as the authors' F814W/EGS."""
    from surveyflow.models.legacy import released

    folder = saved_models[KEYS[0]]
    digests = tuple(released.git_id((folder / file).read_bytes()) for file in released.FILES)
    monkeypatch.setitem(released.RELEASED, digests, released.ReleasedModel("F814W", "EGS"))
    return folder


def test_a_file_like_the_released_ones_is_its_users(legacy, legacy_models, tmp_path):
    """Published shape, names and layout, other numbers."""
    folder = legacy_models.write_saved_model(tmp_path / "F814W" / "EGS", Architecture(), random_weights(Architecture()))
    card, _ = legacy.read_legacy(folder, stretch="minmax")
    assert card.architecture == Architecture()
    assert card.key == EGS
    assert card.origin is WeightsOrigin.USER
    assert "not the authors' released" in card.notes
    assert "Ferreira" not in card.citation


def test_a_file_with_the_digests_of_a_released_one_is_the_authors(released_egs, legacy):
    card, _ = legacy.read_legacy(released_egs, stretch="minmax")
    assert card.origin is WeightsOrigin.FERREIRA2022
    assert "Ferreira et al. 2022" in card.citation
    assert card.notes.startswith("The authors' released F814W/EGS, by the digests")


@pytest.mark.parametrize(
    "other", [{"field": "UDS"}, {"instrument": "F125W_F160W"}, {"task": "contamination", "class_names": ("a", "b")}]
)
def test_a_released_file_under_another_name_is_not_called_ferreira_2022(released_egs, legacy, other):
    card, _ = legacy.read_legacy(released_egs, stretch="minmax", **other)
    assert card.origin is WeightsOrigin.USER
    assert f"released F814W/EGS, by the digests of its files, imported as another model: {card.key}" in card.notes


def test_the_callers_word_on_the_origin_holds_and_is_noted(saved_models, legacy):
    card, _ = legacy.read_legacy(saved_models[KEYS[0]], stretch="minmax", origin="ferreira2022", notes="from a drawer")
    assert card.origin is WeightsOrigin.FERREIRA2022
    assert card.notes == ("from a drawer The origin ferreira2022 was given at import; the files' digests say user.")
    assert "Ferreira et al. 2022" in card.citation
    with pytest.raises(ModelError, match=r"no weights origin 'mine'\. Choose one of ferreira2022, simulated, user, untrained"):
        legacy.read_legacy(saved_models[KEYS[0]], stretch="minmax", origin="mine")


def test_what_the_caller_says_of_the_card_holds(saved_models, legacy, store):
    said = {
        "field": "UVISTA",
        "instrument": "F115W",
        "band": "F115W",
        "pixel_scale_arcsec": 0.02,
        "redshift_range": (1.0, 2.0),
        "origin": WeightsOrigin.USER,
        "also_for": ("PRIMER",),
        "class_names": ("star_forming", "post_merger"),
        "notes": "from a drawer",
    }
    card = legacy.import_legacy(saved_models[KEYS[0]], store.path, stretch="linear", **said)
    assert card.key == ModelKey("merger", "UVISTA", "F115W")
    assert all(getattr(card, name) == value for name, value in said.items() if name not in ("field", "instrument"))
    assert store.card(ModelKey("merger", "PRIMER", "F115W")) == card


def test_an_unknown_instrument_must_be_described(saved_models, legacy, tmp_path):
    folder = shutil.copytree(saved_models[KEYS[0]], tmp_path / "models" / "EGS")
    options = r"band \(--band\), pixel_scale_arcsec \(--pixel-scale\), redshift_range \(--redshift-range\)"
    with pytest.raises(
        ModelError, match=f"merger/EGS/models is not a model of the release.* lacks {options}. Give them"
    ) as error:
        legacy.read_legacy(folder, stretch="minmax")
    assert str(error.value).count(str(folder)) == 1
    card, _ = legacy.read_legacy(folder, stretch="minmax", band="I", pixel_scale_arcsec=0.1, redshift_range=(0, 1))
    assert card.domain == Domain()


def test_outputs_of_another_task_must_be_named(saved_models, legacy):
    with pytest.raises(ModelError, match=r"contamination/EGS/F814W .* lacks class_names \(--class-names\)"):
        legacy.read_legacy(saved_models[KEYS[0]], stretch="minmax", task="contamination")


def test_all_models_of_a_release_are_found_and_imported(saved_models, legacy, store, tmp_path):
    for i, (instrument, field) in enumerate(
        (i, f) for i in ("F814W", "F125W_F160W") for f in ("COSMOS", "EGS", "GOODS_N", "GOODS_S", "UDS")
    ):
        shutil.copytree(saved_models[KEYS[i % 2]], tmp_path / "models" / instrument / field)
    found = legacy.find_saved_models(tmp_path)
    cards = legacy.import_all(found, store.path, stretch="minmax")
    assert len(found) == len(cards) == len(store.cards()) == 10
    assert legacy.import_all(found, store.path, stretch="minmax") == cards


def test_nothing_is_imported_unless_all_can_be(saved_models, legacy, store, tmp_path):
    shutil.copytree(saved_models[KEYS[0]], tmp_path / "F814W" / "EGS")
    for field in ("UDS", "COSMOS"):
        (shutil.copytree(saved_models[KEYS[0]], tmp_path / "F814W" / field) / "saved_model.pb").write_bytes(b"\xff")
    with pytest.raises(ModelError, match=r"(?s)COSMOS/saved_model.pb: not a SavedModel.*UDS/saved_model.pb: not a SavedModel"):
        legacy.import_all(legacy.find_saved_models(tmp_path), store.path, stretch="minmax")
    assert not store.path.exists()


def test_nothing_is_imported_if_one_of_the_models_is_there_already(saved_models, legacy, store, tmp_path):
    for field in ("COSMOS", "EGS", "UDS"):
        shutil.copytree(saved_models[KEYS[0]], tmp_path / "F814W" / field)
    found = legacy.find_saved_models(tmp_path)
    old = legacy.import_all(found[1:], store.path, stretch="linear")
    with pytest.raises(ModelError, match=r"(?s)F814W/EGS: already holds another model.*F814W/UDS: already holds another model"):
        legacy.import_all(found, store.path, stretch="minmax")
    assert store.cards() == {card.key: card for card in old}
    new = legacy.import_all(found, store.path, stretch="minmax", overwrite=True)
    assert store.cards() == {card.key: card for card in new}


def test_two_models_of_one_key_are_refused(saved_models, legacy, store):
    with pytest.raises(ModelError, match="merger/EGS/F814W would be the key of several"):
        legacy.import_all(list(saved_models.values()), store.path, stretch="minmax")


def test_a_folder_without_models_is_refused(legacy, tmp_path):
    with pytest.raises(ModelError, match=r"there is no saved_model.pb in this folder or below it"):
        legacy.find_saved_models(tmp_path)


def test_a_key_that_leaves_the_store_is_refused(saved_models, legacy, store):
    with pytest.raises(ModelError, match="outside the store"):
        legacy.import_legacy(saved_models[KEYS[0]], store.path, stretch="minmax", field="../../elsewhere")
    assert not store.path.exists()


def remove_index(variables):
    (variables / "variables.index").unlink()


def remove_shard(variables):
    (variables / "variables.data-00000-of-00001").unlink()


def truncate_shard(variables):
    shard = variables / "variables.data-00000-of-00001"
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 3])


def flip_bits(variables):
    shard = variables / "variables.data-00000-of-00001"
    shard.write_bytes(bytes(255 - value for value in shard.read_bytes()))


def truncate_index(variables):
    index = variables / "variables.index"
    index.write_bytes(index.read_bytes()[:100])


def remove_all(variables):
    shutil.rmtree(variables)


@pytest.mark.parametrize("damage", [remove_index, remove_shard, truncate_shard, flip_bits, truncate_index, remove_all])
def test_missing_truncated_and_damaged_variables_are_refused(saved_models, legacy, store, tmp_path, damage):
    folder = shutil.copytree(saved_models[KEYS[0]], tmp_path / "F814W" / "EGS")
    damage(folder / "variables")
    with pytest.raises(ModelError, match=r"variables/variables.*: missing, truncated or damaged .* copy them again"):
        legacy.import_legacy(folder, store.path, stretch="minmax")
    assert not store.path.exists()


@pytest.mark.parametrize("content", [None, b"", b"not a protobuf", b"version https://git-lfs.github.com/spec/v1\n"])
def test_a_saved_model_that_is_none_is_refused(saved_models, legacy, tmp_path, content):
    folder = shutil.copytree(saved_models[KEYS[0]], tmp_path / "F814W" / "EGS")
    (folder / "saved_model.pb").unlink() if content is None else (folder / "saved_model.pb").write_bytes(content)
    with pytest.raises(ModelError, match=r"saved_model.pb: (cannot be read|not a SavedModel|it describes no objects)"):
        legacy.read_legacy(folder, stretch="minmax")


def test_weights_that_are_not_numbers_are_refused(saved_models, legacy_models, legacy, tmp_path):
    def spoil(tensors):
        tensors["variables/10/.ATTRIBUTES/VARIABLE_VALUE"][2] = np.nan

    folder = shutil.copytree(saved_models["variables"], tmp_path / "F814W" / "EGS")
    legacy_models.edit_variables(folder, spoil)
    with pytest.raises(ModelError, match=r"bn.1.mean holds 1 values that are not finite"):
        legacy.read_legacy(folder, stretch="minmax")


def setting(path, key, value):
    return lambda metadata: metadata[path]["config"].__setitem__(key, value)


def shortcut(metadata):
    metadata[""]["config"]["layers"][4]["inbound_nodes"] = [[["ConvBlock-0", 0, 0, {}], ["input_1", 0, 0, {}]]]


DIFFERENCES = [
    (setting("layer-3", "pool_size", [3, 3]), r"layer-3 \(MaxPooling2D\) has pool_size = \[3, 3\], expected \(2, 2\)"),
    (setting("layer-2/conv2d/1", "padding", "same"), r"layer-2/conv2d/1 \(Conv2D\) has padding = 'same', expected 'valid'"),
    (setting("layer-2/conv2d/0", "activation", "relu"), r"has activation = 'relu', expected 'linear'"),
    (
        setting("layer-4/activation/0", "activation", "elu"),
        r"layer-4/activation/0 \(Activation\) has activation = 'elu', expected 'relu'",
    ),
    (setting("layer-4/batch_norm/0", "scale", value=False), r"has scale = False, expected True"),
    (setting("layer-4/batch_norm/0", "epsilon", 1e-5), r"it has epsilon \[1e-05, 0.001\], but one value is expected"),
    (setting("layer-4/conv2d/0", "filters", 7), r"it has filters \[6, 7\], but one value is expected"),
    (setting("layer-10", "activation", "tanh"), r"layer-10 \(Activation\) has activation = 'tanh', expected 'relu'"),
    (setting("layer-14", "activation", "softmax"), r"layer-14 \(Dense\) has activation = 'softmax', expected 'sigmoid'"),
    (setting("layer-9", "rate", 0.1), r"the dropout layers have rates \['0.1', '0.5'\], expected one"),
    (
        setting("layer-0", "batch_input_shape", [None, 48, 48, 3]),
        r"its input has shape \[48, 48, 3\], expected \(size, size, 1\)",
    ),
    (
        lambda metadata: metadata["layer-3"].update(class_name="AveragePooling2D"),
        "layer 3 is AveragePooling2D, expected MaxPooling2D",
    ),
    (
        lambda metadata: metadata["layer-14"].update(class_name="Softmax"),
        "layer 14 is Softmax, expected Dense",
    ),
    (
        lambda metadata: metadata["layer-2/conv2d/0"].update(class_name="DepthwiseConv2D"),
        "has class = 'DepthwiseConv2D', expected 'Conv2D'",
    ),
    (lambda metadata: metadata["layer-2"].clear() or metadata["layer-2"].update(a=1), "'layer-2' is not a Keras layer"),
    (shortcut, r"ConvBlock-1 takes \['ConvBlock-0', 'input_1'\], expected \['max_pooling2d'\]"),
    (setting("layer-2/conv2d/0", "kernel_size", [5, 3]), r"it has kernel side \[3, 5\], but one value is expected"),
    (setting("layer-2/conv2d/0", "kernel_size", None), "a different network"),
]


@pytest.mark.parametrize(("edit", "message"), DIFFERENCES)
def test_another_network_is_refused_with_the_difference(saved_models, legacy, legacy_models, tmp_path, edit, message):
    folder = legacy_models.edited_copy(saved_models[KEYS[0]], tmp_path / "F814W" / "EGS", edit)
    with pytest.raises(ModelError, match=f"{message}.*Only networks with the layout of Ferreira et al. 2022"):
        legacy.read_legacy(folder, stretch="minmax")


def test_other_shapes_than_described_are_refused(saved_models, legacy, legacy_models, tmp_path):
    def widen(metadata):
        for n in range(2):
            metadata[f"layer-2/conv2d/{n}"]["config"]["filters"] = 9

    folder = legacy_models.edited_copy(saved_models[KEYS[0]], tmp_path / "F814W" / "EGS", widen)
    with pytest.raises(ModelError, match=r"conv.0.kernel has shape \(5, 5, 1, 4\), expected \(5, 5, 1, 9\)"):
        legacy.read_legacy(folder, stretch="minmax")


def test_padded_pooling_is_the_same_only_on_even_maps(saved_models, legacy, legacy_models, tmp_path):
    def pad(metadata):
        for path in ("layer-3", "layer-5"):
            metadata[path]["config"]["padding"] = "same"

    assert [size % 2 for size in SMALL.map_sizes[2:-1:3]] == [0, 0]
    legacy.read_legacy(legacy_models.edited_copy(saved_models[KEYS[0]], tmp_path / "F814W" / "EGS", pad), stretch="minmax")

    def pad_odd_maps(metadata):
        pad(metadata)
        metadata["layer-0"]["config"]["batch_input_shape"] = [None, 49, 49, 1]

    odd = legacy_models.edited_copy(saved_models[KEYS[0]], tmp_path / "odd" / "F814W" / "EGS", pad_odd_maps)
    with pytest.raises(ModelError, match=r"its pooling has padding \['same'\] on maps of sides \(41, 16\), expected valid"):
        legacy.read_legacy(odd, stretch="minmax")


def test_an_unknown_stretch_is_refused(saved_models, legacy):
    with pytest.raises(ModelError, match=r"no stretch 'sqrt'\. Choose one of asinh_minmax, minmax,"):
        legacy.read_legacy(saved_models[KEYS[0]], stretch="sqrt")


def test_without_tensorflow_the_remedy_is_named(saved_models, legacy, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorflow.core.protobuf.saved_model_pb2", None)
    with pytest.raises(ModelError, match=r"needs TensorFlow: .* `pip install 'surveyflow-mergers\[cpu\]'"):
        legacy.read_legacy(saved_models[KEYS[0]], stretch="minmax")
