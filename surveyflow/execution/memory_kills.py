"""Workers that were killed because they were out of memory, as the jobs that held them report it.

A driver sees only that a worker is gone. Whoever started the worker can know why, and says so in a file ``memory-PREFIX`` in the
folder of the workers' logs: workers whose names begin with PREFIX were out of memory. Its text is ``SCRIPT MEMORY MOST``: what
started them, the memory that they had, and the most that is asked for in their place, both in MiB. Workers that may be followed
by larger ones declare their memory, in MiB, as the Dask resource ``memory``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MEMORY = "memory"
"""The Dask resource by which a worker declares its memory, MiB."""

PREFIX = "memory-"
"""First letters of the names of such files."""

SEEN = ".seen"
"""Last letters of the name of a file beside one whose worker has been replaced."""

_TEXT = re.compile(r"(?P<script>[A-Za-z0-9_.-]+) (?P<memory>[0-9]{1,12}) (?P<most>[0-9]{1,12})\s*")
_MOST_BYTES = 1_000


@dataclass(frozen=True, slots=True)
class MemoryKill:
    """The end of a worker that was out of memory.

    Parameters
    ----------
    script
        What started it.
    memory_mib
        Memory that it had, MiB.
    most_mib
        Most memory that a worker in its place will have, MiB.
    """

    script: str
    memory_mib: int
    most_mib: int

    @property
    def was_largest(self) -> bool:
        """Whether no worker in its place will have more."""
        return self.memory_mib >= self.most_mib


def memory_kill(logs: Path, worker: str) -> MemoryKill | None:
    """Find out whether a worker was out of memory; None if nothing says so.

    Parameters
    ----------
    logs
        Folder of the workers' logs.
    worker
        The worker's name.
    """
    return next((kill for kill in _kills_of(logs, worker)), None)


def _kills_of(logs: Path, worker: str) -> Iterator[MemoryKill]:
    for path in sorted(logs.glob(f"{PREFIX}*")):
        if worker.startswith(path.name.removeprefix(PREFIX)):
            with suppress(OSError):
                found = _TEXT.fullmatch(path.read_bytes()[:_MOST_BYTES].decode(errors="replace"))
                if found:
                    yield MemoryKill(found["script"], int(found["memory"]), int(found["most"]))
