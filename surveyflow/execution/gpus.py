"""The GPUs of this machine and their use."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress

from surveyflow.errors import ClusterError
from surveyflow.output.heartbeats import GpuUse

GPUS_VARIABLE = "SURVEYFLOW_GPUS"
"""Environment variable that lists the GPUs of a local cluster's workers, in the order of the workers' names: 0, 1, ..."""

_ANSWER_S = 30


def visible_gpus() -> tuple[str, ...]:
    """Name the GPUs that a process started here may use: numbers, or names as CUDA_VISIBLE_DEVICES takes them.

    Raises
    ------
    ClusterError
        If there is none.
    """
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = tuple(_listed(",", allowed) if allowed is not None else _listed("\n", _ask_driver("index", "noheader")))
    if not gpus:
        hidden = "CUDA_VISIBLE_DEVICES names none" if allowed is not None else "nvidia-smi names none"
        raise ClusterError(f'no GPU was found: {hidden}. Name them in the profile, such as gpus = ["0"], or use profile local.')
    return gpus


def gpu_use() -> tuple[GpuUse, ...]:
    """Ask the driver for the use of the GPUs that this process may use; empty without a GPU or driver."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed == "" or shutil.which("nvidia-smi") is None:
        return ()
    chosen = [] if allowed is None else [f"--id={allowed}"]
    answer = _ask_driver("index,name,utilization.gpu,memory.used,memory.total", "noheader,nounits", *chosen)
    return tuple(use for line in answer.splitlines() if (use := _use(line.split(","))) is not None)


def compute_capabilities() -> dict[str, float]:
    """Compute capability, such as 8.0, of the NVIDIA GPUs that this process may use, by name; empty without one."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed == "" or shutil.which("nvidia-smi") is None:
        return {}
    chosen = [] if allowed is None else [f"--id={allowed}"]
    pairs = [line.rpartition(",") for line in _ask_driver("name,compute_cap", "noheader", *chosen).splitlines()]
    found = {}
    for name, _, number in pairs:
        with suppress(ValueError):
            found[name.strip()] = float(number)
    return found


def _use(values: list[str]) -> GpuUse | None:
    """Read one line of the driver's answer; None if it has no numbers, as for a part of a GPU."""
    with suppress(ValueError):
        index, name, busy, used, total = (value.strip() for value in values)
        return GpuUse(f"{index} {name}", float(busy), float(used), float(total))
    return None


def _listed(separator: str, text: str) -> list[str]:
    return [name for part in text.split(separator) if (name := part.strip())]


def _ask_driver(query: str, style: str, *options: str) -> str:
    command = ["nvidia-smi", f"--query-gpu={query}", f"--format=csv,{style}", *options]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_ANSWER_S, check=True).stdout  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return ""
