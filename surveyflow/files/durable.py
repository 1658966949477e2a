"""Files that are written completely and durably, and never overwritten by accident.

A file is written under a temporary name in its own folder, flushed to disk, and then linked to its final name. A reader sees
either no file or the complete file, even after a crash and even on NFS.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import psutil

from surveyflow.errors import OutputError, SurveyflowError

TEMPORARY_SUFFIX = ".tmp"
MISPLACED_SUFFIX = ".misplaced"
"""Ending of the hidden name that a folder gets if it has the name of a file."""

_LINKS_REFUSED = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}
_REMEDIES = {
    errno.ENOSPC: "Free some space and run again: finished work is kept.",
    errno.EDQUOT: "Your quota is used up. Free some space and run again: finished work is kept.",
    errno.EROFS: "The file system is read-only: choose another output folder.",
    errno.EACCES: "You may not write there: choose another output folder, or have its permissions changed.",
    errno.EPERM: "You may not write there: choose another output folder, or have its permissions changed.",
    errno.ENOTDIR: "A file is in the place of a folder: choose another output folder.",
    errno.EEXIST: "Something else is in the place of a folder: remove it and run again.",
}


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Replace an error of the operating system by one that says what to do.

    Raises
    ------
    OutputError
        In place of any OSError of the body, unless it is one of surveyflow's errors.
    """
    try:
        yield
    except SurveyflowError:
        raise
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "Check the output folder and its file system, and run again.")
        raise OutputError(f"{path} could not be written: {error.strerror or error}. {remedy}") from error


def write_new(path: Path, content: bytes) -> bool:
    """Write a file in one durable step, unless it exists: the first writer wins.

    Parameters
    ----------
    path
        The file; missing folders are made.
    content
        Its complete content.

    Returns
    -------
    Whether this call made the file.

    Raises
    ------
    OutputError
        If the file cannot be written; then it does not exist.
    """
    with explained(path), _temporary(path, content) as temporary:
        return _link(temporary, path)


def write_over(path: Path, content: bytes) -> None:
    """Write one of surveyflow's own files in one durable step, replacing what it held before, and whatever else has its name.

    A file that the user named must have passed `named_output`.

    Raises
    ------
    OutputError
        If the file cannot be written, or a device has its name; then nothing has changed.
    """
    with explained(path), _temporary(path, content) as temporary:
        make_way(path)
        temporary.replace(path)


def named_output(path: Path) -> Path:
    """Check that a file which the user names may be written: only an ordinary file is ever replaced.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    The file itself, if a link was named.

    Raises
    ------
    OutputError
        If it is a folder, a device, a pipe, a socket or a broken link, or cannot be reached.
    """
    with explained(path):
        if path.is_dir():
            raise OutputError(f"{path} is a folder, and a file is to be written. Name a file in it.")
        if os.path.lexists(path) and not path.is_file():
            raise OutputError(f"{path} is not an ordinary file, and only such a file is replaced. Name another file.")
        return path.resolve()


@contextmanager
def streamed(path: Path, *, replace: bool) -> Iterator[BinaryIO]:
    """Write a file of any size that the user named, piece by piece; it gets its name when the block is over, and is durable then.

    Parameters
    ----------
    path
        The file; missing folders are made.
    replace
        Whether an ordinary file of that name is replaced.

    Yields
    ------
    A stream of bytes. If the block raises an error, nothing has changed.

    Raises
    ------
    OutputError
        If there is something of that name that is not to be replaced, or the file cannot be written.
    """
    target = free_name(path, replace=replace)
    with explained(target):
        make_folder(target.parent)
        temporary = temporary_path(target)
        try:
            with temporary.open("xb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            if replace:
                temporary.replace(target)
            elif not _link(temporary, target):
                raise _taken(target)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(target.parent)


def free_name(path: Path, *, replace: bool) -> Path:
    """Check that a file which the user names may be written, before the work on its content begins.

    Parameters
    ----------
    path
        The file.
    replace
        Whether an ordinary file of that name is replaced.

    Returns
    -------
    The file itself, if a link was named.

    Raises
    ------
    OutputError
        If there is something of that name that is not to be replaced.
    """
    target = named_output(path)
    if os.path.lexists(target) and not replace:
        raise _taken(target)
    return target


def _taken(path: Path) -> OutputError:
    return OutputError(f"{path} exists already, and is not replaced unasked. Name another file, or add --overwrite.")


def link_or_copy(source: Path, path: Path) -> None:
    """Give a finished file a second name, so that its content is on disk only once; copy it if the file system has no links.

    Parameters
    ----------
    source
        A file that is never written again.
    path
        The new name, which must be free; its folder must exist.

    Raises
    ------
    OutputError
        If the file can be neither linked nor copied.
    """
    with explained(path):
        try:
            os.link(source, path)
        except OSError as error:
            if error.errno not in _LINKS_REFUSED | {errno.EXDEV}:
                raise
            shutil.copyfile(source, path)


def make_way(path: Path) -> None:
    """Take away what has the name of one of surveyflow's own files and is not an ordinary file.

    A folder gets a hidden name; links, pipes and sockets are removed. A device is left where it is.

    Raises
    ------
    OutputError
        If it is a device.
    """
    if path.is_block_device() or path.is_char_device():
        raise OutputError(f"{path} is a device, and a file is to be written there. Choose another output folder.")
    if path.is_dir() and not path.is_symlink():
        path.rename(temporary_path(path).with_suffix(MISPLACED_SUFFIX))
    elif os.path.lexists(path) and not path.is_file():
        path.unlink()


def remove_any(path: Path) -> None:
    """Remove what has a name, if anything: a file, a link, a pipe, or a folder with its content."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync_file(path: Path) -> None:
    """Make a file's content and permissions durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, durably."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def temporary_path(path: Path) -> Path:
    """Make a hidden name in a file's folder that no other writer uses and that is never mistaken for a Parquet file."""
    return path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")


def writer_has_ended(temporary: Path) -> bool:
    """Whether a temporary file belongs to a process of this machine that has ended; False for files of other machines.

    Parameters
    ----------
    temporary
        A path that `temporary_path` made.
    """
    match = re.search(rf"\.{re.escape(socket.gethostname())}\.(\d+)\.[0-9a-f]{{8}}{re.escape(TEMPORARY_SUFFIX)}$", temporary.name)
    return match is not None and not psutil.pid_exists(int(match[1]))


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def _temporary(path: Path, content: bytes) -> Iterator[Path]:
    """Make a durable file under another name in the same folder; remove it afterwards and make the folder's names durable."""
    make_folder(path.parent)
    temporary = temporary_path(path)
    try:
        _write_durably(temporary, content)
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def _write_durably(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _link(temporary: Path, path: Path) -> bool:
    """Give a file a second, new name; False if that name is taken."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return temporary.stat().st_nlink == 2  # NFS may repeat a request that had succeeded
    except OSError as error:
        if error.errno not in _LINKS_REFUSED:
            raise
        return _rename_new(temporary, path)
    return True


def _rename_new(temporary: Path, path: Path) -> bool:
    """Rename a file, where links are refused. Two simultaneous writers may both succeed, each with a complete file."""
    if path.exists():
        return False
    temporary.rename(path)
    return True
