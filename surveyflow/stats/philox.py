"""Counter-based random numbers: Philox4x32-10 of Salmon et al. (2011), for NumPy and Keras.

A counter-based generator is a function: the same counter and key give the same bits everywhere and in any order. It is written
once, with the operations that NumPy and ``keras.ops`` share, so that a GPU can generate its own numbers.

Reference: J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC '11.
"""

from __future__ import annotations

from typing import Any

import numpy as np

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
