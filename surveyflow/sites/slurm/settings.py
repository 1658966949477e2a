"""The settings of kind ``slurm``.

Times are written as Slurm writes them, ``HH:MM:SS`` or ``D-HH:MM:SS``; amounts of memory with their unit, ``"64 GiB"``.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field, StringConstraints, model_validator

from surveyflow.execution.limits import AbsolutePath, ClusterProfile, Count, ModelGroup, Seconds, Tls
from surveyflow.execution.routing import Routing
from surveyflow.settings.checks import SettingsTable, refuse
from surveyflow.settings.findings import shown

LEAVE_S = 60
"""Seconds that a worker needs to leave between the end of its lifetime and its job's walltime."""

GIVE_UP_S = 300
"""Seconds that a head needs to start, and to end what it gives up, before its walltime comes near."""

_LEAST_HEAD_TIME = timedelta(minutes=10)


def _read_time(value: Any) -> timedelta:
    found = re.fullmatch(r"(?:(\d+)-)?(\d{1,3}):([0-5]\d):([0-5]\d)", value) if isinstance(value, str) else None
    if found is None:
        raise refuse(f"found {shown(value)}, expected a time as Slurm writes it.", 'Write such as "04:00:00" or "2-00:00:00".')
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


def _check_shared(path: AbsolutePath) -> AbsolutePath:
    if re.search(r"[\s%\"'\\]", str(path)):
        raise ValueError("Slurm's log paths bear no spaces, quotes, backslashes or percent signs: choose another folder")
    return path


Time = Annotated[timedelta, BeforeValidator(_read_time), Field(examples=["04:00:00"])]
Memory = Annotated[ByteSize, Field(ge=2**20, examples=["64 GiB"])]
Word = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9_.,:+=@%/-]+$"),
    Field(description="one word of letters, digits and _ . , : + = @ % / -"),
]
"""A value of an ``#SBATCH`` line."""
Line = Annotated[str, StringConstraints(pattern=r"^[^\n\r]+$"), Field(description="text of one line")]
Option = Annotated[
    str, StringConstraints(pattern=r"^--[a-z][a-z0-9-]*(=[^\s]+)?$"), Field(description="an option such as '--constraint=a100'")
]
PoolName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$"), Field(description="a name of letters, digits and _")
]


class Allocation(SettingsTable):
    """The resources that one job requests.

    Parameters
    ----------
    partition, account, qos
        Queue, account and quality of service; the site's defaults where None.
    cores
        Cores of one node.
    memory
        Memory of one node; a job that takes more is killed by Slurm.
    walltime
        Time after which Slurm ends the job.
    options
        Further options of ``sbatch``, each as ``"--constraint=a100"``.
    """

    partition: Word | None = None
    account: Word | None = None
    qos: Word | None = None
    cores: Count = 1
    memory: Memory
    walltime: Time
    options: tuple[Option, ...] = ()


class Pool(Allocation):
    """Jobs of one shape, each of which holds one worker.

    Parameters
    ----------
    jobs
        Number of jobs.
    gres
        Generic resources of each job, such as ``"gpu:a100:1"``. A worker uses one GPU.
    lifetime
        Time after which a worker leaves by itself, so that Slurm never interrupts it; another takes its place.
    stagger
        By how much lifetimes differ at random, up and down, so that the workers do not leave together.
    models
        Fields and instruments whose models its workers hold, such as ``"EGS/F814W"``: they do only these units.
        If there are none and routing is pinned, the jobs are divided in proportion to the work.
    """

    jobs: Count = Field(examples=[4])
    gres: Word | None = None
    lifetime: Time
    stagger: Time = timedelta(0)
    models: tuple[ModelGroup, ...] = ()

    @model_validator(mode="after")
    def _leaves_in_time(self) -> Pool:
        latest_s = (self.lifetime + self.stagger).total_seconds() + LEAVE_S
        walltime_s = self.walltime.total_seconds()
        if latest_s > walltime_s:
            raise ValueError(
                f"lifetime + stagger + {LEAVE_S} s to leave make {latest_s:g} s, more than the walltime's {walltime_s:g} s: "
                "shorten lifetime or stagger, or raise walltime"
            )
        if self.stagger >= self.lifetime:
            raise ValueError("stagger must be shorter than lifetime")
        return self

    @model_validator(mode="after")
    def _has_one_gpu_a_worker(self) -> Pool:
        found = re.search(r"(?:^|,)gpu(?::[A-Za-z]\w*)?:(\d+)", self.gres or "")
        if found is not None and int(found[1]) != 1:
            raise ValueError(f"a job holds one worker, and a worker uses one GPU: ask for 1, not {found[1]}, and for more jobs")
        return self


