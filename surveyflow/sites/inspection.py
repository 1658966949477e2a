"""Asking every worker of a profile one question."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from surveyflow.errors import ClusterError
from surveyflow.execution.jobs import describe
from surveyflow.sites.kubernetes.profile import KubernetesProfile
from surveyflow.sites.profiles import Profile, SerialProfile
from surveyflow.sites.slurm.profile import SlurmProfile

if TYPE_CHECKING:
    from distributed import Client

Question = Callable[[], Any]

PATIENCE_S = 60.0
"""How long a worker may think about a question."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one worker answered.

    Parameters
    ----------
    worker
        Its address; ``this process`` where the profile has no workers.
    value
        What the question returned there; None where it failed.
    error
        Why it failed, in words; None where it did not.
    clock_ahead_s
        By how much its clock is ahead of this machine's, seconds.
    clock_error_s
        How wrong that may be: half the time that asking took, seconds.
    resources
        What it offers to jobs that ask for something, by name.
    """

    worker: str
    value: Any = None
    error: str | None = None
    clock_ahead_s: float = 0.0
    clock_error_s: float = 0.0
    resources: Mapping[str, float] = field(default_factory=dict)


def ask_workers(profile: Profile, question: Question) -> list[Answer]:
    """Ask every worker that is there: of the profile's own cluster, or of the one that it connects to.

    Parameters
    ----------
    profile
        From `surveyflow.sites.profiles.load_profile`.
    question
        A function of an importable module; it runs on the workers, in a thread of its own.

    Raises
    ------
    ClusterError
        When no scheduler answers, no worker comes, or the profile is for batch jobs.
    """
    if isinstance(profile, SerialProfile):
        return [Answer("this process", question())]
    if isinstance(profile, SlurmProfile):
        raise ClusterError(
            "a profile of kind 'slurm' has workers only while its jobs run. Submit, then name the driver's profile: "
            "surveyflow doctor --profile FOLDER/driver.toml; or look at one node: srun ... surveyflow doctor."
        )
    if isinstance(profile, KubernetesProfile):
        raise ClusterError(
            "a profile of kind 'kubernetes' has workers only while its pods run. Look from the driver's: "
            "kubectl exec NAME-runner -- surveyflow doctor --profile /driver/driver.toml."
        )
    from surveyflow.sites.connections import open_cluster

    with open_cluster(profile) as cluster:
        return _ask(cluster.client, question)


def _ask(client: Client, question: Question) -> list[Answer]:
    clocks = {worker: _clock(client, worker) for worker in sorted(client.scheduler_info(n_workers=-1)["workers"])}
    values = client.run(_in_a_thread, question, PATIENCE_S, workers=list(clocks), on_error="return")
    offers = {worker: about["resources"] for worker, about in client.scheduler_info(n_workers=-1)["workers"].items()}
    return [_answer(worker, values.get(worker), *clocks[worker], offers.get(worker, {})) for worker in clocks]


def _answer(worker: str, value: Any, ahead_s: float, error_s: float, resources: Mapping[str, float]) -> Answer:
    if isinstance(value, BaseException):
        return Answer(worker, None, describe(value), ahead_s, error_s, resources)
    return Answer(worker, value, None, ahead_s, error_s, resources)


def _clock(client: Client, worker: str) -> tuple[float, float]:
    """How far a worker's clock is ahead, and how wrong that may be; the best of three tries."""
    return min((_compare_clocks(client, worker) for _ in range(3)), key=lambda found: found[1])


def _compare_clocks(client: Client, worker: str) -> tuple[float, float]:
    before = time.time()
    there = client.run(time.time, workers=[worker])[worker]
    after = time.time()
    return there - (before + after) / 2, (after - before) / 2


async def _in_a_thread(question: Question, patience_s: float) -> Any:
    """Leave the worker free to answer its scheduler meanwhile."""
    try:
        return await asyncio.wait_for(asyncio.to_thread(question), patience_s)
    except TimeoutError:
        raise ClusterError(
            f"it gave no answer within {patience_s:g} s: a file system or a device does not answer there"
        ) from None
