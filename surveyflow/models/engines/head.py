"""From features to draws: the network's head, in NumPy.

All dropout is in the head, behind the features, so one trunk pass and ``n_draws`` passes of this head are equal in
distribution to ``n_draws`` passes of the whole network.

::

    features -> dropout -> ReLU -> Dense -> dropout -> ReLU -> Dense, sigmoid

Dropout multiplies by 0 or by 1 / (1 - rate) > 0, so it may be taken after the ReLU; a feature that is not positive is then 0
under any mask, and is left out of the product (about half of them are).
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
"""Multiplications from which OpenBLAS shares a matrix product between threads."""
_FEWEST_ROWS = 8


@dataclass(frozen=True, slots=True)
class Head:
    """The layers behind the features.

    Parameters
    ----------
    layout
        Which bits drop which units.
    widths
        Units of each hidden layer; the features are the first.
    kernels, biases
        Of the dense layers behind the features, with the dropout's factor 1 / (1 - rate) in the kernels.
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
        positive = np.flatnonzero(~(features <= 0))  # so that a NaN is not taken for a 0
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
    """``left @ right``, some rows at a time: so few that BLAS keeps to one thread.

    Waking a thread takes longer than these products do, and two threads that wait for each other cost several times one's work.
    """
    rows = min(_SHARED_PRODUCT // max(right.size, 1), len(left))
    if rows < _FEWEST_ROWS:
        return left @ right
    parts, (inner, columns) = len(left) // rows, right.shape
    whole, product = parts * rows, np.empty((len(left), columns), np.float32)
    np.matmul(left[:whole].reshape(parts, rows, inner), right, out=product[:whole].reshape(parts, rows, columns))
    np.matmul(left[whole:], right, out=product[whole:])
    return product


def blocks(n_sources: int, n_draws: int, draws_at_once: int) -> Iterator[tuple[slice, slice]]:
    """Sources and draws in blocks of bounded memory: as many sources as fit, or else a part of one source's draws."""
    numbers_at_once = min(n_draws, draws_at_once)
    sources_at_once = draws_at_once // numbers_at_once
    for row in range(0, n_sources, sources_at_once):
        for number in range(0, n_draws, numbers_at_once):
            yield slice(row, min(row + sources_at_once, n_sources)), slice(number, min(number + numbers_at_once, n_draws))
