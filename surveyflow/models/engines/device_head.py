"""The network's head on a GPU, from features to draws: arrays of ``keras.ops``, with the masks of the NumPy head."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from surveyflow.models.engines.head import Head, blocks, keep_masks_on_device, split_keys
from surveyflow.models.engines.precision import products_in
from surveyflow.models.keras_defaults import keras_defaults
from surveyflow.models.weights import Weights
from surveyflow.tasks.card import ModelCard
from surveyflow.values.arrays import Float32Array, UInt64Array

_DRAWS_AT_ONCE = 2**17


class DeviceHead:
    """The layers after the features, on Keras's device.

    Parameters
    ----------
    card, weights
        Card and weights of the model.
    """

    def __init__(self, card: ModelCard, weights: Weights) -> None:
        head = Head.of(card, weights)
        self._layout, self._widths = head.layout, head.widths
        self._kernels = [ops.convert_to_tensor(kernel) for kernel in head.kernels]
        self._biases = [ops.convert_to_tensor(bias) for bias in head.biases]

    @keras_defaults()
    def draw(self, features: Float32Array, source_keys: UInt64Array, n_draws: int, seed: int) -> Float32Array:
        """Sample the outputs; see `surveyflow.tasks.card.Model.draw`."""
        draws = np.empty((len(features), n_draws, self._biases[-1].shape[0]), np.float32)
        for sources, numbers in blocks(len(features), n_draws, _DRAWS_AT_ONCE):
            low, high = map(ops.convert_to_tensor, split_keys(source_keys[sources]))
            these = ops.arange(numbers.start, numbers.stop, dtype="uint32")
            masks = keep_masks_on_device(self._layout, (low, high), these, seed, ops)
            with products_in(tf32=False):
                outputs = self._outputs(ops.convert_to_tensor(features[sources]), masks)
                draws[sources, numbers] = ops.convert_to_numpy(outputs)
        return draws

    def _outputs(self, features: Any, masks: Any) -> Any:
        """(n, width) features and (n, n_draws, n_units) masks -> (n, n_draws, n_outputs)."""
        units, first = features[:, None, :], 0
        for width, kernel, bias in zip(self._widths, self._kernels, self._biases, strict=True):
            kept = ops.cast(masks[..., first : first + width], "float32")
            units = ops.matmul(kept * ops.relu(units), kernel) + bias
            first += width
        return ops.sigmoid(units)
