"""Whether records hold images of the kind that a model was made for."""

from __future__ import annotations

import math
from pathlib import Path

from surveyflow.errors import InputError
from surveyflow.inputs.mosaics import SCALE_TOLERANCE
from surveyflow.tasks.card import ModelCard
from surveyflow.training.records.labelled import LabelledStamps
from surveyflow.training.records.record_index import RecordIndex


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
