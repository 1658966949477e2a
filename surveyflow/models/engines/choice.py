"""The choice of the engine that samples a model.

An engine is a factory of `surveyflow.tasks.card.Model`. Its module is imported only when it is chosen, so a worker pays for one
framework, or for none.
"""

from __future__ import annotations

import json
import logging
import os
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Protocol, cast

from surveyflow.errors import ModelError
from surveyflow.models.store import read_card, read_weights
from surveyflow.models.weights import Weights
from surveyflow.tasks.card import Architecture, Model, ModelCard

_log = logging.getLogger(__name__)

Precision = Literal["float32", "tf32", "bf16"]

_ENGINES = {
    "keras": ("surveyflow.models.engines.keras_engine", "KerasModel"),
    "fft": ("surveyflow.models.engines.fft_engine", "FftModel"),
}


class Engine(Protocol):
    """Makes a model from what its folder holds."""

    def __call__(self, card: ModelCard, weights: Weights, *, precision: Precision, batch_size: int | None) -> Model: ...


def load_model(
    folder: str | Path, engine: str = "auto", *, precision: Precision = "float32", batch_size: int | None = None
) -> Model:
    """Load a model, ready to be sampled.

    Threads, devices and memory are left as the environment sets them (``OMP_NUM_THREADS``, ``TF_NUM_INTRAOP_THREADS``,
    ``CUDA_VISIBLE_DEVICES``): set them before the first model is loaded.

    Parameters
    ----------
    folder
        A model's folder, with ``card.toml`` and ``weights.safetensors``.
    engine
        ``keras``; ``fft``, for CPUs, which needs no framework; or ``auto``: see `choose_engine`.
    precision
        Of the trunk: ``float32``; ``tf32``, faster on NVIDIA GPUs since Ampere, with 10 bits of mantissa in products; or
        ``bf16``, faster still, with 7. The head is always float32.
    batch_size
        Cutouts that go through the trunk at once; by default what suits the device. It is halved while the device runs out
        of memory.

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
    card = read_card(folder)
    make = _engine(_chosen(engine, card, precision), folder)
    return make(card, read_weights(folder, card), precision=precision, batch_size=batch_size)


def engine_problem() -> str | None:
    """What keeps Keras from running models here; None where nothing does. No framework is imported."""
    backend = keras_backend()
    missing = [name for name in ("keras", backend) if find_spec(name) is None]
    if not missing:
        return None
    if backend == "tensorflow":
        return f"{' and '.join(missing)} not installed; pip install 'surveyflow[cpu]', or 'surveyflow[gpu]'"
    return f"{' and '.join(missing)} not installed, but Keras is told to use {backend}; install it, or set KERAS_BACKEND"


def keras_backend() -> str:
    """The framework that Keras will compute with: ``KERAS_BACKEND``, or what its configuration file says, or ``tensorflow``."""
    try:
        folder = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
        configured = json.loads(Path(folder, "keras.json").read_text(encoding="utf-8")).get("backend")
    except (OSError, ValueError, AttributeError, RuntimeError):  # the last without a home
        configured = None
    return os.environ.get("KERAS_BACKEND") or configured or "tensorflow"


def choose_engine(architecture: Architecture, precision: Precision = "float32") -> tuple[str, str]:
    """The engine that ``auto`` stands for on this machine, and why.

    It is ``keras`` where a GPU is visible; else ``fft`` where the native core was built and the network suits it. Where Keras
    cannot be used, every network that the FFT engine can do at all is left to it.

    Returns
    -------
    ``keras`` or ``fft``, and the reason in words.
    """
    fft = import_module("surveyflow.models.engines.fft_engine")
    problem = engine_problem()
    if problem is None and _sees_gpu():
        return "keras", "a GPU is visible"
    refusal = fft.refusal(architecture, precision)
    if problem is None:
        return ("keras", refusal) if refusal else ("fft", "no GPU is visible, and the native core suits the network")
    impossible = fft.impossible(architecture, precision)
    if impossible:
        return "keras", impossible
    fitness = f"although {refusal}" if refusal else "and the native core suits the network"
    return "fft", f"Keras cannot be used here ({problem}), {fitness}"


def obstacle(engine: str, architecture: Architecture, precision: Precision = "float32") -> str | None:
    """Why an engine cannot do a network on this machine, or with ``auto`` why none can; None if one can.

    No framework is imported.

    Raises
    ------
    ModelError
        If there is no such engine.
    """
    _check_name(engine)
    problems = [_obstacle(name, architecture, precision) for name in ([*_ENGINES] if engine == "auto" else [engine])]
    return None if None in problems else "; ".join(filter(None, problems))


def _obstacle(engine: str, architecture: Architecture, precision: Precision) -> str | None:
    if engine == "keras":
        return engine_problem()
    return cast("str | None", import_module("surveyflow.models.engines.fft_engine").impossible(architecture, precision))


def _check_name(engine: str) -> None:
    names = ["auto", *_ENGINES]
    if engine not in names:
        raise ModelError(f"there is no engine {engine!r}. Choose one of {', '.join(names)}.")


def _chosen(name: str, card: ModelCard, precision: Precision) -> str:
    _check_name(name)
    if name != "auto":
        return name
    chosen, reason = choose_engine(card.architecture, precision)
    _log.info("event=engine_chosen model=%s engine=%s reason=%r", card.key, chosen, reason)
    return chosen


def _sees_gpu() -> bool:
    """Whether there is an NVIDIA GPU that this process may use; found without importing a framework."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in {"", "-1"}
    return not hidden and any(Path("/dev").glob("nvidia[0-9]*"))


def _engine(chosen: str, folder: Path) -> Engine:
    module, factory = _ENGINES[chosen]
    try:
        engine = getattr(import_module(module), factory)
    except ImportError as error:
        raise ModelError(
            f"the engine {chosen!r} cannot be used: {error}. Install it: pip install 'surveyflow[cpu]', or 'surveyflow[gpu]'."
        ) from error
    return cast(Engine, partial(engine, folder=folder) if chosen == "fft" else engine)
