"""The names of the files of a workflow whose paths hold ``{release}`` or wildcards.

The grammar:

- ``{release}`` stands for the release's name, which is the same wherever it occurs.
- ``*`` stands for any characters, ``?`` for one, ``[0-9]`` for one of a set and ``[!0-9]`` for one outside it; none of them
  matches ``/``, or the dot at the beginning of a hidden file's name.
- ``[SCI]`` at the very end of a path names a FITS extension and is not a set.
- A path that exists as it is written is that file: then it has no wildcards.
- A path of a source list, mosaic or weight map with wildcards may match any number of files, in the order of their names; the
  path of a table that joins a list, or of a table of mosaics, must match exactly one.
- A mosaic and a weight map belong together if the wildcards of their paths stand for the same texts.
- ``~`` at the beginning is the user's home.
- An address (``https://``, ``s3://``, ``gs://``) has no wildcards.

Wildcards may stand in paths of mosaics and source lists; ``{release}`` may stand in every path.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surveyflow.files.addresses import is_address
from surveyflow.files.paths import at_home, split_extension
from surveyflow.settings.findings import Finding, Location, Refused, value_at

IMAGE_ROLES = ("science", "weight")
"""Keys of an instrument's table whose values are paths of images, or lists of them."""
MOSAIC_TABLE = "mosaics"
"""Key of an instrument's table whose value is the path of a table with a row for each mosaic."""
NO_INSTRUMENTS = ("sources", "models")
"""Keys of a field that are not instruments."""

RELEASE = "{release}"

_MOST_SHOWN = 5
_WILDCARDS = re.compile(r"[*?]|\[[^\]]")
_TOKENS = re.compile(r"(\{release\}|\*+|\?|\[!?\]?[^\]]*\])")
_RELEASE_NAME = r"(?P<release>[A-Za-z0-9][A-Za-z0-9._+-]{0,99}?)"


class Unresolved(Refused):
    """A path names no file, or more files than one where only one can be meant."""


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file that a path with wildcards names.

    Parameters
    ----------
    path
        The file's path, with its extension.
    stood_for
        What each wildcard stands for; empty for a path without wildcards.
    """

    path: str
    stood_for: tuple[str, ...] = ()


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
    findings: list[Finding] = []
    release = table_at(resolved, "survey").get("release")
    for location, text in _single_paths(resolved):
        try:
            named = file_named(folder, text, release) if location[0] == "fields" else _with_release(text, release)
        except Unresolved as problem:
            findings.append(Finding(location, problem.what, problem.remedy))
        else:
            _put(resolved, location, named)
    for location in _lists(resolved):
        findings += _resolve_list(resolved, location, folder, release)
    for location in _instruments(resolved):
        findings += _resolve_images(resolved, location, folder, release)
    return resolved, findings


def _resolve_list(document: dict[str, Any], location: Location, folder: Path, release: Any) -> Iterator[Finding]:
    """Put the names of a source list's files into its table; yield why that could not be done."""
    paths: list[str] = []
    for place, text in _texts(document, location):
        try:
            paths += [named.path for named in files_named(folder, text, release)]
        except Unresolved as problem:
            yield Finding(place, problem.what, problem.remedy)
            return
    if paths:
        is_text = isinstance(value_at(document, location), str)
        _put(document, location, paths[0] if is_text and len(paths) == 1 else paths)


def _resolve_images(document: dict[str, Any], location: Location, folder: Path, release: Any) -> Iterator[Finding]:
    """Put names of files into an instrument's table; yield why that could not be done."""
    found: dict[str, list[list[NamedFile]]] = {}
    for role in IMAGE_ROLES:
        try:
            found[role] = [files_named(folder, text, release) for _, text in _texts(document, (*location, role))]
        except Unresolved as problem:
            yield Finding((*location, role), problem.what, problem.remedy)
    if len(found) == len(IMAGE_ROLES) and all(found.values()):
        try:
            found["weight"] = _partners(found["science"], found["weight"])
        except Unresolved as problem:
            del found["weight"]
            yield Finding((*location, "weight"), problem.what, problem.remedy)
    for role, groups in found.items():
        paths = [named.path for group in groups for named in group]
        if paths:
            is_text = isinstance(value_at(document, (*location, role)), str)
            _put(document, (*location, role), paths[0] if is_text and len(paths) == 1 else paths)


def _partners(science: list[list[NamedFile]], weight: list[list[NamedFile]]) -> list[list[NamedFile]]:
    """The weight maps in the order of their mosaics."""
    if len(science) == len(weight):
        return [_partners_of(images, weights) for images, weights in zip(science, weight, strict=True)]
    if all(len(group) == 1 for group in (*science, *weight)):
        return weight  # two lists of different lengths, which their own check reports
    what = f"{len(weight)} entries with wildcards for the weight maps of {len(science)} entries."
    raise Unresolved(what, "Write one path of weight maps for each path of mosaics, in the same order.")


