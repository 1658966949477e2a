"""The FFT engine: convolutions by Fourier transform and draws in native code, on any CPU, without a framework."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from surveyflow.errors import ModelError
from surveyflow.models.engines.fft_tiling import (
    Convolution,
    Tiling,
    convolutions,
    infeasible,
    padded,
    tilings,
)
from surveyflow.models.engines.head import Head
from surveyflow.models.engines.native_library import (
    MOST_THREADS,
    ConvolutionSpec,
    DenseSpec,
    HeadSpec,
    InstructionSet,
    TrunkSpec,
    absence,
    array_of,
    run_amounts,
    run_draw,
    run_features,
    run_statistics,
    thread_count,
    usable_instruction_sets,
)
from surveyflow.models.engines.spectra import cache_folder, open_spectra
from surveyflow.models.framing import framed, not_finite
from surveyflow.models.store import WEIGHTS_FILE
from surveyflow.models.weights import Weights
from surveyflow.stats.posterior import AmountOutputs, AmountStatistics, DrawStatistics, PosteriorSummary
from surveyflow.tasks.card import Architecture, ModelCard
from surveyflow.tasks.domains import FeatureDomain
from surveyflow.values.arrays import Float32Array, UInt64Array
from surveyflow.values.codes import EngineName, Precision

NO_CORE = "the native core cannot be used"
"""How the reason begins that a machine without the native core gives."""

_CUTOUTS_A_CALL, _DRAWS_A_CALL = 48, 2**17
"""Work for each thread in one call of the native code, at most half a second: an interrupt waits for the end of the call."""
_HIDDEN_BLOCK = 128
"""Widths of hidden layers are padded to multiples of this number."""


def impossible(architecture: Architecture, precision: Precision = Precision.FLOAT32) -> str | None:
    """Why this engine cannot compute a network on this machine; None if it can."""
    if precision != Precision.FLOAT32:
        return f"the FFT engine computes in float32, not in {precision}"
    missing = absence()
    if missing:
        return f"{NO_CORE}: {missing}"
    obstacle = infeasible(architecture)
    return f"the FFT engine cannot compute the network: {obstacle}" if obstacle else None


class FftModel:
    """A model whose trunk and head run in native code; see `surveyflow.tasks.card.Model`.

    A result depends only on its own cutout, or its own features and key: on one instruction set it is the same to the last bit
    for any batch, order and number of threads. If a pixel of a cutout is not finite, all its features are NaN, as in the Keras
    engine.

    Parameters
    ----------
    card, weights
        Card and weights of the model.
    domain
        The images that it was trained on; None if that is not known.
    precision
        ``float32``; there is no other.
    batch_size
        Without effect: memory is bounded for any batch.
    folder
        The model's folder, in which the kernels' spectra are stored; None for the user's cache alone.
    instruction_set
        Instruction set; by default the fastest of the processor.
    n_threads
        Number of threads, at least 1; more than 256 are 256. By default ``OMP_NUM_THREADS``, or else all processors that this
        process may use.

    Raises
    ------
    ModelError
        If there is no native core, or it cannot compute this network or precision.
    ValueError
        If the number of threads is below 1.
    """

    def __init__(
        self,
        card: ModelCard,
        weights: Weights,
        *,
        domain: FeatureDomain | None = None,
        precision: Precision = Precision.FLOAT32,
        batch_size: int | None = None,  # noqa: ARG002 - every engine is offered one
        folder: Path | None = None,
        instruction_set: InstructionSet | None = None,
        n_threads: int | None = None,
    ) -> None:
        obstacle = impossible(card.architecture, precision)
        if obstacle:
            raise ModelError(f"{card.key}: {obstacle}. Use engine = 'keras'.")
        if n_threads is not None and n_threads < 1:
            raise ValueError(f"n_threads must be at least 1, not {n_threads}")
        plan = tilings(card.architecture)
        self._card = card
        self._domain = domain
        self._instruction_set = usable_instruction_sets()[-1] if instruction_set is None else instruction_set
        self._n_threads = thread_count() if n_threads is None else min(n_threads, MOST_THREADS)
        self._kept_alive: list[Float32Array] = []
        spectra = _spectra(card, weights, folder)
        self._trunk = self._trunk_spec(weights, plan, spectra)
        self.head = self._head_spec(Head.of(card, weights))

    @property
    def card(self) -> ModelCard:
        """The model's card."""
        return self._card

    @property
    def domain(self) -> FeatureDomain | None:
        """The images that the model was trained on; None if that is not known."""
        return self._domain

    @property
    def engine(self) -> str:
        """The engine's name."""
        return EngineName.FFT

    def features(self, cutouts: Float32Array) -> Float32Array:
        """(n, size, size) prepared cutouts -> (n, width) float32: the output of the first dense layer, before any dropout.

        All features of a cutout with a NaN or an infinite pixel are NaN.

        Raises
        ------
        ValueError
            If the cutouts do not have the size of the network's input.
        """
        images = _contiguous(
            framed(cutouts, self._card.architecture).transpose(0, 1, 3, 2)
        )  # the channels' rows one below the other
        features = np.empty((len(cutouts), self._card.architecture.dense[0]), np.float32)
        for rows in self._calls(len(images), _CUTOUTS_A_CALL):
            run_features(self._instruction_set, self._trunk, images[rows], features=features[rows], n_threads=self._n_threads)
        features[not_finite(cutouts)] = np.nan
        return features

    def draw(self, features: Float32Array, source_keys: UInt64Array, n_draws: int, seed: int) -> Float32Array:
        """(n, width) features -> (n, n_draws, n_outputs) float32 in [0, 1].

        All draws of a source with a NaN or positive infinity among its features are NaN.

        Raises
        ------
        ValueError
            If the shapes of features and keys do not match each other or the network.
        """
        features, keys = _checked(self._card, features, source_keys), np.ascontiguousarray(source_keys, np.uint64)
        draws = np.empty((len(features), n_draws, self._card.architecture.n_outputs), np.float32)
        for rows in self._calls(len(keys), _DRAWS_A_CALL // max(n_draws, 1)):
            run_draw(
                self._instruction_set,
                self.head,
                features[rows],
                keys[rows],
                seed=seed,
                draws=draws[rows],
                n_threads=self._n_threads,
            )
        return draws

    def summarise(
        self, features: Float32Array, source_keys: UInt64Array, n_draws: int, seed: int, outputs: tuple[int, int]
    ) -> PosteriorSummary:
        """Summarise the draws of two outputs without keeping them; see `surveyflow.measuring.unit.SummarisingModel`.

        Raises
        ------
        ValueError
            If the shapes of features and keys do not match each other or the network; if it has no such outputs; if so many
            draws cannot be counted; or if a source has a NaN or positive infinity among its features, and so no probabilities.
        """
        return self.summarise_with((), [features], source_keys, n_draws=n_draws, seed=seed, outputs=outputs)

    def summarise_with(
        self,
        others: Sequence[FftModel],
        features: Sequence[Float32Array],
        source_keys: UInt64Array,
        *,
        n_draws: int,
        seed: int,
        outputs: tuple[int, int],
    ) -> PosteriorSummary:
        """Summarise the draws of two outputs that this model and others, the members of a jury, make in turn.

        Parameters
        ----------
        others
            The jury's other members, in order; this model is the first.
        features
            (n, width) float32 of each member.
        source_keys, n_draws, seed, outputs
            As for `summarise`.

        Raises
        ------
        ValueError
            As `summarise`, and if there are fewer draws than members.
        """
        members = (self, *others)
        for member in members:
            _check_outputs(member.card, outputs)
        statistics = DrawStatistics.empty(len(source_keys), n_draws, len(members))
        checked = [_checked(member.card, own, source_keys) for member, own in zip(members, features, strict=True)]
        keys = np.ascontiguousarray(source_keys, np.uint64)
        for rows in self._calls(len(keys), _DRAWS_A_CALL // max(n_draws, 1)):
            run_statistics(
                self._instruction_set,
                [member.head for member in members],
                [own[rows] for own in checked],
                keys[rows],
                seed=seed,
                outputs=outputs,
                statistics=statistics.of_sources(rows),
                n_threads=self._n_threads,
            )
        return statistics.summary()

    def summarise_amounts(
        self,
        features: Float32Array,
        source_keys: UInt64Array,
        n_draws: int,
        seed: int,
        amounts: Sequence[Sequence[AmountOutputs]],
    ) -> AmountStatistics:
        """Compute the statistics of amounts without keeping draws; see `surveyflow.measuring.unit.SummarisingModel`.

        Raises
        ------
        ValueError
            If the shapes of features and keys do not match each other or the network, if it has no such outputs, or if so many
            draws cannot be counted.
        """
        return self.summarise_amounts_with((), [features], source_keys, n_draws=n_draws, seed=seed, amounts=amounts)

    def summarise_amounts_with(
        self,
        others: Sequence[FftModel],
        features: Sequence[Float32Array],
        source_keys: UInt64Array,
        *,
        n_draws: int,
        seed: int,
        amounts: Sequence[Sequence[AmountOutputs]],
    ) -> AmountStatistics:
        """Compute the statistics of amounts that this model and others, the members of a jury, draw in turn.

        Parameters
        ----------
        others, features, source_keys, n_draws, seed
            As for `summarise_with`.
        amounts
            The amounts of each member.

        Raises
        ------
        ValueError
            As `summarise_amounts`, and if there are fewer draws than members.
        """
        members = (self, *others)
        for member, own in zip(members, amounts, strict=True):
            _check_outputs(member.card, [number for one in own for number in (one.presence, one.location, one.scatter)])
        statistics = AmountStatistics.empty(len(source_keys), n_draws, len(members), len(amounts[0]))
        checked = [_checked(member.card, own, source_keys) for member, own in zip(members, features, strict=True)]
        keys = np.ascontiguousarray(source_keys, np.uint64)
        for rows in self._calls(len(keys), _DRAWS_A_CALL // max(n_draws, 1)):
            run_amounts(
                self._instruction_set,
                [member.head for member in members],
                [own[rows] for own in checked],
                keys[rows],
                seed=seed,
                amounts=amounts,
                statistics=statistics.of_sources(rows),
                n_threads=self._n_threads,
            )
        return statistics

    def _calls(self, n: int, a_thread: int) -> Iterator[slice]:
        """Slices of n cutouts or sources: the work of single calls of the native code."""
        step = max(1, a_thread) * self._n_threads
        yield from (slice(first, min(first + step, n)) for first in range(0, n, step))

    def _trunk_spec(self, weights: Weights, plan: tuple[Tiling, ...], spectra: tuple[Float32Array, ...]) -> TrunkSpec:
        layers = convolutions(self._card.architecture)
        specs = [self._convolution_spec(weights, i, layers[i], plan[i], spectra[i]) for i in range(len(layers))]
        kernel, bias = weights["dense.0.kernel"], weights["dense.0.bias"]
        n_features = padded(kernel.shape[1])
        return TrunkSpec(
            n_convolutions=len(specs),
            n_features=n_features,
            n_real_features=kernel.shape[1],
            convolutions=array_of(ConvolutionSpec, specs),
            dense_kernel=self._address(_enlarged(kernel, (padded(kernel.shape[0]), n_features))),
            dense_bias=self._address(_enlarged(bias, (n_features,))),
        )

    def _convolution_spec(
        self, weights: Weights, i: int, layer: Convolution, tiling: Tiling, spectrum: Float32Array
    ) -> ConvolutionSpec:
        n_inputs, n_outputs = layer.padded_channels
        n_inputs = layer.n_inputs if layer.is_first else n_inputs
        scale, shift = _affine(weights, i, self._card.architecture.batch_norm_epsilon)
        return ConvolutionSpec(
            points=tiling.points,
            kernel_size=layer.kernel_size,
            input_size=layer.input_size,
            tile_step=tiling.step,
            n_tiles=tiling.n_tiles,
            n_inputs=n_inputs,
            n_outputs=n_outputs,
            pooled=layer.pooled,
            spectrum=self._address(spectrum),
            bias=self._address(_enlarged(weights[f"conv.{i}.bias"], (n_outputs,))),
            scale=self._address(_enlarged(scale, (n_outputs,))),
            shift=self._address(_enlarged(shift, (n_outputs,))),
        )

    def _head_spec(self, head: Head) -> HeadSpec:
        *hidden, last = zip(head.widths, head.kernels, head.biases, strict=True)
        width = head.widths[0]
        specs = []
        for n_inputs, kernel, bias in hidden:
            width = -(-kernel.shape[1] // _HIDDEN_BLOCK) * _HIDDEN_BLOCK
            specs.append(self._dense_spec(n_inputs, _enlarged(kernel, (n_inputs, width)), _enlarged(bias, (width,))))
        n_inputs, kernel, bias = last
        specs.append(self._dense_spec(n_inputs, _enlarged(kernel.T, (len(bias), padded(n_inputs))), bias))
        return HeadSpec(
            n_layers=len(specs),
            n_units=head.layout.n_units,
            n_blocks=head.layout.n_blocks if head.layout.rate else 0,
            one_bit=head.layout.one_bit,
            threshold=head.layout.threshold,
            model_word=head.layout.model_word,
            layers=array_of(DenseSpec, specs),
        )

    def _dense_spec(self, n_inputs: int, kernel: Float32Array, bias: Float32Array) -> DenseSpec:
        return DenseSpec(n_inputs, len(bias), self._address(kernel), self._address(bias))

    def _address(self, values: Float32Array) -> int:
        """The address of an array for the native code; the array is kept as long as the model."""
        self._kept_alive.append(values)
        return values.ctypes.data


def _checked(card: ModelCard, features: Float32Array, source_keys: UInt64Array) -> Float32Array:
    """Check features, and return them as the native code reads them."""
    width = card.architecture.dense[0]
    if features.shape != (len(source_keys), width):
        raise ValueError(f"features have shape {features.shape}, but there are {len(source_keys)} keys and {width} units")
    return _contiguous(features)


def _check_outputs(card: ModelCard, outputs: Sequence[int]) -> None:
    n_outputs = card.architecture.n_outputs
    if not all(0 <= output < n_outputs for output in outputs):
        raise ValueError(f"outputs {tuple(outputs)} were requested, but {card.key} has {n_outputs}, numbered from 0")


def _spectra(card: ModelCard, weights: Weights, folder: Path | None) -> tuple[Float32Array, ...]:
    if folder is None:
        return open_spectra(card, weights, [cache_folder()])
    return open_spectra(card, weights, [folder, cache_folder()], folder / WEIGHTS_FILE)


def _affine(weights: Weights, i: int, epsilon: float) -> tuple[Float32Array, Float32Array]:
    """Batch normalisation ``i`` as scale and shift, computed in float64."""
    gamma, beta, mean, variance = (weights[f"bn.{i}.{role}"].astype(np.float64) for role in ("gamma", "beta", "mean", "variance"))
    scale = gamma / np.sqrt(variance + epsilon)
    return scale.astype(np.float32), (beta - mean * scale).astype(np.float32)


def _enlarged(values: Float32Array, shape: tuple[int, ...]) -> Float32Array:
    """The array in the first corner of a larger array of zeros."""
    larger = np.zeros(shape, np.float32)
    larger[tuple(slice(side) for side in values.shape)] = values
    return larger


def _contiguous(values: Float32Array) -> Float32Array:
    return np.ascontiguousarray(values, np.float32)
