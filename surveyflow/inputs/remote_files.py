"""Files at addresses as inputs: errors that name them, and local copies of those that must be read whole."""

from __future__ import annotations

import atexit
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from surveyflow.errors import InputError
from surveyflow.files.addresses import Address
from surveyflow.files.paths import FileState, Place
from surveyflow.files.remote import copy_from, state_at
from surveyflow.files.transfers import Unreachable
from surveyflow.values import remedies

_LONGEST_NAME = 100


@contextmanager
def reaching(place: str | Place, kind: type[InputError]) -> Iterator[None]:
    """Replace what the reading of an address raises by an error of the inputs.

    Parameters
    ----------
    place
        The file, as messages name it.
    kind
        Class of the error.

    Raises
    ------
    InputError
        Of the class ``kind``, if the file cannot be reached, or a library for its kind of address is missing.
    """
    try:
        yield
    except Unreachable as error:
        raise kind(f"{place} cannot be read from its server: {str(error).rstrip('.')}.") from None
    except ModuleNotFoundError as error:
        raise kind(f"{place} needs {error.name}, which is not installed. Install it: `{remedies.install('remote')}`.") from error


def local_copy(address: Address) -> tuple[Path, FileState]:
    """Copy a file to this machine, once for each process and state of the file; the copy is removed when the process ends.

    Parameters
    ----------
    address
        The file.

    Returns
    -------
    The copy, and the state of the file on its server.

    Raises
    ------
    Unreachable
        If it cannot be copied.
    """
    state = state_at(address)
    file = FileState.at(address, state)
    copy = _folder() / hashlib.sha256(repr((address.url, file)).encode()).hexdigest()[:32] / _name(address)
    if not copy.exists():
        _check_room(state.size or 0, copy.parent)
        part = copy.with_name(f"{copy.name}.part")
        copy_from(address, state, part)
        part.rename(copy)
    return copy, file


def _check_room(n_bytes: int, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        room = f"its copy needs {n_bytes:,} bytes, but {folder.parent} has {free:,} free"
        raise Unreachable(f"{room}. Set TMPDIR to a folder with more room")


def _name(address: Address) -> str:
    return address.name.replace("/", "_")[-_LONGEST_NAME:] or "file"


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="copies-for-surveyflow-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
