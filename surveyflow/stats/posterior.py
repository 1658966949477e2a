"""Summary statistics of a galaxy's Monte Carlo draws."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from enum import Enum

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from surveyflow.values.arrays import Float32Array, Float64Array, Int32Array

HISTOGRAM_BINS = 50
"""Bins of ``p_pm_hist``, equally wide over [0, 1]."""

QUANTILES = {"q05": 0.05, "q16": 0.16, "q50": 0.50, "q84": 0.84, "q95": 0.95}
"""Names of the quantiles in the catalog, and their probabilities."""

MOST_DRAWS = 65_535
"""The greatest number of draws: a histogram bin counts with 16 bits."""


@dataclass(frozen=True, slots=True)
class PosteriorSummary:
    """Summaries of each source's draws, named as the columns of the catalog.

    Parameters
    ----------
    p_pm_mean, p_sf_mean
        (n,) float32: mean over the draws.
    p_pm_std, p_sf_std
        (n,) float32: standard deviation of the draws themselves (divisor T, not T - 1).
    p_pm_q05, p_pm_q16, p_pm_q50, p_pm_q84, p_pm_q95, p_sf_q05, p_sf_q16, p_sf_q50, p_sf_q84, p_sf_q95
        (n,) float32: quantiles, interpolated linearly between the draws.
    f_pm
        (n,) float32: fraction of draws with p_pm > p_sf; a tie is not a vote for post-merger. It is not a probability.
    vote_entropy
        (n,) float32: entropy of (f_pm, 1 - f_pm), nats; 0 to ln 2.
    entropy_predictive, entropy_expected
        (n,) float32: with p = p_pm / (p_pm + p_sf) of each draw, the entropy of the mean of (p, 1 - p), and the mean of its
        entropy; nats, 0 to ln 2.
    mutual_information
        (n,) float32: the first minus the second, nats, 0 to ln 2: what the draws disagree about (Houlsby et al. 2011, eq. 2;
        for galaxies Walmsley et al. 2020).
    p_pm_member_std
        (n,) float32: standard deviation of the members' means of p_pm (divisor M); NaN for a model that is alone.
    member_agreement
        (n,) float32: share of the members whose own class, by the larger of their two means, is that of the means over all
        draws; above 0, and 1 for a model that is alone. A tie is no vote for post-merger.
    p_pm_hist
        (n, 50) uint16: draws of p_pm in each of 50 equally wide bins over [0, 1]; half-open, but the last includes 1.
    """

    p_pm_mean: Float32Array
    p_pm_std: Float32Array
    p_pm_q05: Float32Array
    p_pm_q16: Float32Array
    p_pm_q50: Float32Array
    p_pm_q84: Float32Array
    p_pm_q95: Float32Array
    p_sf_mean: Float32Array
    p_sf_std: Float32Array
    p_sf_q05: Float32Array
    p_sf_q16: Float32Array
    p_sf_q50: Float32Array
    p_sf_q84: Float32Array
    p_sf_q95: Float32Array
    f_pm: Float32Array
    vote_entropy: Float32Array
    entropy_predictive: Float32Array
    entropy_expected: Float32Array
    mutual_information: Float32Array
    p_pm_member_std: Float32Array
    member_agreement: Float32Array
    p_pm_hist: NDArray[np.uint16]

    def columns(self) -> dict[str, NDArray[np.generic]]:
        """The summaries by column name, in the catalog's order."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, slots=True)
