"""The expected result of each source: the contract's rules, applied to one source at a time, independently of the flow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from surveyflow.values.arrays import BoolArray
from surveyflow.values.codes import Flag, Status

ROUTING: Mapping[str, tuple[float, float]] = MappingProxyType({"F814W": (0.5, 1.5), "F125W_F160W": (1.5, 3.0)})
"""Redshift ranges, half-open, as in Ferreira et al. 2022."""

LEAST_VALID_FRACTION = 0.5
"""Least fraction of valid pixels in a cutout; below it, the status is BAD_PIXELS."""

_NO_FLAG = Flag(0)
_CUTOUT_SIZE = 128


@dataclass(frozen=True, slots=True)
class ExpectedOutcome:
    """The result that a source must have.

    Parameters
    ----------
    instrument
        The instrument that its redshift selects; None if there is none.
    status
        Its status.
    flags
        EDGE and PARTIAL_COVERAGE, if it has a cutout.
    valid_fraction
        Share of its cutout's pixels that have data; NaN without a cutout.
    """

    instrument: str | None
    status: Status
    flags: Flag = _NO_FLAG
    valid_fraction: float = np.nan


def expected_outcome(
    redshift: float, pixels: Mapping[str, tuple[float, float]], valid: Mapping[str, BoolArray]
) -> ExpectedOutcome:
    """Apply the contract's rules.

    Parameters
    ----------
    redshift
        Redshift of the source; NaN if unknown.
    pixels
        Row and column of its centre, 0-based, by instrument.
    valid
        Whether each pixel of the mosaic has data, by instrument.
    """
    if np.isnan(redshift):
        return ExpectedOutcome(None, Status.NO_REDSHIFT)
    instrument = next((name for name, (low, high) in ROUTING.items() if low <= redshift < high), None)
    if instrument is None:
        return ExpectedOutcome(None, Status.NO_MODEL)
    return _on_mosaic(instrument, *pixels[instrument], valid[instrument])


def _on_mosaic(instrument: str, y_pix: float, x_pix: float, valid: BoolArray) -> ExpectedOutcome:
    row, column = int(np.floor(y_pix + 0.5)), int(np.floor(x_pix + 0.5))
    if not (0 <= row < valid.shape[0] and 0 <= column < valid.shape[1]):
        return ExpectedOutcome(instrument, Status.OFF_MOSAIC)
    top, left = int(np.ceil(y_pix - _CUTOUT_SIZE / 2)), int(np.ceil(x_pix - _CUTOUT_SIZE / 2))
    bottom, right = top + _CUTOUT_SIZE, left + _CUTOUT_SIZE
    beyond = top < 0 or left < 0 or bottom > valid.shape[0] or right > valid.shape[1]
    fraction = float(valid[max(top, 0) : bottom, max(left, 0) : right].sum() / _CUTOUT_SIZE**2)
    flags = (Flag.EDGE if beyond else _NO_FLAG) | (Flag.PARTIAL_COVERAGE if fraction < 1 else _NO_FLAG)
    if not valid[row, column]:
        return ExpectedOutcome(instrument, Status.NO_COVERAGE, flags, fraction)
    status = Status.OK if fraction >= LEAST_VALID_FRACTION else Status.BAD_PIXELS
    return ExpectedOutcome(instrument, status, flags, fraction)
