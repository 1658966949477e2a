"""The comparison of images with those that a model was trained on: sky, noise, PSF, centroid, and distance of features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from surveyflow.sky.measurements import (
    Noise,
    Sky,
    centroid_offsets,
    edge_light_fractions,
    measured_noise,
    measured_sky,
    signal_to_noise,
)
from surveyflow.values.arrays import BoolArray, Float32Array, Float64Array
from surveyflow.values.codes import Flag

if TYPE_CHECKING:
    from surveyflow.tasks.card import ModelCard


N_AXES = 4
"""Directions of the network's features that count, beside the statistics of the image."""
N_QUANTILES = 1001
FEATURE_PERCENTILE = 99.0
"""The limit that a card gets: 1 % of held-out images of the training's kind lie beyond it."""

_LEAST_SPREAD = 1e-5
"""Relative standard deviation below which a number counts as constant; float32 resolves less than a hundredth of it."""
_LEAST_VARIANCE = 1e-3
"""Of a direction that counts, in units of the mean variance of the standardised numbers."""


@dataclass(frozen=True, slots=True, eq=False)
class FeatureDomain:
    """The training images as numbers: a centre, the directions around it, and how far held-out images of the same kind lie.

    The numbers of an image are `surveyflow.sky.measurements.image_statistics` of what the network sees, and the projections
    of the network's features on their first principal components. The distance is that of Mahalanobis, pooled over the
    classes and without directions in which the training images hardly vary.

    Parameters
    ----------
    axes
        (width, a) float32: principal components of the features.
    centre
        (s + a,) float32: mean of the training images' numbers.
    whitening
        (s + a, k) float32: maps differences from the centre to k independent numbers of variance 1.
    distances
        (q,) float32, ascending: quantiles of the held-out images' distances, evenly spaced from 0 to 100 %.
    """

    axes: Float32Array
    centre: Float32Array
    whitening: Float32Array
    distances: Float32Array

    def __post_init__(self) -> None:
        if problem := self._problem():
            raise ValueError(problem)

    @classmethod
    def fitted(
        cls,
        training: tuple[Float64Array, Float32Array],
        held_out: tuple[Float64Array, Float32Array],
    ) -> FeatureDomain:
        """Fit to the training images, and calibrate on others.

        Parameters
        ----------
        training, held_out
            Statistics (n, s) and features (n, width) of images. Images with a feature that is not finite are left out; at least
            one of each set must be left.
        """
        (statistics, features), held_out = (_finite(*each) for each in (training, held_out))
        axes = _principal_components(features.astype(np.float64))
        numbers = _numbers(statistics, features, axes)
        centre, whitening = numbers.mean(axis=0).astype(np.float32), _whitening(numbers)
        distances = _distances(_numbers(*held_out, axes), centre, whitening)
        quantiles = np.quantile(distances, np.linspace(0, 1, N_QUANTILES)).astype(np.float32)
        return cls(axes, centre, whitening, quantiles)

    def percentiles(self, statistics: Float64Array, features: Float32Array) -> Float32Array:
        """The share of held-out images that lie nearer to the centre than each of these images.

        Parameters
        ----------
        statistics
            (n, s) float64: `surveyflow.sky.measurements.image_statistics` of what the network sees.
        features
            (n, width) float32: the network's features.

        Returns
        -------
        (n,) float32, percent: 0 to 100, and 100 beyond all held-out images. NaN where a feature is.
        """
        found = _distances(_numbers(statistics, features, self.axes), self.centre, self.whitening)
        percent = np.linspace(0, 100, len(self.distances))
        return np.where(np.isnan(found), np.nan, np.interp(found, self.distances, percent)).astype(np.float32)

    def _problem(self) -> str | None:
        """What is wrong with the arrays; None if nothing is."""
        arrays = {one.name: getattr(self, one.name) for one in fields(self)}
        for name, values in arrays.items():
            if values.dtype != np.float32:
                return f"{name} holds {values.dtype}, expected float32"
            if not np.isfinite(values).all():
                return f"{name} holds {np.count_nonzero(~np.isfinite(values))} values that are not finite"
        if (self.axes.ndim, self.centre.ndim, self.whitening.ndim, self.distances.ndim) != (2, 1, 2, 1):
            return f"the arrays have shapes {[values.shape for values in arrays.values()]}, not of 2, 1, 2 and 1 dimensions"
        if self.whitening.shape[0] != len(self.centre) or self.axes.shape[1] >= len(self.centre):
            return f"axes {self.axes.shape}, centre {self.centre.shape} and whitening {self.whitening.shape} do not match"
        if len(self.distances) < 2 or (np.diff(self.distances) < 0).any():
            return "distances must be two or more numbers in ascending order"
        return None


@dataclass(frozen=True, slots=True, eq=False)
class JuryDomain:
    """The images that the members of a jury were trained on.

    Parameters
    ----------
    members
        Each member's domain, in order of name.
    """

    members: tuple[FeatureDomain, ...]


def _finite(statistics: Float64Array, features: Float32Array) -> tuple[Float64Array, Float32Array]:
    finite = np.isfinite(features).all(axis=1)
    return statistics[finite], features[finite]


def _numbers(statistics: Float64Array, features: Float32Array, axes: Float32Array) -> Float64Array:
    """(n, s + a) numbers of images: their statistics, then the projections of their features."""
    return np.concatenate([statistics, _times(features.astype(np.float64), axes)], axis=1)


def _distances(numbers: Float64Array, centre: Float32Array, whitening: Float32Array) -> Float64Array:
    return np.asarray(np.linalg.norm(_times(numbers - centre, whitening), axis=1))


