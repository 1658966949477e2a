"""The order to train with some settings as a trial, and the settings of the worker that carries it out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class TrialSettings:
    """The settings of one trial.

    Parameters
    ----------
    filters, kernel_sizes, dense
        As in the architecture.
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
    """An order to train with some settings. The reply is the objective that was reached, a float.

    Parameters
    ----------
    number
        The trial's number, from 0.
    settings
        The settings to train with.
    """

    verb: ClassVar[str] = "trial"

    number: int
    settings: TrialSettings

    def __post_init__(self) -> None:
        if self.number < 0:
            raise ValueError(f"a trial's number must be at least 0, not {self.number}")


@dataclass(frozen=True, slots=True)
class TrainingFile:
    """The settings of a worker for trials.

    Parameters
    ----------
    path
        Path of the training file, which has a ``[tuning]`` table.
    """

    path: str
