"""Models that look at one thing only, and need no network."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.special import expit

from surveyflow.measuring.unit import SummarisingModel
from surveyflow.stats.posterior import PosteriorSummary, summarise
from surveyflow.tasks.card import Model, ModelCard
from surveyflow.tasks.contamination.parts import OUTPUTS as CONTAMINATION_OUTPUTS
from surveyflow.tasks.domains import FeatureDomain
from surveyflow.values.arrays import Float32Array, UInt64Array

STAMP_SIZE = 48
"""Side of the stamps that `NucleusModel` and `CornerModel` look at, pixels."""


@dataclass(frozen=True)
class _FakeModel:
    """What fake models have in common."""

    card: ModelCard

    @property
    def engine(self) -> str:
        return "stub"

    @property
    def domain(self) -> FeatureDomain | None:
        return None


class DrawingModel(_FakeModel):
    """Its feature is the cutout's mean. Its draws are that feature, and numbers that rise with the draw."""

    def features(self, cutouts: Float32Array) -> Float32Array:
        means: Float32Array = cutouts.mean(axis=(1, 2), keepdims=True)[..., 0]
        return means

    def draw(self, features: Float32Array, source_keys: UInt64Array, n_draws: int, seed: int) -> Float32Array:
        rising = np.linspace(0, 0.5, n_draws, dtype=np.float32)[:, None] * np.array([1, 0.5], np.float32)
        draws: Float32Array = features[:, None, :1] + rising[None]
        return draws


@dataclass(frozen=True)
class InPlaceModel(DrawingModel):
    """The same, but it summarises its draws itself, and notes what it was asked."""

    asked: list[tuple[int, int, tuple[int, int]]] = field(default_factory=list)

    def summarise(
        self, features: Float32Array, source_keys: UInt64Array, n_draws: int, seed: int, outputs: tuple[int, int]
    ) -> PosteriorSummary:
        self.asked.append((n_draws, seed, outputs))
        draws = DrawingModel(self.card).draw(features, source_keys, n_draws, seed)
        return summarise(draws[..., outputs])

    def summarise_amounts(self, *_: object) -> None:
        """It cannot, as a jury of several engines cannot."""


class NucleusModel(_FakeModel):
    """Takes a galaxy for a post-merger if its left is brighter than the opposite side; unsure by its masks."""

    def features(self, cutouts: Float32Array) -> Float32Array:
        middle = cutouts.shape[1] // 2
        near = slice(middle - 1, middle + 2)
        left = cutouts[:, near, middle - 4 : middle - 1].mean(axis=(1, 2))
        right = cutouts[:, near, middle + 2 : middle + 5].mean(axis=(1, 2))
        differences: Float32Array = (left - right)[:, None].astype(np.float32)
        return differences

    def draw(self, features: Float32Array, source_keys: UInt64Array, n_draws: int, seed: int) -> Float32Array:
        noise = np.stack([np.random.default_rng([seed, int(key)]).normal(0, 0.3, n_draws) for key in source_keys])
        p_pm = expit(2 * features.astype(np.float64) + noise - 2)
        return np.stack([p_pm, 1 - p_pm], axis=-1).astype(np.float32)


class CornerModel(_FakeModel):
    """Sees neighbours: in the prepared image, the brightest pixel of the diagonal says how near and how bright."""

    def features(self, cutouts: Float32Array) -> Float32Array:
        steps = np.arange(4, 15)
        diagonal = cutouts[:, STAMP_SIZE // 2 + steps, STAMP_SIZE // 2 + steps].astype(np.float64)
        peak = diagonal.max(axis=1)
        distance_pix = 1.5 * (4 + diagonal.argmax(axis=1))
        return np.stack([peak, distance_pix], axis=1).astype(np.float32)

    def draw(self, features: Float32Array, source_keys: UInt64Array, n_draws: int, seed: int) -> Float32Array:
        scale = self.card.contamination
        if scale is None:
            raise ValueError(f"{self.card.key} is not a contamination model")
        peak, distance_pix = np.minimum(features.T.astype(np.float64), 30)
        there = np.clip((peak - 2.5) / 2, 0.01, 0.99)
        coverage = 100 * np.clip(1 - distance_pix / 15, 0, 1)
        flux_sky = 0.3 * np.sinh(peak)
        columns = {
            "contaminated": there * (coverage > 0),
            "coverage": np.log1p(coverage) / np.log(101),
            "coverage_scatter": np.full(len(peak), 0.2),
            "neighbours": there,
            "flux_pp": np.clip(np.arcsinh(flux_sky) / scale.flux_range, 0, 1),
            "flux_pp_scatter": np.full(len(peak), 0.1),
        }
        outputs = np.stack([columns[name] for name in CONTAMINATION_OUTPUTS], axis=-1)
        return np.repeat(outputs[:, None, :], n_draws, axis=1).astype(np.float32)


_: tuple[type[Model], ...] = (DrawingModel, InPlaceModel, NucleusModel, CornerModel)
_SUMMARISES: type[SummarisingModel] = InPlaceModel
