"""The Keras network is the published one, and any other of its family."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ks_2samp

from networks import SMALL, card, images, random_weights, reference_features
from surveyflow.models.engines.head import Head
from surveyflow.models.weights import weight_shapes
from surveyflow.stats.metrics import confusion_matrix, upsilon
from surveyflow.tasks.card import Architecture

keras_writes_variables_as_numpy_1_did = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def network(keras):
    from surveyflow.models import network

    return network


def small_network(network, architecture=SMALL):
    model = network.build_network(architecture)
    network.set_weights(model, random_weights(architecture))
    return model


def test_layers_are_those_of_the_published_network(network):
    model = network.build_network(Architecture())
    assert sum(np.prod(variable.shape) for variable in model.weights) == 1_865_186
    assert [layer.output.shape[1] for layer in model.layers if layer.name.startswith("conv")] == [118, 108, 46, 38, 13, 7]
    block, pool = ["Conv2D", "BatchNormalization"] * 2, ["MaxPooling2D"]
    head = ["GlobalAveragePooling2D", *["Dense", "MonteCarloDropout", "ReLU"] * 2, "Dense"]
    assert [type(layer).__name__ for layer in model.layers] == ["InputLayer", *block, *pool, *block, *pool, *block, *head]
    assert model.layers[-1].activation.__name__ == "sigmoid"
    assert {layer.epsilon for layer in model.layers if "BatchNorm" in type(layer).__name__} == {1e-3}
    assert {layer.rate for layer in model.layers if "Dropout" in type(layer).__name__} == {0.5}


@pytest.mark.parametrize("architecture", [SMALL, Architecture(40, (3, 5), (7, 5), dense=(10, 9, 8), dropout=0.2, n_outputs=1)])
def test_weights_by_role_survive_the_network(network, architecture):
    weights = random_weights(architecture)
    model = small_network(network, architecture)
    back = network.get_weights(model)
    assert list(back) == list(weight_shapes(architecture))
    for role, values in weights.items():
        np.testing.assert_array_equal(back[role], values)


def test_features_equal_the_reference_in_float64(network):
    trunk, weights, cutouts = network.build_trunk(SMALL), random_weights(), images(3)
    network.set_weights(trunk, weights)
    expected = np.array([reference_features(image, weights) for image in cutouts])
    found = trunk.predict_on_batch(cutouts[..., None])
    np.testing.assert_allclose(found, expected, atol=2e-6 * np.abs(expected).max())


def test_draws_are_distributed_as_full_passes(network):
    """Family-wise level 1e-3 over 4 sources and 2 outputs, by Bonferroni's correction."""
    n_draws, cutouts = 2000, images(4)
    model, trunk, weights = small_network(network), network.build_trunk(SMALL), random_weights()
    network.set_weights(trunk, weights)
    network.keras.utils.set_random_seed(11)
    passes = model.predict(np.repeat(cutouts, n_draws, axis=0)[..., None], batch_size=500, verbose=0).reshape(4, n_draws, 2)
    draws = Head.of(card(), weights).draw(trunk.predict_on_batch(cutouts[..., None]), np.arange(4, dtype=np.uint64), n_draws, 7)
    p_values = [ks_2samp(passes[i, :, j], draws[i, :, j]).pvalue for i in range(4) for j in range(2)]
    assert min(p_values) > 1e-3 / len(p_values)
    assert passes.std(axis=1).min() > 0.01


@keras_writes_variables_as_numpy_1_did
def test_dropout_is_active_at_inference_and_after_a_keras_file(network, tmp_path):
    model = small_network(network)
    model.save(tmp_path / "network.keras")
    again = network.keras.saving.load_model(tmp_path / "network.keras")
    assert isinstance(again.get_layer("dropout_0"), network.MonteCarloDropout)
    image = np.repeat(images(1), 50, axis=0)[..., None]
    assert again.predict_on_batch(image).std(axis=0).min() > 0.01
    for role, values in network.get_weights(model).items():
        np.testing.assert_array_equal(network.get_weights(again)[role], values)


@pytest.fixture
def metric(keras):
    from surveyflow.training.fitting.upsilon import Upsilon

    return Upsilon(n_classes=3)


def labels(n, seed):
    return np.random.default_rng(seed).integers(0, 3, n)


def one_hot(classes):
    return np.eye(3, dtype=np.float32)[classes]


def test_upsilon_over_batches_is_upsilon_of_all(metric):
    truth, guess = labels(90, 0), labels(90, 1)
    for first in range(0, 90, 30):
        metric.update_state(one_hot(truth[first : first + 30]), 0.1 + 0.5 * one_hot(guess[first : first + 30]))
    assert float(metric.result()) == pytest.approx(upsilon(confusion_matrix(truth, guess, 3)))


def test_upsilon_weighs_samples_and_forgets_on_reset(metric):
    metric.update_state(one_hot([0, 0]), one_hot([0, 1]), sample_weight=np.array([3.0, 1.0]))
    assert float(metric.result()) == pytest.approx(0.75)
    metric.reset_state()
    assert np.isnan(float(metric.result()))


@keras_writes_variables_as_numpy_1_did
def test_upsilon_survives_a_keras_file(network, metric, tmp_path):
    model = small_network(network, Architecture(48, (4,), (5,), dense=(8,), n_outputs=3))
    model.compile(optimizer="sgd", loss="binary_crossentropy", metrics=[metric])
    model.save(tmp_path / "network.keras")
    again = network.keras.saving.load_model(tmp_path / "network.keras")
    scores = again.evaluate(images(6)[..., None], one_hot(labels(6, 2)), verbose=0, return_dict=True)
    assert 0 <= scores["upsilon"] <= 1
    assert type(metric).from_config(metric.get_config()).n_classes == 3
