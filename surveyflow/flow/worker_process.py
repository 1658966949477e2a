"""What a worker process of a local cluster must know before its first job: control-C is not for it.

A terminal sends control-C to the driver and its workers alike. The driver alone decides what it means.
Dask loads this module into each worker as a preload.
"""

from __future__ import annotations

import signal

from distributed import Worker


def dask_setup(worker: Worker) -> None:  # noqa: ARG001 - the name and signature are Dask's
    """Ignore interrupts."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
