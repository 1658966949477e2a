"""The names of the files of a workflow whose paths hold ``{release}`` or wildcards.

The grammar:

- ``{release}`` stands for the release's name, which is the same wherever it occurs.
- ``*`` stands for any characters, ``?`` for one, ``[0-9]`` for one of a set and ``[!0-9]`` for one outside it; none of them
  matches ``/``, or the dot at the beginning of a hidden file's name.
- ``[SCI]`` at the very end of a path names a FITS extension and is not a set.
- A path that exists as it is written is that file: then it has no wildcards.
- A path with wildcards must match exactly one file.
- An address (``https://``, ``s3://``, ``gs://``) has no wildcards.

Wildcards may stand in paths of mosaics and source lists; ``{release}`` may stand in every path.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from surveyflow.files.addresses import is_address
from surveyflow.files.paths import split_extension
from surveyflow.settings.findings import Finding, Location, Refused, value_at

IMAGE_ROLES = ("science", "weight")
"""Keys of a mosaic's table whose values are paths of images."""


RELEASE = "{release}"

_MOST_SHOWN = 5
_WILDCARDS = re.compile(r"[*?]|\[[^\]]")
_TOKENS = re.compile(r"(\{release\}|\*+|\?|\[!?\]?[^\]]*\])")
_RELEASE_NAME = r"(?P<release>[A-Za-z0-9][A-Za-z0-9._+-]{0,99}?)"


class Unresolved(Refused):
    """A path names no file, or more than one."""


def resolve_paths(document: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], list[Finding]]:
    """Replace patterns by the files' names.

    Parameters
    ----------
    document
        A workflow as TOML holds it. Its ``[survey] release`` is the name that ``{release}`` stands for.
    folder
        The folder that its paths are relative to.

    Returns
    -------
    resolved
        The document without patterns; a path that could not be resolved is left as it was.
    findings
        The reasons why paths could not be resolved.
    """
    resolved = deepcopy(dict(document))
    findings = []
    release = table_at(resolved, "survey").get("release")
    for location, text in _path_places(resolved):
        try:
            named = file_named(folder, text, release) if location[0] == "fields" else _with_release(text, release)
        except Unresolved as problem:
            findings.append(Finding(location, problem.what, problem.remedy))
        else:
            _put(resolved, location, named)
    return resolved, findings


def file_named(folder: Path, text: str, release: Any) -> str:
    """The path that a text names, with its extension; it is relative to the folder if the text is relative.

    Parameters
    ----------
    folder
        The folder that the text is relative to.
    text
        A path, with or without patterns.
    release
        Name of the release; if it is not a text, ``{release}`` is left as it is.

    Returns
    -------
    The path. It is not checked whether the file of a path without wildcards exists.

    Raises
    ------
    Unresolved
        If wildcards match no file or several, or braces hold something other than ``release``.
    """
    text = _with_release(text, release)
    if is_address(text):
        return text
    file, extension = split_extension(Path(text))
    pattern = file.as_posix()
    if not _is_pattern(folder, pattern):
        return text
    found = _matching(folder, pattern)
    if len(found) == 1:
        return found[0] if extension is None else f"{found[0]}[{extension}]"
    if not found:
        raise Unresolved(f"no file matches {pattern}.", "Correct the pattern, or put the file there.")
    shown = ", ".join(found[:_MOST_SHOWN]) + (", ..." if len(found) > _MOST_SHOWN else "")
    raise Unresolved(
        f"{len(found)} files match {pattern}, expected one: {shown}.", "Make the pattern say which of them is meant."
    )


def releases_named(folder: Path, text: str) -> set[str]:
    """Names of the releases that have a file for a path with ``{release}``.

    If a name could end in several places, it is as short as possible.
    """
    pattern = split_extension(Path(text))[0].as_posix()
    expression = _expression(pattern)
    matches = (expression.fullmatch(path) for path in _matching(folder, pattern.replace(RELEASE, "*")))
    return {match["release"] for match in matches if match}


def input_paths(document: Mapping[str, Any]) -> Iterator[tuple[Location, str]]:
    """Places and texts of the paths of source lists and mosaics, in the document's order."""
    for field in table_at(document, "fields"):
        for table in table_at(document, "fields", field):
            roles = ("path",) if table == "sources" else IMAGE_ROLES
            for role, text in table_at(document, "fields", field, table).items():
                if role in roles and isinstance(text, str):
                    yield ("fields", field, table, role), text


def _path_places(document: Mapping[str, Any]) -> list[tuple[Location, str]]:
    folders = [(place, table_at(document, place[0]).get(place[1])) for place in (("output", "root"), ("models", "store"))]
    return [*((place, text) for place, text in folders if isinstance(text, str)), *input_paths(document)]


def _put(document: dict[str, Any], location: Location, text: str) -> None:
    table: Any = document
    for key in location[:-1]:
        table = table[key]
    table[location[-1]] = text


def _with_release(text: str, release: Any) -> str:
    unknown = [braces for braces in re.findall(r"\{\w*\}", text) if braces != RELEASE]
    if unknown:
        raise Unresolved(f"{text} holds {unknown[0]}.", f"Write {RELEASE}, the only name in braces that a path may hold.")
    if re.search(r"\*\{release\}|\{release\}\*", text):
        raise Unresolved(
            f"in {text}, {RELEASE} stands beside *, so that nothing shows where the release's name ends.",
            "Separate them by a character that the names lack, such as _.",
        )
    return text.replace(RELEASE, release) if isinstance(release, str) else text


def _is_pattern(folder: Path, pattern: str) -> bool:
    return pattern.isprintable() and bool(_WILDCARDS.search(pattern)) and not os.path.lexists(folder / pattern)


def _matching(folder: Path, pattern: str) -> list[str]:
    # Path.glob would refuse absolute patterns, and would match hidden files, which rsync uses for files that are not complete.
    return sorted(path for path in glob.glob(pattern, root_dir=folder) if not (folder / path).is_dir())  # noqa: PTH207


def _expression(pattern: str) -> re.Pattern[str]:
    """The regular expression of the paths of a pattern; its group ``release`` is the release's name."""
    before, _, after = pattern.partition(RELEASE)
    head, tail = ("".join(map(_translated, _TOKENS.split(part))) for part in (before, after))
    return re.compile(f"{head}{_RELEASE_NAME}{tail}", re.DOTALL)


def _translated(part: str) -> str:
    """A part of a pattern as a regular expression."""
    match list(part):
        case ["*", *_]:
            return "[^/]*"
        case ["?"]:
            return "[^/]"
        case ["[", *_, "]"]:
            body = re.sub(r"([\\\[\]^&~|])", r"\\\1", part[1:-1])
            return f"[^{body[1:]}]" if body.startswith("!") else f"[{body}]"
    return "(?P=release)" if part == RELEASE else re.escape(part)


def table_at(document: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """The table at a place; empty if something else is there, which its own check reports."""
    value = value_at(document, keys)
    return value if isinstance(value, dict) else {}
