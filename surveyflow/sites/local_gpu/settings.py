"""The settings of kind ``local-gpu``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from surveyflow.execution.limits import Tls
from surveyflow.sites.local.settings import ThisMachineSettings


class LocalGpuSettings(ThisMachineSettings):
    """A worker process for each GPU of this machine.

    Parameters
    ----------
    gpus
        Which, as CUDA_VISIBLE_DEVICES names them; all that are visible where None.
    tls
        Always true: driver, scheduler and workers identify each other by certificates.
    """

    kind: Literal["local-gpu"] = "local-gpu"
    gpus: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    tls: Tls = True
