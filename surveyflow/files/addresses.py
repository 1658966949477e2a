"""Addresses of files elsewhere: ``https://``, ``http://``, ``s3://`` and ``gs://``.

An address may hold secrets: a password before the host, a signature in the query. They are sent to the server, and written
nowhere: the text of an `Address` lacks them, and `redacted` removes them from the texts of libraries.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from posixpath import basename
from typing import Self
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

SCHEMES = ("https", "http", "s3", "gs")
"""Beginnings of the addresses that can be read."""

_BEGINNING = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://")
_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")
_PARAMETER = re.compile(r"(?P<before>[?&;])(?P<name>[^=&;?\s'\"<>]+)=(?P<value>[^&;\s'\"<>]*)")
_NAMES_A_FILE = {"uri", "file", "filename", "path", "product", "release", "version"}
"""Parameters of a query that say which file is meant, and are no secret."""
_HIDDEN = "..."


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """The address of a file. Its text lacks passwords and the values of unknown parameters of its query.

    Parameters
    ----------
    url
        The complete address, which may hold secrets; ``https://host/image.fits[SCI]`` names an extension.
    """

    url: str

    def __post_init__(self) -> None:
        if problem := problem_of_address(self.url):
            raise ValueError(" ".join(problem))

    def __str__(self) -> str:
        return _without_secrets(self.url)

    def __repr__(self) -> str:
        return f"Address({str(self)!r})"

    @property
    def scheme(self) -> str:
        """``https``, ``http``, ``s3`` or ``gs``."""
        return urlsplit(self.url).scheme

    @property
    def name(self) -> str:
        """The last part of the path: ``image.fits``."""
        return basename(unquote(urlsplit(self.url).path))

    def absolute(self) -> Self:
        """The address itself: no folder makes it another one."""
        return self


def is_address(text: str) -> bool:
    """Whether a text begins as an address does, whatever follows."""
    return _BEGINNING.match(text) is not None


def problem_of_address(text: str) -> tuple[str, str] | None:
    """Why an address cannot be used, with the remedy; None if it can be."""
    found, shown = _BEGINNING.match(text), redacted(text)
    if found is None or found["scheme"].lower() not in SCHEMES:
        known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        return f"{shown} is not on this machine, and remote files are read from {known} only.", "Download it, and name the file."
    if not text.isprintable() or re.search(r"\s", text):
        return f"{shown!r} holds spaces or control characters.", "Write them as %20 and the like."
    try:
        parts = urlsplit(text)
        complete = bool(parts.hostname) and len(parts.path) > 1 and (parts.port or True)
    except ValueError as error:
        return f"{shown} is not an address: {error}.", "Correct it."
    if not complete or parts.fragment or parts.path.endswith("/"):
        return f"{shown} does not name a file on a host, or holds a #.", "Write scheme://host/path/to/file; # is %23."
    return None


def redacted(text: str) -> str:
    """A text without the passwords, and the values of unknown parameters, of all addresses in it."""
    shown = _IN_TEXT.sub(lambda match: _without_secrets(match[0]), text)
    return _PARAMETER.sub(_hidden_value, shown)


def _without_secrets(url: str) -> str:
    without_user = re.sub(r"(?<=://)[^/\s]*@", "", url)
    try:
        parts = urlsplit(without_user)
    except ValueError:
        return without_user.partition("?")[0]
    if not parts.query:
        return without_user
    query, bracket, extension = _query_and_extension(parts)
    kept = "&".join(_shown_parameter(part) for part in re.split("[&;]", query))
    return urlunsplit(parts._replace(query=f"{kept}{bracket}{extension}"))


def _query_and_extension(parts: SplitResult) -> tuple[str, str, str]:
    """The query, and ``[SCI]`` at its end if an extension is named."""
    return parts.query.partition("[") if parts.query.endswith("]") else (parts.query, "", "")


def _shown_parameter(part: str) -> str:
    name, equals, _ = part.partition("=")
    if not equals:
        return _HIDDEN
    return part if name.lower() in _NAMES_A_FILE else f"{name}={_HIDDEN}"


def _hidden_value(match: re.Match[str]) -> str:
    value = match["value"] if match["name"].lower() in _NAMES_A_FILE else _HIDDEN
    return f"{match['before']}{match['name']}={value}"
