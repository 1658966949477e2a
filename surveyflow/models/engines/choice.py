"""The engines that compute networks, the choice between them, and the models that a worker keeps loaded.

An engine's module is imported only when it is chosen, so a worker loads one framework or none.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import cast

from surveyflow.errors import InputError, ModelError, UnitError
from surveyflow.models.engines import fft_engine
from surveyflow.models.engines.jury import jury_of
from surveyflow.models.engines.keras_installation import check_keras, keras_problem
from surveyflow.models.store import placed, read_card, read_domain, read_weights
from surveyflow.tasks.card import Architecture, Model, ModelCard
from surveyflow.values import remedies
from surveyflow.values.codes import EngineName, Precision


class ModelCache:
    """A cache that loads each model once and drops the least recently used one if there are too many.

    Parameters
    ----------
    load
        Loads the model in a folder.
    size
        Number of models kept, at least 1, or more if `make_room` asks for more. Each occupies memory for its weights, and on a
        GPU for a batch.
    """

    def __init__(self, load: Callable[[Path], Model], size: int) -> None:
        if size < 1:
            raise ValueError(f"a cache must hold at least 1 model, not {size}")
        self._load = load
        self._size = size
        self._models: dict[tuple[str, str], Model] = {}

    def __len__(self) -> int:
        return len(self._models)

    def make_room(self, n_models: int) -> None:
        """Keep at least so many models from now on: those that one unit needs, among them every member of a jury."""
        self._size = max(self._size, n_models)

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


_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Engine:
    """A program that computes networks.

    Parameters
    ----------
    name
        Its name, which carries its meaning.
    module, factory
        Module and name of its class of `surveyflow.tasks.card.Model`, which takes card, weights, ``domain``, ``folder``,
        ``precision`` and ``batch_size``.
    obstacle
        Returns why the engine cannot compute a network in a precision on this machine; None if it can. It imports no framework.
    """

    name: EngineName
    module: str
    factory: str
    obstacle: Callable[[Architecture, Precision], str | None]

    def load(self, folder: Path, card: ModelCard, precision: Precision, batch_size: int | None) -> Model:
        """Load a model, ready to be sampled.

        Raises
        ------
        ModelError
            If the engine is not installed, or cannot use the model.
        """
        if self.name is EngineName.KERAS:
            check_keras()
        try:
            make = getattr(import_module(self.module), self.factory)
        except ImportError as error:
            raise ModelError(
                f"the engine '{self.name}' cannot be used: {error}. Install it: `{remedies.install('cpu')}`, or "
                f"`{remedies.install('gpu')}` for GPUs."
            ) from error
        weights, domain = read_weights(folder, card), read_domain(folder, card)
        return cast(Model, make(card, weights, domain=domain, folder=folder, precision=precision, batch_size=batch_size))


def _keras_obstacle(_: Architecture, __: Precision) -> str | None:
    return keras_problem()


_PACKAGE = "surveyflow.models.engines"
ENGINES = {
    engine.name: engine
    for engine in (
        Engine(EngineName.KERAS, f"{_PACKAGE}.keras_engine", "KerasModel", _keras_obstacle),
        Engine(EngineName.FFT, f"{_PACKAGE}.fft_engine", "FftModel", fft_engine.impossible),
    )
}


def load_model(
    folder: str | Path,
    engine: str = EngineName.AUTO,
    *,
    precision: Precision = Precision.FLOAT32,
    batch_size: int | None = None,
    members: Sequence[str] | None = None,
) -> Model:
    """Load a model, ready to be sampled.

    The environment determines threads, devices and memory (``OMP_NUM_THREADS``, ``TF_NUM_INTRAOP_THREADS``,
    ``CUDA_VISIBLE_DEVICES``): set these variables before the first model is loaded.

    Parameters
    ----------
    folder
        A model's folder, with ``card.toml`` and ``weights.safetensors``, or a jury's, with such a folder for each member.
    engine
        Name of an engine, see `surveyflow.values.codes.EngineName`; for ``auto`` see `choose_engine`.
    precision
        Precision of the trunk. The head is always float32.
    batch_size
        Cutouts that the trunk processes at once; the default suits the device. It is halved while the device runs out of
        memory.
    members
        Names of the members of which a jury consists; None for all.

    Returns
    -------
    A `surveyflow.tasks.card.Model`.

    Raises
    ------
    ModelError
        If the folder's card or weights cannot be used, or the engine is unknown or not installed.

    Examples
    --------
    >>> model = load_model("models/merger/F814W/EGS")  # doctest: +SKIP
    >>> features = model.features(cutouts)  # doctest: +SKIP
    >>> draws = model.draw(features, source_keys, n_draws=1000, seed=20220523)  # doctest: +SKIP
    """
    folder = Path(folder)
    card = read_card(folder, members)
    models = [
        ENGINES[_chosen(engine, one, precision)].load(place, one, precision, batch_size) for place, one in placed(folder, card)
    ]
    return jury_of(str(folder), [member.name for member in card.members], models) if card.members else models[0]


def choose_engine(architecture: Architecture, precision: Precision = Precision.FLOAT32) -> tuple[EngineName, str]:
    """The engine that ``auto`` chooses on this machine, and the reason.

    It is ``keras`` if a GPU is visible and Keras can use it; otherwise ``fft`` for every network that the native core can
    compute, so that workers without a GPU import no framework.

    Returns
    -------
    ``keras`` or ``fft``, and the reason in words.
    """
    problem = keras_problem()
    if problem is None and _sees_gpu():
        return EngineName.KERAS, "a GPU is visible"
    impossible = fft_engine.impossible(architecture, precision)
    if impossible:
        return EngineName.KERAS, impossible
    reason = "no GPU is visible" if problem is None else f"Keras cannot be used here ({problem})"
    return EngineName.FFT, f"{reason}, and the native core can compute the network"


def obstacle(engine: EngineName, architecture: Architecture, precision: Precision = Precision.FLOAT32) -> str | None:
    """Why an engine cannot compute a network on this machine, or for ``auto`` why no engine can; None if one can.

    No framework is imported.
    """
    engines = ENGINES.values() if engine == EngineName.AUTO else [ENGINES[engine]]
    problems = [each.obstacle(architecture, precision) for each in engines]
    return None if None in problems else "; ".join(filter(None, problems))


def _chosen(name: str, card: ModelCard, precision: Precision) -> EngineName:
    try:
        engine = EngineName(name)
    except InputError as error:
        raise ModelError(str(error)) from error
    if engine is not EngineName.AUTO:
        return engine
    chosen, reason = choose_engine(card.architecture, precision)
    _log.info("event=engine_chosen model=%s engine=%s reason=%r", card.key, chosen, reason)
    return chosen


def _sees_gpu() -> bool:
    """Whether there is an NVIDIA GPU that this process may use, determined without importing a framework."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in {"", "-1"}
    return not hidden and any(Path("/dev").glob("nvidia[0-9]*"))
