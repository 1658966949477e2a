"""The columns that a task adds to the catalog, without a file format's types."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

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
