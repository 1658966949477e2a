"""The network's head in NumPy, from features to draws, and the units that each draw drops.

All dropout is in the head, after the features. So one pass of the trunk and ``n_draws`` passes of this head are equal in
distribution to ``n_draws`` passes of the complete network.

::

    features -> dropout -> ReLU -> Dense -> dropout -> ReLU -> Dense, sigmoid

Dropout multiplies by 0 or by 1 / (1 - rate) > 0, so it may be applied after the ReLU. A feature that is not positive is then 0
under any mask and is left out of the product; about half of the features are.

The masks of the draws depend only on source, draw, seed and model: Philox4x32-10 turns counters into bits. Key: (seed, first 32
bits of the weights' digest). Counter: (low half of the source's key, high half, draw, block). The units followed by dropout are
numbered consecutively, layer after layer.

- Rate 0.5: unit ``u`` is kept if bit ``u % 32`` (0: the least significant) of word ``u // 32 % 4`` of block ``u // 128`` is 1.
- Any other rate: unit ``u`` is kept if word ``u % 4`` of block ``u // 4`` is at least ``floor(rate * 2**32)``.
- Rate 0: all units are kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from surveyflow.models.weights import Weights
from surveyflow.stats.philox import philox4x32
from surveyflow.tasks.card import ModelCard
from surveyflow.values.arrays import Float32Array, UInt64Array


@dataclass(frozen=True, slots=True)
class MaskLayout:
    """The assignment of random bits to a network's units.

    Parameters
    ----------
    n_units
        Number of units in all layers that are followed by dropout.
    rate
        Probability that a unit is dropped, in [0, 1).
    model_word
        The model's half of the key: the first 32 bits of the weights' digest.
    """

    n_units: int
    rate: float
    model_word: int

    @classmethod
    def of(cls, card: ModelCard) -> MaskLayout:
        """The layout of a model."""
        architecture = card.architecture
        return cls(sum(architecture.dense), architecture.dropout, card.model_word)

    @property
    def one_bit(self) -> bool:
        """Whether a single bit decides about a unit."""
        return self.rate == 0.5

    @property
    def n_blocks(self) -> int:
        """Blocks of 128 bits per draw."""
        return -(-self.n_units // (128 if self.one_bit else 4))

    @property
    def threshold(self) -> int:
        """The smallest word that keeps a unit."""
        return math.floor(self.rate * 2**32)


def keep_masks(layout: MaskLayout, source_keys: UInt64Array, draws: NDArray[np.uint32], seed: int) -> NDArray[np.uint8]:
    """Make the masks: 1 for a unit that is kept, 0 for one that is dropped.

    Parameters
    ----------
    layout
        The model's layout.
    source_keys
        (n,) uint64: one for each source.
    draws
        (n_draws,) uint32: numbers of the draws.
    seed
        0 to 2**32 - 1.

    Returns
    -------
    (n, n_draws, n_units) uint8.
    """
    shape = (len(source_keys), len(draws), layout.n_units)
    if layout.rate == 0:
        return np.ones(shape, np.uint8)
    words = random_words(layout, split_keys(source_keys), draws, seed)
    if layout.one_bit:
        octets = words.astype("<u4", copy=False).view(np.uint8)
        return np.unpackbits(octets, axis=-1, count=layout.n_units, bitorder="little")
    kept: NDArray[np.uint8] = (words[..., : layout.n_units] >= np.uint32(layout.threshold)).view(np.uint8)
    return kept


def keep_masks_on_device(layout: MaskLayout, halves: tuple[Any, Any], draws: Any, seed: int, ops: Any) -> Any:
    """Make the masks of `keep_masks` as boolean arrays of ``keras.ops``, (n, n_draws, n_units).

    Parameters
    ----------
    layout
        The model's layout.
    halves
        Two arrays (n,) uint32: the source keys, as `split_keys` splits them.
    draws
        (n_draws,) uint32: numbers of the draws.
    seed
        0 to 2**32 - 1.
    ops
        ``keras.ops``.
    """
    if layout.rate == 0:
        return ops.ones((halves[0].shape[0], draws.shape[0], layout.n_units), dtype="bool")
    words = random_words(layout, halves, draws, seed, ops)
    if layout.one_bit:
        places = ops.arange(32, dtype="uint32")
        bits = ops.bitwise_and(ops.right_shift(words[..., None], places), ops.ones((1,), dtype="uint32"))
        flags = ops.not_equal(ops.reshape(bits, (*words.shape[:2], -1)), ops.zeros((1,), dtype="uint32"))
    else:
        flags = ops.greater_equal(words, ops.full((1,), layout.threshold, dtype="uint32"))
    return flags[..., : layout.n_units]


def split_keys(source_keys: UInt64Array) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Low and high halves of the source keys."""
    return (source_keys & np.uint64(0xFFFFFFFF)).astype(np.uint32), (source_keys >> np.uint64(32)).astype(np.uint32)


