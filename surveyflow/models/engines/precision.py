"""How exactly are float32 numbers multiplied? A switch of the whole process, set around a piece of work and set back behind it.

Left alone, TensorFlow and JAX round the factors of float32 products to TF32 (10 bits of mantissa) on recent NVIDIA GPUs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from threading import RLock

import keras

_SWITCH = RLock()


@contextmanager
def products_in(*, tf32: bool) -> Iterator[None]:
    """Do what is inside with the factors of products rounded to TF32, or with none of them rounded.

    TensorFlow's switch is the process's: one thread at a time is let in, so that models of different precision cannot disturb
    each other. JAX's is the thread's own.

    Parameters
    ----------
    tf32
        Whether factors are rounded, where the hardware can.
    """
    match keras.backend.backend():
        case "tensorflow":
            with _tensorflow_products(tf32):
                yield
        case "jax":
            with import_module("jax").default_matmul_precision("tensorfloat32" if tf32 else "highest"):
                yield
        case _:
            yield


@contextmanager
def _tensorflow_products(tf32: bool) -> Iterator[None]:
    switch = import_module("tensorflow").config.experimental
    with _SWITCH:
        before = switch.tensor_float_32_execution_enabled()
        switch.enable_tensor_float_32_execution(tf32)
        try:
            yield
        finally:
            switch.enable_tensor_float_32_execution(before)
