"""Random numbers that turn a network's draws into draws of what it describes."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from surveyflow.stats.philox import philox4x32
from surveyflow.values.arrays import Float64Array, UInt64Array

_NOISE_BLOCK = 2**32 - 1
"""Last word of the counters; the blocks of dropout masks are counted from 0 and never come so far."""


def predictive_noise(
    source_keys: UInt64Array, n_draws: int, seed: int, model_word: int, n_amounts: int
) -> tuple[Float64Array, Float64Array]:
    """Random numbers of each source and draw, which depend on neither batch nor order, and on no dropout mask.

    Philox4x32-10 with the key of the masks, (seed, model word), and the counter (source key, draw, 2**32 - 1). The first two
    words make two normal numbers (Box & Muller 1958), the third the uniform one. The next two normal numbers are those of the
    counter (source key, draw, 2**32 - 2), and so on.

    Parameters
    ----------
    source_keys
        (n,) uint64: one for each source.
    n_draws
        T.
    seed
        0 to 2**32 - 1.
    model_word
        `surveyflow.tasks.card.ModelCard.model_word`.
    n_amounts
        How many normal numbers a draw needs, at least 1.

    Returns
    -------
    normal
        (n, T, n_amounts) float64, standard normal and independent.
    uniform
        (n, T) float64 in [0, 1).
    """
    low, high = ((source_keys >> np.uint64(shift)).astype(np.uint32)[:, None] for shift in (0, 32))
    draws = np.arange(n_draws, dtype=np.uint32)[None, :]
    blocks = [np.full((1, 1), _NOISE_BLOCK - pair, np.uint32) for pair in range((n_amounts + 1) // 2)]
    words = [philox4x32((low, high, draws, block), (seed, model_word)) for block in blocks]
    normal = np.stack([number for block in words for number in _normal_pair(block[0], block[1])][:n_amounts], axis=-1)
    return normal, words[0][2] / 2**32


def _normal_pair(first: NDArray[np.uint32], second: NDArray[np.uint32]) -> tuple[Float64Array, Float64Array]:
    radius = np.sqrt(-2 * np.log((first + 1.0) / 2**32))
    angle = second * (2 * math.pi / 2**32)
    return radius * np.cos(angle), radius * np.sin(angle)
