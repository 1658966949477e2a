"""The installation of Keras and of its framework, checked without importing them."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from surveyflow.errors import ModelError
from surveyflow.values import remedies

_ACCEPTED = {"floatx": ("float32", "float16", "float64"), "image_data_format": ("channels_last", "channels_first")}


def keras_problem() -> str | None:
    """Why Keras cannot run models here; None if it can."""
    if (problem := _refused_by_keras()) is not None:
        return problem
    backend = keras_backend()
    missing = [name for name in ("keras", backend) if find_spec(name) is None]
    if not missing:
        return None
    if backend == "tensorflow":
        remedy = f"`{remedies.install('cpu')}`, or `{remedies.install('gpu')}` for GPUs"
        return f"{' and '.join(missing)} not installed; {remedy}"
    remedy = f"`{remedies.install('jax')}`" if backend == "jax" else "install it"
    return f"{' and '.join(missing)} not installed, but Keras is set to use {backend}; {remedy}, or set KERAS_BACKEND"


def keras_backend() -> str:
    """The framework that Keras will use: ``KERAS_BACKEND``, or the one in its configuration file, or ``tensorflow``."""
    return os.environ.get("KERAS_BACKEND") or _configured().get("backend") or "tensorflow"


def check_keras() -> None:
    """Refuse to go on without Keras.

    Raises
    ------
    ModelError
        If Keras cannot run models here.
    """
    if (problem := keras_problem()) is not None:
        raise ModelError(f"Keras cannot be used: {problem}.")


def _refused_by_keras() -> str | None:
    """What in its configuration file keeps Keras from being imported; None if nothing does.

    Values that Keras takes have no effect on models (`surveyflow.models.keras_defaults`), but for the backend.
    """
    for key, value in _configured().items():
        if value not in _ACCEPTED.get(key, (value,)) or (key == "epsilon" and not isinstance(value, float)):
            expected = " or ".join(map(json.dumps, _ACCEPTED.get(key, (1e-7,))))
            return f"{_file()}: found {key} = {json.dumps(value)}, which Keras refuses; write {expected}, or remove the file"
    return None


def _configured() -> dict[str, Any]:
    """The user's configuration file; empty where there is none, or where Keras makes nothing of it."""
    try:
        found = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError, RuntimeError):  # RuntimeError: the user has no home directory
        return {}
    return found if isinstance(found, dict) else {}


def _file() -> Path:
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras", "keras.json")
