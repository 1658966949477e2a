"""The sampling of a model's head, and the summary of its draws; the draws themselves are kept only if wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from surveyflow.stats.posterior import AmountOutputs, AmountStatistics, PosteriorSummary
from surveyflow.tasks.card import Model
from surveyflow.tasks.registry import task_of
from surveyflow.tasks.task import Columns, Draws, Task
from surveyflow.values.arrays import BoolArray, Float32Array, UInt64Array
from surveyflow.values.jobs import SamplingSettings

DRAWS_AT_ONCE = 2**18
"""Number of draws, of all sources in a block, for tasks that turn draws into other quantities: 50 MB in float64."""


_SAFE_FEATURE = 1e12
"""The dense layers do not overflow for features below this number, unless weights are absurdly large, too."""


@runtime_checkable
class SummarisingModel(Protocol):
    """A model that summarises its draws as it makes them, and keeps none of them."""

    def summarise(
        self, features: Float32Array, source_keys: UInt64Array, n_draws: int, seed: int, outputs: tuple[int, int]
    ) -> PosteriorSummary:
        """The summary of the draws of two outputs, in this order.

        It equals that of `surveyflow.stats.posterior.summarise`. Only the last bit of means, standard deviations and entropies of
        shares may differ, since they are sums in another order.
        """
        ...

    def summarise_amounts(
        self,
        features: Float32Array,
        source_keys: UInt64Array,
        n_draws: int,
        seed: int,
        amounts: Sequence[Sequence[AmountOutputs]],
    ) -> AmountStatistics | None:
        """The statistics of the amounts that the draws of each member stand for; None if the model cannot make them.

        They equal, within the rounding of float32, those of the physical draws that a task makes of all draws.
        """
        ...


@dataclass(frozen=True, slots=True)
class Sample:
    """The results of sampling a batch of sources.

    Parameters
    ----------
    columns
        The summary of the draws, by name of the catalog's column; each (n, ...).
    kept_draws
        (n, n_draws) float32: the draws of the task's first output; None unless they are kept.
    """

    columns: Columns
    kept_draws: Float32Array | None = None


def have_draws(model: Model, features: Float32Array, source_keys: UInt64Array, settings: SamplingSettings) -> BoolArray:
    """Whether every draw of each source is a number.

    It is not if pixels are so large that the network's arithmetic overflows, which only the ``linear`` stretch allows. Such a
    source must not spoil the others of its batch. Only sources with huge features are drawn here.

    Parameters
    ----------
    model, features, source_keys, settings
        As for `sample`.
    """
    defined: BoolArray = np.all(features < _SAFE_FEATURE, axis=1)
    for row in np.flatnonzero(~defined):
        one = slice(row, row + 1)
        draws = model.draw(features[one], source_keys[one], settings.n_draws, settings.seed)
        defined[row] = np.isfinite(draws).all()
    return defined


def sample(
    model: Model,
    features: Float32Array,
    source_keys: UInt64Array,
    settings: SamplingSettings,
    sky_rms: Float32Array | None = None,
) -> Sample:
    """Sample a model's sources, and summarise their draws as its task says.

    Parameters
    ----------
    model
        The model. If it is a `SummarisingModel`, its task can use the summary, and the draws are not kept, they are never all in
        memory.
    features
        (n, width) float32: the model's features of the sources.
    source_keys
        (n,) uint64.
    settings
        Number of draws, seed, and whether the draws are kept.
    sky_rms
        (n,) float32: sky rms of the cutouts, for tasks that need it.
    """
    task = task_of(model.card.key.task)
    order = [model.card.class_names.index(name) for name in task.outputs]
    keep_draws = settings.keep_draws and task.leads
    if task.from_pair is not None and isinstance(model, SummarisingModel) and not keep_draws:
        first, second = order
        pair = model.summarise(features, source_keys, settings.n_draws, settings.seed, (first, second))
        return Sample(task.from_pair(pair))
    if task.amounts is not None and sky_rms is not None and isinstance(model, SummarisingModel):
        amounts = [task.amounts.outputs(card) for card in model.card.each]
        statistics = model.summarise_amounts(features, source_keys, settings.n_draws, settings.seed, amounts)
        if statistics is not None:
            return Sample(task.amounts.columns(statistics, sky_rms))
    parts = []
    for rows in _blocks(task, len(source_keys), settings.n_draws):
        drawn = model.draw(features[rows], source_keys[rows], settings.n_draws, settings.seed)[..., order]
        noise = None if sky_rms is None else sky_rms[rows]
        parts.append(_summarised(task, Draws(drawn, source_keys[rows], settings.seed, model.card, noise), keep_draws))
    return _joined(parts)


def _blocks(task: Task, n_sources: int, n_draws: int) -> list[slice]:
    """Blocks of sources that are summarised together; there is at least one block."""
    step = max(1, DRAWS_AT_ONCE // n_draws) if task.in_blocks else max(n_sources, 1)
    return [slice(row, row + step) for row in range(0, max(n_sources, 1), step)]


def _summarised(task: Task, draws: Draws, keep_draws: bool) -> Sample:
    return Sample(task.summarise(draws), draws.outputs[..., 0].copy() if keep_draws else None)


def _joined(parts: list[Sample]) -> Sample:
    """Join the samples of several blocks of sources, in order."""
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns}
    kept = [part.kept_draws for part in parts if part.kept_draws is not None]
    return Sample(columns, np.concatenate(kept) if kept else None)
