"""Whether records can judge a model: images of its kind, of both classes, that it has not seen."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from surveyflow.errors import InputError
from surveyflow.inputs.mosaics import SCALE_TOLERANCE
from surveyflow.models.store import read_card
from surveyflow.tasks.card import ModelCard
from surveyflow.tasks.contamination.task import CONTAMINATION
from surveyflow.tasks.merger import MERGER
from surveyflow.training.records.labelled import LabelledStamps, pooled
from surveyflow.training.records.record_index import RecordIndex

LEAST_OF_A_CLASS = 10
"""Number of stamps of a class without which a score says nothing."""

_POSITIVE = {MERGER.name: "of post-mergers", CONTAMINATION.name: "of galaxies with a neighbour on them"}


def check_kind(card: ModelCard, folder: Path, index: RecordIndex) -> None:
    """Check that records have the pixels that a model was made for.

    Raises
    ------
    InputError
        If band, unit or pixel scale differ.
    """
    given, wanted = (index.band, index.unit), (card.band, card.domain.unit)
    if given != wanted or not math.isclose(index.pixel_scale_arcsec, card.pixel_scale_arcsec, rel_tol=SCALE_TOLERANCE):
        raise InputError(
            f"{folder} holds images of {index.band} in {index.unit}, {index.pixel_scale_arcsec:g} arcsec a pixel; "
            f"model {card.key} is of {card.band} in {card.domain.unit}, {card.pixel_scale_arcsec:g} arcsec. "
            "Name records that match the model."
        )


def check_classes(task: str, folders: Sequence[Path], sets: Sequence[LabelledStamps]) -> None:
    """Check that stamps of both classes can judge a model: post-mergers and others, or galaxies with a neighbour and without.

    Parameters
    ----------
    task
        Name of the model's task.
    folders, sets
        The records, and their stamps; none are nothing to check.

    Raises
    ------
    InputError
        If there are fewer than 10 stamps of a class.
    """
    if not sets:
        return
    columns = pooled(sets)
    contaminated = columns["coverage_pct"][np.isfinite(columns["coverage_pct"])] > 0
    positive = columns["is_post_merger"] if task == MERGER.name else contaminated
    found = int(positive.sum()), int((~positive).sum())
    if min(found) < LEAST_OF_A_CLASS:
        raise InputError(
            f"{', '.join(map(str, folders))}: {found[0]} stamps are {_POSITIVE[task]}, and {found[1]} are not, expected "
            f"{LEAST_OF_A_CLASS} or more of each. Simulate more images, or images of both kinds."
        )


def check_stamps(card: ModelCard, stamps: LabelledStamps) -> None:
    """Check that stamps are of a model's instrument and size, and hold data.

    Raises
    ------
    InputError
        If they are or do not.
    """
    size = card.architecture.input_size
    if stamps.instrument != card.key.instrument:
        raise InputError(
            f"model {card.key} is of {card.key.instrument}, but records are of {stamps.instrument}. "
            "Name records of its instrument."
        )
    if stamps.pixels.shape[1] != size:
        raise InputError(
            f"model {card.key} takes {size} x {size} pixels, but records hold {stamps.pixels.shape[1]} a side. "
            "Simulate stamps of its size."
        )
    if n_blank := int((~stamps.valid.any(axis=(1, 2))).sum()):
        raise InputError(f"{n_blank} of {len(stamps)} stamps of records {stamps.digest[:12]} hold no data. Simulate them again.")


def check_unused(key: str, used: Path | None, unseen: Mapping[Path, RecordIndex]) -> None:
    """Check that records were not used by a model that has a part in an evaluation, as far as that model is there.

    Parameters
    ----------
    key
        What names that model in the training file, for the message.
    used
        Folder of the model, or of a jury; None if the file names none.
    unseen
        The records of the evaluation.

    Raises
    ------
    InputError
        If that model was trained on them, or its best epoch was found by them.
    """
    seen = _used_by(used) if used is not None and used.is_dir() else set()
    for folder, index in unseen.items():
        if index.digest in seen:
            raise InputError(
                f"{folder}: {key} is {used}, which was trained on these records, so they cannot show how good the result is. "
                "Name records that no training has used."
            )


def _used_by(folder: Path) -> set[str]:
    """Digests of the records that a model, or the members of a jury, used in training and validation."""
    known = [card.training for card in read_card(folder).each if card.training is not None]
    return {digest for facts in known for digest in (*facts.records, *facts.validation_records)}


def check_clean(folder: Path, index: RecordIndex) -> None:
    """Check that records that stand for galaxies without neighbours have none.

    Raises
    ------
    InputError
        If they were simulated with neighbours, or on a real mosaic.
    """
    if index.settings.get("neighbours") or "background" in index.settings:
        raise InputError(
            f"[evaluation] clean: {folder} was simulated with neighbours. Simulate it with `neighbours = false`, or remove it."
        )


def check_other(folder: Path, index: RecordIndex, learned: Iterable[RecordIndex]) -> None:
    """Check that records that stand for another simulation are not of the recipe of the training set.

    Raises
    ------
    InputError
        If both hold galaxies of one recipe.
    """
    recipe = _recipe(index)
    if recipe is not None and recipe in map(_recipe, learned):
        raise InputError(
            f"[evaluation] other: {folder} holds {recipe} galaxies, as the training set does, so it is not another simulation. "
            'Simulate with `galaxies = "orbits"`, or name the folder in `test`.'
        )


def _recipe(index: RecordIndex) -> str | None:
    """The recipe of drawn galaxies; None for galaxies of a user's own, and where the index does not say."""
    return None if "stamps" in index.settings else index.settings.get("galaxies")
