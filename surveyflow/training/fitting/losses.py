"""How wrong is a network? Of contamination: whether there is any, and how much, given that there is."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

_LEAST_SIGMA = 0.01
"""On the scale of the outputs, so that no single stamp can rule the gradient."""


@keras.saving.register_keras_serializable(package="surveyflow")
class TwoPartLoss(keras.losses.Loss):
    """Cross-entropy of whether there is anything, and normal likelihood of how much, over those where there is.

    Outputs are in the order of `surveyflow.stats.contamination.CONTAMINATION_OUTPUTS`; targets are ``contaminated``,
    ``coverage``, ``neighbours`` and ``flux_pp``, NaN where unknown or where there is nothing.

    Parameters
    ----------
    flux_range
        What the flux's targets are divided by.
    scatter_limit
        Sigma where a scatter output is 1.
    """

    def __init__(self, flux_range: float, scatter_limit: float, name: str = "two_part_loss", **options: Any) -> None:
        super().__init__(name=name, **options)
        self.flux_range, self.scatter_limit = flux_range, scatter_limit

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of each image, (n,)."""
        there, location, scatter = y_pred[:, 0::3], y_pred[:, 1::3], y_pred[:, 2::3]
        is_there, amount = y_true[:, 0::2], y_true[:, 1::2] / ops.array([[1.0, self.flux_range]], y_pred.dtype)
        known, has_amount = (ops.logical_not(ops.isnan(values)) for values in (is_there, amount))
        cross_entropy = keras.losses.binary_crossentropy(
            ops.expand_dims(ops.where(known, is_there, 0.0), -1), ops.expand_dims(there, -1)
        )
        sigma = ops.maximum(scatter * self.scatter_limit, _LEAST_SIGMA)
        deviation = (ops.where(has_amount, amount, 0.0) - location) / sigma
        likelihood = ops.log(sigma) + ops.square(deviation) / 2
        return ops.sum(ops.where(known, cross_entropy, 0.0) + ops.where(has_amount, likelihood, 0.0), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs."""
        return {**super().get_config(), "flux_range": self.flux_range, "scatter_limit": self.scatter_limit}