def random_words(layout: MaskLayout, halves: tuple[Any, Any], draws: Any, seed: int, ops: Any = np) -> Any:
    """(n, n_draws, 4 n_blocks) uint32: the words of each draw's blocks, in order."""
    low, high = halves
    blocks = ops.arange(layout.n_blocks, dtype="uint32")
    counter = (low[:, None, None], high[:, None, None], draws[None, :, None], blocks[None, None, :])
    words = ops.stack(philox4x32(counter, (seed, layout.model_word), ops), axis=-1)
    return ops.reshape(words, (low.shape[0], draws.shape[0], 4 * layout.n_blocks))


_DRAWS_AT_ONCE = 4096
_SHARED_PRODUCT = 2**18
"""Number of multiplications from which OpenBLAS distributes a matrix product over threads."""
_FEWEST_ROWS = 8


@dataclass(frozen=True, slots=True)
class Head:
    """The layers after the features.

    Parameters
    ----------
    layout
        Assignment of random bits to units.
    widths
        Units of each hidden layer; the features are the first.
    kernels, biases
        Kernels and biases of the dense layers after the features; the kernels include the dropout's factor 1 / (1 - rate).
    """

    layout: MaskLayout
    widths: tuple[int, ...]
    kernels: tuple[Float32Array, ...]
    biases: tuple[Float32Array, ...]

    @classmethod
    def of(cls, card: ModelCard, weights: Weights) -> Head:
        """The head of a model."""
        widths = card.architecture.dense
        factor = np.float32(1 / (1 - card.architecture.dropout))
        layers = range(1, len(widths) + 1)
        kernels = tuple(factor * weights[f"dense.{j}.kernel"] for j in layers)
        return cls(MaskLayout.of(card), widths, kernels, tuple(weights[f"dense.{j}.bias"] for j in layers))

    def draw(self, features: Float32Array, source_keys: UInt64Array, n_draws: int, seed: int) -> Float32Array:
        """Sample the outputs; see `surveyflow.tasks.card.Model.draw`."""
        draws = np.empty((len(features), n_draws, len(self.biases[-1])), np.float32)
        for sources, numbers in blocks(len(features), n_draws, _DRAWS_AT_ONCE):
            masks = keep_masks(self.layout, source_keys[sources], np.arange(numbers.start, numbers.stop, dtype=np.uint32), seed)
            for row, mask in zip(range(sources.start, sources.stop), masks, strict=True):
                draws[row, numbers] = self._outputs(features[row], mask)
        return draws

    def _outputs(self, features: Float32Array, mask: NDArray[np.uint8]) -> Float32Array:
        """(width,) features and (n_draws, n_units) masks -> (n_draws, n_outputs)."""
        positive = np.flatnonzero(~(features <= 0))  # keeps NaN
        kernel = features[positive, None] * self.kernels[0][positive]
        units = _product(mask[:, positive].astype(np.float32), kernel) + self.biases[0]
        first = self.widths[0]
        for width, kernel, bias in zip(self.widths[1:], self.kernels[1:], self.biases[1:], strict=True):
            np.maximum(units, 0, out=units)
            units *= mask[:, first : first + width]
            units = _product(units, kernel) + bias
            first += width
        return expit(units)


def _product(left: Float32Array, right: Float32Array) -> Float32Array:
    """``left @ right``, computed a few rows at a time, so that BLAS uses one thread.

    Waking a thread takes longer than these products, and two threads that wait for each other cost several times as much as one.
    """
    rows = min(_SHARED_PRODUCT // max(right.size, 1), len(left))
    if rows < _FEWEST_ROWS:
        return left @ right
    parts, (inner, columns) = len(left) // rows, right.shape
    n_even, product = parts * rows, np.empty((len(left), columns), np.float32)
    np.matmul(left[:n_even].reshape(parts, rows, inner), right, out=product[:n_even].reshape(parts, rows, columns))
    np.matmul(left[n_even:], right, out=product[n_even:])
    return product


def blocks(n_sources: int, n_draws: int, draws_at_once: int) -> Iterator[tuple[slice, slice]]:
    """Split sources and draws into blocks of bounded memory: as many sources as fit, or part of the draws of one source."""
    numbers_at_once = min(n_draws, draws_at_once)
    sources_at_once = draws_at_once // numbers_at_once
    for row in range(0, n_sources, sources_at_once):
        for number in range(0, n_draws, numbers_at_once):
            yield slice(row, min(row + sources_at_once, n_sources)), slice(number, min(number + numbers_at_once, n_draws))
