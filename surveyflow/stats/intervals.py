"""By how much stated intervals must be widened to hold as many truths as they claim."""

from __future__ import annotations

import numpy as np

from surveyflow.values.arrays import Float64Array

_CENTRAL = 0.6826894921
_WIDEST = 10.0
_FEWEST = 20


def interval_scale(location: Float64Array, sigma: Float64Array, truth: Float64Array) -> float:
    """By what stated standard deviations must be multiplied for 68 % intervals to hold 68 % of held-out truths.

    The variance of a prediction is that of the location over the draws, plus the mean square of the scaled standard deviation.

    Parameters
    ----------
    location, sigma
        (n, T): draws of the location and of the standard deviation.
    truth
        (n,): what is true, on the scale of the location.

    Returns
    -------
    0.1 to 10; 1 for fewer than 20 truths.
    """
    if len(truth) < _FEWEST:
        return 1.0
    variance = np.square(sigma).mean(axis=1)
    deviation = np.square(truth - location.mean(axis=1))

    def excess(scale: float) -> float:
        return float(np.mean(deviation <= location.var(axis=1) + scale**2 * variance)) - _CENTRAL

    if excess(1 / _WIDEST) >= 0 or excess(_WIDEST) <= 0:
        return 1 / _WIDEST if excess(1 / _WIDEST) >= 0 else _WIDEST
    from scipy.optimize import brentq

    return round(float(brentq(excess, 1 / _WIDEST, _WIDEST, xtol=1e-4)), 4)
