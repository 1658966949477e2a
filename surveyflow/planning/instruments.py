"""The choice of the instrument that measures each source."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from surveyflow.values.arrays import Float64Array


def choose_instruments(redshift: Float64Array, redshift_ranges: Mapping[str, tuple[float, float]]) -> NDArray[np.str_]:
    """Choose the instrument for each redshift.

    Parameters
    ----------
    redshift
        (n,) float64; NaN where unknown.
    redshift_ranges
        Half-open, disjoint redshift range [low, high) of each instrument.

    Returns
    -------
    (n,) str; ``""`` where the redshift is unknown or in no range.
    """
    width = max(map(len, redshift_ranges), default=1)
    instrument = np.full(len(redshift), "", dtype=f"U{width}")
    for name, (low, high) in redshift_ranges.items():
        instrument[(redshift >= low) & (redshift < high)] = name
    return instrument