class DrawStatistics:
    """The statistics of n sources' draws of (p_pm, p_sf) from which their summaries are computed.

    Parameters
    ----------
    n_draws
        Draws per source, 1 to 65535.
    ranked
        (n, 2, ranks) float32: the draws of each output whose ranks are `order_ranks`; all NaN if any draw is NaN.
    member_sums
        (n, M, 2) float64: sum of each member's draws; M is 1 for a model that is alone.
    squares
        (n, 2) float64: sum of the draws' squared distances from their mean.
    wins
        (n,) int32: draws with p_pm > p_sf.
    shares
        (n, 2) float64: sums of p_pm / (p_pm + p_sf) and of p_sf / (p_pm + p_sf), each 1/2 for a draw where both are 0; NaN if
        any draw is.
    entropies
        (n,) float64: sum of the entropies of the two shares, nats; NaN if any draw is.
    histogram
        (n, 50) uint16: draws of p_pm in each bin between `bin_edges`.
    """

    n_draws: int
    ranked: Float32Array
    member_sums: Float64Array
    squares: Float64Array
    wins: Int32Array
    shares: Float64Array
    entropies: Float64Array
    histogram: NDArray[np.uint16]

    @classmethod
    def empty(cls, n_sources: int, n_draws: int, n_members: int = 1) -> DrawStatistics:
        """Arrays that are still to be filled.

        Raises
        ------
        ValueError
            If there are no draws, more than can be counted, or fewer than members.
        """
        _check_number(n_draws, n_members)
        return cls(
            n_draws,
            ranked=np.empty((n_sources, 2, len(order_ranks(n_draws))), np.float32),
            member_sums=np.empty((n_sources, n_members, 2)),
            squares=np.empty((n_sources, 2)),
            wins=np.empty(n_sources, np.int32),
            shares=np.empty((n_sources, 2)),
            entropies=np.empty(n_sources),
            histogram=np.empty((n_sources, HISTOGRAM_BINS), np.uint16),
        )

    @classmethod
    def of(cls, draws: Float32Array, n_members: int = 1) -> DrawStatistics:
        """Compute the statistics of (n, T, 2) float32 draws; see `summarise`."""
        ordered = np.sort(np.ascontiguousarray(draws.transpose(0, 2, 1)), axis=2)
        _check_range(ordered)
        values = ordered.astype(np.float64)
        sums = values.sum(axis=2)
        shares = _shares(draws)
        of_members = [draws[:, member::n_members].sum(axis=1, dtype=np.float64) for member in range(n_members)]
        return cls(
            n_draws=draws.shape[1],
            ranked=ordered[:, :, order_ranks(draws.shape[1])],
            member_sums=np.stack(of_members, axis=1) if n_members > 1 else sums[:, None],
            squares=np.square(values - sums[:, :, None] / draws.shape[1]).sum(axis=2),
            wins=np.count_nonzero(draws[:, :, 0] > draws[:, :, 1], axis=1).astype(np.int32),
            shares=shares.sum(axis=1),
            entropies=entr(shares).sum(axis=2).sum(axis=1),
            histogram=_histograms(ordered[:, 0]),
        )

    def of_sources(self, rows: slice) -> DrawStatistics:
        """Views of some sources' statistics."""
        names = (field.name for field in fields(self) if field.name != "n_draws")
        return DrawStatistics(self.n_draws, **{name: getattr(self, name)[rows] for name in names})

    def summary(self) -> PosteriorSummary:
        """Compute the summaries that the catalog holds.

        Raises
        ------
        ValueError
            If a draw is NaN or lies outside [0, 1].
        """
        _check_range(self.ranked)
        f_pm = self.wins / self.n_draws
        return PosteriorSummary(
            **self._distribution("p_pm", 0),
            **self._distribution("p_sf", 1),
            f_pm=f_pm.astype(np.float32),
            vote_entropy=_entropy(np.stack([f_pm, 1 - f_pm], axis=1)).astype(np.float32),
            **self._entropies(),
            **self._members(),
            p_pm_hist=self.histogram,
        )

    def _distribution(self, name: str, output: int) -> dict[str, Float32Array]:
        """Mean, standard deviation and quantiles of one output, by column name."""
        sums = self.member_sums[:, :, output].sum(axis=1)
        moments = {"mean": sums / self.n_draws, "std": np.sqrt(self.squares[:, output] / self.n_draws)}
        quantiles = {key: self._quantile(output, level) for key, level in QUANTILES.items()}
        return _named(name, moments | quantiles)

    def _entropies(self) -> dict[str, Float32Array]:
        """Predictive and expected entropy and their difference, by column name."""
        predictive, expected = _entropy(self.shares / self.n_draws), self.entropies / self.n_draws
        found = {
            "entropy_predictive": predictive,
            "entropy_expected": expected,
            "mutual_information": np.maximum(predictive - expected, 0),  # below 0 by rounding alone
        }
        return {name: value.astype(np.float32) for name, value in found.items()}

    def _members(self) -> dict[str, Float32Array]:
        """Scatter and agreement of the members, by column name."""
        n_members = self.member_sums.shape[1]
        means = self.member_sums / shares_of(self.n_draws, n_members)[:, None]
        total = self.member_sums.sum(axis=1)
        agrees = (means[..., 0] > means[..., 1]) == (total[:, 0] > total[:, 1])[:, None]
        scatter = means[..., 0].std(axis=1) if n_members > 1 else np.full(len(means), np.nan)
        found = {"p_pm_member_std": scatter, "member_agreement": agrees.mean(axis=1)}
        return {name: value.astype(np.float32) for name, value in found.items()}

    def _quantile(self, output: int, level: float) -> Float64Array:
        """The quantile of one output."""
        places = order_ranks(self.n_draws).searchsorted(_neighbours(level, self.n_draws))
        return _between(self.ranked[:, output, places].astype(np.float64), level, self.n_draws)


