"""The state of a file, which shows without reading it whether it is still the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class FileState:
    """What tells, without reading a file, whether it is still the one that was read.

    Parameters
    ----------
    path
        Absolute path.
    size
        Bytes.
    mtime_ns
        Time of the last change, nanoseconds since 1970.
    inode
        Number of the file in its file system.
    """

    path: Path
    size: int
    mtime_ns: int
    inode: int


def file_state(path: str | Path) -> FileState | None:
    """The present state of a file; None where it cannot be looked at."""
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return FileState(Path(path), status.st_size, status.st_mtime_ns, status.st_ino)
