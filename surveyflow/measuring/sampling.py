"""What does sampling a model's head leave of its draws? A summary; and the draws themselves only where they are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from surveyflow.stats.posterior import PosteriorSummary, summarise
from surveyflow.tasks.card import Model
from surveyflow.values.arrays import Float32Array, UInt64Array
from surveyflow.values.codes import POST_MERGER, STAR_FORMING
from surveyflow.values.sampling import SamplingSettings


@runtime_checkable
class SummarisingModel(Protocol):
    """A model that summarises its draws as it makes them, and keeps none."""

    def summarise(
        self, features: Float32Array, source_keys: UInt64Array, n_draws: int, seed: int, outputs: tuple[int, int]
    ) -> PosteriorSummary:
        """The summary of the draws of two outputs, the post-merger one first.

        It is that of `surveyflow.stats.posterior.summarise`, but that means and standard deviations, which are sums in another
        order, may differ from those in the last bit.
        """
        ...


@dataclass(frozen=True, slots=True)
class Sample:
    """A batch of sources, sampled.

    Parameters
    ----------
    summary
        Of the draws of (p_pm, p_sf).
    p_pm_draws
        (n, n_draws) float32: the draws of p_pm; None unless they are kept.
    """

    summary: PosteriorSummary
    p_pm_draws: Float32Array | None = None


def sample(model: Model, features: Float32Array, source_keys: UInt64Array, settings: SamplingSettings) -> Sample:
    """Sample the two class probabilities of a merger model's sources.

    Parameters
    ----------
    model
        The model; if it is a `SummarisingModel`, and the draws are not kept, they are never all in memory.
    features
        (n, width) float32: its features of the sources.
    source_keys
        (n,) uint64.
    settings
        Draws, seed, and whether the draws are kept.
    """
    post_merger, star_forming = (model.card.class_names.index(name) for name in (POST_MERGER, STAR_FORMING))
    if isinstance(model, SummarisingModel) and not settings.keep_draws:
        return Sample(model.summarise(features, source_keys, settings.n_draws, settings.seed, (post_merger, star_forming)))
    draws = model.draw(features, source_keys, settings.n_draws, settings.seed)[..., [post_merger, star_forming]]
    return Sample(summarise(draws), draws[..., 0].copy() if settings.keep_draws else None)
