"""The instrument that measures each source."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from surveyflow.values.arrays import Float64Array


def route(redshift: Float64Array, routing: Mapping[str, tuple[float, float]]) -> NDArray[np.str_]:
    """Choose the instrument for each redshift.

    Parameters
    ----------
    redshift
        (n,) float64; NaN where unknown.
    routing
        Half-open, disjoint redshift range [low, high) of each instrument.

    Returns
    -------
    (n,) str; ``""`` where the redshift is unknown or in no range.
    """
    width = max(map(len, routing), default=1)
    instrument = np.full(len(redshift), "", dtype=f"U{width}")
    for name, (low, high) in routing.items():
        instrument[(redshift >= low) & (redshift < high)] = name
    return instrument
