"""Whether an image lies in the domain that a model was trained on."""

from __future__ import annotations

import numpy as np

from surveyflow.sky.noise import sky_rms
from surveyflow.tasks.card import ModelCard
from surveyflow.values.arrays import BoolArray, Float32Array


def band_differs(mosaic_filter: str | None, card: ModelCard) -> bool:
    """Whether a mosaic's filter is none of those that a model was trained on; not where the header does not say it.

    Parameters
    ----------
    mosaic_filter
        FILTER of the mosaic, in capitals.
    card
        The model's card; its band may name several filters: ``F125W_F160W``.
    """
    return mosaic_filter is not None and mosaic_filter not in card.band.upper().split("_")


def noise_outside(pixels: Float32Array, valid: BoolArray, card: ModelCard) -> BoolArray:
    """Whether the noise of each cutout is none that a model was trained on; False where the card does not say.

    Parameters
    ----------
    pixels
        (n, size, size) float32, in the mosaic's unit.
    valid
        (n, size, size) bool.
    card
        The model's card.
    """
    if card.domain.sky_rms is None:
        return np.zeros(len(pixels), dtype=bool)
    low, high = card.domain.sky_rms
    measured = sky_rms(pixels, valid)
    inside: BoolArray = (measured >= low) & (measured <= high)
    return ~inside