class Head(Allocation):
    """The job of scheduler and driver."""

    @model_validator(mode="after")
    def _hears_its_warning(self) -> Head:
        if self.walltime < _LEAST_HEAD_TIME:
            raise ValueError(f"walltime must be {_LEAST_HEAD_TIME} or more: Slurm's warning before its end comes minutes early")
        return self


class Environment(SettingsTable):
    """How a job finds Python and surveyflow.

    Parameters
    ----------
    prologue
        Lines of shell that come first: ``module load``, ``source .../bin/activate``.
    python
        The interpreter, a path or a command that the prologue provides. It must be the same environment on every node.
    """

    prologue: tuple[Line, ...] = ()
    python: Line = "python"


class Directories(SettingsTable):
    """Where a submission keeps its files.

    Parameters
    ----------
    shared
        Folder that every node and the submitting machine see: scripts, certificates, logs, the scheduler's address.
    node_local
        Folder on each node for temporary files; variables of the job's environment, as in ``"$TMPDIR"``, are filled in there.
    """

    shared: Annotated[AbsolutePath, AfterValidator(_check_shared)] = Field(examples=["~/surveyflow-jobs"])
    node_local: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.$/{}+-]+$")] = "/tmp"  # noqa: S108 - the node's own


class SlurmSettings(ClusterProfile):
    """Batch jobs of a Slurm machine: one for scheduler and driver, and an array of workers for each pool.

    Parameters
    ----------
    interface
        Network interface by which the nodes reach each other, such as ``ib0``; scheduler and workers listen there and nowhere
        else. ``lo`` where all jobs run on one machine.
    tls
        Always true: client, scheduler and workers identify each other by certificates, new for each submission.
    silence_s
        A worker that sends no heartbeat for so long, seconds, is ended, and its units go elsewhere.
    dashboard
        Where Dask's dashboard listens on the scheduler's node, ``host:port``; port 0 takes a free one. It requires the
        certificates.
    directories
        Folders for files.
    environment
        How jobs find Python and surveyflow.
    head
        The job of scheduler and driver. When its walltime comes near, it goes back into the queue and continues.
    pools
        The jobs of the workers, by name; at least one.
    """

    kind: Literal["slurm"] = "slurm"
    worker_wait_s: Seconds = 43_200.0
    silence_s: Seconds = 300.0
    interface: Word = Field(examples=["ib0"])
    tls: Tls = True
    dashboard: Word = "127.0.0.1:0"
    directories: Directories
    environment: Environment = Environment()
    head: Head
    pools: Annotated[dict[PoolName, Pool], Field(min_length=1)]

    @property
    def gives_up_after_s(self) -> float:
        """How long the driver waits for workers, seconds; less than the head's walltime, as each new head begins again."""
        return min(self.worker_wait_s, self.head.walltime.total_seconds() - GIVE_UP_S)

    @model_validator(mode="after")
    def _gives_up_in_time(self) -> SlurmSettings:
        if "worker_wait_s" in self.model_fields_set and self.worker_wait_s > self.gives_up_after_s:
            raise ValueError(
                f"worker_wait_s = {self.worker_wait_s:g} must be {self.gives_up_after_s:g} or less, {GIVE_UP_S} s under the "
                "head's walltime: the wait begins again whenever the head does, so that it would never end"
            )
        return self

    @model_validator(mode="after")
    def _names_models_to_some_end(self) -> SlurmSettings:
        naming = [name for name, pool in self.pools.items() if pool.models]
        if naming and self.routing is Routing.ANY:
            raise ValueError(f'routing = "any" takes no heed of models, but pools.{naming[0]} names some: remove one of the two')
        return self
