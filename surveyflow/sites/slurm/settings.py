"""The settings of kind ``slurm``.

Times are written as Slurm writes them, ``HH:MM:SS`` or ``D-HH:MM:SS``; amounts of memory with their unit, ``"64 GiB"``.
"""

from __future__ import annotations

import re
import shlex
import sys
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field, StringConstraints, model_validator

from surveyflow.execution.limits import AbsolutePath, ClusterProfile, Count, ModelGroup, Seconds, Tls
from surveyflow.execution.routing import Routing
from surveyflow.settings.findings import shown
from surveyflow.settings.reader import SettingsTable, refuse

_START_S = 180
"""Seconds that a head needs to start, and to end what it gives up."""

_LEAST_HEAD_TIME = timedelta(minutes=8)
"""Of a head, until it is signalled."""

_LEAST_WARNING, _LONGEST_WARNING = timedelta(seconds=30), timedelta(seconds=65_535)
"""A job needs seconds to leave, on a busy node more; sbatch takes no longer time."""


def _read_time(value: Any) -> timedelta:
    found = re.fullmatch(r"(?:(\d+)-)?(\d{1,3}):([0-5]\d):([0-5]\d)", value) if isinstance(value, str) else None
    if found is None:
        raise refuse(f"found {shown(value)}, expected a time as Slurm writes it.", 'Write such as "04:00:00" or "2-00:00:00".')
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


def _check_warning(time: timedelta) -> timedelta:
    if not _LEAST_WARNING <= time <= _LONGEST_WARNING:
        what = f"found {time}, expected a time from {_LEAST_WARNING} to {_LONGEST_WARNING}."
        raise refuse(what, 'Write such as "00:02:00".')
    return time


def _check_shared(path: AbsolutePath) -> AbsolutePath:
    if re.search(r"[\s%\"'\\]", str(path)):
        raise ValueError("Slurm's log paths bear no spaces, quotes, backslashes or percent signs: choose another folder")
    return path


Time = Annotated[timedelta, BeforeValidator(_read_time), Field(examples=["04:00:00"])]
SignalTime = Annotated[Time, AfterValidator(_check_warning)]
Memory = Annotated[ByteSize, Field(ge=2**20, examples=["64 GiB"])]
Growth = Annotated[float, Field(ge=1.1, le=10, examples=[2.0])]
Word = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9_.,:+=@%/-]+$"),
    Field(description="one word of letters, digits and _ . , : + = @ % / -"),
]
"""A value of an ``#SBATCH`` line."""
Line = Annotated[str, StringConstraints(pattern=r"^[^\n\r]+$"), Field(description="text of one line")]

_KEYS = {
    "account": "account",
    "array": "jobs",
    "cpus-per-task": "cores",
    "export": "environment.inherit",
    "gpus": "gpus_per_node",
    "gpus-per-node": "gpus_per_node",
    "gres": "gres",
    "mem": "memory",
    "mem-per-cpu": "memory_per_core",
    "mem-per-gpu": "memory_per_gpu",
    "partition": "partition",
    "qos": "qos",
    "signal": "signal_before",
    "time": "walltime",
}
WRITTEN = {*_KEYS, "dependency", "gpus-per-socket", "gpus-per-task", "hold", "job-name", "no-requeue", "nodes", "ntasks"}
WRITTEN |= {
    "ntasks-per-gpu",
    "ntasks-per-node",
    "open-mode",
    "output",
    "parsable",
    "requeue",
    "test-only",
    "wait",
    "wrap",
}
"""Options of ``sbatch`` that surveyflow writes, or that would contradict those that it writes."""


def _check_option(option: str) -> str:
    name = option.removeprefix("--").partition("=")[0]
    found = next((written for written in sorted(WRITTEN) if written.startswith(name)), None)  # sbatch knows abbreviations
    if found is None:
        return option
    remedy = f"Remove it, and set `{_KEYS[found]}` instead." if found in _KEYS else "Remove it."
    raise refuse(f"found {option!r}, but surveyflow itself decides --{found}.", remedy)


Option = Annotated[
    str,
    StringConstraints(pattern=r"^--[a-z][a-z0-9-]*(=[^\x00-\x1f\x7f]+)?$"),
    Field(description="an option such as '--constraint=a100'"),
    AfterValidator(_check_option),
]
Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$"), Field(description="the name of a variable")]
Gpus = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if isinstance(value, int) and not isinstance(value, bool) else value),
    StringConstraints(pattern=r"^([A-Za-z]\w*:)?[1-9][0-9]{0,2}$"),
    Field(description="a number of GPUs, or a type and a number such as 'a100:4'", examples=[4]),
]
PoolName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$"), Field(description="a name of letters, digits and _")
]


