"""The log file of each worker process, and the reason that it gives for the process's end."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER_VARIABLE = "SURVEYFLOW_WORKER_LOGS"
"""Environment variable with the folder of the logs, set for each worker process."""

POOL_VARIABLE = "SURVEYFLOW_POOL"
"""Environment variable with the name of a worker's pool."""

REASON_PREFIX = "This process ends itself:"
"""First words of the line in which a process says why it ends itself."""

_N_LINES = 5
_TAIL_BYTES = 20_000
_CRASH = "Fatal Python error"


def log_path(folder: Path, address: str) -> Path:
    """Name the log of the worker at ``address`` (``tcp://host:port``)."""
    return folder / f"worker-{re.sub(r'[^0-9A-Za-z.]+', '-', address)}.log"


def why_ended(folder: Path, address: str) -> str:
    """Quote a worker's log in one line: its own reason, the traceback of a crash, or else its last lines; empty without one."""
    try:
        tail = log_path(folder, address).read_bytes()[-_TAIL_BYTES:].decode(errors="replace")
    except FileNotFoundError:
        return ""
    reason = tail.rfind(REASON_PREFIX)
    if reason >= 0:
        return _in_one_line(tail[reason:].splitlines()[:1])
    crash = tail.rfind(_CRASH)  # Python's own traceback, innermost call first
    if crash >= 0:
        return _in_one_line(tail[crash:].splitlines()[: _N_LINES + 1])
    return _in_one_line(tail.splitlines()[-_N_LINES:])


def _in_one_line(lines: list[str]) -> str:
    return " | ".join(line.strip() for line in lines if line.strip())
