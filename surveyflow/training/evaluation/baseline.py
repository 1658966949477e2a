"""The baseline that a network has to beat: gradient-boosted trees fitted to statistics of a stamp's annuli.

A stamp is reduced to seven statistics in each of 15 rings around its centre, in units of its own sky noise: four moments of the
light, the share of detected pixels, and two of the residual after rotation by 180 degrees. There is no convolution, and no
learning of shapes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
from scipy.ndimage import uniform_filter

from surveyflow.errors import InputError
from surveyflow.sky.measurements import sky_rms
from surveyflow.values import remedies
from surveyflow.values.arrays import BoolArray, Float32Array, Float64Array, Int64Array

RING_EDGES_PIX = (0, 2, 4, 6, 9, 12, 16, 20, 25, 30, 36, 42, 50, 58, 66, 91)
"""Radii that separate the rings; the last one includes the corners of a stamp of 128 pixels a side."""
STATISTICS = 7
"""For each ring: median, mean, maximum, 90th percentile, share above 2 sky rms, mean and maximum of the rotation residual."""

_SMOOTHING_PIX = 3
_DETECTION_SKY = 2.0
_HIGH_QUANTILE = 0.9
_BATCH = 512


def annulus_features(pixels: Float32Array, valid: BoolArray) -> Float32Array:
    """Reduce stamps to statistics of rings around their centre pixel, ``size // 2``.

    Parameters
    ----------
    pixels
        (n, size, size) float32, in any unit; 0 where there is no data.
    valid
        (n, size, size) bool.

    Returns
    -------
    (n, 7 x rings) float32: arcsinh of each statistic, in units of the stamp's sky rms. 105 numbers for stamps of 128 pixels.
    All 0 for a stamp whose sky rms is unknown or 0.
    """
    rings = _rings(pixels.shape[-1])
    batches = (slice(start, start + _BATCH) for start in range(0, len(pixels), _BATCH))
    features = [_batch_features(pixels[batch], valid[batch], rings) for batch in batches]
    return np.concatenate(features) if features else np.empty((0, STATISTICS * len(rings)), np.float32)


def _rings(size: int) -> list[Int64Array]:
    """Flat indices of the pixels of each ring that lies on a stamp."""
    y, x = np.mgrid[:size, :size] - size // 2
    radius_pix = np.hypot(y, x).ravel()
    rings = [np.flatnonzero((radius_pix >= inner) & (radius_pix < outer)) for inner, outer in pairwise(RING_EDGES_PIX)]
    return [ring for ring in rings if len(ring)]


def _batch_features(pixels: Float32Array, valid: BoolArray, rings: list[Int64Array]) -> Float32Array:
    rms = sky_rms(pixels, valid)
    scale = np.divide(1, rms, out=np.zeros_like(rms), where=rms > 0)[:, None, None]
    in_sky = np.where(valid, pixels, 0) * scale
    light = uniform_filter(in_sky, (0, _SMOOTHING_PIX, _SMOOTHING_PIX)).reshape(len(pixels), -1)
    residual = _half_turn_residual(in_sky).reshape(len(pixels), -1)
    statistics = [value for ring in rings for value in _statistics(light[:, ring], residual[:, ring])]
    return np.arcsinh(np.stack(statistics, axis=1)).astype(np.float32)


def _half_turn_residual(images: Float32Array) -> Float32Array:
    """Absolute difference from the image rotated by 180 degrees about the pixel ``size // 2``; 0 where a pixel has no partner."""
    first = 1 - images.shape[-1] % 2
    residual = np.zeros_like(images)
    around = images[:, first:, first:]
    residual[:, first:, first:] = np.abs(around - around[:, ::-1, ::-1])
    return residual


def _statistics(light: Float32Array, residual: Float32Array) -> list[Float32Array]:
    """The seven statistics of one ring, each (n,)."""
    ordered = np.sort(light, axis=1)
    last = ordered.shape[1] - 1
    return [
        ordered[:, last // 2],
        ordered.mean(axis=1),
        ordered[:, -1],
        ordered[:, int(_HIGH_QUANTILE * last)],
        (ordered > _DETECTION_SKY).mean(axis=1, dtype=np.float32),
        residual.mean(axis=1),
        residual.max(axis=1),
    ]


@dataclass(frozen=True, slots=True)
class TreeClassifier:
    """Trees that give the probability of a class; a constant if the training set held one class only.

    Parameters
    ----------
    trees
        A fitted scikit-learn classifier, or the constant probability.
    """

    trees: Any

    @classmethod
    def fitted(cls, features: Float32Array, member: BoolArray, seed: int) -> Self:
        """Fit to (n, k) features and (n,) memberships; the same seed gives the same trees."""
        if member.all() or not member.any():
            return cls(float(member.mean()) if len(member) else 0.0)
        trees = _ensemble().HistGradientBoostingClassifier(max_iter=300, learning_rate=0.06, random_state=seed)
        return cls(trees.fit(features, member))

    def probability(self, features: Float32Array) -> Float64Array:
        """(n, k) features -> (n,) probability of membership."""
        if isinstance(self.trees, float):
            return np.full(len(features), self.trees)
        return np.asarray(self.trees.predict_proba(features)[:, 1], np.float64)


@dataclass(frozen=True, slots=True)
class TreeRegressor:
    """Trees that estimate a number; a constant if there was too little to fit.

    Parameters
    ----------
    trees
        A fitted scikit-learn regressor, or the constant.
    """

    trees: Any

    @classmethod
    def fitted(cls, features: Float32Array, truth: Float64Array, seed: int) -> Self:
        """Fit to (n, k) features and (n,) truths; the same seed gives the same trees."""
        if len(truth) < 2:
            return cls(float(truth.mean()) if len(truth) else 0.0)
        trees = _ensemble().HistGradientBoostingRegressor(max_iter=300, learning_rate=0.06, random_state=seed)
        return cls(trees.fit(features, truth))

    def estimate(self, features: Float32Array) -> Float64Array:
        """(n, k) features -> (n,) estimates."""
        if isinstance(self.trees, float):
            return np.full(len(features), self.trees)
        return np.asarray(self.trees.predict(features), np.float64)


def _ensemble() -> Any:
    try:
        from sklearn import ensemble
    except ModuleNotFoundError as error:
        raise InputError(f"The baseline needs scikit-learn, which is not installed: `{remedies.install('train')}`.") from error
    return ensemble
