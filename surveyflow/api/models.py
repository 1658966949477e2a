"""Functions on models: load, import, list, show, calibrate, check."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surveyflow.errors import InputError, ModelError
from surveyflow.models.cards import absence
from surveyflow.models.engines.keras_installation import check_keras
from surveyflow.models.store import ModelStore, placed, read_card, read_weights
from surveyflow.runs.preflight import open_survey
from surveyflow.runs.stretch_check import FEWEST_CUTOUTS, StretchCheck, check_stretches
from surveyflow.settings.workflow import load_workflow
from surveyflow.tasks.card import Domain, Model, ModelCard, ModelKey
from surveyflow.values.codes import EngineName
from surveyflow.values.jobs import SamplingSettings
from surveyflow.values.notebooks import TableDict, TableList

if TYPE_CHECKING:
    from surveyflow.models.legacy.parity import ParityReport

logger = logging.getLogger(__name__)


def load_model(path: str | Path, engine: str = EngineName.AUTO) -> Model:
    """Load a model's folder for sampling.

    Parameters
    ----------
    path
        Folder with ``card.toml`` and ``weights.safetensors``, or the folder of a jury.
    engine
        Name of an engine: see `surveyflow.values.codes.EngineName`.

    Raises
    ------
    ModelError
        If the folder is not a sound model, or the engine is not installed.
    """
    from surveyflow.models.engines.choice import load_model as load

    return load(Path(path), engine=engine)


@dataclass(frozen=True, slots=True)
class Imported:
    """A model that was imported.

    Parameters
    ----------
    card
        Its card.
    parity
        Comparison of its features with the original's; None unless the original was run.
    """

    card: ModelCard
    parity: ParityReport | None


def import_legacy(
    saved_model_dir: str | Path, store: str | Path, *, stretch: str, softening: float = 1.0, **card: Any
) -> ModelCard:
    """Import one of the authors' SavedModels into a store; only its variables are read, and nothing in it is run.

    Parameters
    ----------
    saved_model_dir
        Folder with ``saved_model.pb``.
    store
        The model store; it is made if it does not exist.
    stretch, softening
        Preparation of the training images, which the release does not state.
    **card
        Values of the card that replace those from the folders' names: ``field``, ``instrument``, ``pixel_scale_arcsec``, ...

    Raises
    ------
    ModelError
        If the files cannot be used.
    """
    from surveyflow.models.legacy import importing as legacy

    return legacy.import_legacy(saved_model_dir, store, stretch=stretch, softening=softening, **card)


def import_models(
    folder: str | Path,
    store: str | Path,
    *,
    stretch: str,
    softening: float = 1.0,
    overwrite: bool = False,
    run_original: bool = False,
    unit: str | None = None,
    sky_rms: tuple[float, float] | None = None,
    **card: Any,
) -> list[Imported]:
    """Import every SavedModel below a folder into a store; none is written unless all can be.

    Parameters
    ----------
    folder
        Folder that is searched for SavedModels, at any depth.
    store, stretch, softening
        As in `import_legacy`.
    overwrite
        Whether existing models are replaced.
    run_original
        Whether to run each file's own graph, too, and compare features. A graph is code: only for files that you trust.
    unit
        BUNIT of the training images, if not the instrument's.
    sky_rms
        Low and high sky rms of the training images, in that unit, if not the instrument's.
    **card
        As in `import_legacy`, for all of them.

    Raises
    ------
    ModelError
        If any of them cannot be used; all problems are reported.
    """
    from surveyflow.models.legacy import importing as legacy
    from surveyflow.models.legacy.parity import check_parity

    if unit is not None or sky_rms is not None:
        card["domain"] = _domain(unit, sky_rms)
    found = legacy.find_saved_models(folder)
    cards = legacy.import_all(found, store, stretch=stretch, softening=softening, overwrite=overwrite, **card)
    models = ModelStore(Path(store))
    imported = [
        Imported(new, check_parity(original, models.folder(new.key)) if run_original else None)
        for original, new in zip(found, cards, strict=True)
    ]
    return TableList(imported, lambda one: _of_card(one.card) | {"parity": one.parity})


def _domain(unit: str | None, sky_rms: tuple[float, float] | None) -> Domain:
    try:
        return Domain(unit or "electron/s", sky_rms)
    except ValueError as error:
        raise ModelError(f"--sky-rms: {error}.") from error


def list_models(store: str | Path) -> dict[ModelKey, ModelCard]:
    """Find every model of a store; a warning is logged for a jury that was calibrated with members that are absent.

    Parameters
    ----------
    store
        The model store.

    Raises
    ------
    ModelError
        If there is no store, or a card cannot be used.
    """
    found = ModelStore(Path(store))
    cards = found.cards()
    for card in {card.key: card for card in cards.values()}.values():
        _warn_of_absence(card, found.home(card.key))
    return TableDict(cards, _of_card)


def show_models(folder: str | Path) -> ModelCard:
    """Read a model's card, or make that of a jury, after checking that the weights are those that the cards name.

    A warning is logged for a jury that was calibrated with members that are absent.

    Parameters
    ----------
    folder
        The model's folder.

    Raises
    ------
    ModelError
        If card or weights cannot be used.
    """
    card = read_card(Path(folder))
    for place, one in placed(Path(folder), card):
        read_weights(place, one)
    _warn_of_absence(card, Path(folder))
    return card


def _warn_of_absence(card: ModelCard, home: Path) -> None:
    if warning := absence(card, home):
        logger.warning("%s", warning)


def calibrate_models(
    folders: str | Path | Sequence[str | Path],
    *,
    records: str | Path | Sequence[str | Path],
    draws: int = 100,
    seed: int = 20220523,
    engine: str = EngineName.AUTO,
) -> list[ModelCard]:
    """Fit the map from the mean output of a merger model to a probability, and write it into the model's card.

    Parameters
    ----------
    folders
        The model's folder; a jury's, or the folders of all its members, whose pooled mean is fitted.
    records
        Folders of records that the models were not trained on, such as their validation records.
    draws, seed
        Number of draws of each stamp, and their seed.
    engine
        Name of an engine: see `surveyflow.values.codes.EngineName`.

    Returns
    -------
    The cards as written.

    Raises
    ------
    InputError
        If models and records do not match, the records were used in training, or no map can be fitted to them.
    ModelError
        If TensorFlow or a model cannot be used.
    RecordError
        If records are incomplete or damaged.
    """
    check_keras()
    from surveyflow.training.evaluation.calibrate import calibrate

    try:
        sampling = SamplingSettings(draws, seed)
    except ValueError as error:
        raise InputError(f"{error}. The defaults are 100 and 20220523.") from error
    return TableList(calibrate(_paths(folders), _paths(records), sampling, engine=engine), _of_card)


def _paths(named: str | Path | Sequence[str | Path]) -> list[Path]:
    return [Path(named)] if isinstance(named, (str, Path)) else [Path(name) for name in named]


def check_models(
    store: str | Path, workflow: str | Path, *, n_cutouts: int = 200, softenings: Sequence[float] = (1.0,)
) -> list[StretchCheck]:
    """Find which stretch the models of a store were trained with, using real cutouts of a workflow's sources.

    Parameters
    ----------
    store
        The model store, instead of the one that the workflow names.
    workflow
        Path of a workflow file.
    n_cutouts
        Number of cutouts to use for each model, at least 20.
    softenings
        Softenings to try beside the card's, in the mosaics' unit.

    Raises
    ------
    WorkflowError
        If anything cannot be used.
    InputError
        If ``n_cutouts`` is below 20, or a model has too few sources.
    """
    if n_cutouts < FEWEST_CUTOUTS:
        raise InputError(f"found n_cutouts = {n_cutouts}, expected at least {FEWEST_CUTOUTS}. Use more: the default is 200.")
    read = load_workflow(Path(workflow))
    models = read.models.model_copy(update={"store": Path(store).absolute()})
    with open_survey(read.model_copy(update={"models": models})) as survey:
        survey.log_warnings()
        return TableList(check_stretches(survey, n_cutouts, softenings), _of_check)


def _of_card(card: ModelCard) -> dict[str, Any]:
    shown = ("model_id", "origin", "band", "pixel_scale_arcsec", "redshift_range", "stretch", "n_members", "also_for")
    return {name: getattr(card, name) for name in shown}


def _of_check(check: StretchCheck) -> dict[str, Any]:
    best = check.verdict.best
    found = {"best": best.stretch, "softening": best.softening, "clear": check.verdict.clear}
    return {"model_id": check.card.model_id, "cutouts": check.n_cutouts, "agrees": check.agrees, **found}
