"""The authors' files are imported by name and role, without running them, or refused with a reason."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from networks import SMALL, random_weights, reference_features
from surveyflow.errors import ModelError
from surveyflow.models.store import ModelStore
from surveyflow.types import Architecture, Domain, ModelKey, Stretch, WeightsOrigin

pytestmark = pytest.mark.timeout(60)  # the first test that imports TensorFlow pays for it

KEYS = ["variables", "trainable_variables"]
EGS = ModelKey("merger", "EGS", "F814W")


@pytest.fixture(scope="module")
def legacy_models(keras):
    pytest.importorskip("tensorflow", reason="needs an extra: pip install 'surveyflow[cpu]'")
    import legacy_models

    return legacy_models


@pytest.fixture(scope="module")
def saved_models(legacy_models, tmp_path_factory):
    """One SavedModel of each kind of keys."""
    folder = tmp_path_factory.mktemp("release")
    return {keys: legacy_models.write_saved_model(folder / keys / "F814W" / "EGS", keys=keys) for keys in KEYS}


@pytest.fixture
def legacy():
    from surveyflow.models import legacy

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
    from surveyflow.models.parity import check_parity

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


def test_parity_fails_for_the_wrong_model(saved_models, legacy, legacy_models, store, tmp_path):
    from surveyflow.models.parity import check_parity

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
    assert card.domain == Domain("electron/s")
    assert card.architecture == SMALL


def test_only_the_published_network_is_called_ferreira_2022(saved_models, legacy):
    card, _ = legacy.read_legacy(saved_models[KEYS[0]], stretch="minmax")
    assert card.origin is WeightsOrigin.USER
    card = legacy._card(Path("F125W_F160W/UDS"), Architecture(), {"stretch": Stretch.MINMAX, "softening": 1.0})
    assert card.origin is WeightsOrigin.FERREIRA2022
    assert "Ferreira et al. 2022" in card.citation
    assert card.key == ModelKey("merger", "UDS", "F125W_F160W")
    assert (card.pixel_scale_arcsec, card.redshift_range) == (0.06, (1.5, 3.0))


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
    with pytest.raises(
        ModelError, match=r"'models' is not an instrument .* Give the instrument, or band, pixel_scale_arcsec, redshift"
    ):
        legacy.read_legacy(folder, stretch="minmax")


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


def test_two_models_of_one_key_are_refused(saved_models, legacy, store):
    with pytest.raises(ModelError, match="merger/EGS/F814W would be the key of several"):
        legacy.import_all(list(saved_models.values()), store.path, stretch="minmax")


def test_a_folder_without_models_is_refused(legacy, tmp_path):
    with pytest.raises(ModelError, match=r"holds no saved_model.pb, here or below"):
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
    with pytest.raises(ModelError, match=r"saved_model.pb: (cannot be read|not a SavedModel|describes no objects)"):
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
    (setting("layer-4/batch_norm/0", "epsilon", 1e-5), r"it has epsilon \[1e-05, 0.001\] where one is expected"),
    (setting("layer-4/conv2d/0", "filters", 7), r"it has filters \[6, 7\] where one is expected"),
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
    (setting("layer-2/conv2d/0", "kernel_size", [5, 3]), r"it has kernel side \[3, 5\] where one is expected"),
    (setting("layer-2/conv2d/0", "kernel_size", None), "a different network"),
]


@pytest.mark.parametrize(("edit", "message"), DIFFERENCES)
def test_another_network_is_refused_with_the_difference(saved_models, legacy, legacy_models, tmp_path, edit, message):
    folder = legacy_models.edited_copy(saved_models[KEYS[0]], tmp_path / "F814W" / "EGS", edit)
    with pytest.raises(ModelError, match=f"{message}.*Only networks of the layout of Ferreira et al. 2022"):
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
    with pytest.raises(ModelError, match="'sqrt' is not a valid Stretch"):
        legacy.read_legacy(saved_models[KEYS[0]], stretch="sqrt")


def test_without_tensorflow_the_remedy_is_named(saved_models, legacy, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorflow.core.protobuf.saved_model_pb2", None)
    with pytest.raises(ModelError, match=r"needs TensorFlow: .* pip install 'surveyflow\[cpu\]'"):
        legacy.read_legacy(saved_models[KEYS[0]], stretch="minmax")
