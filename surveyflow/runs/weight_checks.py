"""The comparison of a survey's weight maps with the noise of its mosaics, at some of the sources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import numpy as np

from surveyflow.errors import MosaicError
from surveyflow.inputs.mosaic_lists import MosaicSet
from surveyflow.inputs.mosaics import Mosaic
from surveyflow.planning.units import LocatedSources
from surveyflow.sky.scattered import cut_from_mosaic
from surveyflow.sky.tiling import centre_pixels
from surveyflow.sky.weight_kind import WeightCheck, check_weights, stated_numbers
from surveyflow.values.images import Box, CutoutStack

_N_BOXES = 24
_BOX_PIXELS = 128
_N_SIGN_BOXES = 3
_MOST_NEGATIVE = 0.01
"""Share of a weight map's numbers that may be negative, as kernels with negative lobes leave them at edges."""


def check_weights_of(mosaics: MosaicSet, located: LocatedSources, instrument: str) -> WeightCheck | None:
    """Compare weight maps with the noise of their mosaics, in boxes around at most 24 of the sources on all of them.

    Parameters
    ----------
    mosaics
        The field's mosaics in one instrument.
    located
        The field's sources with their positions on the mosaics.
    instrument
        The mosaics' instrument.

    Returns
    -------
    The verdict; None without weight maps, with too few boxes, or if pixels cannot be read, which the units will report.
    """
    weighted = np.array([mosaic.weight is not None for mosaic in mosaics.mosaics])
    measured = np.flatnonzero((located.instrument == instrument) & (located.status == ""))
    rows = measured[weighted[located.mosaic[measured]]]
    if not len(rows):
        return None
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, _N_BOXES).astype(np.int64))]
    try:
        stacks = [_box(mosaics, located, row) for row in chosen]
    except MosaicError:
        return None
    pixels, valid, weight = (
        np.concatenate([getattr(stack, name) for stack in stacks]) for name in ("pixels", "valid", "weight_median")
    )
    stated = mosaics.mosaics[0].stated.weight_kind
    return check_weights(pixels, valid, weight if stated is None else stated_numbers(weight, stated), stated)


def contradicted_kinds(
    checks: Mapping[tuple[str, str], WeightCheck], sets: Mapping[tuple[str, str], MosaicSet]
) -> Iterator[tuple[tuple[str, str], str, str]]:
    """Find weight maps that are clearly of another kind than the workflow states.

    Parameters
    ----------
    checks
        Verdicts by field and instrument.
    sets
        The mosaics by field and instrument.

    Yields
    ------
    Field and instrument, what is wrong, and the remedy.
    """
    for place, check in checks.items():
        if check.stated is not None and (found := check.contradiction) is not None:
            images = [mosaic.weight for mosaic in sets[place].mosaics if mosaic.weight is not None]
            more = f" (and {len(images) - 1} more)" if len(images) > 1 else ""
            what = (
                f"{images[0]}{more} is stated to be {check.stated} ({check.stated.meaning}), but the noise of the image in "
                f"{check.n_boxes} boxes says that it is {found} ({found.meaning})."
            )
            yield place, what, f'Write weight_kind = "{found}", or leave it out: weight_median then holds the map\'s own numbers.'


def exchanged_images(mosaics: MosaicSet, located: LocatedSources, instrument: str) -> Iterator[tuple[str, str]]:
    """Find weight maps with negative numbers, as science images have, around up to 3 sources of each mosaic.

    Parameters
    ----------
    mosaics, located, instrument
        As in `check_weights_of`.

    Yields
    ------
    What is wrong, and the remedy.
    """
    measured = np.flatnonzero((located.instrument == instrument) & (located.status == ""))
    for number, mosaic in enumerate(mosaics.mosaics):
        rows = measured[located.mosaic[measured] == number] if mosaic.weight is not None else measured[:0]
        share = _share_negative(mosaic, located.take(rows[:: max(1, len(rows) // _N_SIGN_BOXES)][:_N_SIGN_BOXES]))
        if share > _MOST_NEGATIVE:
            what = f"{share:.0%} of the weights of {mosaic.weight} are negative around its sources; weights never are."
            yield what, f"If it is the science image, and {mosaic.science} the weight map, exchange them."


def _share_negative(mosaic: Mosaic, sources: LocatedSources) -> float:
    """The share of negative numbers among the weights around sources that are not 0."""
    half = _BOX_PIXELS // 2
    columns, rows = centre_pixels(sources.x_pix, sources.y_pix)
    weights = []
    for x, y in zip(columns.tolist(), rows.tolist(), strict=True):
        with suppress(MosaicError):  # the unit will report it
            weight = mosaic.read(Box(y - half, y + half, x - half, x + half)).weight
            weights += [] if weight is None else [weight[np.isfinite(weight) & (weight != 0)]]
    found = np.concatenate([np.zeros(0, np.float32), *weights])
    return float((found < 0).mean()) if len(found) else 0.0


def _box(mosaics: MosaicSet, located: LocatedSources, row: np.int64) -> CutoutStack:
    return cut_from_mosaic(mosaics.mosaics[located.mosaic[row]], located.x_pix[[row]], located.y_pix[[row]], _BOX_PIXELS)


def weights_entry(check: WeightCheck | None) -> dict[str, Any]:
    """A manifest's entry on a weight map; empty if its weights were not measured."""
    return {} if check is None else {"noise": asdict(check)}
