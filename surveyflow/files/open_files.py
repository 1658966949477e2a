"""The number of files that this process may hold open."""

from __future__ import annotations

import resource

_OTHERS = 256
"""Files that a process needs beside those that it counts: libraries, logs, connections."""


def allow_open_files(number: int) -> int | None:
    """Raise this process's limit of open files, if it must be raised, as far as the system allows.

    Parameters
    ----------
    number
        Files that are to be open at the same time.

    Returns
    -------
    None if the limit suffices; otherwise the largest limit that the system allows this process.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = number + _OTHERS
    if _suffices(soft, needed):
        return None
    if not _suffices(hard, needed):
        return hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    return None


def _suffices(limit: int, needed: int) -> bool:
    return limit == resource.RLIM_INFINITY or limit >= needed
