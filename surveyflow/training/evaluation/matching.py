"""Whether records can judge a model: images of its kind, of both classes, that it has not seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from surveyflow.errors import InputError
from surveyflow.inputs.mosaics import SCALE_TOLERANCE
from surveyflow.models.store import read_card
from surveyflow.settings.training import Training
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
    """Check that stamps are of a model's instrument and size.

    Raises
    ------
    InputError
        If they are not.
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


def check_not_started_on(training: Training, folders: Sequence[Path], indices: Sequence[RecordIndex]) -> None:
    """Check that records were not used by the model that a training started from, as far as that model is still there.

    Parameters
    ----------
    training
        The training file.
    folders, indices
        The records that are to judge the new model, and their indices in the same order.

    Raises
    ------
    InputError
        If that model was trained on them, or its best epoch was found by them.
    """
    start = training.model.start
    seen = _used_by(start) if start is not None and start.is_dir() else set()
    for folder, index in zip(folders, indices, strict=True):
        if index.digest in seen:
            raise InputError(
                f"{folder}: the training started from {start}, which was trained on these records, so they cannot show how good "
                "the model is. Name records that no training has used."
            )


def _used_by(folder: Path) -> set[str]:
    """Digests of the records that a model, or the members of a jury, used in training and validation."""
    known = [card.training for card in read_card(folder).each if card.training is not None]
    return {digest for facts in known for digest in (*facts.records, *facts.validation_records)}
