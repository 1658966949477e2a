"""The file and extension that a path or address names, the file's state, and the words for a file that cannot be used.

A file may be absent. One that others wrote may make a library raise anything, which becomes one error that names the file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Self, overload

from surveyflow.errors import SurveyflowError
from surveyflow.files.addresses import Address, is_address, redacted
from surveyflow.files.remote import state_at
from surveyflow.files.transfers import RemoteState

Place = Path | Address
"""Where a file is: on this machine or at an address."""


@dataclass(frozen=True, slots=True)
class FileState:
    """The size, time and number of a file, which show whether it has changed.

    Parameters
    ----------
    path
        Absolute path, or address.
    size
        Size, bytes.
    mtime_ns
        Time of the last change, nanoseconds since 1970; 0 if a server does not state it.
    inode
        Number of the file in its file system; 0 for a file at an address.
    tag
        The server's name for the content (ETag); empty for a local file.
    """

    path: Place
    size: int
    mtime_ns: int
    inode: int
    tag: str = ""

    @classmethod
    def at(cls, address: Address, state: RemoteState) -> Self:
        """The state of a file at an address."""
        return cls(address, state.size or 0, state.modified_ns, 0, state.tag)


def file_state(place: str | Place) -> FileState | None:
    """Return the present state of a file; None if neither the system nor the server reports it."""
    try:
        if isinstance(place, Address):
            return FileState.at(place, state_at(place))
        status = Path(place).stat()
    except (OSError, ModuleNotFoundError):
        return None
    return FileState(Path(place), status.st_size, status.st_mtime_ns, status.st_ino)


def place_of(text: str | Place) -> Place:
    """The path or address that a text is.

    Raises
    ------
    ValueError
        If it begins as an address does, and cannot be used as one.
    """
    if isinstance(text, str):
        return Address(text) if "://" in text and is_address(text) else Path(text)
    return text


_NAMED_EXTENSION = re.compile(r"(?P<file>.+)\[(?P<extension>[^\[\]]+)\]", re.DOTALL)


@overload
def split_extension(path: Path) -> tuple[Path, str | None]: ...
@overload
def split_extension(path: Address) -> tuple[Address, str | None]: ...
@overload
def split_extension(path: str | Place) -> tuple[Place, str | None]: ...
def split_extension(path: str | Place) -> tuple[Place, str | None]:
    """Split ``mosaic.fits[SCI]`` into the file and the extension's name or number; None if no extension is named.

    Examples
    --------
    >>> split_extension("egs.fits[SCI]")
    (PosixPath('egs.fits'), 'SCI')
    >>> split_extension("egs.fits")
    (PosixPath('egs.fits'), None)
    """
    match = _NAMED_EXTENSION.fullmatch(path.url if isinstance(path, Address) else str(path))
    return (place_of(match["file"]), match["extension"].strip()) if match else (place_of(path), None)


def with_extension(file: Place, extension: str | None) -> Place:
    """The path or address that names an extension of a file; the file itself if it is None."""
    if extension is None:
        return file
    return Address(f"{file.url}[{extension}]") if isinstance(file, Address) else Path(f"{file}[{extension}]")


def at_home(path: str | Path) -> Path:
    """The path with the user's home in the place of ``~``; unchanged if the system knows no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")


def problem_of_file(path: Path) -> tuple[str, str] | None:
    """Why a file cannot be read, with the remedy; None if it can be read."""
    if not os.path.lexists(path):
        return _remote(path) or absent(path)
    if path.is_dir():
        return f"{path} is a folder, not a file.", "Name a file in it."
    if not path.is_file():
        return f"{path} is not an ordinary file, or is a broken link.", "Name an ordinary file."
    if not os.access(path, os.R_OK):
        return f"{path} cannot be read: you have no permission.", "Ask its owner for permission to read it (chmod +r)."
    return None


def _remote(path: Path) -> tuple[str, str] | None:
    """Say that a path is an address, of which ``Path`` keeps one slash of two; None if it is not."""
    place = next((number for number, part in enumerate(path.parts) if _SCHEME.fullmatch(part)), None)
    if place is None:
        return None
    scheme, *rest = path.parts[place:]
    address = f"{scheme}//{'/'.join(rest)}"
    if scheme == "file:":
        return f"{address} is an address, expected a path.", f"Name the file: /{'/'.join(rest)}."
    return f"{address} is an address, and only local files are read.", "Download it, and name the local file."


def absent(path: Path) -> tuple[str, str]:
    """Describe a path that does not exist: the nearest folder that does, and the names in it that are similar."""
    folder = nearest_folder(path)
    looked_for = path.relative_to(folder).parts[0]
    try:
        names = [entry.name for entry in folder.iterdir()]
    except OSError:
        names = []
    similar = _similar_names(looked_for, names)
    remedy = f"Did you mean {', or '.join(similar)}?" if similar else "Correct the path, or put the file there."
    return f"{path} does not exist; the nearest folder that does is {folder}.", remedy


def _similar_names(looked_for: str, names: list[str]) -> list[str]:
    """The names that are similar to one; an ending that both have does not count, since files of one kind share it."""
    ending = Path(looked_for).suffix
    by_bare = {name.removesuffix(ending): name for name in names}
    return [by_bare[bare] for bare in get_close_matches(looked_for.removesuffix(ending), list(by_bare), n=3, cutoff=0.6)]


def nearest_folder(path: Path) -> Path:
    """The nearest existing parent of an absolute path; a folder, unless a file is in the place of one."""
    return next(parent for parent in path.parents if os.path.lexists(parent))


_LONGEST = 300


@contextmanager
def refusing(refusal: Callable[[str], SurveyflowError]) -> Iterator[None]:
    """Replace any error by a refusal of the file that is being read.

    Libraries raise on content that they do not expect whatever their code happens to raise: an AttributeError for a missing
    column, a MemoryError for a table that claims 10^12 rows. So the body should hold little more than the call of a library.

    Parameters
    ----------
    refusal
        Makes the error from the reason.

    Raises
    ------
    SurveyflowError
        What ``refusal`` returns, in place of any error that is not surveyflow's own.
    """
    try:
        yield
    except SurveyflowError:
        raise
    except Exception as error:
        raise refusal(reason(error)) from error


def reason(error: BaseException) -> str:
    """An error's text in one line of limited length, without a full stop; its class if it has no text."""
    if isinstance(error, MemoryError):
        return "it claims more than fits into memory"
    text = redacted(" ".join(str(error).split()).rstrip("."))
    return f"{text[:_LONGEST]}..." if len(text) > _LONGEST else text or type(error).__name__