class Curve(Enum):
    """The function that leads from an amount's location to the amount; ``formula`` takes and returns float64."""

    def __init__(self, number: int, formula: Callable[[Float64Array], Float64Array]) -> None:
        self.number = number
        self.formula = formula

    EXPM1 = 0, np.expm1
    SINH = 1, np.sinh


@dataclass(frozen=True, slots=True)
class AmountOutputs:
    """The outputs of a network that say how probably something is there, and how much of it.

    With a uniform number u and a normal number z of the draw, the amount is
    ``curve(reach * clip(location + sigma * scatter * z, 0, 1))`` if u < presence, otherwise 0.

    Parameters
    ----------
    presence, location, scatter
        Numbers of the outputs.
    sigma
        Standard deviation of the location where the output ``scatter`` is 1.
    reach
        What a location of 1 stands for.
    curve
        The function from there to the amount.
    """

    presence: int
    location: int
    scatter: int
    sigma: float
    reach: float
    curve: Curve


@dataclass(frozen=True, slots=True)
class AmountStatistics:
    """The statistics of n sources' draws of a amounts, without their units, from which their summaries are computed.

    Parameters
    ----------
    n_draws
        Draws per source, 1 to 65535.
    presences, moments
        (n, a, 2) float64: sum, and sum of the squared distances from the mean, of the probability that something is there and
        of the amount; NaN if any draw of the source is NaN.
    ranked
        (n, a, ranks) float32: the amounts whose ranks are `order_ranks`.
    """

    n_draws: int
    presences: Float64Array
    moments: Float64Array
    ranked: Float32Array

    @classmethod
    def empty(cls, n_sources: int, n_draws: int, n_members: int, n_amounts: int) -> AmountStatistics:
        """Arrays that are still to be filled.

        Raises
        ------
        ValueError
            If there are no draws, more than can be counted, or fewer than members.
        """
        _check_number(n_draws, n_members)
        return cls(
            n_draws,
            presences=np.empty((n_sources, n_amounts, 2)),
            moments=np.empty((n_sources, n_amounts, 2)),
            ranked=np.empty((n_sources, n_amounts, len(order_ranks(n_draws))), np.float32),
        )

    def presence(self, name: str, amount: int) -> dict[str, Float32Array]:
        """Mean and standard deviation of the probability that something is there, by name of column, each (n,)."""
        return _named(name, self._mean_and_std(self.presences[:, amount]))

    def amount(self, name: str, amount: int, quantiles: Iterable[str], unit: Float64Array | float) -> dict[str, Float32Array]:
        """Mean, standard deviation and quantiles of an amount, by name of column, each (n,).

        Parameters
        ----------
        name
            Name of the quantity.
        amount
            Its number.
        quantiles
            Names in `QUANTILES`.
        unit
            (n,) or one number: each source's amounts are multiplied by it.
        """
        found = self._mean_and_std(self.moments[:, amount])
        places = {key: order_ranks(self.n_draws).searchsorted(_neighbours(QUANTILES[key], self.n_draws)) for key in quantiles}
        ranked = self.ranked[:, amount].astype(np.float64)
        found |= {key: _between(ranked[:, place], QUANTILES[key], self.n_draws) for key, place in places.items()}
        return _named(name, {key: values * unit for key, values in found.items()})

    def of_sources(self, rows: slice) -> AmountStatistics:
        """Views of some sources' statistics."""
        return replace(self, presences=self.presences[rows], moments=self.moments[rows], ranked=self.ranked[rows])

    def check(self) -> None:
        """Refuse draws that are not numbers.

        Raises
        ------
        ValueError
            If any draw of a source is NaN.
        """
        spoiled = np.flatnonzero(np.isnan(self.presences).any(axis=(1, 2)))
        if len(spoiled):
            raise ValueError(f"draws must lie in [0, 1], but those of source {spoiled[0]} are not numbers")

    def _mean_and_std(self, moments: Float64Array) -> dict[str, Float64Array]:
        return {"mean": moments[:, 0] / self.n_draws, "std": np.sqrt(moments[:, 1] / self.n_draws)}


