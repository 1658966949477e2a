"""How the workers of a local cluster learn what they hold, however often they are started again.

The driver writes it to a file before it tells those that run; a worker that starts reads the file.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from distributed import Client, Worker

from surveyflow.execution.jobs import JOBS_AT_A_TIME
from surveyflow.execution.routing import Holdings, places_in, resource

HOLDINGS_VARIABLE = "SURVEYFLOW_HOLDINGS"
"""Environment variable that tells a worker process where the file is."""


@dataclass(frozen=True, slots=True)
class OwnWorkers:
    """The workers of a local cluster, who hold what they are told to.

    Parameters
    ----------
    client
        Connected to the cluster.
    path
        The file.
    count
        How many there are; they are named 0, 1, ...
    on_gpu
        Whether they compute on GPUs.
    """

    client: Client
    path: Path
    count: int
    on_gpu: bool = False

    def assign(self, holdings: Holdings) -> None:
        """Say what each worker holds from now on; without holdings, none holds anything."""
        aside = self.path.with_suffix(".new")
        aside.write_text(json.dumps(dict(enumerate(holdings))))
        aside.replace(self.path)
        self.client.run(_hold, on_error="ignore")


def hold_from_start(worker: Worker) -> None:
    """Let a worker that has not yet met its scheduler hold what it is to hold."""
    for name in map(resource, _places_of(worker)):
        worker.state.total_resources[name] = worker.state.available_resources[name] = JOBS_AT_A_TIME


async def _hold(dask_worker: Worker) -> None:
    """Let a running worker hold what it is to hold, and nothing else."""
    earlier = {resource(place): 0 for place in places_in(dask_worker.state.total_resources)}
    await dask_worker.set_resources(**earlier | {resource(place): JOBS_AT_A_TIME for place in _places_of(dask_worker)})


def _places_of(worker: Worker) -> list[str]:
    """What the file says; batch jobs, which have none, say it on the command line."""
    path = Path(os.environ.get(HOLDINGS_VARIABLE, ""))
    return list(json.loads(path.read_text()).get(str(worker.name), ())) if path.is_file() else []