def _partners_of(images: list[NamedFile], weights: list[NamedFile]) -> list[NamedFile]:
    if len(images) == len(weights) == 1:
        return weights
    by_texts = {named.stood_for: named for named in weights}
    alone = [named.path for named in images if named.stood_for not in by_texts]
    spare = [named.path for named in weights if named.stood_for not in {image.stood_for for image in images}]
    if alone or spare:
        lacking = f"weight map for {_shown(alone)}" if alone else f"mosaic for {_shown(spare)}"
        raise Unresolved(
            f"the wildcards find no {lacking}: in the names of a mosaic and its weight map, they must stand for the same texts.",
            "Correct the patterns, put the files there, or write lists of paths in the same order.",
        )
    return [by_texts[named.stood_for] for named in images]


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
    found = files_named(folder, text, release)
    if len(found) == 1:
        return found[0].path
    raise Unresolved(
        f"{len(found)} files match {split_extension(text)[0]}, expected one: {_shown([each.path for each in found])}.",
        "Make the pattern say which of them is meant.",
    )


def files_named(folder: Path, text: str, release: Any) -> list[NamedFile]:
    """The files that a text names, in the order of their paths.

    Parameters
    ----------
    folder, text, release
        As for `file_named`.

    Returns
    -------
    One or more. It is not checked whether the file of a path without wildcards exists.

    Raises
    ------
    Unresolved
        If wildcards match no file, or braces hold something other than ``release``.
    """
    text = _with_release(text, release)
    if is_address(text):
        return [NamedFile(text)]
    text = str(at_home(text)) if text.startswith("~") else text
    file, extension = split_extension(Path(text))
    pattern = file.as_posix()
    if not _is_pattern(folder, pattern):
        return [NamedFile(text)]
    found = _matching(folder, pattern)
    if not found:
        raise Unresolved(f"no file matches {pattern}.", "Correct the pattern, or put the file there.")
    ending = "" if extension is None else f"[{extension}]"
    return [NamedFile(f"{path}{ending}", _stood_for(pattern, path)) for path in found]


def _shown(paths: list[str]) -> str:
    return ", ".join(paths[:_MOST_SHOWN]) + (", ..." if len(paths) > _MOST_SHOWN else "")


def _stood_for(pattern: str, path: str) -> tuple[str, ...]:
    """What the wildcards of a pattern stand for in a path that matches it."""
    texts, wildcards = _TOKENS.split(pattern)[::2], _TOKENS.findall(pattern)
    between = [f"({_translated(wildcard)})" for wildcard in wildcards]
    expression = "".join(re.escape(text) + group for text, group in zip(texts, [*between, ""], strict=True))
    match = re.fullmatch(expression, path, re.DOTALL)
    return match.groups() if match else ()


def releases_named(folder: Path, text: str) -> set[str]:
    """Names of the releases that have a file for a path with ``{release}``.

    If a name could end in several places, it is as short as possible.
    """
    pattern = split_extension(Path(text))[0].as_posix()
    expression = _expression(pattern)
    matches = (expression.fullmatch(path) for path in _matching(folder, pattern.replace(RELEASE, "*")))
    return {match["release"] for match in matches if match}


def input_paths(document: Mapping[str, Any]) -> Iterator[tuple[Location, str]]:
    """Places and texts of the paths of source lists and mosaics, in the document's order; each entry of a list has its own."""
    for field in table_at(document, "fields"):
        for table in table_at(document, "fields", field):
            if table == "sources":
                yield from _list_texts(document, ("fields", field, table))
                continue
            for role in table_at(document, "fields", field, table):
                if role in (*IMAGE_ROLES, MOSAIC_TABLE):
                    yield from _texts(document, ("fields", field, table, role))


def _list_texts(document: Mapping[str, Any], location: Location) -> Iterator[tuple[Location, str]]:
    """Places and texts of the paths of a source list, and of the tables that join it."""
    yield from _texts(document, (*location, "path"))
    yield from _texts(document, (*location, "redshifts", "path"))
    joined = value_at(document, (*location, "joined"))
    for number in range(len(joined) if isinstance(joined, list) else 0):
        yield from _texts(document, (*location, "joined", number, "path"))


def _texts(document: Mapping[str, Any], location: Location) -> Iterator[tuple[Location, str]]:
    """The text at a place, or those of the list there."""
    value = value_at(document, location)
    if isinstance(value, str):
        yield location, value
    elif isinstance(value, list):
        yield from (((*location, number), entry) for number, entry in enumerate(value) if isinstance(entry, str))


def _single_paths(document: Mapping[str, Any]) -> list[tuple[Location, str]]:
    """Places and texts of the paths that name one file or folder each."""
    folders = [(place, table_at(document, place[0]).get(place[1])) for place in (("output", "root"), ("models", "store"))]
    files = [(place, text) for place, text in input_paths(document) if place[3] not in (*IMAGE_ROLES, "path")]
    return [*((place, text) for place, text in folders if isinstance(text, str)), *files]


def _lists(document: Mapping[str, Any]) -> list[Location]:
    """Places of the paths of source lists."""
    return [("fields", field, "sources", "path") for field in table_at(document, "fields")]


def _instruments(document: Mapping[str, Any]) -> list[Location]:
    """Places of the tables of instruments."""
    fields = table_at(document, "fields")
    return [("fields", field, name) for field in fields for name in table_at(fields, field) if name not in NO_INSTRUMENTS]


def _put(document: dict[str, Any], location: Location, text: str | list[str]) -> None:
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
