"""Light at the border of cutouts: counted pixel by pixel, whatever lies beside it, and unknown where it cannot be measured."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surveyflow.sky.measurements import Sky, edge_light_fractions
from surveyflow.tasks.domains import measured_facts

LARGEST = np.finfo(np.float32).max


def skies(n, level=0.0, rms=1.0):
    return Sky(np.full(n, level, np.float32), np.full(n, rms, np.float32))


def fractions(pixels, valid=None, level=0.0, rms=1.0):
    valid = np.ones(pixels.shape, bool) if valid is None else valid
    return edge_light_fractions(pixels, valid, skies(len(pixels), level, rms))


def counted(image, has_data, level, rms):
    """The definition, one pixel after another."""
    size = len(image)
    places = [(y, x) for y in range(size) for x in range(size) if min(y, x, size - 1 - y, size - 1 - x) < 8]
    seen = [float(image[place]) > level + 3 * rms for place in places if has_data[place]]
    return sum(seen) / len(seen) if seen else np.nan


cutouts = st.builds(
    lambda n, size, seed, share: (
        np.random.default_rng(seed).normal(1, 3, (n, size, size)).astype(np.float32),
        np.random.default_rng(seed + 1).random((n, size, size)) < share,
    ),
    st.integers(0, 3),
    st.integers(1, 26),
    st.integers(0, 2**32),
    st.sampled_from((0.0, 0.02, 0.7, 1.0)),
)


@given(cutouts)
def test_it_is_the_share_of_bright_pixels_near_the_border(drawn):
    pixels, valid = drawn
    found = fractions(pixels, valid, 0.5, 0.75)
    expected = [counted(image, has_data, 0.5, 0.75) for image, has_data in zip(pixels, valid, strict=True)]
    assert (found.dtype, found.shape) == (np.float32, (len(pixels),))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@given(cutouts, st.integers(0, 3), st.booleans())
def test_a_turned_or_mirrored_cutout_has_the_same(drawn, turns, is_mirrored):
    pixels, valid = drawn
    changed = [np.rot90(images, turns, axes=(1, 2)) for images in drawn]
    changed = [images[:, ::-1] if is_mirrored else images for images in changed]
    np.testing.assert_array_equal(fractions(*changed), fractions(pixels, valid))


@given(cutouts)
def test_it_does_not_depend_on_the_other_cutouts(drawn):
    pixels, valid = drawn
    alone = [fractions(pixels[[row]], valid[[row]])[0] for row in range(len(pixels))]
    np.testing.assert_array_equal(fractions(pixels, valid), np.array(alone, np.float32))


@pytest.mark.parametrize("hostile", [np.nan, np.inf, -np.inf, LARGEST, -LARGEST])
def test_pixels_without_data_take_no_part(hostile):
    pixels, valid = np.zeros((1, 32, 32), np.float32), np.ones((1, 32, 32), bool)
    pixels[0, 0, :10] = 9
    valid[0, :, -4:] = False
    pixels[~valid] = hostile
    assert fractions(pixels, valid) == pytest.approx(10 / (32**2 - 16**2 - 4 * 32))


@pytest.mark.parametrize(("level", "rms"), [(np.nan, 1.0), (0.0, np.nan), (0.0, 0.0), (0.0, -1.0), (np.inf, 1.0), (0.0, np.inf)])
def test_without_sky_or_noise_it_is_unknown(level, rms):
    assert np.isnan(fractions(np.ones((2, 32, 32), np.float32), level=level, rms=rms)).all()


def test_data_in_the_middle_alone_say_nothing_of_the_border():
    valid = np.zeros((2, 32, 32), bool)
    valid[0, 8:24, 8:24] = valid[1, 7:25, 7:25] = True
    assert np.isnan(fractions(np.zeros(valid.shape, np.float32), valid)).tolist() == [True, False]


def test_the_largest_numbers_are_as_good_as_others():
    pixels = np.full((1, 32, 32), -LARGEST, np.float32)
    pixels[0, :8] = LARGEST
    assert fractions(pixels, level=0.0, rms=1e38) == pytest.approx(8 * 32 / (32**2 - 16**2))
    assert fractions(pixels, level=LARGEST, rms=LARGEST).tolist() == [0]


def test_a_galaxy_counts_at_the_border_and_not_in_the_middle_whatever_the_gain_and_the_sky():
    y, x = np.mgrid[:128, :128]
    noise = np.random.default_rng(4).normal(0, 1, (3, 128, 128))
    light = [0 * y, *(500 * np.exp(-np.hypot(y - row, x - 63.5) / 4) for row in (63.5, 3))]
    pixels = (noise + light).astype(np.float32)
    empty, middle, border = measured(pixels)
    assert max(empty, middle) < 0.005
    assert border > 0.05
    np.testing.assert_allclose(measured(1000 * pixels + 50), [empty, middle, border], atol=5e-4)


def measured(pixels):
    valid = np.ones(pixels.shape, bool)
    return measured_facts(pixels, valid, np.full((len(pixels), 2), 63.5), 0.03).edge_light_fraction
