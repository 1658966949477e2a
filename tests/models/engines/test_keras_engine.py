"""A loaded model gives every source the same answer, whatever it shares a batch with."""

from __future__ import annotations

import logging

import numpy as np
import psutil
import pytest

from networks import KEY, images, random_weights, reference_features, write_small_model
from surveyflow.errors import ModelError
from surveyflow.models.engines.choice import load_model
from surveyflow.models.store import ModelStore
from surveyflow.tasks.card import Architecture, Model
from users_keras import odd_settings


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    store = ModelStore(tmp_path_factory.mktemp("models"))
    write_small_model(store.path)
    return store.folder(KEY)


@pytest.fixture(scope="module")
def model(keras, folder):
    return load_model(folder, "keras", batch_size=4)


def source_keys(n):
    return np.random.default_rng(3).integers(0, 2**64, n, dtype=np.uint64)


def test_a_model_is_its_two_calls_and_its_card(model):
    assert isinstance(model, Model)
    assert model.card.key == KEY
    features = model.features(images(5))
    draws = model.draw(features, source_keys(5), n_draws=6, seed=0)
    assert (features.shape, features.dtype) == ((5, 16), np.float32)
    assert (draws.shape, draws.dtype) == ((5, 6, 2), np.float32)


def test_features_equal_the_reference_in_float64(model):
    expected = np.array([reference_features(image, random_weights()) for image in images(5)])
    np.testing.assert_allclose(model.features(images(5)), expected, atol=2e-6 * np.abs(expected).max())


def test_what_a_user_has_set_for_keras_changes_nothing_and_stays(model, folder):
    cutouts = images(5)
    features, draws = model.features(cutouts), model.draw(model.features(cutouts), source_keys(5), 6, seed=0)
    with odd_settings():
        other = load_model(folder, "keras", batch_size=4)
        np.testing.assert_array_equal(other.features(cutouts), features)
        np.testing.assert_array_equal(other.draw(features, source_keys(5), 6, seed=0), draws)
        np.testing.assert_array_equal(model.features(cutouts), features)


def test_batch_order_and_padding_change_nothing(model, folder):
    cutouts, order = images(11), np.random.default_rng(0).permutation(11)
    features = model.features(cutouts)
    scale = np.abs(features).max()
    for other in (load_model(folder, "keras", batch_size=1), load_model(folder, batch_size=16)):
        np.testing.assert_allclose(other.features(cutouts[order]), features[order], atol=1e-6 * scale)
        draws = other.draw(other.features(cutouts[order]), source_keys(11)[order], 20, seed=1)
        np.testing.assert_allclose(draws, model.draw(features, source_keys(11), 20, seed=1)[order], atol=1e-6)


def test_the_trunk_is_compiled_once(folder):
    model = load_model(folder, "keras", batch_size=4)
    for n in (1, 4, 9, 3):
        model.features(images(n))
    assert model._trunk.predict_function.experimental_get_tracing_count() == 1


def test_no_cutouts_give_no_features(model):
    assert model.features(images(0)).shape == (0, 16)
    assert model.draw(model.features(images(0)), source_keys(0), 3, seed=0).shape == (0, 3, 2)


def test_cutouts_of_another_size_are_refused(model):
    with pytest.raises(ValueError, match=r"shape \(2, 40, 40\), but the network takes \(n, 48, 48\)"):
        model.features(images(2, size=40))


def test_a_cutout_with_a_nan_spoils_no_other(model):
    cutouts = images(3)
    clean = model.features(cutouts)
    cutouts[1] = np.nan
    np.testing.assert_allclose(model.features(cutouts)[[0, 2]], clean[[0, 2]], rtol=1e-6)


class ResourceExhaustedError(Exception):
    """Stands in for TensorFlow's own error: no test machine has a GPU to fill."""


class SmallDevice:
    """Stands in for a trunk on a device with room for ``room`` cutouts."""

    def __init__(self, trunk, room):
        self.trunk, self.room, self.asked = trunk, room, []

    def predict_on_batch(self, batch):
        self.asked.append(len(batch))
        if len(batch) > self.room:
            raise ResourceExhaustedError("OOM when allocating tensor")
        return self.trunk.predict_on_batch(batch)


def test_the_batch_is_halved_until_it_fits(folder, model, caplog):
    small = load_model(folder, "keras", batch_size=16)
    small._trunk = device = SmallDevice(small._trunk, room=5)
    with caplog.at_level(logging.WARNING, logger="surveyflow"):
        found = small.features(images(9))
    np.testing.assert_allclose(found, model.features(images(9)), atol=1e-5)
    assert device.asked == [16, 8, 4, 4, 4]
    assert small.batch_size == 4
    told = [record.getMessage().split()[-1] for record in caplog.records if record.msg.startswith("event=out_of_memory")]
    assert told == ["batch_size=8", "batch_size=4"]


def test_a_device_without_room_for_one_cutout_is_an_error(folder):
    model = load_model(folder, "keras", batch_size=2)
    model._trunk = SmallDevice(model._trunk, room=0)
    with pytest.raises(ResourceExhaustedError):
        model.features(images(1))


def test_another_error_is_not_taken_for_a_full_device(folder):
    model = load_model(folder, "keras", batch_size=2)
    model._trunk = None
    with pytest.raises(AttributeError):
        model.features(images(1))
    assert model.batch_size == 2


def test_memory_does_not_grow_over_200_batches(model):
    cutouts, keys, process = images(16), source_keys(16), psutil.Process()

    def pass_batches(count):
        for _ in range(count):
            model.draw(model.features(cutouts[:4]), keys[:4], 100, seed=0)

    pass_batches(30)
    before = process.memory_info().rss
    pass_batches(200)
    assert process.memory_info().rss - before < 4 * 2**20


