"""The settings of kind ``address``."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from surveyflow.execution.limits import AbsolutePath, ClusterProfile, Seconds


class AddressSettings(ClusterProfile):
    """A Dask cluster that somebody else runs.

    Parameters
    ----------
    address
        The scheduler's address, ``tcp://host:port``.
    scheduler_file
        Or the file in which the scheduler wrote it (``dask scheduler --scheduler-file``).
    connect_timeout_s
        How long to wait for the scheduler's answer, seconds.
    certificates
        Folder of the cluster's certificate and key (`surveyflow.sites.certificates`); None where connections are not encrypted.
    logs
        Folder of the workers' logs (`surveyflow.execution.worker_logs`), if they write them where this machine can read.
    """

    kind: Literal["address"] = "address"
    address: str | None = None
    scheduler_file: AbsolutePath | None = None
    connect_timeout_s: Seconds = 30.0
    certificates: AbsolutePath | None = None
    logs: AbsolutePath | None = None

    @model_validator(mode="after")
    def _names_one_scheduler(self) -> AddressSettings:
        if (self.address is None) == (self.scheduler_file is None):
            raise ValueError("give either address or scheduler_file")
        return self
