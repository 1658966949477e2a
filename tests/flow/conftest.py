"""One small cluster for all tests of a process."""

from __future__ import annotations

import pytest

from surveyflow.flow.connections import open_cluster
from surveyflow.flow.profiles import LocalProfile


@pytest.fixture(scope="session")
def cluster():
    with open_cluster(LocalProfile(workers=2)) as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    cluster.client.wait_for_workers(2, timeout=15)
    return cluster.client
