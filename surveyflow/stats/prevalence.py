"""Probabilities from a classifier's outputs: calibrated on known cases, and at another share of post-mergers.

Calibration is that of Kull, Silva Filho & Flach (2017, section 3), the change of the share that of Saerens, Latinne &
Decaestecker (2002, equation 4).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import expit

from surveyflow.errors import InputError
from surveyflow.values.arrays import BoolArray, Float64Array

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
