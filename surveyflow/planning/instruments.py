"""The choice of the instrument that measures each source."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from surveyflow.values.arrays import Float64Array
from surveyflow.values.codes import Status
from surveyflow.values.sources import SourceList

STATUS_IF_UNKNOWN = Status.NO_REDSHIFT
"""Status of the sources for which the value that chooses the instrument is unknown."""


def deciding_values(sources: SourceList) -> Float64Array:
    """The values that choose the instrument: (n,) float64; NaN where unknown."""
    return sources.redshift


def choose_instruments(values: Float64Array, ranges: Mapping[str, tuple[float, float]]) -> NDArray[np.str_]:
    """Choose the instrument for each value.

    Parameters
    ----------
    values
        (n,) float64, as `deciding_values` returns them; NaN where unknown.
    ranges
        Half-open, disjoint range [low, high) of each instrument.

    Returns
    -------
    (n,) str; ``""`` where the value is unknown or in no range.
    """
    width = max(map(len, ranges), default=1)
    instrument = np.full(len(values), "", dtype=f"U{width}")
    for name, (low, high) in ranges.items():
        instrument[(values >= low) & (values < high)] = name
    return instrument
