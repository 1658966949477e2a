"""The models that each worker of a local cluster is pinned to, also after it restarts.

The driver writes them to a file before it changes the running workers; a worker that starts reads the file.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from distributed import Client, Worker

from surveyflow.execution.jobs import JOBS_AT_A_TIME
from surveyflow.execution.routing import PinnedModels, model_groups_in, resource

PINNED_MODELS_VARIABLE = "SURVEYFLOW_PINNED_MODELS"
"""Environment variable with the path of the file, set for each worker process."""


@dataclass(frozen=True, slots=True)
class LocalWorkers:
    """The workers of a local cluster, which can be pinned to models.

    Parameters
    ----------
    client
        Connected to the cluster.
    path
        The file with the model groups of each worker.
    count
        Number of workers; their names are 0, 1, ...
    on_gpu
        Whether they compute on GPUs.
    """

    client: Client
    path: Path
    count: int
    on_gpu: bool = False

    def pin(self, pinned_models: PinnedModels) -> None:
        """Pin each worker to its model groups from now on; an empty tuple frees all workers."""
        unfinished = self.path.with_suffix(".new")
        unfinished.write_text(json.dumps(dict(enumerate(pinned_models))), encoding="utf-8")
        unfinished.replace(self.path)
        self.client.run(_declare, on_error="ignore")


def declare_at_start(worker: Worker) -> None:
    """Declare the model groups of a worker that has not yet registered with its scheduler."""
    for name in map(resource, _pinned_to(worker)):
        worker.state.total_resources[name] = worker.state.available_resources[name] = JOBS_AT_A_TIME


async def _declare(dask_worker: Worker) -> None:
    """Declare the model groups of a running worker, in place of earlier ones."""
    earlier = {resource(group): 0 for group in model_groups_in(dask_worker.state.total_resources)}
    await dask_worker.set_resources(**earlier | {resource(group): JOBS_AT_A_TIME for group in _pinned_to(dask_worker)})


def _pinned_to(worker: Worker) -> list[str]:
    """The model groups in the file; batch jobs have no file, they are pinned on the command line."""
    path = Path(os.environ.get(PINNED_MODELS_VARIABLE, ""))
    return list(json.loads(path.read_text(encoding="utf-8")).get(str(worker.name), ())) if path.is_file() else []
