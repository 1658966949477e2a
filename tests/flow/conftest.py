"""One small cluster for all tests of a process."""

from __future__ import annotations

import pytest

from surveyflow.flow.connections import open_client
from surveyflow.flow.profiles import LocalProfile


@pytest.fixture(scope="session")
def client():
    with open_client(LocalProfile(workers=2)) as client:
        yield client
