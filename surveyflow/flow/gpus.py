"""Which GPUs this machine offers."""

from __future__ import annotations

import os
import subprocess

from surveyflow.errors import ClusterError

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
    gpus = tuple(_listed(",", allowed) if allowed is not None else _listed("\n", _ask_driver()))
    if not gpus:
        hidden = "CUDA_VISIBLE_DEVICES names none" if allowed is not None else "nvidia-smi names none"
        raise ClusterError(f'no GPU was found: {hidden}. Name them in the profile, such as gpus = ["0"], or use profile local.')
    return gpus


def _listed(separator: str, text: str) -> list[str]:
    return [name for part in text.split(separator) if (name := part.strip())]


def _ask_driver() -> str:
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_ANSWER_S, check=True).stdout  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return ""
