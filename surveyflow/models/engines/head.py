"""The network's head in NumPy, from features to draws.

All dropout is in the head, after the features. So one pass of the trunk and ``n_draws`` passes of this head are equal in
distribution to ``n_draws`` passes of the complete network.

::

    features -> dropout -> ReLU -> Dense -> dropout -> ReLU -> Dense, sigmoid

Dropout multiplies by 0 or by 1 / (1 - rate) > 0, so it may be applied after the ReLU. A feature that is not positive is then 0
under any mask and is left out of the product; about half of the features are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from surveyflow.models.engines.masks import MaskLayout, keep_masks
from surveyflow.models.weights import Weights
from surveyflow.tasks.card import ModelCard
from surveyflow.values.arrays import Float32Array, UInt64Array

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
