"""Whether Keras and the framework that it computes with are installed; found without importing either."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path


def keras_problem() -> str | None:
    """What keeps Keras from running models here; None where nothing does."""
    backend = keras_backend()
    missing = [name for name in ("keras", backend) if find_spec(name) is None]
    if not missing:
        return None
    if backend == "tensorflow":
        return f"{' and '.join(missing)} not installed; pip install 'surveyflow[cpu]', or 'surveyflow[gpu]'"
    return f"{' and '.join(missing)} not installed, but Keras is told to use {backend}; install it, or set KERAS_BACKEND"


def keras_backend() -> str:
    """The framework that Keras will compute with: ``KERAS_BACKEND``, or what its configuration file says, or ``tensorflow``."""
    try:
        folder = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
        configured = json.loads(Path(folder, "keras.json").read_text(encoding="utf-8")).get("backend")
    except (OSError, ValueError, AttributeError, RuntimeError):  # the last without a home
        configured = None
    return os.environ.get("KERAS_BACKEND") or configured or "tensorflow"
