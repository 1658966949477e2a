"""TensorFlow is imported once a process, by the first test that needs it, with one thread."""

from __future__ import annotations

import os

import pytest

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@pytest.fixture(scope="session")
def keras():
    """Keras on its default backend; skips where none is installed."""
    return pytest.importorskip("keras", reason="needs an extra: pip install 'surveyflow-mergers[cpu]'", exc_type=ImportError)
