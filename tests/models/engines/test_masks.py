"""A source's masks are its own: the same wherever, whenever and with whatever others it is drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from networks import card, reference_philox
from surveyflow.models.engines.head import MaskLayout, keep_masks, keep_masks_on_device, split_keys
from surveyflow.stats.philox import philox4x32
from surveyflow.tasks.card import Architecture

source_key = st.integers(0, 2**64 - 1)
layouts = st.builds(MaskLayout, st.integers(1, 300), st.sampled_from([0.0, 0.1, 0.5, 0.9]), st.integers(0, 2**32 - 1))


def keys(values):
    return np.array(values, np.uint64)


def numbers(count, first=0):
    return np.arange(first, first + count, dtype=np.uint32)


def documented_bit(layout, source, draw, unit, seed):
    """Whether a unit is kept, as the module's docstring says it, with integers."""
    units_a_block = 128 if layout.rate == 0.5 else 4
    counter = (source % 2**32, source >> 32, draw, unit // units_a_block)
    words = reference_philox(counter, (seed, layout.model_word))
    if layout.rate == 0.5:
        return words[unit // 32 % 4] >> unit % 32 & 1
    return int(words[unit % 4] >= int(layout.rate * 2**32))


@given(layouts, source_key, st.integers(0, 65_534), st.integers(0, 2**32 - 1), st.data())
def test_each_bit_is_the_documented_one(layout, source, draw, seed, data):
    mask = keep_masks(layout, keys([source]), numbers(1, draw), seed)
    unit = data.draw(st.integers(0, layout.n_units - 1))
    assert mask.shape == (1, 1, layout.n_units)
    assert mask[0, 0, unit] == documented_bit(layout, source, draw, unit, seed)


@given(layouts, st.lists(source_key, min_size=1, max_size=6), st.data())
def test_company_and_order_change_nothing(layout, sources, data):
    order = data.draw(st.permutations(range(len(sources))))
    together = keep_masks(layout, keys(sources), numbers(7), 3)
    np.testing.assert_array_equal(keep_masks(layout, keys(sources)[order], numbers(7), 3), together[order])
    np.testing.assert_array_equal(keep_masks(layout, keys(sources[:1]), numbers(2, 5), 3), together[:1, 5:])


@pytest.mark.parametrize("change", ["source", "draw", "seed", "model"])
def test_anything_else_changes_the_mask(change):
    layout, other = MaskLayout(128, 0.5, 1), MaskLayout(128, 0.5, 2 if change == "model" else 1)
    one = keep_masks(layout, keys([2**40]), numbers(1), 0)
    two = keep_masks(other, keys([2**40 + (change == "source")]), numbers(1, change == "draw"), int(change == "seed"))
    assert 30 < np.count_nonzero(one != two) < 98


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.5, 0.8])
def test_units_are_dropped_at_the_rate(rate):
    masks = keep_masks(MaskLayout(200, rate, 9), keys(range(20)), numbers(200), 1)
    five_sigma = 5 * np.sqrt(rate * (1 - rate) / masks.size)
    assert abs(masks.mean() - (1 - rate)) < five_sigma


def test_without_dropout_all_units_are_kept():
    assert keep_masks(MaskLayout(10, 0.0, 9), keys([1]), numbers(3), 1).all()


def test_layout_follows_the_card():
    layout = MaskLayout.of(card(Architecture(dense=(128, 64), dropout=0.25), weights_digest="deadbeef" + "0" * 56))
    assert layout == MaskLayout(n_units=192, rate=0.25, model_word=0xDEADBEEF)


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.5])
def test_keras_makes_the_same_masks(keras, rate):
    layout, sources = MaskLayout(200, rate, 0xFEDCBA98), np.random.default_rng(3).integers(0, 2**64, 5, dtype=np.uint64)
    halves = tuple(map(keras.ops.convert_to_tensor, split_keys(sources)))
    on_device = keep_masks_on_device(layout, halves, keras.ops.convert_to_tensor(numbers(40)), 2**32 - 1, keras.ops)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(on_device), keep_masks(layout, sources, numbers(40), 2**32 - 1))


def test_keras_makes_the_same_bits(keras):
    rng = np.random.default_rng(5)
    counter = tuple(rng.integers(0, 2**32, size=200, dtype=np.uint32) for _ in range(4))
    on_device = philox4x32(tuple(map(keras.ops.convert_to_tensor, counter)), (2**32 - 1, 0x9E3779B9), keras.ops)
    for ours, theirs in zip(philox4x32(counter, (2**32 - 1, 0x9E3779B9)), on_device, strict=True):
        np.testing.assert_array_equal(ours, keras.ops.convert_to_numpy(theirs))
