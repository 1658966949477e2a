"""The network of Ferreira et al. 2022, in Keras.

::

    input (side, side, channels)                          cutouts as `surveyflow.models.framing.framed` returns them
    ConvBlock 0, 1, 2     2 x (Conv2D without padding -> ReLU -> BatchNormalization), 2x2 max-pooling between the blocks
    GlobalAveragePooling
    Dense                 -> features: the layers up to here are deterministic at inference, and are called the trunk
    MonteCarloDropout -> ReLU -> Dense -> MonteCarloDropout -> ReLU
    Dense, sigmoid        independent outputs: they do not sum to 1

The authors' files begin with a random rotation, which is inactive at inference and is left out. The code uses Keras 3 without
functions of a backend, so it runs on TensorFlow and on JAX (``KERAS_BACKEND``).
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from surveyflow.models.keras_defaults import keras_defaults
from surveyflow.models.weights import Weights
from surveyflow.tasks.card import Architecture
from surveyflow.values.arrays import Float32Array

_ROLES = {"moving_mean": "mean", "moving_variance": "variance"}


@keras.saving.register_keras_serializable(package="surveyflow")
class MonteCarloDropout(keras.layers.Dropout):
    """Dropout that stays active at inference, so that each pass gives a new draw (Gal & Ghahramani 2016)."""

    def call(self, inputs: Any, training: bool | None = None) -> Any:  # noqa: ARG002 - Keras passes it
        """Drop units at random, whatever ``training`` says."""
        return super().call(inputs, training=True)


@keras_defaults()
def build_network(architecture: Architecture, dtype: str = "float32", batch_norm_momentum: float = 0.99) -> keras.Model:
    """The complete network: (n, side, side, channels) framed cutouts -> (n, n_outputs) sigmoid outputs, a new draw at each call.

    Parameters
    ----------
    architecture, dtype, batch_norm_momentum
        As for `build_trunk`.
    """
    trunk = build_trunk(architecture, dtype, batch_norm_momentum)
    x = trunk.output
    for j, units in enumerate((*architecture.dense[1:], architecture.n_outputs), start=1):
        x = MonteCarloDropout(architecture.dropout, name=f"dropout_{j - 1}")(x)
        x = keras.layers.ReLU(name=f"dense_relu_{j - 1}")(x)
        activation = "sigmoid" if j == len(architecture.dense) else None
        x = keras.layers.Dense(units, activation=activation, name=f"dense_{j}")(x)
    return keras.Model(trunk.input, x, name="network")


@keras_defaults()
def build_trunk(architecture: Architecture, dtype: str = "float32", batch_norm_momentum: float = 0.99) -> keras.Model:
    """The network up to its first dense layer: (n, side, side, channels) -> (n, dense[0]) features, before any dropout.

    Parameters
    ----------
    architecture
        The network.
    dtype
        Keras's dtype policy of the layers: ``float32``, or ``mixed_bfloat16``. The features are always float32.
    batch_norm_momentum
        Momentum of the running statistics in training.
    """
    side = architecture.map_sizes[0]
    x = image = keras.Input((side, side, architecture.n_channels), name="image")
    for block, (filters, kernel_size) in enumerate(zip(architecture.filters, architecture.kernel_sizes, strict=True)):
        if block:
            x = keras.layers.MaxPooling2D(2, name=f"pool_{block - 1}", dtype=dtype)(x)
        for i in (2 * block, 2 * block + 1):
            x = keras.layers.Conv2D(filters, kernel_size, activation="relu", name=f"conv_{i}", dtype=dtype)(x)
            epsilon = architecture.batch_norm_epsilon
            x = keras.layers.BatchNormalization(momentum=batch_norm_momentum, epsilon=epsilon, name=f"bn_{i}", dtype=dtype)(x)
    x = keras.layers.GlobalAveragePooling2D(name="average", dtype=dtype)(x)
    x = keras.layers.Dense(architecture.dense[0], name="dense_0", dtype="float32")(x)
    return keras.Model(image, x, name="trunk")


def set_weights(model: keras.Model, weights: Weights) -> None:
    """Set the weights of the layers of a network or a trunk."""
    for role, variable in _variables(model).items():
        variable.assign(weights[role])


def get_weights(model: keras.Model) -> dict[str, Float32Array]:
    """The weights of a network or a trunk, by role."""
    return {role: np.array(np.asarray(variable), np.float32) for role, variable in _variables(model).items()}


def _variables(model: keras.Model) -> dict[str, Any]:
    """Variables by role: ``conv.0.kernel``, ``bn.0.mean``, ``dense.2.bias``."""
    return {
        f"{layer.name.replace('_', '.')}.{_ROLES.get(variable.name, variable.name)}": variable
        for layer in model.layers
        if layer.name.startswith(("conv_", "bn_", "dense_"))
        for variable in layer.weights
    }
