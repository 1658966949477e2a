"""The batch size of an accelerator: larger while its rate rises and its memory suffices."""

from __future__ import annotations

import logging
from collections.abc import Callable

_log = logging.getLogger(__name__)

SMALLEST_PROBE = 64
LARGEST_PROBE = 1024
_WORTHWHILE = 1.05
_OUT_OF_MEMORY = "ResourceExhaustedError", "OutOfMemoryError"


def probe_batch_size(seconds_of: Callable[[int], float]) -> int:
    """Double the batch until the rate rises by less than 5 %, memory runs out, or 1024 cutouts are reached.

    Parameters
    ----------
    seconds_of
        Processes a batch of this many cutouts and returns the time it took, without compilation.

    Returns
    -------
    The size with the highest rate. If 64 cutouts do not fit, 64 is halved until the batch fits.

    Raises
    ------
    Exception
        Any error of ``seconds_of`` that is not due to memory, or that occurs for a single cutout.
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
