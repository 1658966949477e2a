"""The profile of kind ``local``."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from surveyflow.sites.dask_profile import DaskProfile
from surveyflow.sites.local.settings import LocalSettings

if TYPE_CHECKING:
    from surveyflow.execution.cluster import Cluster


class LocalProfile(LocalSettings, DaskProfile):
    """Worker processes on this machine, with what can be done with them."""

    def open_cluster(self) -> AbstractContextManager[Cluster]:
        """Start the workers; they end with the block."""
        from surveyflow.sites.local.cluster import start_workers, usable_cores

        return start_workers(self, self.workers or usable_cores())
