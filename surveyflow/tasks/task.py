"""A task: what networks are asked, what they learn from, what becomes of their answers, and in which columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from surveyflow.stats.posterior import PosteriorSummary
from surveyflow.tasks.card import ContaminationScale, ModelCard
from surveyflow.values.arrays import BoolArray, Float32Array, UInt64Array

_STATISTICS = {
    "mean": ("mean", "stat.mean"),
    "std": ("standard deviation", "stat.stdev"),
    "q05": ("5 % quantile", "stat.percentile"),
    "q16": ("16 % quantile", "stat.percentile"),
    "q50": ("median", "stat.median"),
    "q84": ("84 % quantile", "stat.percentile"),
    "q95": ("95 % quantile", "stat.percentile"),
}


@dataclass(frozen=True, slots=True)
class ResultColumn:
    """A column of numbers that a task measures: float32, or counts of a histogram.

    Parameters
    ----------
    name
        The column's name; of a quantity whose draws are summarised, the name before that of the statistic.
    ucd
        Its UCD1+.
    description
        Its meaning.
    unit
        Its unit as VOUnits spell it; ``""`` for a dimensionless quantity, None for counts.
    is_histogram
        Whether it holds the counts of the bins of a histogram.
    """

    name: str
    ucd: str
    description: str
    unit: str | None = ""
    is_histogram: bool = False


def statistics(quantity: ResultColumn, keys: Iterable[str]) -> tuple[ResultColumn, ...]:
    """Columns that summarise the draws of one quantity.

    Parameters
    ----------
    quantity
        The quantity.
    keys
        ``mean``, ``std``, or names in `surveyflow.stats.posterior.QUANTILES`.
    """
    return tuple(
        replace(
            quantity,
            name=f"{quantity.name}_{key}",
            ucd=f"{quantity.ucd};{_STATISTICS[key][1]}",
            description=f"{quantity.description}: {_STATISTICS[key][0]} over the draws.",
        )
        for key in keys
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """How much there is of something, given that it is there.

    Parameters
    ----------
    name
        Output that is its location, and its target, which is NaN where there is nothing.
    """

    name: str

    @property
    def scatter(self) -> str:
        """Output that is the standard deviation of the amount."""
        return f"{self.name}_scatter"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of what a network answers: whether there is something and, of some parts, how much of it.

    The loss of a part is the cross-entropy of its presence, where its target is known, and the negative logarithm of a normal
    likelihood of its amount, where there is some.

    Parameters
    ----------
    presence
        Output that is the probability that there is something, and its target: 1 or 0; NaN where it is unknown.
    amount
        How much there is; None for parts that are there or not.
    weight
        Weight of its loss in the network's loss, which is a sum.
    """

    presence: str
    amount: Amount | None = None
    weight: float = 1.0

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of its targets, in order."""
        return (self.presence,) if self.amount is None else (self.presence, self.amount.name)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of its outputs, in order."""
        return self.targets if self.amount is None else (*self.targets, self.amount.scatter)


@dataclass(frozen=True, slots=True)
class Draws:
    """Draws of a network, with what it takes to turn them into quantities.

    Parameters
    ----------
    outputs
        (n, T, n_outputs) float32 in [0, 1], in the task's order.
    source_keys
        (n,) uint64: what the draws' random numbers belong to.
    seed
        Seed of the draws.
    card
        The model's card.
    sky_rms
        (n,) float32: sky rms of the cutouts; None for tasks that do not ask for it.
    """

    outputs: Float32Array
    source_keys: UInt64Array
    seed: int
    card: ModelCard
    sky_rms: Float32Array | None = None


Columns = dict[str, NDArray[Any]]
"""Results by name of column, each (n, ...)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """How a task finds what its outputs stand for.

    Parameters
    ----------
    untrained
        The scale of a network that nobody trained.
    fitted
        From sets of targets, the variant of the truth, and the largest scatter: the scale to train with.
    calibrated
        From that scale, and draws and targets of images that were held out: the scale whose intervals are as wide as they claim.
    """

    untrained: ContaminationScale
    fitted: Callable[[Sequence[Float32Array], str, float], ContaminationScale]
    calibrated: Callable[[ContaminationScale, Float32Array, Float32Array], ContaminationScale]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a task is: everything that tells its models from others.

    Parameters
    ----------
    name
        Its name in keys of models, in settings and in the names of columns.
    parts
        What its networks answer.
    columns
        The catalog's columns that it fills, in order.
    null
        When these are null.
    targets_of
        Targets from records' columns by name, the sky rms of the images, and the variant of the truth: (n, n_targets) float32.
    summarise
        The columns' values from draws.
    scores
        Scores by name from draws (n, T, n_outputs), targets (n, n_targets) and the scale: how a training's progress is told.
    objectives
        Scores of which more is better: the first one selects the best epoch, and each of them can be tuned for.
    leads
        Whether a source's status is about this task. Its model is needed, and its first output's draws can be kept.
    from_pair
        The columns' values from the summary of two outputs, which some engines make without keeping draws; None for tasks that
        are summarised otherwise.
    measurable
        From the sky rms of cutouts, which of them can be measured; None if all can, and nobody needs the sky rms.
    in_blocks
        Whether draws turn into so many more numbers that they are summarised some at a time.
    scaling
        How it finds the scale of its outputs; None if they are probabilities only.
    truth_depends_on_noise
        Whether another noise than that of the records would make another truth.
    """

    name: str
    parts: tuple[Part, ...]
    columns: tuple[ResultColumn, ...]
    null: str
    targets_of: Callable[[Mapping[str, Any], Float32Array, str], Float32Array]
    summarise: Callable[[Draws], Columns]
    scores: Callable[[Float32Array, Float32Array, ContaminationScale | None], dict[str, float]]
    objectives: tuple[str, ...]
    leads: bool = False
    from_pair: Callable[[PosteriorSummary], Columns] | None = None
    measurable: Callable[[Float32Array], BoolArray] | None = None
    in_blocks: bool = False
    scaling: Scaling | None = None
    truth_depends_on_noise: bool = False

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of a network's outputs, in order."""
        return tuple(name for part in self.parts for name in part.outputs)

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the targets, in order."""
        return tuple(name for part in self.parts for name in part.targets)
