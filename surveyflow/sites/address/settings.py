"""The settings of kind ``address``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

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
        Folder of the cluster's certificate and key (`surveyflow.sites.certificates`). None where Dask's own configuration names
        them and requires encryption, or where the cluster is open.
    open_to_all_users
        Says that the cluster has no certificates, so that everybody who reaches its scheduler can run programs as you.
    logs
        Folder of the workers' logs (`surveyflow.execution.worker_logs`), if they write them where this machine can read.
    memory_wait_s
        How long to wait, after a worker died, until a file in ``logs`` says that it was out of memory, seconds; 0 where nothing
        writes such files (`surveyflow.execution.memory_kills`).
    """

    kind: Literal["address"] = "address"
    address: str | None = None
    scheduler_file: AbsolutePath | None = None
    connect_timeout_s: Seconds = 30.0
    certificates: AbsolutePath | None = None
    open_to_all_users: bool = False
    logs: AbsolutePath | None = None
    memory_wait_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0

    @model_validator(mode="after")
    def _names_one_scheduler(self) -> AddressSettings:
        if (self.address is None) == (self.scheduler_file is None):
            raise ValueError("give either address or scheduler_file")
        return self

    @model_validator(mode="after")
    def _says_who_gets_in(self) -> AddressSettings:
        if self.open_to_all_users and self.certificates is not None:
            raise ValueError("give either certificates or open_to_all_users: a cluster with certificates is not open")
        if not self.open_to_all_users and self.certificates is None and not _dask_encrypts():
            raise ValueError(
                "a scheduler without certificates lets every user who reaches it run programs as you: start it with certificates "
                '(docs/how-to/own-cluster.md) and name their folder, certificates = "certificates"; or, where nobody else has '
                "access to its machines, write open_to_all_users = true"
            )
        return self


def _dask_encrypts() -> bool:
    """Whether Dask's own configuration requires encryption; Dask then refuses an open scheduler."""
    import dask.config

    return bool(dask.config.get("distributed.comm.require-encryption", default=False))