def _times(rows: Float64Array, matrix: Float32Array) -> Float64Array:
    """``rows @ matrix``, one row at a time, so that a row's product does not depend on the others."""
    wide = matrix.astype(np.float64)
    return np.array([row @ wide for row in rows]).reshape(len(rows), matrix.shape[1])


def _principal_components(features: Float64Array) -> Float32Array:
    _, _, directions = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
    return np.ascontiguousarray(directions[:N_AXES].T, np.float32)


def _whitening(numbers: Float64Array) -> Float32Array:
    """(m, k): standardised numbers on the principal components that have enough variance, each divided by its own."""
    centre, spread = numbers.mean(axis=0), numbers.std(axis=0)
    scale = np.divide(1, spread, out=np.zeros_like(spread), where=spread > _LEAST_SPREAD * (1 + np.abs(centre)))
    _, singular, directions = np.linalg.svd((numbers - centre) * scale, full_matrices=False)
    variance = singular**2 / len(numbers)
    kept = variance > _LEAST_VARIANCE
    return np.asarray(scale[:, None] * directions[kept].T / np.sqrt(variance[kept]), np.float32)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is measured on cutouts without any model.

    Parameters
    ----------
    sky
        Level and rms of their sky, which stretches use.
    noise
        Rms and correlation of their pixels' noise.
    offset_arcsec
        (n,) float32: distance of the light's centroid from the position, arcsec; NaN where no light is found.
    window_snr
        (n,) float32: light about the position in units of its noise; NaN where the noise is unknown.
    edge_light_fraction
        (n,) float32, 0 to 1: share of the border's pixels that are brighter than noise; NaN where the noise is unknown, or the
        border holds no data.
    """

    sky: Sky
    noise: Noise
    offset_arcsec: Float32Array
    window_snr: Float32Array
    edge_light_fraction: Float32Array

    @property
    def sky_sigma(self) -> Float32Array:
        """(n,) float32: the level of the sky in units of the noise's rms; NaN where either is unknown."""
        return np.divide(self.sky.level, self.noise.rms)


def measured_facts(pixels: Float32Array, valid: BoolArray, position_yx: Float64Array, pixel_scale_arcsec: float) -> Facts:
    """Measure sky and noise of cutouts, how far their light lies from the position and above the noise, and that at the border.

    Parameters
    ----------
    pixels, valid, position_yx, pixel_scale_arcsec
        As for `surveyflow.sky.measurements.centroid_offsets`.
    """
    sky = measured_sky(pixels, valid)
    noise = measured_noise(pixels, valid, sky)
    offset_arcsec = centroid_offsets(pixels, valid, sky, position_yx, pixel_scale_arcsec)
    level_and_noise = Sky(sky.level, noise.rms)
    window_snr = signal_to_noise(pixels, valid, level_and_noise, position_yx, pixel_scale_arcsec)
    return Facts(sky, noise, offset_arcsec, window_snr, edge_light_fractions(pixels, valid, level_and_noise))


def facts_outside(facts: Facts, card: ModelCard) -> Mapping[Flag, BoolArray]:
    """Flags of what lies outside the range that a model was trained on, each with (n,) bool; none that the card does not state.

    Parameters
    ----------
    facts
        What was measured on the cutouts.
    card
        The model's card.
    """
    domain, noise = card.domain, facts.noise
    return {
        Flag.NOISE_DOMAIN: _outside(noise.rms, domain.sky_rms) | _outside(noise.correlation, domain.noise_correlation),
        Flag.SKY_DOMAIN: _outside(facts.sky_sigma, domain.sky_sigma),
        Flag.SNR_DOMAIN: _outside(facts.window_snr, domain.window_snr),
        Flag.EDGE_DOMAIN: _above(facts.edge_light_fraction, domain.edge_light_fraction),
        Flag.OFF_CENTRE: facts.offset_arcsec > (np.inf if domain.offset_arcsec is None else domain.offset_arcsec),
    }


def psf_outside(psf_fwhm_arcsec: float | None, card: ModelCard) -> bool:
    """Whether the PSF that a user states lies outside the range that a model was trained on; False if either is not stated.

    Parameters
    ----------
    psf_fwhm_arcsec
        Full width at half maximum of a star, arcsec.
    card
        The model's card.
    """
    limits = card.domain.psf_fwhm_arcsec
    return psf_fwhm_arcsec is not None and limits is not None and not limits[0] <= psf_fwhm_arcsec <= limits[1]


def distance_outside(feature_distance: Float32Array | None, n_cutouts: int, card: ModelCard) -> BoolArray:
    """Whether each cutout lies further from the training images than the card allows; False where that is not known.

    Parameters
    ----------
    feature_distance
        (n,) float32: see `surveyflow.models.framing.feature_distances`.
    n_cutouts
        Their number.
    card
        The model's card.
    """
    if feature_distance is None or card.domain.feature_percentile is None:
        return np.zeros(n_cutouts, dtype=bool)
    within: BoolArray = feature_distance <= card.domain.feature_percentile
    return ~within


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


def _above(measured: Float32Array, highest: float | None) -> BoolArray:
    """Whether each number exceeds the highest, or is NaN; False without one."""
    return _outside(measured, None if highest is None else (-np.inf, highest))


def _outside(measured: Float32Array, limits: tuple[float, float] | None) -> BoolArray:
    """Whether each number lies outside the limits, or is NaN; False without limits."""
    if limits is None:
        return np.zeros(len(measured), dtype=bool)
    inside: BoolArray = (measured >= limits[0]) & (measured <= limits[1])
    return ~inside
