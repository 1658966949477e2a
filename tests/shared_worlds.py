"""Worlds that take long to make, such as surveys, runs and trained models: made once for all processes of a test run."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

World = TypeVar("World")


class SharedWorlds:
    """Folders of one test run, each made by the first of its processes that needs it, while the others wait.

    What lies in them is only to be read: a test that changes something works on a copy.

    Parameters
    ----------
    root
        A folder that all processes of the run share, and no other run.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(exist_ok=True)

    def get(self, name: str, make: Callable[[Path], World]) -> World:
        """Return what ``make`` returned when it was called with an empty folder, once in this test run.

        Parameters
        ----------
        name
            Tells worlds apart.
        make
            Fills the folder; what it returns must survive pickling.
        """
        made = self.root / f"{name}.pickle"
        with FileLock(self.root / f"{name}.lock"):
            if not made.exists():
                self._make(name, make, made)
            return pickle.loads(made.read_bytes())

    def _make(self, name: str, make: Callable[[Path], World], made: Path) -> None:
        folder = self.root / name
        shutil.rmtree(folder, ignore_errors=True)  # a process that was killed may have left half of it
        folder.mkdir()
        part = made.with_suffix(".part")
        part.write_bytes(pickle.dumps(make(folder)))
        part.rename(made)
