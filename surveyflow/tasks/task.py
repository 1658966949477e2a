"""The definition of a task: outputs, targets, losses, summaries, scores and columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

from numpy.typing import NDArray

from surveyflow.stats.posterior import AmountOutputs, AmountStatistics, PosteriorSummary
from surveyflow.tasks.card import ContaminationScale, ModelCard
from surveyflow.values.arrays import BoolArray, Float32Array, UInt64Array

_ERRORS_OF_ONE_TRY = 3
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
        The column's name. For a quantity whose draws are summarised, the name without that of the statistic.
    ucd
        Its UCD1+.
    description
        Its meaning.
    unit
        Its unit as VOUnits spell it; ``""`` for a dimensionless quantity, None for counts.
    is_histogram
        Whether it holds the counts of the bins of a histogram.
    mosaic_unit
        The unit of mosaics in which the column's unit is true; the column is null for sources of other mosaics. None if its
        numbers do not depend on the mosaic's unit.
    needs_members
        Whether it is null for a model that is alone.
    """

    name: str
    ucd: str
    description: str
    unit: str | None = ""
    is_histogram: bool = False
    mosaic_unit: str | None = None
    needs_members: bool = False

    def holds_in(self, mosaic_unit: str | None) -> bool:
        """Whether the column's unit is true of a mosaic in this unit; None is an unknown unit."""
        return self.mosaic_unit in (None, mosaic_unit)


def statistics(quantity: ResultColumn, keys: Iterable[str]) -> tuple[ResultColumn, ...]:
    """Columns that summarise the draws of one quantity.

    Parameters
    ----------
    quantity
        The quantity.
    keys
        ``mean``, ``std``, or names of `surveyflow.stats.posterior.QUANTILES`.
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
    """The amount of something, given that it is there.

    Parameters
    ----------
    name
        Name of the output that is its location, and of its target, which is NaN where nothing is there.
    """

    name: str

    @property
    def scatter(self) -> str:
        """Name of the output that is the standard deviation of the amount."""
        return f"{self.name}_scatter"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a network's output: whether something is there and, for some parts, how much of it.

    The loss of a part is the cross-entropy of its presence, where its target is known, plus the negative logarithm of a normal
    likelihood of its amount, where something is there.

    Parameters
    ----------
    presence
        Name of the output that is the probability that something is there, and of its target: 1 or 0; NaN where it is unknown.
    amount
        The amount; None for parts that have none.
    weight
        Weight of the part's loss in the network's loss, which is a sum.
    """

    presence: str
    amount: Amount | None = None
    weight: float = 1.0

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the part's targets, in order."""
        return (self.presence,) if self.amount is None else (self.presence, self.amount.name)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the part's outputs, in order."""
        return self.targets if self.amount is None else (*self.targets, self.amount.scatter)


@dataclass(frozen=True, slots=True)
class Draws:
    """Draws of a network, with everything that turns them into physical quantities.

    Parameters
    ----------
    outputs
        (n, T, n_outputs) float32 in [0, 1], in the task's order.
    source_keys
        (n,) uint64: the keys of the draws' random numbers.
    seed
        Seed of the draws.
    card
        The model's card.
    sky_rms
        (n,) float32: sky rms of the cutouts; None for tasks that do not need it.
    """

    outputs: Float32Array
    source_keys: UInt64Array
    seed: int
    card: ModelCard
    sky_rms: Float32Array | None = None


Columns = dict[str, NDArray[Any]]
"""Results by name of column, each (n, ...)."""


