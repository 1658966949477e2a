"""Which models a worker keeps ready: those that it used last."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from surveyflow.errors import UnitError
from surveyflow.tasks.card import Model


class ModelCache:
    """Loads models once, and lets go of the one that was unused for longest when there are too many.

    Parameters
    ----------
    load
        Loads the model in a folder.
    size
        Models kept, at least 1. Each holds its weights, and on a GPU the memory of a batch.
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
        """The model in a folder; two models may share their weights and differ in their cards.

        Raises
        ------
        UnitError
            If the model is not the one with this card any more.
        """
        name = folder, card_digest
        model = self._models.pop(name, None)
        if model is None:
            while len(self._models) >= self._size:  # before the new one is loaded: both may not fit
                del self._models[next(iter(self._models))]
            model = self._load(Path(folder))
        if model.card.digest != card_digest:
            raise UnitError(
                f"{folder}: card or weights are no longer those that this run was planned with; the model was changed "
                f"meanwhile. Run again."
            )
        self._models[name] = model
        return model

    def clear(self) -> None:
        """Let go of all models."""
        self._models.clear()