class Environment(SettingsTable):
    """How a job finds Python and surveyflow.

    Parameters
    ----------
    prologue
        Lines of shell that come first: ``module load``, ``source .../bin/activate``. If one fails, the job ends and says which.
    python
        The interpreter, a path or a command that the prologue provides; the one that submits if left out. The job ends if it does
        not have the version of surveyflow that submits.
    variables
        Variables of the environment, by name.
    inherit
        Whether jobs inherit the environment of the shell that submits them, instead of the one that a login on their node has.
    """

    prologue: tuple[Line, ...] = ()
    python: Line = Field(default_factory=lambda: shlex.quote(sys.executable))
    variables: dict[Variable, Line] = Field(default_factory=dict)
    inherit: bool = False


class Allocation(SettingsTable):
    """The resources that one job requests.

    Parameters
    ----------
    partition, account, qos
        Queue, account and quality of service; the site's defaults where None.
    cores
        Cores of one node.
    memory, memory_per_core
        Memory of the job, or of each of its cores; a job that takes more is killed by Slurm.
    whole_node
        Whether the job has a node and its memory for itself; then no memory is stated.
    walltime
        Time after which Slurm ends the job.
    signal_before
        How long before that Slurm signals the job, which then leaves and goes back into the queue. Slurm may do so a minute
        earlier.
    options
        Further options of ``sbatch``, each as ``"--constraint=a100"``; not those that surveyflow writes.
    environment
        How this job finds Python and surveyflow, if not as the profile says.
    """

    partition: Word | None = None
    account: Word | None = None
    qos: Word | None = None
    cores: Count = 1
    memory: Memory | None = None
    memory_per_core: Memory | None = None
    whole_node: bool = False
    walltime: Time
    signal_before: SignalTime = timedelta(minutes=1)
    options: tuple[Option, ...] = ()
    environment: Environment | None = None

    @property
    def memory_options(self) -> dict[str, int | None]:
        """The memory that the job asks for by each option of ``sbatch``, bytes; None if it does not ask by it."""
        return {"mem": 0 if self.whole_node else self.memory, "mem-per-cpu": self.memory_per_core}

    @model_validator(mode="after")
    def _states_its_memory_once(self) -> Self:
        stated = [name for name, amount in self.memory_options.items() if amount is not None]
        if len(stated) != 1 or (self.whole_node and self.memory is not None):
            raise ValueError(
                "say in one way how much memory a job has: memory, memory_per_core, memory_per_gpu (pools), or whole_node = true"
            )
        return self


class Pool(Allocation):
    """Jobs of one shape.

    Parameters
    ----------
    jobs
        Number of jobs.
    at_once
        How many of them may run at the same time; all if left out.
    workers
        Workers of each job; one for each of its GPUs, or one, if left out.
    gres, gpus_per_node
        Generic resources of each job, such as ``"gpu:a100:1"``; or its GPUs, such as 4 or ``"a100:4"``. A worker uses one GPU.
    memory_per_gpu
        Memory of the job for each of its GPUs.
    memory_growth
        When a job was out of memory, another takes its place with so many times its ``memory``, above 1; None if it comes back
        with the same.
    memory_max
        Memory that a job asks for at most then.
    lifetime
        Time after which a worker leaves by itself, so that Slurm never interrupts it; another takes its place.
    stagger
        By how much lifetimes differ at random, up and down, so that the workers do not leave together.
    models
        Fields and instruments whose models its workers hold, such as ``"EGS/F814W"``: they do only these units.
        If there are none and routing is pinned, the jobs are divided in proportion to the work.
    """

    jobs: Count = Field(examples=[4])
    at_once: Count | None = None
    workers: Count | None = None
    gres: Word | None = None
    gpus_per_node: Gpus | None = None
    memory_per_gpu: Memory | None = None
    memory_growth: Growth | None = None
    memory_max: Memory | None = None
    lifetime: Time
    stagger: Time = timedelta(0)
    models: tuple[ModelGroup, ...] = ()

    @model_validator(mode="after")
    def _leaves_in_time(self) -> Pool:
        leave_s, walltime_s = self.signal_before.total_seconds(), self.walltime.total_seconds()
        latest_s = (self.lifetime + self.stagger).total_seconds() + leave_s
        if latest_s > walltime_s:
            raise ValueError(
                f"lifetime + stagger + the {leave_s:g} s of signal_before make {latest_s:g} s, more than the walltime's "
                f"{walltime_s:g} s: shorten lifetime, stagger or signal_before, or raise walltime"
            )
        if self.stagger >= self.lifetime:
            raise ValueError("stagger must be shorter than lifetime")
        return self

    @property
    def n_gpus(self) -> int:
        """GPUs of each job."""
        if self.gpus_per_node is not None:
            return int(self.gpus_per_node.rpartition(":")[2])
        found = re.search(r"(?:^|,)gpu(?::[A-Za-z]\w*)?(?::(\d+))?(?=,|$)", self.gres or "")
        return int(found[1] or 1) if found else 0

    @property
    def n_workers(self) -> int:
        """Workers of each job."""
        return self.workers or self.n_gpus or 1

    @property
    def memory_options(self) -> dict[str, int | None]:
        """As for every job, and by its GPUs."""
        return super().memory_options | {"mem-per-gpu": self.memory_per_gpu}

    @model_validator(mode="after")
    def _shares_a_job_among_its_workers(self) -> Self:
        if self.gpus_per_node is not None and "gpu" in (self.gres or ""):
            raise ValueError("gres and gpus_per_node both ask for GPUs: remove one of the two")
        if self.n_gpus and self.n_workers != self.n_gpus:
            raise ValueError(f"each job has {self.n_gpus} GPUs, one a worker, but workers = {self.workers}: remove workers")
        if self.cores < self.n_workers:
            raise ValueError(f"a job has {self.n_workers} workers, but cores = {self.cores}: ask for one core a worker or more")
        if (self.memory_growth is None) != (self.memory_max is None):
            raise ValueError("memory_growth and memory_max go together: state both, or neither")
        if self.memory_max is not None and (self.memory is None or self.memory_max <= self.memory):
            raise ValueError("memory_max is the most that `memory` may grow to: state memory, and a larger memory_max")
        if self.memory_per_gpu is not None and not self.n_gpus:
            raise ValueError("memory_per_gpu needs gres or gpus_per_node that ask for GPUs: add one, or state memory")
        return self


