"""The comparison of cutouts with the images that a model was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from surveyflow.sky.centroids import centroid_offsets
from surveyflow.sky.noise import Sky, measured_sky
from surveyflow.tasks.card import ModelCard
from surveyflow.values.arrays import BoolArray, Float32Array, Float64Array
from surveyflow.values.codes import Flag


@dataclass(frozen=True, slots=True)
class Facts:
    """What is measured on cutouts without any model.

    Parameters
    ----------
    sky
        Level and rms of their sky.
    offset_arcsec
        (n,) float32: distance of the light's centroid from the position, arcsec; NaN where no light is found.
    """

    sky: Sky
    offset_arcsec: Float32Array


def measured_facts(pixels: Float32Array, valid: BoolArray, position_yx: Float64Array, pixel_scale_arcsec: float) -> Facts:
    """Measure the sky of cutouts and the offset of their light.

    Parameters
    ----------
    pixels, valid, position_yx, pixel_scale_arcsec
        As for `surveyflow.sky.centroids.centroid_offsets`.
    """
    sky = measured_sky(pixels, valid)
    return Facts(sky, centroid_offsets(pixels, valid, sky, position_yx, pixel_scale_arcsec))


def facts_outside(facts: Facts, card: ModelCard) -> Mapping[Flag, BoolArray]:
    """Flags of what lies outside the range that a model was trained on, each with (n,) bool; none that the card does not state.

    Parameters
    ----------
    facts
        What was measured on the cutouts.
    card
        The model's card.
    """
    return {
        Flag.NOISE_DOMAIN: noise_outside(facts.sky.rms, card),
        Flag.SKY_DOMAIN: _outside(facts.sky.level_in_rms, card.domain.sky_sigma),
        Flag.OFF_CENTRE: facts.offset_arcsec > (np.inf if card.domain.offset_arcsec is None else card.domain.offset_arcsec),
    }


def distance_outside(feature_distance: Float32Array | None, n_cutouts: int, card: ModelCard) -> BoolArray:
    """Whether each cutout lies further from the training images than the card allows; False where that is not known.

    Parameters
    ----------
    feature_distance
        (n,) float32: see `surveyflow.models.domains.feature_distances`.
    n_cutouts
        Their number.
    card
        The model's card.
    """
    if feature_distance is None or card.domain.feature_percentile is None:
        return np.zeros(n_cutouts, dtype=bool)
    within: BoolArray = feature_distance <= card.domain.feature_percentile
    return ~within


def noise_outside(sky_rms: Float32Array, card: ModelCard) -> BoolArray:
    """Whether the noise of each cutout lies outside the range that a model was trained on; False if the card does not state it.

    Parameters
    ----------
    sky_rms
        (n,) float32, in the mosaic's unit.
    card
        The model's card.
    """
    return _outside(sky_rms, card.domain.sky_rms)


def band_differs(mosaic_filter: str | None, card: ModelCard) -> bool:
    """Whether a mosaic's filter differs from those that a model was trained on; False if the header does not state it.

    Parameters
    ----------
    mosaic_filter
        FILTER of the mosaic, in capitals.
    card
        The model's card; its band may name several filters: ``F125W_F160W``.
    """
    return mosaic_filter is not None and mosaic_filter not in card.band.upper().split("_")


def _outside(measured: Float32Array, limits: tuple[float, float] | None) -> BoolArray:
    """Whether each number lies outside the limits, or is NaN; False without limits."""
    if limits is None:
        return np.zeros(len(measured), dtype=bool)
    inside: BoolArray = (measured >= limits[0]) & (measured <= limits[1])
    return ~inside
