"""How many cutouts does an accelerator take at once? As many as raise its rate, as far as its memory reaches."""

from __future__ import annotations

import logging
from collections.abc import Callable

_log = logging.getLogger(__name__)

SMALLEST_PROBE = 64
LARGEST_PROBE = 1024
_WORTHWHILE = 1.05
_OUT_OF_MEMORY = "ResourceExhaustedError", "OutOfMemoryError"


def probe_batch_size(seconds_of: Callable[[int], float]) -> int:
    """Double the batch until the rate rises by less than 5 %, memory refuses, or 1024 cutouts are reached.

    Parameters
    ----------
    seconds_of
        Passes a batch of so many cutouts and says how long it took, compilation left out.

    Returns
    -------
    The size with the highest rate; where already 64 do not fit, the largest half of them that does.

    Raises
    ------
    Exception
        Whatever ``seconds_of`` raises other than for want of memory, or for a single cutout.
    """
    size, rate = _largest_that_fits(seconds_of, SMALLEST_PROBE)
    while SMALLEST_PROBE <= size < LARGEST_PROBE:
        try:
            larger = 2 * size / seconds_of(2 * size)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            break
        if larger < _WORTHWHILE * rate:
            break
        size, rate = 2 * size, larger
    _log.info("event=batch_probed batch_size=%d cutouts_per_s=%.0f", size, rate)
    return size


def is_out_of_memory(error: Exception) -> bool:
    """Whether a framework's error says that the device's memory is full."""
    return type(error).__name__ in _OUT_OF_MEMORY or "RESOURCE_EXHAUSTED" in str(error)


def _largest_that_fits(seconds_of: Callable[[int], float], size: int) -> tuple[int, float]:
    """The first of size, size / 2, ... that fits, and its rate."""
    try:
        return size, size / seconds_of(size)
    except Exception as error:
        if not is_out_of_memory(error) or size == 1:
            raise
    return _largest_that_fits(seconds_of, size // 2)
