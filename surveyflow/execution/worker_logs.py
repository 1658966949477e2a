"""Where a worker of a local cluster writes, and what it wrote last."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER_VARIABLE = "SURVEYFLOW_WORKER_LOGS"
"""Environment variable that tells a worker process the folder of the logs."""

POOL_VARIABLE = "SURVEYFLOW_POOL"
"""Environment variable that tells a worker process the name of its pool."""

VERDICT = "This process gives itself up:"
"""How the line begins in which a process says why it ends itself."""

_N_LINES = 5
_TAIL_BYTES = 20_000
_CRASH = "Fatal Python error"


def log_path(folder: Path, address: str) -> Path:
    """Name the log of the worker at ``address`` (``tcp://host:port``)."""
    return folder / f"worker-{re.sub(r'[^0-9A-Za-z.]+', '-', address)}.log"


def last_words(folder: Path, address: str) -> str:
    """Quote, in one line, why a worker ended itself, how it crashed, or else the last lines it wrote; empty without any."""
    try:
        tail = log_path(folder, address).read_bytes()[-_TAIL_BYTES:].decode(errors="replace")
    except FileNotFoundError:
        return ""
    verdict = tail.rfind(VERDICT)
    if verdict >= 0:
        return _in_one_line(tail[verdict:].splitlines()[:1])
    crash = tail.rfind(_CRASH)  # Python's own account, innermost call first
    if crash >= 0:
        return _in_one_line(tail[crash:].splitlines()[: _N_LINES + 1])
    return _in_one_line(tail.splitlines()[-_N_LINES:])


def _in_one_line(lines: list[str]) -> str:
    return " | ".join(line.strip() for line in lines if line.strip())
