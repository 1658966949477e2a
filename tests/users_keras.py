"""A user's ``keras.json``, as it is when Keras has read it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


def settings() -> tuple[str, str, float, str]:
    """Keras's settings of this process."""
    from keras import config

    return config.image_data_format(), config.floatx(), config.epsilon(), config.dtype_policy().name


@contextmanager
def odd_settings() -> Iterator[None]:
    """Change all settings of Keras for a while, and check that they are the same in the end."""
    from keras import config

    def change(image_data_format: str, floatx: str, epsilon: float, policy: str) -> None:
        config.set_image_data_format(image_data_format)
        config.set_floatx(floatx)
        config.set_epsilon(epsilon)
        config.set_dtype_policy(policy)

    before, odd = settings(), ("channels_first", "float64", 1e-2, "float64")
    change(*odd)
    try:
        yield
        assert settings() == odd
    finally:
        change(*before)
