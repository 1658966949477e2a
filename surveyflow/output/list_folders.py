"""The folders of work lists, ``ROOT/lists/<key>``: built under another name, moved when complete, and swept when stale.

Before the first run has made the output folder, work lists are built beside it, and vanish unless a run takes them over.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from surveyflow.files.durable import (
    TEMPORARY_SUFFIX,
    explained,
    make_folder,
    remove_any,
    sync_folder,
    temporary_path,
    writer_has_ended,
)

_LISTS = "lists"


def lists_folder(root: Path, key: str) -> Path:
    """The folder of work lists.

    Parameters
    ----------
    root
        The output folder.
    key
        The key of the lists.
    """
    return root / _LISTS / key


@contextmanager
def building_lists(root: Path, key: str) -> Iterator[Path]:
    """Make a folder to build work lists in, on the output folder's file system if possible; it is removed unless it was moved.

    Parameters
    ----------
    root
        The output folder, which need not exist.
    key
        The key of the lists.
    """
    folder = _new_folder(root, key)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _new_folder(root: Path, key: str) -> Path:
    with suppress(OSError):
        home = lists_folder(root, key)
        if root.is_dir():
            make_folder(home.parent)
        parent = home.parent if root.is_dir() else next(folder for folder in root.absolute().parents if folder.is_dir())
        folder = temporary_path(parent / f"{root.name}-lists-{key}")
        folder.mkdir()
        return folder
    with explained(root):
        return Path(tempfile.mkdtemp(prefix="surveyflow-lists-"))


def move_lists(folder: Path, root: Path, key: str) -> Path:
    """Move complete work lists into the output folder; lists in their place, which are damaged or the same, make way.

    Parameters
    ----------
    folder
        Where they were built.
    root
        The output folder.
    key
        The key of the lists.

    Returns
    -------
    Where they are.

    Raises
    ------
    OutputError
        If they cannot be moved.
    """
    home = lists_folder(root, key)
    with explained(home):
        make_folder(home.parent)
        if os.path.lexists(home):
            away = temporary_path(home)
            home.rename(away)
            remove_any(away)
        shutil.move(folder, home)
        sync_folder(home.parent)
    return home


def sweep_lists(root: Path, key: str, older_than_s: float = 86_400.0) -> None:
    """Remove work lists of other inputs, and those that dead processes began to build.

    Parameters
    ----------
    root
        The output folder; the caller must hold its lock.
    key
        The key of the lists in use.
    older_than_s
        Age since they were last used from which others count as stale, seconds.
    """
    before = time.time() - older_than_s
    with explained(root):
        for path in (root / _LISTS).glob("*"):
            unfinished = path.name.endswith(TEMPORARY_SUFFIX) and writer_has_ended(path)
            if path.name != key and (unfinished or path.lstat().st_mtime < before):
                remove_any(path)
