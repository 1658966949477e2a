"""The start of a worker process for each GPU."""

from __future__ import annotations

from contextlib import AbstractContextManager

from surveyflow.execution.cluster import Cluster
from surveyflow.execution.gpus import GPUS_VARIABLE, visible_gpus
from surveyflow.sites.local.cluster import start_workers
from surveyflow.sites.local_gpu.settings import LocalGpuSettings


def start_gpu_workers(profile: LocalGpuSettings) -> AbstractContextManager[Cluster]:
    """Start the workers of a profile; they end with the block.

    Parameters
    ----------
    profile
        The settings.

    Raises
    ------
    ClusterError
        If there is no GPU, or the workers cannot be started.
    """
    gpus = profile.gpus or visible_gpus()
    environment = {GPUS_VARIABLE: ",".join(gpus), "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
    return start_workers(profile, len(gpus), environment, on_gpu=True)
