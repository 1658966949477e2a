"""Redshifts that are known as distributions: how probable a redshift range is, and the median within it.

A distribution is a row of samples, or a row of densities on a grid. The probability of a step of the grid is the
trapezoid's, and it is spread evenly over the step; beyond the grid there is none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np

from surveyflow.values.arrays import BoolArray, Float64Array
from surveyflow.values.listed import RangeShares

Range = tuple[float, float]


class Distributions(Protocol):
    """The redshift distributions of n sources; a source without one has NaN everywhere."""

    def share(self, within: Range) -> Float64Array:
        """(n,) float64: the probability of a half-open range."""
        ...

    def median(self, within: Range) -> Float64Array:
        """(n,) float64: the median of the part in a half-open range; NaN where that part is empty."""
        ...


@dataclass(frozen=True, slots=True)
class SampledRedshifts:
    """Distributions as samples.

    Parameters
    ----------
    samples
        (n, k) float64; NaN is not a sample.
    """

    samples: Float64Array

    def share(self, within: Range) -> Float64Array:
        """(n,) float64: the share of the samples in a half-open range."""
        n_known = np.isfinite(self.samples).sum(axis=1)
        inside: Float64Array = self._inside(within).sum(axis=1) / np.where(n_known, n_known, np.nan)
        return inside

    def median(self, within: Range) -> Float64Array:
        """(n,) float64: the median of the samples in a half-open range; NaN without any."""
        chosen = np.sort(np.where(self._inside(within), self.samples, np.nan), axis=1)
        count = np.isfinite(chosen).sum(axis=1)
        rows = np.arange(len(chosen))
        middle = [chosen[rows, np.maximum(place, 0)] for place in ((count - 1) // 2, count // 2 - (count == 0))]
        return np.asarray(np.where(count > 0, (middle[0] + middle[1]) / 2, np.nan))

    def _inside(self, within: Range) -> BoolArray:
        return np.asarray((self.samples >= within[0]) & (self.samples < within[1]))


@dataclass(frozen=True, slots=True)
class GriddedRedshifts:
    """Distributions as densities on one grid.

    Parameters
    ----------
    grid
        (k,) float64, increasing, at least two redshifts.
    density
        (n, k) float64, not negative, in any unit; a row of which the integral is 0 or NaN is not a distribution.
    """

    grid: Float64Array
    density: Float64Array

    def share(self, within: Range) -> Float64Array:
        """(n,) float64: the integral over a half-open range, as a share of that over the grid."""
        cumulative = self._cumulative()
        return _at(self.grid, cumulative, within[1]) - _at(self.grid, cumulative, within[0])

    def median(self, within: Range) -> Float64Array:
        """(n,) float64: the redshift that halves the integral over a half-open range; NaN where that is 0."""
        cumulative = self._cumulative()
        low, high = (_at(self.grid, cumulative, end) for end in within)
        half = (low + high) / 2
        step = np.clip((cumulative < half[:, None]).sum(axis=1), 1, len(self.grid) - 1)
        rows = np.arange(len(cumulative))
        before, after = cumulative[rows, step - 1], cumulative[rows, step]
        with np.errstate(invalid="ignore", divide="ignore"):
            found = self.grid[step - 1] + (half - before) / (after - before) * np.diff(self.grid)[step - 1]
        inside = np.clip(found, within[0], math.nextafter(within[1], -math.inf))
        return np.asarray(np.where(high > low, inside, np.nan))

    def _cumulative(self) -> Float64Array:
        """(n, k) float64 from 0 to 1: the integral up to each redshift of the grid."""
        steps = (self.density[:, 1:] + self.density[:, :-1]) / 2 * np.diff(self.grid)
        sums = np.concatenate([np.zeros((len(steps), 1)), np.cumsum(steps, axis=1)], axis=1)
        total = sums[:, -1:]
        return np.asarray(sums / np.where(total > 0, total, np.nan))


def _at(grid: Float64Array, cumulative: Float64Array, redshift: float) -> Float64Array:
    """(n,) float64: the cumulative probability at a redshift."""
    place = np.clip(np.searchsorted(grid, redshift) - 1, 0, len(grid) - 2)
    part = np.clip((redshift - grid[place]) / (grid[place + 1] - grid[place]), 0, 1)
    return np.asarray(cumulative[:, place] * (1 - part) + cumulative[:, place + 1] * part)


def range_shares(distributions: Distributions, ranges: Mapping[str, Range]) -> RangeShares:
    """Integrate distributions over the range of each instrument, and over the redshifts between and beyond the ranges.

    Parameters
    ----------
    distributions
        The distributions.
    ranges
        Half-open, disjoint range [low, high) of each instrument.
    """
    instruments = tuple(sorted(ranges, key=lambda name: ranges[name]))
    parts = [*(ranges[name] for name in instruments), *_between([ranges[name] for name in instruments])]
    shares = np.stack([distributions.share(part) for part in parts], axis=1)
    medians = np.stack([distributions.median(part) for part in parts], axis=1)
    most, rows = np.argmax(np.nan_to_num(shares, nan=-1.0), axis=1), np.arange(len(shares))
    n_ranges = len(instruments)
    chosen = np.where((most < n_ranges) & ~np.isnan(shares[rows, most]), most, -1)
    return RangeShares(instruments, shares[:, :n_ranges], medians[:, :n_ranges], medians[rows, most], chosen)


def _between(ranges: Sequence[Range]) -> list[Range]:
    """The redshifts that are in none of the ordered, disjoint ranges."""
    ends = [-math.inf, *(end for each in ranges for end in each), math.inf]
    return [(low, high) for low, high in list(pairwise(ends))[::2] if low < high]
