"""Changes of values in [0, 1] between two catalogs, counted in steps of 0.001, so that any number of them fits in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from surveyflow.stats.posterior import QUANTILES
from surveyflow.values.arrays import Float32Array, Int64Array

STEPS_PER_UNIT = 1_000
SHIFT_BINS = 20


@dataclass(frozen=True, slots=True)
class Shifts:
    """Changes of a quantity, after minus before.

    Parameters
    ----------
    counts
        (2001,) int64: number of changes that round to -1.000, -0.999, ..., 1.000.
    total, total_of_squares
        Sums over all changes.
    """

    counts: Int64Array
    total: float
    total_of_squares: float

    @classmethod
    def between(cls, before: Float32Array, after: Float32Array) -> Shifts:
        """Count the changes from one array to another.

        Parameters
        ----------
        before, after
            (n,) float32 in [0, 1].
        """
        change = after.astype(np.float64) - before
        steps = np.rint(change * STEPS_PER_UNIT).astype(np.int64) + STEPS_PER_UNIT
        counts = np.bincount(steps, minlength=2 * STEPS_PER_UNIT + 1).astype(np.int64)
        return cls(counts, float(change.sum()), float((change**2).sum()))

    @classmethod
    def none(cls) -> Shifts:
        """No change at all."""
        return cls(np.zeros(2 * STEPS_PER_UNIT + 1, np.int64), 0.0, 0.0)

    def __or__(self, other: Shifts) -> Shifts:
        """Both sets of changes, combined."""
        return Shifts(self.counts + other.counts, self.total + other.total, self.total_of_squares + other.total_of_squares)

    def __len__(self) -> int:
        """Number of changes."""
        return int(self.counts.sum())

    def quantile(self, fraction: float) -> float:
        """The smallest change, to 0.001, that at least this fraction of the changes does not exceed; 0 < fraction <= 1."""
        cumulative = self.counts.cumsum()
        return (int(np.searchsorted(cumulative, fraction * cumulative[-1])) - STEPS_PER_UNIT) / STEPS_PER_UNIT

    def summary(self) -> dict[str, Any]:
        """Number, mean, standard deviation, extremes and quantiles (to 0.001), and a histogram of 20 bins over [-1, 1].

        Without changes, the summary holds the number alone.
        """
        n_changes = len(self)
        if not n_changes:
            return {"rows": 0}
        mean = self.total / n_changes
        occupied = np.flatnonzero(self.counts)
        return {
            "rows": n_changes,
            "mean": mean,
            "std": max(0.0, self.total_of_squares / n_changes - mean**2) ** 0.5,
            "min": (int(occupied[0]) - STEPS_PER_UNIT) / STEPS_PER_UNIT,
            **{name: self.quantile(fraction) for name, fraction in QUANTILES.items()},
            "max": (int(occupied[-1]) - STEPS_PER_UNIT) / STEPS_PER_UNIT,
            "histogram": self._histogram().tolist(),
        }

    def _histogram(self) -> Int64Array:
        """(20,) int64; bins are half-open, but the last includes 1."""
        width = 2 * STEPS_PER_UNIT // SHIFT_BINS
        bins: Int64Array = self.counts[:-1].reshape(SHIFT_BINS, width).sum(axis=1)
        bins[-1] += self.counts[-1]
        return bins
