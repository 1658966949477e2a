"""Draws are the network's, one set for each source, and independent between sources."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from networks import SMALL, card, random_weights, reference_draw
from surveyflow.models.engines.head import Head, blocks, keep_masks
from surveyflow.tasks.card import Architecture

ARCHITECTURES = [
    SMALL,
    Architecture(48, (4,), (5,), dense=(16,), dropout=0.3, n_outputs=3),
    Architecture(48, (4,), (5,), dense=(16, 8, 20), dropout=0.0, n_outputs=1),
]


def head_of(architecture=SMALL, seed=0):
    return Head.of(card(architecture), random_weights(architecture, seed))


def features_of(n, architecture=SMALL, seed=2):
    return np.random.default_rng(seed).normal(size=(n, architecture.dense[0])).astype(np.float32)


def source_keys(n, first=0):
    return np.arange(first, first + n, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_equals_the_reference_draw_by_draw(architecture):
    features, keys, weights = features_of(4, architecture), source_keys(4), random_weights(architecture)
    draws = Head.of(card(architecture), weights).draw(features, keys, 30, seed=5)
    masks = keep_masks(head_of(architecture).layout, keys, np.arange(30, dtype=np.uint32), 5)
    expected = [
        [reference_draw(row, mask, weights, architecture) for mask in source] for row, source in zip(features, masks, strict=True)
    ]
    assert draws.dtype == np.float32
    np.testing.assert_allclose(draws, expected, atol=1e-6)


@given(st.integers(1, 9), st.integers(1, 40), st.data())
def test_batch_order_and_number_of_draws_change_nothing(n, n_draws, data):
    order = np.array(data.draw(st.permutations(range(n))))[: data.draw(st.integers(1, n))]
    head, features, keys = head_of(), features_of(n), source_keys(n)
    together = head.draw(features, keys, 40, seed=1)
    np.testing.assert_allclose(head.draw(features[order], keys[order], n_draws, seed=1), together[order, :n_draws], atol=1e-6)


def test_draws_beyond_the_first_part_have_their_own_numbers():
    head, features, keys, weights = head_of(), features_of(2), source_keys(2), random_weights()
    many = head.draw(features, keys, 9000, seed=1)
    for draw in (4095, 4096, 8999):
        mask = keep_masks(head.layout, keys[1:], np.array([draw], np.uint32), 1)[0, 0]
        np.testing.assert_allclose(many[1, draw], reference_draw(features[1], mask, weights, SMALL), atol=1e-6)


@given(st.integers(0, 30), st.integers(1, 30), st.integers(1, 20))
def test_blocks_cover_every_draw_once_and_stay_small(n_sources, n_draws, at_once):
    covered = np.zeros((n_sources, n_draws), int)
    for sources, draws in blocks(n_sources, n_draws, at_once):
        covered[sources, draws] += 1
        assert (sources.stop - sources.start) * (draws.stop - draws.start) <= at_once
    assert (covered == 1).all()


def test_outputs_are_independent_sigmoids():
    draws = head_of().draw(features_of(5), source_keys(5), 100, seed=0)
    assert draws.min() > 0
    assert draws.max() < 1
    assert np.abs(draws.sum(axis=-1) - 1).max() > 0.1


def test_without_dropout_all_draws_are_equal():
    architecture = ARCHITECTURES[2]
    assert np.ptp(head_of(architecture).draw(features_of(2, architecture), source_keys(2), 9, seed=0), axis=1).max() == 0


def test_a_feature_that_is_not_a_number_is_not_taken_for_zero():
    features = features_of(2)
    features[0, 3] = np.nan
    draws = head_of().draw(features, source_keys(2), 10, seed=0)
    assert np.isnan(draws[0]).all()
    assert np.isfinite(draws[1]).all()


def errors(keys, seed):
    """Monte Carlo errors of 8 draws of the first output, for sources that differ in nothing but their key."""
    features = np.repeat(features_of(1), len(keys), axis=0)
    draws = head_of().draw(features, keys, 8, seed)[..., 0]
    return (draws - draws.mean()).ravel()


def test_errors_of_different_sources_are_uncorrelated():
    pairs = 10_000
    all_errors = errors(source_keys(2 * pairs), seed=4)
    assert abs(np.corrcoef(all_errors[: 8 * pairs], all_errors[8 * pairs :])[0, 1]) < 0.02


def test_errors_of_neighbouring_keys_are_uncorrelated():
    one, two = (errors(np.arange(first, 20_000, 2, dtype=np.uint64), seed=4) for first in (0, 1))
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.02


def test_errors_of_different_seeds_are_uncorrelated():
    assert abs(np.corrcoef(errors(source_keys(10_000), seed=4), errors(source_keys(10_000), seed=5))[0, 1]) < 0.02


@given(st.integers(0, 70), st.integers(0, 40), st.integers(1, 30), st.sampled_from([2**18, 2**11, 2**6]))
def test_a_product_in_parts_is_the_product(rows, inner, columns, at_once):
    from surveyflow.models.engines import head

    left, right = features_of(rows, Architecture(dense=(inner + 1,)))[:, 1:], features_of(inner, Architecture(dense=(columns,)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(head, "_SHARED_PRODUCT", at_once)
        np.testing.assert_allclose(head._product(left, right), left @ right, atol=1e-5)


def test_no_product_of_the_published_head_is_large_enough_to_be_shared_between_threads(monkeypatch):
    from surveyflow.models.engines import head

    products, matmul = [], np.matmul

    def spy(left, right, out):
        products.append(left.shape[-2] * right.size)
        return matmul(left, right, out=out)

    monkeypatch.setattr(head.np, "matmul", spy)
    head_of(Architecture()).draw(features_of(2, Architecture()), source_keys(2), 1000, seed=0)
    assert len(products) >= 8
    assert max(products) <= 2**18
