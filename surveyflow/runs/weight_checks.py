"""The comparison of a survey's weight maps with the noise of its mosaics, at some of the sources."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from surveyflow.errors import MosaicError
from surveyflow.inputs.mosaics import Mosaic
from surveyflow.sky.scattered import cut_from_mosaic
from surveyflow.sky.weight_kind import WeightCheck, check_weights, stated_numbers
from surveyflow.values.images import CutoutStack
from surveyflow.values.sources import UnitSources

_N_BOXES = 24
_BOX_PIXELS = 128


def check_weights_of(mosaic: Mosaic, located: UnitSources, instrument: str) -> WeightCheck | None:
    """Compare a mosaic's weight map with its noise, in boxes around at most 24 of its sources.

    Parameters
    ----------
    mosaic
        The mosaic.
    located
        The field's sources with their positions on the mosaics.
    instrument
        The mosaic's instrument.

    Returns
    -------
    The verdict; None without a weight map, with too few boxes, or if pixels cannot be read, which the units will report.
    """
    rows = np.flatnonzero((located.instrument == instrument) & (located.status == ""))
    if mosaic.weight is None or not len(rows):
        return None
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, _N_BOXES).astype(np.int64))]
    try:
        stacks = [_box(mosaic, located, row) for row in chosen]
    except MosaicError:
        return None
    pixels, valid, weight = (
        np.concatenate([getattr(stack, name) for stack in stacks]) for name in ("pixels", "valid", "weight_median")
    )
    stated = mosaic.stated.weight_kind
    return check_weights(pixels, valid, weight if stated is None else stated_numbers(weight, stated), stated)


def _box(mosaic: Mosaic, located: UnitSources, row: np.int64) -> CutoutStack:
    return cut_from_mosaic(mosaic, located.x_pix[[row]], located.y_pix[[row]], _BOX_PIXELS)


def weights_entry(check: WeightCheck | None) -> dict[str, Any]:
    """A manifest's entry on a weight map; empty if its weights were not measured."""
    return {} if check is None else {"noise": asdict(check)}
