"""The cache of digests of mosaic windows, so that unchanged files need not be read again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from surveyflow.files.durable import remove_any, write_over
from surveyflow.files.json_state import MOST_BYTES_OF_LISTS, recall_state, sealed
from surveyflow.values.images import Box


@dataclass(frozen=True, slots=True)
class _Entry:
    """The content of a file: the state of the mosaic's files, and the digests by window and name."""

    files: list[Any]
    digests: dict[str, dict[str, str]]


_ENTRY = TypeAdapter(_Entry)


class DigestCache:
    """The known digests of one mosaic's windows, in ``ROOT/digests/``; discarded when a file's size, mtime or inode changes.

    Parameters
    ----------
    root
        The output folder.
    files
        The mosaic and its present state: path, size, modification time and inode of each of its files.
    """

    def __init__(self, root: Path, files: Sequence[Sequence[Any]]) -> None:
        self._root = root
        self._state = [list(file) for file in files]
        name = hashlib.sha256("\0".join(str(file[0]) for file in files).encode()).hexdigest()[:32]
        self._path = root / "digests" / f"{name}.json"
        self._digests = self._read()
        self._is_saved = True

    def get(self, box: Box) -> Mapping[str, str] | None:
        """Return the digests of a window by name; None if they are not known."""
        return self._digests.get(_name(box))

    def put(self, box: Box, digests: Mapping[str, str]) -> None:
        """Remember the digests of a window."""
        self._digests[_name(box)] = dict(digests)
        self._is_saved = False

    def save(self) -> None:
        """Write what is new in one durable step. Nothing is written before the first run has made the output folder."""
        if self._is_saved or not self._root.is_dir():
            return
        write_over(self._path, sealed(json.dumps({"files": self._state, "digests": self._digests})))
        self._is_saved = True

    def _read(self) -> dict[str, dict[str, str]]:
        entry = recall_state(self._path, _ENTRY, MOST_BYTES_OF_LISTS)
        return entry.digests if entry is not None and entry.files == self._state else {}


def forget_digests(root: Path) -> None:
    """Remove the digests of all mosaics, so that their pixels are read again.

    Parameters
    ----------
    root
        The output folder.
    """
    for path in root.glob("digests/*.json"):
        remove_any(path)


def _name(box: Box) -> str:
    return f"{box.y0}:{box.y1},{box.x0}:{box.x1}"
