"""The order to try some settings in training, and what the worker that tries them is made with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class TrialSettings:
    """What one trial trains with.

    Parameters
    ----------
    filters, kernel_sizes, dense
        Of the architecture.
    dropout
        Rate of the Monte Carlo dropout.
    learning_rate
        The highest learning rate.
    """

    filters: tuple[int, ...]
    kernel_sizes: tuple[int, ...]
    dense: tuple[int, ...]
    dropout: float
    learning_rate: float


@dataclass(frozen=True, slots=True)
class TryTrial:
    """An order to train with some settings. It is answered with the objective that was reached, a float.

    Parameters
    ----------
    number
        The trial's number, from 0.
    settings
        What it trains with.
    """

    verb: ClassVar[str] = "trial"

    number: int
    settings: TrialSettings

    def __post_init__(self) -> None:
        if self.number < 0:
            raise ValueError(f"a trial's number must be at least 0, not {self.number}")


@dataclass(frozen=True, slots=True)
class TrainingFile:
    """What a worker that tries settings is made with.

    Parameters
    ----------
    path
        Path of the training file, which has a ``[tuning]`` table.
    """

    path: str
