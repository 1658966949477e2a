"""Fixtures of the tests of training and evaluation."""

from __future__ import annotations

import pytest
import sklearn.ensemble  # noqa: F401 - so that its threads can be limited
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True)
def one_thread():
    """Trees that are grown by several threads wait for one another, for ever on a busy machine."""
    with threadpool_limits(1, user_api="openmp"):
        yield
