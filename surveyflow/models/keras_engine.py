"""How does Keras sample a model? One compiled trunk over padded batches, and draws on the device if it is a GPU."""

from __future__ import annotations

import logging
import os
from importlib import import_module

import keras
import numpy as np

from surveyflow.models.device_head import DeviceHead
from surveyflow.models.head import Head
from surveyflow.models.network import build_trunk, set_weights
from surveyflow.models.sampler import Precision
from surveyflow.models.weights import Weights
from surveyflow.types import Float32Array, ModelCard, UInt64Array

_log = logging.getLogger(__name__)

_CPU_BATCH = 8
_GPU_BATCH = 512
_OUT_OF_MEMORY = "ResourceExhaustedError", "OutOfMemoryError"


class KerasModel:
    """A model whose trunk runs in Keras; see `surveyflow.types.Model`.

    Parameters
    ----------
    card, weights
        What the model's folder holds.
    precision
        Of the trunk. ``float32`` and ``tf32`` are a setting of the whole process: the last model loaded decides.
    batch_size
        Cutouts that go through the trunk at once; None for what suits the device.
    """

    def __init__(
        self, card: ModelCard, weights: Weights, *, precision: Precision = "float32", batch_size: int | None = None
    ) -> None:
        _share_gpu_memory()
        _set_product_precision(precision)
        on_gpu = any(device.lower().startswith(("gpu", "cuda")) for device in keras.distribution.list_devices())
        self._card = card
        self._batch_size = batch_size or (_GPU_BATCH if on_gpu else _CPU_BATCH)
        self._trunk = build_trunk(card.architecture, "mixed_bfloat16" if precision == "bf16" else "float32")
        set_weights(self._trunk, weights)
        # XLA is slower than TensorFlow's own CPU kernels; JAX has nothing else.
        self._trunk.compile(jit_compile=keras.backend.backend() == "jax")
        self._head = DeviceHead(card, weights) if on_gpu else Head.of(card, weights)

    @property
    def card(self) -> ModelCard:
        """The model's card."""
        return self._card

    @property
    def batch_size(self) -> int:
        """Cutouts that go through the trunk at once."""
        return self._batch_size

    def features(self, cutouts: Float32Array) -> Float32Array:
        """(n, size, size) prepared cutouts -> (n, width) float32: the output of the first dense layer, before any dropout.

        Raises
        ------
        ValueError
            If the cutouts are not those that the network takes.
        """
        size = self._card.architecture.input_size
        if cutouts.shape[1:] != (size, size):
            raise ValueError(f"cutouts have shape {cutouts.shape}, but {self._card.key} takes (n, {size}, {size})")
        features = np.empty((len(cutouts), self._card.architecture.dense[0]), np.float32)
        done = 0
        while done < len(cutouts):
            batch = cutouts[done : done + self._batch_size]
            try:
                features[done : done + len(batch)] = self._batch_features(batch)
            except Exception as error:
                if not _is_out_of_memory(error) or self._batch_size == 1:
                    raise
                self._batch_size //= 2
                _log.warning("event=out_of_memory model=%s batch_size=%d", self._card.key, self._batch_size)
            else:
                done += len(batch)
        return features

    def draw(self, features: Float32Array, source_keys: UInt64Array, n_draws: int, seed: int) -> Float32Array:
        """(n, width) features -> (n, n_draws, n_outputs) float32 in [0, 1]."""
        return self._head.draw(features, source_keys, n_draws, seed)

    def _batch_features(self, batch: Float32Array) -> Float32Array:
        """One pass of the trunk, of always the same shape: nothing is compiled twice."""
        padded = np.zeros((self._batch_size, *batch.shape[1:], 1), np.float32)
        padded[: len(batch), ..., 0] = batch
        return np.asarray(self._trunk.predict_on_batch(padded)[: len(batch)], np.float32)


def _share_gpu_memory() -> None:
    """Take GPU memory as it is needed, so that workers can share a GPU; without effect where one is in use already."""
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def _set_product_precision(precision: Precision) -> None:
    """Let float32 mean float32: left alone, TensorFlow and JAX round the factors of products to TF32 on recent GPUs."""
    tf32, backend = precision == "tf32", keras.backend.backend()
    if backend == "tensorflow":
        import_module("tensorflow").config.experimental.enable_tensor_float_32_execution(tf32)
    elif backend == "jax":
        import_module("jax").config.update("jax_default_matmul_precision", "tensorfloat32" if tf32 else "highest")


def _is_out_of_memory(error: Exception) -> bool:
    return type(error).__name__ in _OUT_OF_MEMORY or "RESOURCE_EXHAUSTED" in str(error)
