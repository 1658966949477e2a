"""The precision of float32 products: a switch of the process, set for a block of code and restored afterwards.

By default, TensorFlow and JAX round the factors of float32 products to TF32 (10 bits of mantissa) on recent NVIDIA GPUs.
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
    """Run a block of code with the factors of products rounded to TF32, or without rounding.

    TensorFlow's switch belongs to the process: one thread enters at a time, so that models of different precision do not
    interfere. JAX's switch belongs to the thread.

    Parameters
    ----------
    tf32
        Whether factors are rounded, if the hardware can do so.
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
