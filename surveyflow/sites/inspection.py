"""A question to every worker of a Dask cluster, and a comparison of their clocks with this machine's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from distributed import Client

from surveyflow.errors import ClusterError
from surveyflow.execution.jobs import describe
from surveyflow.sites.kind import Answer, Question

PATIENCE_S = 60.0
"""How long a worker may take to answer a question, seconds."""


def ask_workers(client: Client, question: Question) -> list[Answer]:
    """Ask every worker of a cluster.

    Parameters
    ----------
    client
        Connected to the cluster.
    question
        A function of an importable module; it runs on the workers, in a thread of its own.
    """
    clocks = {worker: _clock(client, worker) for worker in sorted(client.scheduler_info(n_workers=-1)["workers"])}
    values = client.run(_in_a_thread, question, PATIENCE_S, workers=list(clocks), on_error="return")
    declared = {worker: about["resources"] for worker, about in client.scheduler_info(n_workers=-1)["workers"].items()}
    return [_answer(worker, values.get(worker), *clocks[worker], declared.get(worker, {})) for worker in clocks]


def _answer(worker: str, value: Any, ahead_s: float, error_s: float, resources: Mapping[str, float]) -> Answer:
    if isinstance(value, BaseException):
        return Answer(worker, None, describe(value), ahead_s, error_s, resources)
    return Answer(worker, value, None, ahead_s, error_s, resources)


def _clock(client: Client, worker: str) -> tuple[float, float]:
    """By how much a worker's clock is ahead, and the uncertainty of that; the best of three tries."""
    return min((_compare_clocks(client, worker) for _ in range(3)), key=lambda found: found[1])


def _compare_clocks(client: Client, worker: str) -> tuple[float, float]:
    before = time.time()
    there = client.run(time.time, workers=[worker])[worker]
    after = time.time()
    return there - (before + after) / 2, (after - before) / 2


async def _in_a_thread(question: Question, patience_s: float) -> Any:
    """Call the question in a thread, so that the worker can answer its scheduler meanwhile."""
    try:
        return await asyncio.wait_for(asyncio.to_thread(question), patience_s)
    except TimeoutError:
        raise ClusterError(
            f"it gave no answer within {patience_s:g} s: a file system or a device does not answer there"
        ) from None
