"""Fixtures: one small Dask cluster for all tests of a process."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from surveyflow.sites.address.profile import AddressProfile
from surveyflow.sites.local.profile import LocalProfile
from waiting import PATIENCE_S


@pytest.fixture(scope="session")
def started_cluster():
    with LocalProfile(workers=2).open_cluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(started_cluster):
    """Two workers, back from whatever the test before did to them."""
    started_cluster.client.wait_for_workers(2, timeout=PATIENCE_S)
    return started_cluster


@pytest.fixture
def client(cluster):
    return cluster.client


@pytest.fixture
def with_certificates(client):
    """A profile of kind ``address`` with the cluster's certificates."""
    return partial(AddressProfile, certificates=Path(client.security.tls_client_cert).parent)
