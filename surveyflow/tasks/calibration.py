"""The map from the output of a merger model, or of a jury, to a probability, and probabilities at another share of post-mergers.

Calibration is that of Kull, Silva Filho & Flach (2017, section 3), the change of the share that of Saerens, Latinne &
Decaestecker (2002, equation 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from surveyflow.errors import InputError, ModelError
from surveyflow.values.arrays import BoolArray, Float64Array

if TYPE_CHECKING:
    from surveyflow.tasks.card import ModelCard


@dataclass(frozen=True, slots=True)
class Calibration:
    """A map from ``p_pm_mean`` to the probability of a post-merger: see `surveyflow.tasks.calibration.fitted_calibration`.

    Parameters
    ----------
    members
        Digests of the weights of the models whose pooled mean the map was fitted to, ascending: of one model, or of a jury's.
    a, b, c
        The map; a and b are at least 0 and not both 0.
    share
        Share of post-mergers among the images that it was fitted to, in (0, 1): the probabilities hold at this share.
    n_images
        Number of these images.
    records
        Digests of the sets of records that they came from.
    """

    members: tuple[str, ...]
    a: float
    b: float
    c: float
    share: float
    n_images: int
    records: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.members or list(self.members) != sorted(set(self.members)):
            raise ValueError("members must be digests of weights, ascending, each once")
        if not (0 <= self.a <= STEEPEST and 0 <= self.b <= STEEPEST and self.a + self.b > 0):
            raise ValueError(f"a and b must lie between 0 and {STEEPEST:g} and not both be 0, unlike {self.a} and {self.b}")
        if not abs(self.c) <= LARGEST_OFFSET:
            raise ValueError(f"c must lie between -{LARGEST_OFFSET:g} and {LARGEST_OFFSET:g}, not {self.c}")
        if not 0 < self.share < 1:
            raise ValueError(f"share must lie between 0 and 1, both excluded, not {self.share}")

    def probability(self, p_pm_mean: ArrayLike) -> Float64Array:
        """The probability of a post-merger, float64, where the share of post-mergers is ``share``."""
        return calibrated(p_pm_mean, self.a, self.b, self.c)


def calibration_of(cards: Sequence[ModelCard]) -> Calibration | None:
    """The map for the pooled mean of some models; None if their cards hold none for exactly these models.

    Parameters
    ----------
    cards
        Cards of all models in use: one, or the members of a jury.

    Raises
    ------
    ModelError
        If the cards hold different maps for these models, or only some of them hold it.
    """
    members = tuple(sorted(card.weights_digest for card in cards))
    maps = {one for card in cards for one in card.calibrations if one.members == members}
    holders = [card for card in cards if any(one.members == members for one in card.calibrations)]
    if len(maps) > 1 or (maps and len(holders) < len(cards)):
        raise ModelError(
            f"the cards of {', '.join(card.model_id for card in cards)} hold different [[calibration]] for these models, or some "
            "hold none. Calibrate all of them together again."
        )
    return next(iter(maps), None)


def absent_members(cards: Sequence[ModelCard]) -> tuple[str, ...]:
    """Digests of the weights of the models that a map was fitted to together with these, ascending.

    Empty if there is a map for exactly these models, or none for more. Of several maps, the one with the fewest others counts.

    Parameters
    ----------
    cards
        As for `calibration_of`.
    """
    here = {card.weights_digest for card in cards}
    fitted = [set(one.members) for card in cards for one in card.calibrations]
    others = sorted((sorted(members - here) for members in fitted if members > here), key=len)
    return tuple(others[0]) if others and here not in fitted else ()


_NEAREST_TO_CERTAIN = 1e-6
STEEPEST = 50.0
"""Largest exponent of a map; cases that are told apart completely would make it infinite."""
LARGEST_OFFSET = 1000.0
"""Largest size of the constant of a map."""


def at_prevalence(p: ArrayLike, prior: ArrayLike, training_share: ArrayLike) -> Float64Array:
    """Convert probabilities of a post-merger to another share of post-mergers in the population.

    With the share s for which p holds, and the stated share r, ``p' = p r/s / (p r/s + (1 - p) (1 - r)/(1 - s))`` (Saerens et al.
    2002, equation 4). It holds if the classes look the same in both populations and differ only in their shares.

    Parameters
    ----------
    p
        Probabilities in [0, 1] that are calibrated at ``training_share``, such as ``p_pm_calibrated``; NaN stays NaN.
    prior
        Share of post-mergers in the population, between 0 and 1; a number, or an array that broadcasts against ``p``.
    training_share
        Share of post-mergers for which ``p`` holds, between 0 and 1: ``share`` of the model card's ``[[calibration]]``.

    Returns
    -------
    float64 probabilities of the broadcast shape.

    Raises
    ------
    InputError
        If a probability lies outside [0, 1], a share is not strictly between 0 and 1, or shapes do not fit.

    Examples
    --------
    An even chance in a balanced set is a chance of one in ten where one galaxy in ten is a post-merger:

    >>> float(at_prevalence(0.5, 0.1, training_share=0.5))
    0.1
    """
    stated = _numbers("p", p)
    if not (np.isnan(stated) | ((stated >= 0) & (stated <= 1))).all():
        raise InputError("p must hold probabilities in [0, 1], or NaN. Give p_pm_calibrated, which is a fraction, not percent.")
    to, before = _share("prior", prior), _share("training_share", training_share)
    try:
        post_merger, other = stated * to / before, (1 - stated) * (1 - to) / (1 - before)
    except ValueError as error:
        raise InputError(f"p, prior and training_share do not fit: {error}. Give numbers, or arrays of one shape.") from error
    return np.asarray(post_merger / (post_merger + other))


def fitted_calibration(output: ArrayLike, is_post_merger: ArrayLike) -> tuple[float, float, float]:
    """Fit the map ``q = 1 / (1 + exp(-(a ln p - b ln(1 - p) + c)))`` from a network's outputs to probabilities.

    The map is monotonic: a and b are at least 0. (1, 1, 0) is no change, equal a and b with c = 0 a temperature. It is fitted by
    the largest likelihood.

    Parameters
    ----------
    output
        (n,) outputs in [0, 1].
    is_post_merger
        (n,) bool: the truth; both classes must occur.

    Returns
    -------
    a, b and c.
    """
    falling, rising = _logarithms(np.asarray(output, np.float64))
    truth = np.asarray(is_post_merger, bool)

    def loss(map_: Float64Array) -> tuple[float, Float64Array]:
        argument = map_[0] * falling + map_[1] * rising + map_[2]
        slope = (expit(argument) - truth) / len(truth)
        return float(np.logaddexp(0, np.where(truth, -argument, argument)).mean()), slope @ np.stack([falling, rising, one], 1)

    one = np.ones_like(falling)
    bounds = [(0, STEEPEST), (0, STEEPEST), (-LARGEST_OFFSET, LARGEST_OFFSET)]
    from scipy.optimize import minimize

    found = minimize(loss, np.array([1.0, 1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 1000})
    a, b, c = (float(f"{number:.5g}") for number in found.x)
    return a, b, c


def calibrated(output: ArrayLike, a: float, b: float, c: float) -> Float64Array:
    """Apply the map of `fitted_calibration`; outputs within a millionth of 0 and 1 count as that near.

    Parameters
    ----------
    output
        Outputs in [0, 1]; NaN stays NaN.
    a, b, c
        The map.
    """
    falling, rising = _logarithms(np.asarray(output, np.float64))
    return np.asarray(expit(a * falling + b * rising + c))


def _logarithms(output: Float64Array) -> tuple[Float64Array, Float64Array]:
    """The logarithms ln p and -ln(1 - p)."""
    inside = np.clip(output, _NEAREST_TO_CERTAIN, 1 - _NEAREST_TO_CERTAIN)
    return np.log(inside), -np.log1p(-inside)


def _share(name: str, value: ArrayLike) -> Float64Array:
    share = _numbers(name, value)
    inside: BoolArray = (share > 0) & (share < 1)
    if not inside.all():
        raise InputError(f"{name} must be a share between 0 and 1, both excluded, not {share.ravel()[:3].tolist()}.")
    return share


def _numbers(name: str, value: ArrayLike) -> Float64Array:
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must hold numbers, not {value!r:.60}.") from error
