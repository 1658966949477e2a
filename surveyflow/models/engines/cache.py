"""The cache of models that a worker keeps loaded: those that it used last."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from surveyflow.errors import UnitError
from surveyflow.tasks.card import Model


class ModelCache:
    """A cache that loads each model once and drops the least recently used one if there are too many.

    Parameters
    ----------
    load
        Loads the model in a folder.
    size
        Number of models kept, at least 1. Each occupies memory for its weights, and on a GPU for a batch.
    """

    def __init__(self, load: Callable[[Path], Model], size: int) -> None:
        if size < 1:
            raise ValueError(f"a cache must hold at least 1 model, not {size}")
        self._load = load
        self._size = size
        self._models: dict[tuple[str, str], Model] = {}

    def __len__(self) -> int:
        return len(self._models)

    def get(self, folder: str, card_digest: str) -> Model:
        """The model in a folder; two models with the same weights may have different cards.

        Raises
        ------
        UnitError
            If the folder no longer holds the model with this card.
        """
        name = folder, card_digest
        model = self._models.pop(name, None)
        if model is None:
            while len(self._models) >= self._size:  # before loading the new one, because both may not fit
                del self._models[next(iter(self._models))]
            model = self._load(Path(folder))
        if model.card.digest != card_digest:
            raise UnitError(
                f"{folder}: the card or the weights are no longer those that this run was planned with; the model has changed "
                f"since then. Run again."
            )
        self._models[name] = model
        return model

    def clear(self) -> None:
        """Drop all models."""
        self._models.clear()
