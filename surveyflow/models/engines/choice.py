"""The engines that compute networks, the choice between them, the models that a worker keeps loaded, and juries of them.

An engine's module is imported only when it is chosen, so a worker loads one framework or none.

The T draws of a source are split over the M members of a jury as evenly as possible: draw i of the jury is draw i // M of member
i % M, in order of name. So a larger number of draws keeps the earlier ones, and the draws of a jury of one are those of its
member.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import cast

import numpy as np

from surveyflow.errors import InputError, ModelError, UnitError
from surveyflow.models.cards import jury_card
from surveyflow.models.engines import fft_engine
from surveyflow.models.engines.fft_engine import FftModel
from surveyflow.models.engines.keras_installation import check_keras, keras_problem
from surveyflow.models.framing import features_of_each
from surveyflow.models.store import placed, read_card, read_domain, read_weights
from surveyflow.stats.posterior import AmountOutputs, AmountStatistics, PosteriorSummary, shares_of, summarise
from surveyflow.tasks.card import Architecture, Member, Model, ModelCard
from surveyflow.tasks.domains import FeatureDomain, JuryDomain
from surveyflow.values import remedies
from surveyflow.values.arrays import Float32Array, UInt64Array
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


class Jury:
    """A `surveyflow.tasks.card.Model` of several networks. Its features are those of its members side by side.

    Parameters
    ----------
    card
        Its card, as `jury_card` makes it.
    members
        The members' models, in order of name.
    """

    def __init__(self, card: ModelCard, members: Sequence[Model]) -> None:
        self._card = card
        self._members = tuple(members)

    @property
    def card(self) -> ModelCard:
        """The jury's card."""
        return self._card

    @property
    def members(self) -> dict[str, Model]:
        """The members' models by name, in order."""
        return {member.name: model for member, model in zip(self._card.members, self._members, strict=True)}

    @property
    def domain(self) -> JuryDomain | None:
        """The images that its members were trained on; None unless that is known of all of them."""
        domains = [member.domain for member in self._members]
        known = tuple(domain for domain in domains if isinstance(domain, FeatureDomain))
        return JuryDomain(known) if len(known) == len(domains) else None

    @property
    def engine(self) -> str:
        """The names of the engines that compute its members."""
        return "+".join(sorted({member.engine for member in self._members}))

    def features(self, cutouts: Float32Array) -> Float32Array:
        """(n, size, size) prepared cutouts -> (n, sum of the widths) float32: the members' features side by side."""
        return np.concatenate([member.features(cutouts) for member in self._members], axis=1)

    def draw(self, features: Float32Array, source_keys: UInt64Array, n_draws: int, seed: int) -> Float32Array:
        """(n, sum of the widths) features -> (n, n_draws, n_outputs) float32 in [0, 1].

        Raises
        ------
        ValueError
            If there are fewer draws than members.
        """
        shares = shares_of(n_draws, len(self._members))
        draws = np.empty((len(features), n_draws, self._card.architecture.n_outputs), np.float32)
        for number, (member, own, share) in enumerate(zip(self._members, self._split(features), shares, strict=True)):
            draws[:, number :: len(self._members)] = member.draw(own, source_keys, share, seed)
        return draws

    def summarise(
        self, features: Float32Array, source_keys: UInt64Array, n_draws: int, seed: int, outputs: tuple[int, int]
    ) -> PosteriorSummary:
        """Summarise the draws of two outputs; see `surveyflow.measuring.unit.SummarisingModel`.

        The FFT engine keeps no draws for it.

        Raises
        ------
        ValueError
            If there are fewer draws than members; and as `surveyflow.stats.posterior.summarise`.
        """
        if self._native is None:
            return summarise(self.draw(features, source_keys, n_draws, seed)[..., outputs], len(self._members))
        first, *others = self._native
        return first.summarise_with(others, self._split(features), source_keys, n_draws=n_draws, seed=seed, outputs=outputs)

    def summarise_amounts(
        self,
        features: Float32Array,
        source_keys: UInt64Array,
        n_draws: int,
        seed: int,
        amounts: Sequence[Sequence[AmountOutputs]],
    ) -> AmountStatistics | None:
        """Compute the statistics of amounts; see `surveyflow.measuring.unit.SummarisingModel`.

        It is None unless the FFT engine computes all members.

        Raises
        ------
        ValueError
            As `FftModel.summarise_amounts_with`.
        """
        if self._native is None:
            return None
        first, *others = self._native
        parts = self._split(features)
        return first.summarise_amounts_with(others, parts, source_keys, n_draws=n_draws, seed=seed, amounts=amounts)

    @property
    def _native(self) -> list[FftModel] | None:
        """The members, if the FFT engine computes all of them."""
        native = [member for member in self._members if isinstance(member, FftModel)]
        return native if len(native) == len(self._members) else None

    def _split(self, features: Float32Array) -> list[Float32Array]:
        return features_of_each(features, [card.architecture for card in self._card.each])


def jury_of(folder: str, names: Sequence[str], models: Sequence[Model]) -> Jury:
    """Make a jury of models that are loaded.

    Parameters
    ----------
    folder
        The jury's folder, for messages.
    names
        Names of its members, in order.
    models
        The members' models.

    Raises
    ------
    ModelError
        If their cards contradict each other.
    """
    members = [Member(name, model.card) for name, model in zip(names, models, strict=True)]
    return Jury(jury_card(members, folder), models)
