"""The installation of Keras and of its framework, checked without importing them."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path

from surveyflow.values import remedies


def keras_problem() -> str | None:
    """Why Keras cannot run models here; None if it can."""
    backend = keras_backend()
    missing = [name for name in ("keras", backend) if find_spec(name) is None]
    if not missing:
        return None
    if backend == "tensorflow":
        remedy = f"`{remedies.install('cpu')}`, or `{remedies.install('gpu')}` for GPUs"
        return f"{' and '.join(missing)} not installed; {remedy}"
    return f"{' and '.join(missing)} not installed, but Keras is set to use {backend}; install it, or set KERAS_BACKEND"


def keras_backend() -> str:
    """The framework that Keras will use: ``KERAS_BACKEND``, or the one in its configuration file, or ``tensorflow``."""
    try:
        folder = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
        configured = json.loads(Path(folder, "keras.json").read_text(encoding="utf-8")).get("backend")
    except (OSError, ValueError, AttributeError, RuntimeError):  # RuntimeError: the user has no home directory
        configured = None
    return os.environ.get("KERAS_BACKEND") or configured or "tensorflow"
