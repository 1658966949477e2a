"""The preload of worker processes: they ignore control-C, write to a log instead of the terminal, and stop at once when asked to.

Dask imports this module in each worker as it starts (``--preload``).
"""

from __future__ import annotations

import atexit
import faulthandler
import gc
import os
import signal
import sys
from pathlib import Path

from distributed import Worker

from surveyflow.execution.gpus import GPUS_VARIABLE
from surveyflow.execution.pinned_models import declare_at_start
from surveyflow.execution.worker_logs import FOLDER_VARIABLE, log_path


def dask_setup(worker: Worker) -> None:
    """Set up this process as the worker starts.

    The garbage collector does not search what Dask's modules made, and looks less often at what further imports make: that took
    a tenth of their time. A terminal sends control-C to the driver and to its workers; only the driver acts on it. An interpreter
    that has imported TensorFlow takes some 3 s to shut down, which are wasted: results were written and synced before.
    """
    gc.freeze()
    gc.set_threshold(10_000)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _write_to(log_path(Path(os.environ[FOLDER_VARIABLE]), worker.address))
    _take_gpu(worker.name)
    declare_at_start(worker)
    atexit.register(_exit_at_once)


def _take_gpu(name: object) -> None:
    """Make one GPU visible: nothing has looked for GPUs yet, since TensorFlow is imported with the first job."""
    if gpus := os.environ.get(GPUS_VARIABLE):
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus.split(",")[int(str(name))]


def _write_to(path: Path) -> None:
    """Redirect the output of this process to a file, with that of C++ libraries and the traceback of a crash."""
    sys.stdout.flush()
    sys.stderr.flush()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    faulthandler.enable(all_threads=False)


def _exit_at_once() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
