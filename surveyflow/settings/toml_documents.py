"""TOML files, read within bounds: a file that is too large, too deep or not TOML is refused at once.

Whatever a file holds, it is read or refused within seconds.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from surveyflow.files.paths import problem_of_file
from surveyflow.settings.findings import Refused

MOST_BYTES = 2**20
"""Largest file: a survey of some thousand mosaics stays below."""
MOST_LEVELS = 16
"""Deepest nesting of tables and lists."""

_KEY = r"""(?:[^\s.=,{}\[\]"'#]++|"[^"\n]*+"|'[^'\n]*+')"""
_LONG_KEY = re.compile(rf"""(?<![^\s=,{{}}\[\]]){_KEY}(?:[ \t]*+\.[ \t]*+{_KEY}){{{4 * MOST_LEVELS}}}""")
"""A key of very many parts, for which ``tomllib`` needs time that grows with the square of their number."""


class Unreadable(Refused):
    """A file is not one that settings can be read from."""


def read_bytes(file: Path, most_bytes: int | None = None) -> bytes:
    """Read a file whole.

    Raises
    ------
    Unreadable
        If there is no such file, it may not be read, or it is larger than ``most_bytes``.
    """
    if problem := problem_of_file(file):
        raise Unreadable(problem[0].removeprefix(f"{file} "), problem[1])
    with file.open("rb") as stream:
        content = stream.read(-1 if most_bytes is None else most_bytes + 1)
    if most_bytes is not None and len(content) > most_bytes:
        raise _too_large()
    return content


def to_text(content: bytes) -> str:
    """UTF-8 as text, without a byte order mark.

    Raises
    ------
    Unreadable
        If it is not UTF-8.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(f"is not text in UTF-8 (byte {error.start}).", "Save it as plain text in UTF-8.") from error


def to_document(text: str) -> dict[str, Any]:
    """TOML as tables and values.

    Raises
    ------
    Unreadable
        If it is not TOML, holds a whole number of thousands of digits, or is nested too deeply.
    """
    if len(text) > MOST_BYTES:
        raise _too_large()
    if _LONG_KEY.search(text):
        raise too_deep()
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Unreadable(f"is not TOML: {error}.", "Correct that line; text stands in quotes, tables in [brackets].") from error
    except RecursionError:
        raise too_deep() from None
    except ValueError as error:
        raise Unreadable("holds a whole number of more digits than can be read.", "Write a smaller number.") from error


def too_deep() -> Unreadable:
    """What is raised of a document of too many levels."""
    return Unreadable(f"has tables or lists nested more than {MOST_LEVELS} deep.", "Write it with fewer levels.")


def _too_large() -> Unreadable:
    return Unreadable(f"is larger than {MOST_BYTES} bytes.", "Name a file of settings, which is smaller.")
