"""The Keras engine: one compiled trunk over padded batches, and draws on the device if it is a GPU."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import keras
import numpy as np

from surveyflow.models.engines.batches import is_out_of_memory, probe_batch_size
from surveyflow.models.engines.device_head import DeviceHead
from surveyflow.models.engines.head import Head
from surveyflow.models.engines.precision import products_in
from surveyflow.models.framing import framed, not_finite
from surveyflow.models.keras_defaults import keras_defaults
from surveyflow.models.network import build_trunk, set_weights
from surveyflow.models.weights import Weights
from surveyflow.tasks.card import ModelCard
from surveyflow.tasks.domains import FeatureDomain
from surveyflow.values.arrays import Float32Array, UInt64Array
from surveyflow.values.codes import EngineName, Precision

_log = logging.getLogger(__name__)

_CPU_BATCH = 8


class KerasModel:
    """A model whose trunk runs in Keras; see `surveyflow.tasks.card.Model`.

    Parameters
    ----------
    card, weights
        Card and weights of the model.
    domain
        The images that it was trained on; None if that is not known.
    precision
        Precision of the trunk; models of different precision can share a process. The head's products are always float32.
    batch_size
        Cutouts that the trunk processes at once; None for 8 on a CPU, and for the size that a probe finds on a GPU.
    folder
        The model's folder, without effect.
    """

    @keras_defaults()
    def __init__(
        self,
        card: ModelCard,
        weights: Weights,
        *,
        domain: FeatureDomain | None = None,
        precision: Precision = Precision.FLOAT32,
        batch_size: int | None = None,
        folder: Path | None = None,  # noqa: ARG002 - every engine is offered one
    ) -> None:
        _share_gpu_memory()
        on_gpu = any(device.lower().startswith(("gpu", "cuda")) for device in keras.distribution.list_devices())
        self._card = card
        self._domain = domain
        self._tf32 = precision == Precision.TF32
        self._trunk = build_trunk(card.architecture, "mixed_bfloat16" if precision == Precision.BF16 else "float32")
        set_weights(self._trunk, weights)
        # XLA is slower than TensorFlow's own CPU kernels; JAX has no other compiler.
        self._trunk.compile(jit_compile=keras.backend.backend() == "jax")
        self._head = DeviceHead(card, weights) if on_gpu else Head.of(card, weights)
        self._batch_size = batch_size or (self._probed_batch_size() if on_gpu else _CPU_BATCH)

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
        return EngineName.KERAS

    @property
    def batch_size(self) -> int:
        """Cutouts that the trunk processes at once."""
        return self._batch_size

    @keras_defaults()
    def features(self, cutouts: Float32Array) -> Float32Array:
        """(n, size, size) prepared cutouts -> (n, width) float32: the output of the first dense layer, before any dropout.

        All features of a cutout with a NaN or an infinite pixel are NaN.

        Raises
        ------
        ValueError
            If the cutouts do not have the size of the network's input.
        """
        images = framed(cutouts, self._card.architecture)
        features = np.empty((len(images), self._card.architecture.dense[0]), np.float32)
        done = 0
        while done < len(images):
            batch = images[done : done + self._batch_size]
            try:
                features[done : done + len(batch)] = self._batch_features(batch)
            except Exception as error:
                if not is_out_of_memory(error) or self._batch_size == 1:
                    raise
                self._batch_size //= 2
                _log.warning("event=out_of_memory model=%s batch_size=%d", self._card.key, self._batch_size)
            else:
                done += len(batch)
        features[not_finite(cutouts)] = np.nan
        return features

    def draw(self, features: Float32Array, source_keys: UInt64Array, n_draws: int, seed: int) -> Float32Array:
        """(n, width) features -> (n, n_draws, n_outputs) float32 in [0, 1]."""
        return self._head.draw(features, source_keys, n_draws, seed)

    def _batch_features(self, batch: Float32Array) -> Float32Array:
        """One pass of the trunk, always with the same shape, so that it is compiled once."""
        padded = np.zeros((self._batch_size, *batch.shape[1:]), np.float32)
        padded[: len(batch)] = batch
        with products_in(tf32=self._tf32):
            return np.asarray(self._trunk.predict_on_batch(padded)[: len(batch)], np.float32)

    def _probed_batch_size(self) -> int:
        size = probe_batch_size(self._seconds_of_batch)
        self._trunk.make_predict_function(force=True)  # drops what was compiled for the shapes that were tried
        return size

    def _seconds_of_batch(self, size: int) -> float:
        """Wall time of one pass of this many cutouts, after one that compiles."""
        self._batch_size, blank = size, np.zeros((size, *self._trunk.input_shape[1:]), np.float32)
        self._batch_features(blank)
        start = time.perf_counter()
        self._batch_features(blank)
        return time.perf_counter() - start


def _share_gpu_memory() -> None:
    """Allocate GPU memory as needed, so that workers can share a GPU; without effect if this process already uses one."""
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
