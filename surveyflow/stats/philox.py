"""Counter-based random numbers of each source: Philox4x32-10 of Salmon et al. (2011), for NumPy and Keras.

A counter-based generator is a function: the same counter and key give the same bits everywhere and in any order. It is written
once, with the operations that NumPy and ``keras.ops`` share, so that a GPU can generate its own numbers.

Reference: J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC '11.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surveyflow.values.arrays import Float64Array, Int64Array, UInt64Array


def source_keys(field: str, source_id: Int64Array) -> UInt64Array:
    """Name each source's own stream of random masks.

    Parameters
    ----------
    field
        The field's name.
    source_id
        (n,) int64.

    Returns
    -------
    (n,) uint64: the first 8 bytes, little endian, of SHA-256 over ``field``, a zero byte and the id in decimal.
    """
    prefix = hashlib.sha256(f"{field}\0".encode())

    def key(number: int) -> bytes:
        digest = prefix.copy()
        digest.update(str(number).encode())
        return digest.digest()[:8]

    return np.frombuffer(b"".join(map(key, source_id.tolist())), dtype="<u8").astype(np.uint64)


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


Words = tuple[Any, Any, Any, Any]
"""Four arrays of uint32 that broadcast against one another."""
_MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
_KEY_STEPS = 0x9E3779B9, 0xBB67AE85
_ROUNDS = 10


def philox4x32(counter: Words, key: tuple[int, int], ops: Any = np) -> Words:
    """Generate 128 random bits for each counter.

    Parameters
    ----------
    counter
        Four arrays of uint32, of at least one dimension, that broadcast against one another.
    key
        Two numbers of 32 bits.
    ops
        The array library: ``numpy`` or ``keras.ops``.

    Returns
    -------
    Four arrays of uint32, of the counters' broadcast shape.
    """
    c0, c1, c2, c3 = counter
    for step in range(_ROUNDS):
        k0, k1 = (_constant(word + step * increment, ops) for word, increment in zip(key, _KEY_STEPS, strict=True))
        high_0, low_0 = _wide_product(c0, _MULTIPLIERS[0], ops)
        high_1, low_1 = _wide_product(c2, _MULTIPLIERS[1], ops)
        c0, c1 = ops.bitwise_xor(ops.bitwise_xor(high_1, c1), k0), low_1
        c2, c3 = ops.bitwise_xor(ops.bitwise_xor(high_0, c3), k1), low_0
    return c0, c1, c2, c3


def _wide_product(words: Any, factor: int, ops: Any) -> tuple[Any, Any]:
    """High and low 32 bits of a 64-bit product."""
    if ops is np:
        product = words.astype(np.uint64) * np.uint64(factor)
        return (product >> np.uint64(32)).astype(np.uint32), product.astype(np.uint32)
    return _high_product(words, factor, ops), ops.multiply(words, _constant(factor, ops))


def _high_product(words: Any, factor: int, ops: Any) -> Any:
    """High 32 bits of a product, computed from halves of 16 bits: not every backend has 64-bit integers on every device."""
    sixteen, low_half = _constant(16, ops), _constant(0xFFFF, ops)
    a_low, a_high = ops.bitwise_and(words, low_half), ops.right_shift(words, sixteen)
    b_low, b_high = _constant(factor & 0xFFFF, ops), _constant(factor >> 16, ops)
    middle = ops.add(ops.multiply(a_high, b_low), ops.right_shift(ops.multiply(a_low, b_low), sixteen))
    crossed = ops.add(ops.multiply(a_low, b_high), ops.bitwise_and(middle, low_half))
    carried = ops.add(ops.right_shift(middle, sixteen), ops.right_shift(crossed, sixteen))
    return ops.add(ops.multiply(a_high, b_high), carried)


def _constant(value: int, ops: Any) -> Any:
    return ops.full((1,), value & 0xFFFFFFFF, dtype="uint32")
