"""The tiling of a network's convolutions for Fourier transforms: overlapping tiles of the cheapest size.

A convolution without padding is computed tile by tile: a tile of ``points x points`` inputs gives ``points - kernel_size + 1``
outputs along each axis, and neighbouring tiles overlap by ``kernel_size - 1`` inputs (overlap-save). Large tiles waste less on
the overlap; small ones need fewer numbers for the kernels' spectra. This module estimates the cost of each size and chooses the
cheapest. ``docs/explanation/fft-engine.md`` has a drawing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from surveyflow.tasks.card import Architecture

GROUP_SIZE = 16
"""Channels are padded to groups of this size."""

MOST_POINTS = 256
"""The longest transform that the native code supports."""

_FLOP_PER_SPECTRUM_BYTE = 1.0
_FFT_INEFFICIENCY = 2.5


@dataclass(frozen=True, slots=True)
class Tiling:
    """The tiles of one convolution.

    Parameters
    ----------
    points
        Length of the transforms, the same along both axes.
    step
        Number of outputs of a tile along each axis.
    n_tiles
        Number of tiles along each axis.
    """

    points: int
    step: int
    n_tiles: int


@dataclass(frozen=True, slots=True)
class Convolution:
    """One convolution of a network.

    Parameters
    ----------
    input_size, kernel_size
        Sides of its input map and of its kernel.
    n_inputs, n_outputs
        Channels.
    pooled
        Whether 2x2 max-pooling follows.
    is_first
        Whether it is the network's first, whose input is the image.
    """

    input_size: int
    kernel_size: int
    n_inputs: int
    n_outputs: int
    pooled: bool
    is_first: bool = False

    @property
    def output_size(self) -> int:
        """Side of the output map, before pooling."""
        return self.input_size - self.kernel_size + 1

    @property
    def padded_channels(self) -> tuple[int, int]:
        """Input and output channels, padded to complete groups."""
        return padded(self.n_inputs), padded(self.n_outputs)


def convolutions(architecture: Architecture) -> tuple[Convolution, ...]:
    """All convolutions of a network, from input to output."""
    layers: list[Convolution] = []
    size, n_inputs = architecture.map_sizes[0], architecture.n_channels
    for block, (n_outputs, kernel_size) in enumerate(zip(architecture.filters, architecture.kernel_sizes, strict=True)):
        for second in (False, True):
            pooled = second and block + 1 < len(architecture.filters)
            layer = Convolution(size, kernel_size, n_inputs, n_outputs, pooled, is_first=not layers)
            layers.append(layer)
            size, n_inputs = layer.output_size // 2 if pooled else layer.output_size, n_outputs
    return tuple(layers)


def infeasible(architecture: Architecture) -> str | None:
    """Why the native code cannot compute this network; None if it can."""
    first, *others = convolutions(architecture)
    longest = max(first.input_size, *(layer.kernel_size + 1 for layer in others))
    if longest > MOST_POINTS:
        return f"it needs a transform of at least {longest} points; {MOST_POINTS} are possible"
    return None


def tilings(architecture: Architecture) -> tuple[Tiling, ...]:
    """The tiling of each convolution of a feasible network.

    The first convolution has few input channels. It is transformed along rows only, in a single tile.
    """
    first, *others = convolutions(architecture)
    return _row_tiling(first), *(_cheapest(layer) for layer in others)


def padded(n_channels: int) -> int:
    """Number of channels, padded to complete groups."""
    return -(-n_channels // GROUP_SIZE) * GROUP_SIZE


def _row_tiling(layer: Convolution) -> Tiling:
    return Tiling(next(points for points in _SIZES if points >= layer.input_size), layer.output_size, 1)


def _cheapest(layer: Convolution) -> Tiling:
    possible = (_tiling(layer, points) for points in _SIZES if points > layer.kernel_size)
    return min(possible, key=lambda tiling: _cost(layer, tiling))


def _tiling(layer: Convolution, points: int) -> Tiling:
    widest = points - layer.kernel_size + 1
    if layer.output_size <= widest:
        return Tiling(points, layer.output_size, 1)
    widest -= widest % 2  # so that pixels that are pooled together lie in the same tile
    return Tiling(points, widest, math.ceil(layer.output_size / widest))


def _cost(layer: Convolution, tiling: Tiling) -> float:
    n_inputs, n_outputs = layer.padded_channels
    points = tiling.points
    n_frequencies = points * (points // 2 + 1)
    products = 8 * n_frequencies * n_inputs * n_outputs
    transforms = 5 * points * math.log2(points) * (points + 1) * (n_inputs + n_outputs)
    spectrum_bytes = 8 * n_frequencies * n_inputs * n_outputs
    return tiling.n_tiles**2 * (products + _FFT_INEFFICIENCY * transforms) + _FLOP_PER_SPECTRUM_BYTE * spectrum_bytes


def _is_smooth(number: int) -> bool:
    for prime in (2, 3, 5):
        while number % prime == 0:
            number //= prime
    return number == 1


_SIZES = tuple(points for points in range(4, MOST_POINTS + 1, 2) if _is_smooth(points))