def _named(name: str, values: dict[str, Float64Array]) -> dict[str, Float32Array]:
    return {f"{name}_{key}": each.astype(np.float32) for key, each in values.items()}


def _check_number(n_draws: int, n_members: int) -> None:
    shares_of(n_draws, n_members)
    if not 1 <= n_draws <= MOST_DRAWS:
        raise ValueError(f"1 to {MOST_DRAWS} draws can be summarised, not {n_draws}")


def shares_of(n_draws: int, n_members: int) -> Int32Array:
    """How many of a source's draws each member of a jury makes: draw i belongs to member i modulo ``n_members``.

    Parameters
    ----------
    n_draws, n_members
        Numbers of draws and of members.

    Returns
    -------
    (n_members,) int32, at least 1 each.

    Raises
    ------
    ValueError
        If there are fewer draws than members, or no members.
    """
    if not 1 <= n_members <= n_draws:
        raise ValueError(f"{n_draws} draws cannot be shared by {n_members} members, of whom each must make one at least")
    return ((n_draws - 1 - np.arange(n_members)) // n_members + 1).astype(np.int32)


def summarise(draws: Float32Array, n_members: int = 1) -> PosteriorSummary:
    """Summarise Monte Carlo draws of (p_pm, p_sf), in float64.

    A source's summary depends only on its own draws: neither on the batch nor on the order of each member's draws.

    Parameters
    ----------
    draws
        (n, T, 2) float32 in [0, 1]: column 0 is the post-merger output, column 1 the star-forming one; T from 1 to 65535.
    n_members
        Number of the members of a jury that made them in turn: draw i is that of member i modulo ``n_members``.

    Raises
    ------
    ValueError
        If the shape differs, a draw is NaN or lies outside [0, 1], or there are fewer draws than members.

    Examples
    --------
    >>> summary = summarise(np.array([[[0.9, 0.2], [0.7, 0.2], [0.1, 0.8], [0.3, 0.3]]], dtype=np.float32))
    >>> summary.f_pm, summary.p_pm_mean
    (array([0.5], dtype=float32), array([0.5], dtype=float32))
    """
    if draws.ndim != 3 or draws.shape[2] != 2 or not 1 <= draws.shape[1] <= MOST_DRAWS:
        raise ValueError(f"draws must have shape (n, T, 2) with 1 <= T <= {MOST_DRAWS}, not {draws.shape}")
    shares_of(draws.shape[1], n_members)
    return DrawStatistics.of(draws, n_members).summary()


def sorted_output(draws: Float32Array, output: int) -> Float32Array:
    """(n, T) draws of one output, ascending.

    Parameters
    ----------
    draws
        (n, T, n_outputs) float32, T at least 1.
    output
        Index of the output.

    Raises
    ------
    ValueError
        If a draw is NaN or lies outside [0, 1].
    """
    ordered = np.sort(draws[:, :, output], axis=1)
    _check_range(ordered[:, None])
    return ordered


def distribution(name: str, ordered: Float32Array | Float64Array, quantiles: Iterable[str]) -> dict[str, Float32Array]:
    """Mean, standard deviation (divisor T) and quantiles of each source's draws, in float64.

    Parameters
    ----------
    name
        Name of the quantity, which stands before the names of the statistics: ``p_pm`` for ``p_pm_mean``.
    ordered
        (n, T) draws, ascending.
    quantiles
        Names in `QUANTILES`.

    Returns
    -------
    (n,) float32 arrays by column name.
    """
    values = ordered.astype(np.float64, copy=False)
    n_draws = values.shape[1]
    mean = values.sum(axis=1) / n_draws
    std = np.sqrt(np.square(values - mean[:, None]).sum(axis=1) / n_draws)
    levels = {key: QUANTILES[key] for key in quantiles}
    moments = {"mean": mean, "std": std} | {
        key: _between(values[:, _neighbours(level, n_draws)], level, n_draws) for key, level in levels.items()
    }
    return _named(name, moments)


def order_ranks(n_draws: int) -> Int32Array:
    """Ranks, ascending from 0, of the smallest and the greatest draw and of the draws on either side of each quantile."""
    neighbours = [_neighbours(level, n_draws) for level in QUANTILES.values()]
    return np.unique([(0, n_draws - 1), *neighbours]).astype(np.int32)


def bin_edges() -> Float32Array:
    """(51,) edges of the histogram's bins, float32 like the draws."""
    return np.linspace(0, 1, HISTOGRAM_BINS + 1, dtype=np.float32)


def _check_range(ordered: Float32Array) -> None:
    """Check (n, 2, ...) ascending draws."""
    inside = (ordered[:, :, 0] >= 0) & (ordered[:, :, -1] <= 1)  # NaN is sorted last and fails the comparison
    if not inside.all():
        source, output = np.argwhere(~inside)[0]
        low, high = ordered[source, output, [0, -1]]
        raise ValueError(f"draws must lie in [0, 1]: output {output} of source {source} ranges from {low} to {high}")


def _neighbours(level: float, n_draws: int) -> tuple[int, int]:
    """Ranks of the two draws between which a quantile lies."""
    below = int(level * (n_draws - 1))
    return below, min(below + 1, n_draws - 1)


def _between(neighbours: Float64Array, level: float, n_draws: int) -> Float64Array:
    """Interpolate the quantile between its (n, 2) neighbours; Hyndman & Fan (1996), definition 7, numpy's ``linear``."""
    low, high = neighbours[:, 0], neighbours[:, 1]
    position = level * (n_draws - 1)
    quantile: Float64Array = low + (high - low) * (position - int(position))
    return quantile


def _shares(draws: Float32Array) -> Float64Array:
    """(n, T, 2) draws -> (n, T, 2) shares of each output in the sum of both, in an order that does not depend on the draws'."""
    bits = np.ascontiguousarray(draws).view(np.uint64)
    pairs = np.sort(bits, axis=1).view(np.float32).astype(np.float64)
    total = pairs.sum(axis=2, keepdims=True)
    shares: Float64Array = np.divide(pairs, total, out=np.full_like(pairs, 0.5), where=total > 0)
    return shares


def _entropy(shares: Float64Array) -> Float64Array:
    """(n, 2) shares -> (n,) their entropy in nats; 0 where one share is 1."""
    entropy: Float64Array = entr(shares).sum(axis=1)
    return entropy


def _histograms(ordered: Float32Array) -> NDArray[np.uint16]:
    """(n, 50) counts of ascending draws."""
    below = np.zeros((len(ordered), HISTOGRAM_BINS + 1), dtype=np.int64)
    below[:, -1] = ordered.shape[1]
    for row, values in zip(below, ordered, strict=True):
        row[1:-1] = values.searchsorted(bin_edges()[1:-1])
    return np.diff(below, axis=1).astype(np.uint16)
