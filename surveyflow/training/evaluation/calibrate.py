"""The calibration of merger models: the map from their mean output to a probability, fitted to images with known truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from surveyflow.errors import InputError
from surveyflow.models.engines.choice import load_model
from surveyflow.models.store import placed, read_card, read_domain, read_weights, write_model
from surveyflow.tasks.calibration import Calibration, fitted_calibration
from surveyflow.tasks.card import Model, ModelCard
from surveyflow.tasks.registry import LEADING
from surveyflow.training.evaluation.matching import check_kind, check_stamps
from surveyflow.training.evaluation.predict_mergers import predict_mergers
from surveyflow.training.records.labelled import LabelledStamps, pooled
from surveyflow.training.records.reading import read_stamps
from surveyflow.training.records.record_index import check_listed_once, read_index
from surveyflow.values.arrays import Float32Array
from surveyflow.values.codes import EngineName
from surveyflow.values.jobs import SamplingSettings

LEAST_OF_A_CLASS = 50
"""Images of each class below which no map is fitted: its three numbers would be noise."""
_TRUTH = "sky_sigma"


def calibrate(
    folders: Sequence[Path], records: Sequence[Path], sampling: SamplingSettings, *, engine: str = EngineName.AUTO
) -> list[ModelCard]:
    """Fit the map of a merger model, or of the pooled mean of several, and write it into their cards.

    Parameters
    ----------
    folders
        The folder of the model, of a jury, or of every member of one. A map that a card already holds for the same models is
        replaced.
    records
        Folders of records that the models were not trained on; their validation records, for example.
    sampling
        Number of draws, and seed.
    engine
        Name of an engine: see `surveyflow.values.codes.EngineName`.

    Returns
    -------
    The cards as written. Weights and their digests stay as they are.

    Raises
    ------
    InputError
        If models and records do not match, the records were used in training, or no map can be fitted to them.
    ModelError
        If a model cannot be used, or its folder holds another one meanwhile.
    RecordError
        If records are incomplete or damaged.
    """
    folders = [place for folder in folders for place, _ in placed(folder, read_card(folder))]
    models = [load_model(folder, engine) for folder in folders]
    _check_models([model.card for model in models], folders)
    check_listed_once(records, [read_index(folder) for folder in records])
    for folder in records:
        for model in models:
            check_kind(model.card, folder, read_index(folder))
            _check_unseen(model.card, folder)
    calibration = fit_calibration(models, [read_stamps(folder, _TRUTH) for folder in records], _digests(records), sampling)
    if calibration is None:
        raise InputError(
            f"{', '.join(map(str, records))} cannot calibrate {', '.join(model.card.model_id for model in models)}: they hold "
            f"fewer than {LEAST_OF_A_CLASS} images of a class, or the outputs do not rise with the truth. Name records with more "
            "images, and check `class_names` in the card."
        )
    return [_write(folder, calibration) for folder in folders]


def fit_calibration(
    models: Sequence[Model], sets: Sequence[LabelledStamps], records: tuple[str, ...], sampling: SamplingSettings
) -> Calibration | None:
    """Fit the map of the models' pooled mean; None if there are too few stamps of a class, or the mean says nothing about them.

    Parameters
    ----------
    models
        One merger model, or the members of a jury.
    sets
        Stamps with known truth.
    records
        Digests of the records that they came from.
    sampling
        Number of draws, and seed.
    """
    for model in models:
        for stamps in sets:
            check_stamps(model.card, stamps)
    truth = pooled(sets)["is_post_merger"]
    if min(truth.sum(), (~truth).sum()) < LEAST_OF_A_CLASS:
        return None
    a, b, c = fitted_calibration(pooled_mean(models, sets, sampling), truth)
    if not a + b:
        return None
    members = tuple(sorted(model.card.weights_digest for model in models))
    return Calibration(members, a, b, c, share=float(truth.mean()), n_images=len(truth), records=records)


def pooled_mean(models: Sequence[Model], sets: Sequence[LabelledStamps], sampling: SamplingSettings) -> Float32Array:
    """(n,) float32: the mean post-merger output of all models over their draws, for the stamps of all sets."""
    means = [np.concatenate([predict_mergers(model, stamps, sampling).p_pm_mean for stamps in sets]) for model in models]
    return np.asarray(np.mean(means, axis=0, dtype=np.float64), np.float32)


def _check_models(cards: Sequence[ModelCard], folders: Sequence[Path]) -> None:
    """Check that models are different merger models for the same images."""
    for card, folder in zip(cards, folders, strict=True):
        if card.key.task != LEADING.name:
            raise InputError(f"{folder} holds a {card.key.task} model; expected a {LEADING.name} model. Name the folder of one.")
        if card.key.instrument != cards[0].key.instrument:
            raise InputError(
                f"{folder} holds a model of {card.key.instrument}, but {folders[0]} one of {cards[0].key.instrument}: their "
                "means cannot be pooled. Name models of one instrument."
            )
    if len({card.weights_digest for card in cards}) < len(cards):
        raise InputError(f"{', '.join(map(str, folders))}: a model is named twice. Name every member once.")


def _check_unseen(card: ModelCard, folder: Path) -> None:
    if card.training is not None and read_index(folder).digest in card.training.records:
        raise InputError(
            f"{folder} holds the images that {card.model_id} was trained on, on which every network is too sure. "
            "Name its validation records."
        )


def _digests(records: Sequence[Path]) -> tuple[str, ...]:
    return tuple(read_index(folder).digest for folder in records)


def _write(folder: Path, calibration: Calibration) -> ModelCard:
    """Write a map into the card of a folder; a map for the same models is replaced."""
    card = read_card(folder)
    others = tuple(one for one in card.calibrations if one.members != calibration.members)
    new = replace(card, calibrations=(*others, calibration))
    return write_model(folder, new, read_weights(folder, card), overwrite=True, domain=read_domain(folder, card))
