"""Keras's own defaults, whatever the user's ``keras.json`` says: set for a block of code and restored afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

from keras import config

_SWITCH = RLock()


@contextmanager
def keras_defaults() -> Iterator[None]:
    """Build, train or use networks with channels last, in float32, with Keras's epsilon; also a decorator.

    ``~/.keras/keras.json`` and `keras.config` may say otherwise, for this whole process and for all that does not state it. One
    thread enters at a time.
    """
    with _SWITCH:
        before = config.image_data_format(), config.floatx(), config.epsilon(), config.dtype_policy()
        _set("channels_last", "float32", 1e-7, "float32")
        try:
            yield
        finally:
            _set(*before)


def _set(image_data_format: str, floatx: str, epsilon: float, dtype_policy: object) -> None:
    config.set_image_data_format(image_data_format)
    config.set_floatx(floatx)
    config.set_epsilon(epsilon)
    config.set_dtype_policy(dtype_policy)
