"""How a worker process of a local cluster behaves: deaf to control-C, silent on the terminal, gone at once when told to stop.

Dask loads this module into each worker as a preload.
"""

from __future__ import annotations

import atexit
import faulthandler
import os
import signal
import sys
from pathlib import Path

from distributed import Worker

from surveyflow.execution.gpus import GPUS_VARIABLE
from surveyflow.execution.pinned_models import hold_from_start
from surveyflow.execution.worker_logs import FOLDER_VARIABLE, log_path


def dask_setup(worker: Worker) -> None:
    """Arrange it, as the worker starts.

    A terminal sends control-C to the driver and its workers alike; the driver alone decides what it means. And an interpreter
    that has imported TensorFlow needs some 3 s to take itself apart, for nothing: what matters was written and synced.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _write_to(log_path(Path(os.environ[FOLDER_VARIABLE]), worker.address))
    _take_gpu(worker.name)
    hold_from_start(worker)
    atexit.register(_leave)


def _take_gpu(name: object) -> None:
    """See one GPU only: nothing has looked for GPUs yet, since TensorFlow is imported with the first job."""
    if gpus := os.environ.get(GPUS_VARIABLE):
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus.split(",")[int(str(name))]


def _write_to(path: Path) -> None:
    """Send all that this process says to a file, C++ libraries and the traceback of a crash included."""
    sys.stdout.flush()
    sys.stderr.flush()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    faulthandler.enable(all_threads=False)


def _leave() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