@pytest.mark.parametrize("dropout", [0.0, 0.3, 0.5])
def test_the_device_draws_what_numpy_draws(keras, tmp_path, monkeypatch, dropout):
    from surveyflow.models.engines import device_head

    architecture = Architecture(48, (4,), (5,), dense=(16, 12, 8), dropout=dropout, n_outputs=3)
    card = write_small_model(tmp_path, architecture)
    model = load_model(ModelStore(tmp_path).folder(KEY))
    features = np.random.default_rng(0).normal(size=(5, 16)).astype(np.float32)
    monkeypatch.setattr(device_head, "_DRAWS_AT_ONCE", 40)
    with odd_settings():
        on_device = device_head.DeviceHead(card, random_weights(architecture)).draw(features, source_keys(5), 30, seed=2**32 - 1)
    np.testing.assert_allclose(on_device, model.draw(features, source_keys(5), 30, seed=2**32 - 1), atol=1e-6)


def pretend_a_gpu(keras, monkeypatch):
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: ["cpu:0", "gpu:0"])


def test_a_gpu_makes_its_own_draws(keras, folder, monkeypatch):
    from surveyflow.models.engines.device_head import DeviceHead

    pretend_a_gpu(keras, monkeypatch)
    assert isinstance(load_model(folder, "keras", batch_size=4)._head, DeviceHead)


def test_a_gpu_is_probed_at_start_and_a_cpu_is_not(keras, folder, model, monkeypatch):
    from surveyflow.models.engines import keras_engine

    asked = []

    def probe(seconds_of):
        asked.extend([seconds_of(6), seconds_of(3)])
        return 3

    monkeypatch.setattr(keras_engine, "probe_batch_size", probe)
    assert load_model(folder, "keras").batch_size == 8
    assert asked == []
    pretend_a_gpu(keras, monkeypatch)
    probed = load_model(folder, "keras")
    assert probed.batch_size == 3
    assert len(asked) == 2
    assert min(asked) > 0
    np.testing.assert_allclose(probed.features(images(5)), model.features(images(5)), atol=1e-5)
    assert probed._trunk.predict_function.experimental_get_tracing_count() == 1


def test_bf16_is_close_to_float32_and_not_equal(model, folder):
    exact, rounded = model.features(images(4)), load_model(folder, "keras", precision="bf16", batch_size=4).features(images(4))
    assert rounded.dtype == np.float32
    assert 1e-5 < np.abs(rounded - exact).max() / np.abs(exact).max() < 0.1


class SwitchSpy:
    """Stands in for a trunk, or for a head's outputs, and notes whether TensorFlow would round products to TF32 meanwhile."""

    def __init__(self, part):
        self.part, self.seen = part, []

    def predict_on_batch(self, batch):
        self._look()
        return self.part.predict_on_batch(batch)

    def __call__(self, *arrays):
        self._look()
        return self.part(*arrays)

    def _look(self):
        import tensorflow as tf

        self.seen.append(tf.config.experimental.tensor_float_32_execution_enabled())


@pytest.mark.parametrize("before", [False, True])
def test_models_of_different_precision_keep_theirs_in_one_process(keras, folder, before):
    import tensorflow as tf

    switch = tf.config.experimental
    default = switch.tensor_float_32_execution_enabled()
    wanted = ("float32", "tf32", "bf16")
    models = {precision: load_model(folder, "keras", precision=precision, batch_size=2) for precision in wanted}
    switch.enable_tensor_float_32_execution(before)
    try:
        for model in models.values():
            model._trunk = SwitchSpy(model._trunk)
        for precision in ("tf32", "float32", "bf16", "tf32"):
            models[precision].features(images(2))
            assert switch.tensor_float_32_execution_enabled() is before
        assert {precision: model._trunk.seen for precision, model in models.items()} == {
            "float32": [False],
            "tf32": [True, True],
            "bf16": [False],
        }
    finally:
        switch.enable_tensor_float_32_execution(default)


def test_the_switch_is_set_back_after_an_error(keras, folder):
    import tensorflow as tf

    model = load_model(folder, "keras", precision="tf32", batch_size=1)
    model._trunk = SmallDevice(None, room=0)
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    for wanted in (True, False):
        try:
            tf.config.experimental.enable_tensor_float_32_execution(wanted)
            with pytest.raises(ResourceExhaustedError):
                model.features(images(1))
            assert tf.config.experimental.tensor_float_32_execution_enabled() is wanted
        finally:
            tf.config.experimental.enable_tensor_float_32_execution(before)


def test_the_head_on_a_gpu_is_float32_whatever_the_trunk_is(keras, folder, monkeypatch):
    pretend_a_gpu(keras, monkeypatch)
    model = load_model(folder, "keras", precision="tf32", batch_size=2)
    model._head._outputs = spy = SwitchSpy(model._head._outputs)
    model.draw(model.features(images(2)), source_keys(2), 3, seed=0)
    assert spy.seen == [False]


def test_threads_are_left_as_they_are(keras, folder):
    import tensorflow as tf

    threads = tf.config.threading
    before = threads.get_intra_op_parallelism_threads(), threads.get_inter_op_parallelism_threads()
    load_model(folder, "keras")
    assert (threads.get_intra_op_parallelism_threads(), threads.get_inter_op_parallelism_threads()) == before


def test_an_unknown_engine_is_refused(folder):
    with pytest.raises(ModelError, match=r"no engine 'abacus'\. Choose one of auto, keras"):
        load_model(folder, engine="abacus")


def test_a_missing_framework_is_named_with_the_remedy(folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "surveyflow.models.engines.keras_engine", None)
    with pytest.raises(ModelError, match=r"engine 'keras' cannot be used: .* `pip install 'surveyflow-mergers\[cpu\]'"):
        load_model(folder, "keras")
