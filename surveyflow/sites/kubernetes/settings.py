"""The settings of kind ``kubernetes``."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, ByteSize, Field, StringConstraints, model_validator

from surveyflow.execution.limits import AbsolutePath, ClusterProfile, Count, ModelGroup, Seconds, Tls
from surveyflow.execution.routing import Routing
from surveyflow.settings.reader import SettingsTable, refuse


def _check_absolute(path: PurePosixPath) -> PurePosixPath:
    if not path.is_absolute():
        raise refuse(f"found {path}, expected the path as the pods see it, from the root.", "Write such as `/data/candels`.")
    return path


Name = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"),
    Field(description="a name of lower-case letters, digits and hyphens"),
]
"""A name as Kubernetes accepts it: lower-case letters, digits and hyphens."""
PoolName = Annotated[str, StringConstraints(pattern=r"^[a-z]([a-z0-9-]{0,18}[a-z0-9])?$")]
Label = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9_./-]*[A-Za-z0-9])?$"),
    Field(description="a name of letters, digits and _ . / -"),
]
Image = Annotated[
    str,
    StringConstraints(pattern=r"^[^\s\"']+$"),
    Field(description="the name of an image, without spaces", examples=["surveyflow:0.1.0-gpu"]),
]
Memory = Annotated[ByteSize, Field(ge=2**20, examples=["64 GiB"])]


class Resources(SettingsTable):
    """The resources that one pod requests.

    Parameters
    ----------
    cores
        Reserved for it.
    memory
        Reserved for it; a pod that uses more is killed.
    """

    cores: Count = 1
    memory: Memory


class PodPool(Resources):
    """Worker pods of one shape, with one worker each.

    Parameters
    ----------
    workers
        How many.
    gpus
        NVIDIA GPUs of each: a worker uses one.
    node_selector
        Labels of the nodes to take.
    tolerations
        Keys of taints to tolerate, whatever their values and effects.
    models
        Fields and instruments whose models its workers hold, such as ``"EGS/F814W"``: they do only these units.
        Name them in every pool or in none.
    """

    workers: Count = Field(examples=[4])
    gpus: Annotated[int, Field(ge=0, le=1)] = 0
    node_selector: dict[Label, str] = Field(default_factory=dict)
    tolerations: tuple[Label, ...] = ()
    models: tuple[ModelGroup, ...] = ()


class Volume(SettingsTable):
    """The volume that holds workflow, mosaics, models and output; every pod mounts it.

    Parameters
    ----------
    claim
        Name of its PersistentVolumeClaim, with an access mode that lets many pods write.
    path
        Where the pods mount it.
    here
        Where this machine sees it, if elsewhere.
    """

    claim: Name = Field(examples=["candels"])
    path: Annotated[PurePosixPath, AfterValidator(_check_absolute)] = Field(examples=["/data/candels"])
    here: AbsolutePath | None = None

    @property
    def seen_here(self) -> Path:
        """Where this machine sees it."""
        return Path(self.path) if self.here is None else self.here


class KubernetesSettings(ClusterProfile):
    """Pods that the Dask operator manages: scheduler, driver, and workers in pools.

    Parameters
    ----------
    image
        Container image with surveyflow (``deploy/container``).
    namespace
        Namespace of the pods; the user's default where None.
    user
        Number of the user and group that the pods run as, never 0. It must be able to write to the volume.
    tls
        Always true: client, scheduler and workers identify each other by certificates.
    certificates
        Name of the Secret that holds them.
    silence_s
        A worker that sends no heartbeat for so long, seconds, is ended, and its units go elsewhere.
    volume
        The volume of the survey.
    scheduler, driver
        Their pods.
    pools
        Those of the workers, by name; at least one.
    """

    kind: Literal["kubernetes"] = "kubernetes"
    worker_wait_s: Seconds = 3_600.0
    silence_s: Seconds = 300.0
    image: Image
    namespace: Name | None = None
    user: Annotated[int, Field(ge=1)] = 1000
    tls: Tls = True
    certificates: Name = "surveyflow-certificates"
    volume: Volume
    scheduler: Resources = Resources(memory=ByteSize(4 * 2**30))
    driver: Resources = Resources(memory=ByteSize(8 * 2**30))
    pools: Annotated[dict[PoolName, PodPool], Field(min_length=1)]

    @model_validator(mode="after")
    def _holds_models_everywhere_or_nowhere(self) -> Self:
        naming = [name for name, pool in self.pools.items() if pool.models]
        without = [name for name in self.pools if name not in naming]
        if naming and self.routing is Routing.ANY:
            raise ValueError(f'routing = "any" takes no heed of models, but pools.{naming[0]} names some: remove one of the two')
        if without and (naming or self.routing is Routing.PINNED):
            raise ValueError(
                f'the workers of {" and ".join(without)} would get no units: name models = ["EGS/F814W", ...] in every pool, '
                'or in none, with routing "auto" or "any"'
            )
        return self
