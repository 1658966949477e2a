"""The generator gives the published bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from networks import reference_philox
from surveyflow.stats.philox import philox4x32

# The known-answer vectors that Salmon et al. publish with Random123, file kat_vectors: counter, key, result.
PUBLISHED = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]
word = st.integers(0, 2**32 - 1)


def as_arrays(counter):
    return tuple(np.array([value], np.uint32) for value in counter)


@pytest.mark.parametrize(("counter", "key", "expected"), PUBLISHED)
def test_published_vectors(counter, key, expected):
    assert tuple(int(values[0]) for values in philox4x32(as_arrays(counter), key)) == expected
    assert reference_philox(counter, key) == expected


@given(st.tuples(word, word, word, word), st.tuples(word, word))
def test_equals_the_definition_in_integers(counter, key):
    assert tuple(int(values[0]) for values in philox4x32(as_arrays(counter), key)) == reference_philox(counter, key)


def test_counters_broadcast():
    sources, draws = np.arange(3, dtype=np.uint32)[:, None], np.arange(5, dtype=np.uint32)[None, :]
    zero = np.zeros((1, 1), np.uint32)
    words = philox4x32((sources, zero, draws, zero), (7, 9))
    assert {part.shape for part in words} == {(3, 5)}
    assert [int(part[2, 4]) for part in words] == list(reference_philox((2, 0, 4, 0), (7, 9)))