@dataclass(frozen=True, slots=True)
class AmountSummary:
    """The functions by which a task uses statistics of amounts, which some engines make without keeping draws.

    Parameters
    ----------
    outputs
        Takes the card of a model that is alone; returns its outputs for each amount, with their scale.
    columns
        Takes the statistics of these amounts and the sky rms of the cutouts; returns the columns' values.
    """

    outputs: Callable[[ModelCard], tuple[AmountOutputs, ...]]
    columns: Callable[[AmountStatistics, Float32Array], Columns]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """The functions by which a task finds the scale of its outputs.

    Parameters
    ----------
    untrained
        The scale of an untrained network.
    fitted
        Takes sets of targets, the variant of the truth and the largest scatter; returns the scale to train with.
    calibrated
        Takes that scale, and draws and targets of held-out images; returns the scale whose intervals are as wide as they claim.
    """

    untrained: ContaminationScale
    fitted: Callable[[Sequence[Float32Array], str, float], ContaminationScale]
    calibrated: Callable[[ContaminationScale, Float32Array, Float32Array], ContaminationScale]


@dataclass(frozen=True, slots=True)
class Skill:
    """How much better a network is than the best constant answer.

    Parameters
    ----------
    score
        Name of the score, of which more is better.
    reached, constant
        The network's score, and that of the best constant answer.
    error
        Standard error of the score of a network that knows nothing.
    n_tried
        Number of epochs of which this score is the best one's.
    """

    score: str
    reached: float
    constant: float
    error: float
    n_tried: int = 1

    @property
    def errors_needed(self) -> float:
        """Number of standard errors that a network that knows nothing exceeds as rarely as three in one try."""
        normal = NormalDist()
        return -normal.inv_cdf(normal.cdf(-_ERRORS_OF_ONE_TRY) / self.n_tried)

    @property
    def is_shown(self) -> bool:
        """Whether the network beats the constant answer by more standard errors than chance gives in so many tries."""
        return self.reached > self.constant + self.errors_needed * self.error


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The definition of a task: everything in which its models differ from others.

    Parameters
    ----------
    name
        Its name in keys of models, in settings and in names of columns.
    parts
        The parts of its networks' output.
    columns
        The catalog's columns that it fills, in order.
    null
        When these columns are null.
    targets_of
        Takes the records' columns by name, the sky rms of the images and the variant of the truth; returns targets,
        (n, n_targets) float32.
    summarise
        Takes draws; returns the columns' values.
    scores
        Takes draws (n, T, n_outputs), targets (n, n_targets) and the scale; returns scores by name, which follow the training.
    skill
        Takes scores and targets; returns the network's `Skill`.
    objectives
        Names of scores of which more is better: the first one selects the best epoch, and each of them can be tuned for.
    leads
        Whether a source's status refers to this task. If so, its model is required, and the draws of its first output can be
        kept.
    from_pair
        Takes the summary of two outputs, which some engines make without keeping draws; returns the columns' values. None for
        tasks that are summarised otherwise.
    amounts
        How its columns follow from statistics of amounts; None for tasks that are summarised otherwise.
    measurable
        Takes the sky rms of cutouts; returns which of them can be measured. None if all can, and then the sky rms is not needed.
    in_blocks
        Whether draws turn into so many more numbers that they are summarised in blocks.
    scaling
        How it finds the scale of its outputs; None if all of them are probabilities.
    truth_depends_on_noise
        Whether the truth depends on noise and neighbours, so that images to which these are added need another truth.
    """

    name: str
    parts: tuple[Part, ...]
    columns: tuple[ResultColumn, ...]
    null: str
    targets_of: Callable[[Mapping[str, Any], Float32Array, str], Float32Array]
    summarise: Callable[[Draws], Columns]
    scores: Callable[[Float32Array, Float32Array, ContaminationScale | None], dict[str, float]]
    skill: Callable[[Mapping[str, float], Float32Array], Skill]
    objectives: tuple[str, ...]
    leads: bool = False
    from_pair: Callable[[PosteriorSummary], Columns] | None = None
    amounts: AmountSummary | None = None
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

    def columns_withheld(self, mosaic_unit: str | None) -> tuple[str, ...]:
        """Names of the columns that are null for a mosaic in this unit, since their own unit would not be true."""
        return tuple(column.name for column in self.columns if not column.holds_in(mosaic_unit))
