"""The key of each source's own stream of random masks."""

from __future__ import annotations

import hashlib

import numpy as np

from surveyflow.values.arrays import Int64Array, UInt64Array


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