class Head(Allocation):
    """The job of scheduler and driver."""

    signal_before: SignalTime = timedelta(minutes=2)

    @model_validator(mode="after")
    def _hears_its_warning(self) -> Head:
        if self.walltime < (least := self.signal_before + _LEAST_HEAD_TIME):
            raise ValueError(
                f"walltime must be {least} or more: the head is signalled {self.signal_before} before its end, and works "
                "until then"
            )
        return self

    @property
    def useful_s(self) -> float:
        """Seconds from its start to its signal, without those that it needs to start and to give up."""
        return (self.walltime - self.signal_before).total_seconds() - _START_S


class Directories(SettingsTable):
    """Where a submission keeps its files.

    Parameters
    ----------
    shared
        Folder that every node and the submitting machine see: scripts, certificates, logs, the scheduler's address.
    node_local
        Folder on each node for temporary files; variables of the job's environment, as in ``"$TMPDIR"``, are filled in there.
    keep_logs_days
        How long logs and folders of earlier submissions are kept, days; a submission of the same workflow removes older ones.
    """

    shared: Annotated[AbsolutePath, AfterValidator(_check_shared)] = Field(examples=["~/surveyflow-jobs"])
    keep_logs_days: Count = 90
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
        How jobs find Python and surveyflow, unless ``head`` or a pool says otherwise.
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

    def environment_of(self, allocation: Allocation) -> Environment:
        """How a job finds Python and surveyflow."""
        return allocation.environment or self.environment

    @property
    def grows(self) -> bool:
        """Whether jobs of any pool ask for more memory after they were out of it."""
        return any(pool.memory_growth for pool in self.pools.values())

    @property
    def gives_up_after_s(self) -> float:
        """How long the driver waits for workers, seconds; less than the head's walltime, as each new head begins again."""
        return min(self.worker_wait_s, self.head.useful_s)

    @model_validator(mode="after")
    def _gives_up_in_time(self) -> SlurmSettings:
        if "worker_wait_s" in self.model_fields_set and self.worker_wait_s > self.gives_up_after_s:
            raise ValueError(
                f"worker_wait_s = {self.worker_wait_s:g} must be {self.gives_up_after_s:g} or less, "
                f"{self.head.walltime.total_seconds() - self.head.useful_s:g} s under the head's walltime: the wait begins again "
                "whenever the head does, so that it would never end"
            )
        return self

    @model_validator(mode="after")
    def _names_models_to_some_end(self) -> SlurmSettings:
        naming = [name for name, pool in self.pools.items() if pool.models]
        if naming and self.routing is Routing.ANY:
            raise ValueError(f'routing = "any" takes no heed of models, but pools.{naming[0]} names some: remove one of the two')
        return self
