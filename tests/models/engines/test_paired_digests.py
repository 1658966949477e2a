"""SHA-256 of two images at once, by the processor's instructions, against hashlib."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from surveyflow.inputs.mosaics import open_mosaic
from surveyflow.models.engines import native_library
from surveyflow.models.engines.native_library import absence, paired_digests
from surveyflow.values.images import Box, SeparateSha256

needs_instructions = pytest.mark.skipif(
    absence() is not None or paired_digests() is None, reason="no native core, or no instructions for SHA-256"
)


@needs_instructions
@settings(max_examples=60, deadline=None)
@given(width=st.integers(1, 90), heights=st.lists(st.integers(0, 20), max_size=6), seed=st.integers(0, 99))
def test_digests_of_two_streams_equal_those_of_hashlib_however_they_come(width, heights, seed):
    rng, paired, separate = np.random.default_rng(seed), paired_digests()(), SeparateSha256(2)
    content = [b"", b""]
    for height in heights:
        parts = [rng.normal(size=(height, width)).astype("<f4") for _ in range(2)]
        content = [one + part.tobytes() for one, part in zip(content, parts, strict=True)]
        paired.update(parts)
        separate.update(parts)
        assert paired.hexdigests() == separate.hexdigests() == [hashlib.sha256(one).hexdigest() for one in content]


@needs_instructions
@pytest.mark.parametrize("weighted", [False, True])
def test_mosaics_have_the_same_digests_with_them_and_without(tmp_path, weighted):
    cards = {
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CRVAL1": 150.0,
        "CRVAL2": 2.0,
        "CRPIX1": 1.0,
        "CRPIX2": 1.0,
        "BUNIT": "ELECTRONS/S",
    }
    header = fits.Header({**cards, "CD1_1": -1e-5, "CD2_2": 1e-5})
    files = [tmp_path / f"{name}.fits" for name in ("science", "weight")]
    for number, file in enumerate(files):
        fits.writeto(file, np.random.default_rng(number).normal(size=(97, 1203)).astype(np.float32), header)
    with open_mosaic(files[0], files[1] if weighted else None) as opened:
        for box in (Box(0, 97, 0, 1203), Box(-5, 40, 7, 1000), Box(3, 3, 0, 9)):
            assert opened.digests(box, paired_digests()) == opened.digests(box)


def test_without_instructions_streams_are_digested_one_by_one(monkeypatch):
    paired_digests.cache_clear()
    monkeypatch.setattr(native_library, "_digest_blocks", lambda *_: False)
    assert paired_digests() is None
    monkeypatch.undo()
    paired_digests.cache_clear()
