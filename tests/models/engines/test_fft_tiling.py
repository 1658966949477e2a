"""Tiles cover every output once, and reach no further than the transforms."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from surveyflow.models.engines.fft_tiling import Tiling, convolutions, infeasible, tilings
from surveyflow.tasks.card import Architecture


def test_the_published_network_is_cut_as_the_prototype_was():
    expected = [Tiling(128, 118, 1), Tiling(64, 54, 2), Tiling(32, 24, 2), Tiling(48, 38, 1), Tiling(20, 13, 1), Tiling(16, 7, 1)]
    assert list(tilings(Architecture())) == expected


@st.composite
def architectures(draw):
    kernels = tuple(draw(st.lists(st.sampled_from([1, 3, 5, 7, 9, 11, 13]), min_size=1, max_size=4)))
    least = 1
    for kernel in reversed(kernels):
        least = 2 * least + 2 * (kernel - 1)
    filters = tuple(draw(st.integers(1, 200)) for _ in kernels)
    return Architecture(min(least + draw(st.integers(0, 100)), 256) if least <= 256 else least, filters, kernels)


@given(architectures())
def test_tiles_cover_all_outputs_and_fit_their_transforms(architecture):
    if infeasible(architecture):
        return
    for layer, tiling in zip(convolutions(architecture), tilings(architecture), strict=True):
        assert tiling.points % 2 == 0
        assert max(prime for prime in range(2, 300) if tiling.points % prime == 0 and math.factorial(prime - 1) % prime) <= 5
        assert tiling.step + layer.kernel_size - 1 <= tiling.points
        assert (tiling.n_tiles - 1) * tiling.step < layer.output_size <= tiling.n_tiles * tiling.step
        assert tiling.n_tiles == 1 or not layer.pooled or tiling.step % 2 == 0


@given(architectures())
def test_convolutions_follow_the_network_s_maps(architecture):
    sizes = [size for layer in convolutions(architecture) for size in (layer.input_size, layer.output_size)]
    assert sizes[0] == architecture.map_sizes[0]
    assert set(sizes) == set(architecture.map_sizes)


def test_what_cannot_be_done_is_said():
    too_large = Architecture(input_size=257, filters=(1,), kernel_sizes=(1,))
    assert infeasible(too_large).endswith("at least 257 points; 256 are possible")
