"""The one reader of JSON files that surveyflow wrote earlier: receipts, locks, heartbeats, manifests, progress, caches.

Such a file may have been damaged, replaced or made by somebody else, so nothing about it is believed: it must be an ordinary
file of limited size whose content has the type that the caller states. A file whose values could change unnoticed by a flipped
bit ends with a seal, the digest of all that comes before.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import from_json

from surveyflow.errors import CatalogError

MOST_BYTES = 2**24
"""Size limit of a small file, such as a receipt."""
MOST_BYTES_OF_LISTS = 2**28
"""Size limit of a file with an entry for each unit or window: a million units need less."""

MOST_SECONDS = 1e12
"""Longest duration in a file, seconds; what dates and durations can show ends later."""
Amount = Annotated[float, Field(ge=0, le=MOST_SECONDS)]
"""A time, duration or size in a file."""
Count = Annotated[int, Field(ge=0, le=10**12)]
"""A number of things."""

_SEAL = re.compile(rb', "seal": "([0-9a-f]{64})"\}\Z')
State = TypeVar("State")
logger = logging.getLogger(__name__)


class Damaged(ValueError):
    """The content of a file is not what surveyflow writes; the text says how it differs."""


class TooLarge(Damaged):
    """A file is larger than it may be."""


def read_state(path: Path, form: TypeAdapter[State], remedy: str, most_bytes: int = MOST_BYTES) -> State | None:
    """Read a file that cannot be made again.

    Parameters
    ----------
    path
        The file.
    form
        The type of its content. Keys that it does not know are ignored.
    remedy
        What the user can do if the file is damaged.
    most_bytes
        Size limit.

    Returns
    -------
    Its content; None if there is no such file.

    Raises
    ------
    CatalogError
        If it is not an ordinary file, is too large, may not be read, or has another content.
    """
    try:
        return parse_state(read_ordinary_file(path, most_bytes), form)
    except FileNotFoundError:
        return None
    except Damaged as error:
        raise CatalogError(f"{path} is damaged: {error}. {remedy}") from error


def recall_state(path: Path, form: TypeAdapter[State], most_bytes: int = MOST_BYTES) -> State | None:
    """Read a file that is made again if it is damaged; the damage is logged.

    Parameters
    ----------
    path, form, most_bytes
        As in `read_state`.

    Returns
    -------
    Its content; None if there is no such file, or it is damaged.
    """
    try:
        return parse_state(read_ordinary_file(path, most_bytes), form)
    except FileNotFoundError:
        return None
    except Damaged as error:
        logger.warning("file=%s is damaged: %s; it is not used and will be made again", path, error)
        return None


def read_ordinary_file(path: Path, most_bytes: int) -> bytes:
    """Read an ordinary file of limited size; a pipe, folder or device is refused without waiting for it.

    Parameters
    ----------
    path
        The file.
    most_bytes
        Size limit.

    Raises
    ------
    FileNotFoundError
        If nothing has this name.
    Damaged
        If it is not an ordinary file, is too large, or cannot be read.
    """
    with _opened(path) as (descriptor, size):
        if size > most_bytes:
            raise TooLarge(f"it is larger than {most_bytes} bytes")
        return _read_up_to(descriptor, size)


def read_end(path: Path, most_bytes: int) -> bytes:
    """Read the end of an ordinary file of any size.

    Parameters
    ----------
    path
        The file.
    most_bytes
        Number of bytes to read, unless the file is smaller.

    Raises
    ------
    FileNotFoundError, Damaged
        As in `read_ordinary_file`.
    """
    with _opened(path) as (descriptor, size):
        os.lseek(descriptor, max(0, size - most_bytes), os.SEEK_SET)
        return _read_up_to(descriptor, most_bytes)


def parse_state(content: bytes, form: TypeAdapter[State]) -> State:
    """Make a value of JSON text.

    Parameters
    ----------
    content
        The text, in UTF-8.
    form
        The type of the value. A whole number may stand for a float; nothing else is converted.

    Raises
    ------
    Damaged
        If the text differs from its seal, is not JSON, is nested too deeply, or has another content.
    """
    text = _unsealed(content)
    _check_numbers(text)
    try:
        return form.validate_json(text, strict=True)
    except ValidationError as error:
        raise Damaged(_first(error)) from error


def sealed(text: str) -> bytes:
    """Add a seal to a JSON object.

    Parameters
    ----------
    text
        The object; it has at least one key.

    Examples
    --------
    >>> sealed('{"a": 1}')[:24]
    b'{"a": 1, "seal": "f9d860'
    """
    content = text.encode()
    return content[:-1] + f', "seal": "{hashlib.sha256(content).hexdigest()}"}}'.encode()


def _check_numbers(text: bytes) -> None:
    """Refuse NaN and infinity, which are not JSON; a type takes them unless it says otherwise."""
    if b"NaN" in text or b"Infinity" in text:
        try:
            from_json(text, allow_inf_nan=False)
        except ValueError as error:
            raise Damaged(str(error)) from error


def _unsealed(content: bytes) -> bytes:
    """The object without its seal, after a check; files of earlier versions have no seal."""
    seal = _SEAL.search(content)
    if seal is None:
        return content
    text = content[: seal.start()] + b"}"
    if hashlib.sha256(text).hexdigest().encode() != seal[1]:
        raise Damaged("its content differs from its seal")
    return text


@contextmanager
def _opened(path: Path) -> Iterator[tuple[int, int]]:
    """Open an ordinary file; yield its descriptor and size."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not path.is_symlink():
            raise
        raise Damaged(f"it cannot be opened ({error.strerror})") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Damaged("it is not an ordinary file")
        yield descriptor, status.st_size
    except OSError as error:
        raise Damaged(f"it cannot be read ({error.strerror})") from error
    finally:
        os.close(descriptor)


def _read_up_to(descriptor: int, most_bytes: int) -> bytes:
    """Read until the end of the file or the limit, whichever comes first."""
    parts = []
    while most_bytes > 0 and (part := os.read(descriptor, most_bytes)):
        parts.append(part)
        most_bytes -= len(part)
    return b"".join(parts)


def _first(error: ValidationError) -> str:
    """The first thing that is wrong, and where."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(key)[:100] for key in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]
