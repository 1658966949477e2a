"""The state of a file, which shows without reading it whether it is still the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class FileState:
    """The size, time and number of a file, which show whether it has changed.

    Parameters
    ----------
    path
        Absolute path.
    size
        Size, bytes.
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
    """Return the present state of a file; None if the system does not report it."""
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return FileState(Path(path), status.st_size, status.st_mtime_ns, status.st_ino)
