"""Upsilon, the smallest recall of any class, as a Keras metric."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="surveyflow")
class Upsilon(keras.metrics.Metric):
    """`surveyflow.stats.metrics.upsilon` of all batches since the last reset.

    A sample's class is its largest output, as in the authors' code. A class without members does not count; NaN as long as
    no class has any.

    Parameters
    ----------
    n_classes
        Number of classes, which are outputs of the network.
    name
        Name in Keras's logs.
    """

    def __init__(self, n_classes: int = 2, name: str = "upsilon", **options: Any) -> None:
        super().__init__(name=name, **options)
        self.n_classes = n_classes
        self.confusion = self.add_weight(shape=(n_classes, n_classes), initializer="zeros", name="confusion")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Count the samples of a batch.

        Parameters
        ----------
        y_true, y_pred
            (n, n_classes): labels, one column for each class, and the network's outputs.
        sample_weight
            (n,) or None: the weight of each sample.
        """
        truth, predicted = (ops.one_hot(ops.argmax(values, axis=-1), self.n_classes) for values in (y_true, y_pred))
        if sample_weight is not None:
            truth *= ops.expand_dims(ops.cast(sample_weight, truth.dtype), -1)
        self.confusion.assign_add(ops.matmul(ops.transpose(truth), predicted))

    def result(self) -> Any:
        """The smallest recall so far."""
        members = ops.sum(self.confusion, axis=1)
        recalls = ops.divide(ops.diagonal(self.confusion), ops.where(members > 0, members, 1.0))
        smallest = ops.min(ops.where(members > 0, recalls, float("inf")))
        return ops.where(ops.any(members > 0), smallest, float("nan"))

    def get_config(self) -> dict[str, Any]:
        """The arguments of `from_config`."""
        return {**super().get_config(), "n_classes": self.n_classes}
