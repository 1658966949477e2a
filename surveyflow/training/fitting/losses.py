"""The loss of a network, part by part of its task: whether something is there, and how much, given that it is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import keras
from keras import ops

from surveyflow.tasks.card import ContaminationScale
from surveyflow.tasks.task import Task

_LEAST_SIGMA = 0.01
"""Smallest sigma, on the scale of the outputs, so that no single stamp dominates the gradient."""


@dataclass(frozen=True, slots=True)
class PartLoss:
    """The columns of a task's part among a network's outputs and targets.

    Parameters
    ----------
    presence
        Columns of its presence: output and target.
    weight
        Weight of this part in the sum.
    amount
        Columns of its amount: location, scatter and target; None if it has none.
    amount_range
        The divisor of the amount's targets.
    scatter_limit
        Sigma that a scatter output of 1 stands for.
    """

    presence: tuple[int, int]
    weight: float
    amount: tuple[int, int, int] | None = None
    amount_range: float = 1.0
    scatter_limit: float = 1.0

    def __call__(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of each image, (n,)."""
        output, target = self.presence
        cross_entropy = _cross_entropy(y_true[:, target], y_pred[:, output])
        if self.amount is None:
            return self.weight * cross_entropy
        location, scatter, target = self.amount
        amount, sigma = y_true[:, target] / self.amount_range, y_pred[:, scatter] * self.scatter_limit
        return self.weight * (cross_entropy + _normal(amount, y_pred[:, location], sigma))


def _cross_entropy(is_there: Any, probability: Any) -> Any:
    known = ops.logical_not(ops.isnan(is_there))
    each = keras.losses.binary_crossentropy(
        ops.expand_dims(ops.where(known, is_there, 0.0), -1), ops.expand_dims(probability, -1)
    )
    return ops.where(known, each, 0.0)


def _normal(amount: Any, location: Any, sigma: Any) -> Any:
    """The negative logarithm of the normal likelihood, without its constant; 0 where there is no amount."""
    has_amount = ops.logical_not(ops.isnan(amount))
    sigma = ops.maximum(sigma, _LEAST_SIGMA)
    deviation = (ops.where(has_amount, amount, 0.0) - location) / sigma
    return ops.where(has_amount, ops.log(sigma) + ops.square(deviation) / 2, 0.0)


@keras.saving.register_keras_serializable(package="surveyflow")
class TaskLoss(keras.losses.Loss):
    """Sum of the losses of a task's parts.

    Parameters
    ----------
    parts
        The parts.
    """

    def __init__(self, parts: Sequence[PartLoss], name: str = "task_loss", **options: Any) -> None:
        super().__init__(name=name, **options)
        self.parts = tuple(parts)

    @classmethod
    def of(cls, task: Task, scale: ContaminationScale | None, **options: Any) -> Self:
        """The loss of a task whose outputs are on this scale; the scale is None for tasks that have none."""
        return cls([_part_loss(task, number, scale) for number in range(len(task.parts))], **options)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of each image, (n,)."""
        return sum(part(y_true, y_pred) for part in self.parts)

    def get_config(self) -> dict[str, Any]:
        """The arguments of `from_config`."""
        return {**super().get_config(), "parts": [asdict(part) for part in self.parts]}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Make the loss that `get_config` described."""
        parts = [PartLoss(**{name: _as_tuple(value) for name, value in part.items()}) for part in config["parts"]]
        return cls(**{**config, "parts": parts})


def _part_loss(task: Task, number: int, scale: ContaminationScale | None) -> PartLoss:
    part = task.parts[number]
    presence = task.outputs.index(part.presence), task.targets.index(part.presence)
    if part.amount is None or scale is None:
        return PartLoss(presence, part.weight)
    name = part.amount.name
    amount = task.outputs.index(name), task.outputs.index(part.amount.scatter), task.targets.index(name)
    return PartLoss(presence, part.weight, amount, scale.range_of(name), scale.scatter_limit)


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
