"""The profile of kind ``local-gpu``."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from surveyflow.sites.dask_profile import DaskProfile
from surveyflow.sites.local_gpu.settings import LocalGpuSettings

if TYPE_CHECKING:
    from surveyflow.execution.cluster import Cluster


class LocalGpuProfile(LocalGpuSettings, DaskProfile):
    """A worker process for each GPU, with what can be done with them."""

    def open_cluster(self) -> AbstractContextManager[Cluster]:
        """Start the workers; they end with the block."""
        from surveyflow.sites.local_gpu.cluster import start_gpu_workers

        return start_gpu_workers(self)
