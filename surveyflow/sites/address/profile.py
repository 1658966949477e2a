"""The profile of kind ``address``."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from surveyflow.sites.address.settings import AddressSettings
from surveyflow.sites.dask_profile import DaskProfile

if TYPE_CHECKING:
    from surveyflow.execution.cluster import Cluster


class AddressProfile(AddressSettings, DaskProfile):
    """A Dask cluster that somebody else runs, with what can be done with it."""

    def open_cluster(self) -> AbstractContextManager[Cluster]:
        """Connect to the cluster, and leave it running."""
        from surveyflow.sites.address.cluster import connect

        return connect(self)
