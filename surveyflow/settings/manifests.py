"""The form of a revision's manifest, as far as it is read again: by reports, by comparisons, and to make the revision again."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any, NotRequired

from pydantic import ConfigDict, TypeAdapter, with_config
from typing_extensions import TypedDict

from surveyflow.files.json_state import Damaged, parse_state
from surveyflow.files.paths import split_extension

_table = with_config(ConfigDict(extra="allow", strict=True))
"""A table of a manifest, of which only some keys are checked; it is read into a dictionary, and nothing is in memory twice."""


@_table
class _File(TypedDict):
    sha256: str
    size_bytes: NotRequired[int]


@_table
class _Noise(TypedDict):
    kind: str | None
    times_pixel_variance: float
    times_variance: float
    n_boxes: int


@_table
class _Input(TypedDict):
    field: str
    instrument: str | None
    kind: str
    path: str
    size: int
    digest: NotRequired[str]
    digest_of: NotRequired[str]
    cards: NotRequired[dict[str, Any]]
    noise: NotRequired[_Noise | None]


@_table
class _Member(TypedDict):
    name: str
    weights_digest: str


@_table
class _Model(TypedDict):
    key: str
    model_id: str
    origin: str
    weights_digest: str
    members: NotRequired[list[_Member]]


@_table
class _Unit(TypedDict):
    name: str
    key: str


@_table
class _Failure(TypedDict):
    name: str
    error: str


@_table
class _Kept(TypedDict):
    name: str
    type: str
    unit: str | None
    description: str


@_table
class _Alternatives(TypedDict):
    rows: int
    status: dict[str, int]
    files: NotRequired[dict[str, _File]]


@_table
class _Margin(TypedDict):
    rows: int
    files: NotRequired[dict[str, _File]]


@_table
class _Manifest(TypedDict, total=False):
    """The types of what a manifest may have."""

    rows: int
    status: dict[str, int]
    files: dict[str, _File]
    revision: str
    release: str
    survey: str
    created: str
    schema_version: str | int
    surveyflow_version: str
    inputs: list[_Input]
    models: list[_Model]
    unit_keys: list[_Unit]
    failed_units: list[_Failure]
    workflow: dict[str, Any]
    versions: dict[str, str]
    precision: str | None
    kept_columns: list[_Kept]
    kept_digest: str
    alternatives: _Alternatives | None
    margin: _Margin | None


_FORM = TypeAdapter(_Manifest)
READABLE = ("files", "rows", "status")
"""What every manifest has."""
REPEATABLE = ("failed_units", "inputs", "models", "revision", "schema_version", "surveyflow_version", "unit_keys", "workflow")
"""What a manifest must have so that its revision can be made again."""


def with_moved_paths(value: Any, old: str, new: str) -> Any:
    """Replace a folder at the beginning of every absolute path in a manifest's workflow.

    Parameters
    ----------
    value
        The workflow, or a value in it.
    old, new
        Where the folder was, and where it is.

    Examples
    --------
    >>> with_moved_paths({"science": "/data/egs/sci.fits[SCI]", "name": "/database"}, "/data/", "/mnt/x")
    {'science': '/mnt/x/egs/sci.fits[SCI]', 'name': '/database'}
    """
    if isinstance(value, dict):
        return {key: with_moved_paths(each, old, new) for key, each in value.items()}
    if isinstance(value, list):
        return [with_moved_paths(each, old, new) for each in value]
    folder = old.rstrip("/") + "/"
    if not (isinstance(value, str) and f"{value}/".startswith(folder)):
        return value
    return f"{new.rstrip('/')}/{value[len(folder) :]}".rstrip("/")


def path_from(root: Path, path: str) -> str | None:
    """The path of a file relative to the output folder; None if they have no folder in common, or if it is an address.

    Examples
    --------
    >>> path_from(Path("/data/egs/catalog"), "/data/egs/mosaics/sci.fits[SCI]")
    '../mosaics/sci.fits[SCI]'
    """
    if not path.startswith("/") or os.path.commonpath([root, path]) == "/":
        return None
    return os.path.relpath(path, root)


def with_paths_beside(value: Any, before: Path, now: Path) -> Any:
    """Replace the paths in a manifest's workflow that are gone, where the same path from the output folder leads to something.

    Parameters
    ----------
    value
        The workflow, or a value in it.
    before, now
        Where the output folder was, and where it is.
    """
    if isinstance(value, dict):
        return {key: with_paths_beside(each, before, now) for key, each in value.items()}
    if isinstance(value, list):
        return [with_paths_beside(each, before, now) for each in value]
    if not (isinstance(value, str) and value.isprintable() and (relative := path_from(before, value))):
        return value
    here = os.path.normpath(now / relative)
    return here if _is_there(here) and not _is_there(value) else value


def _is_there(path: str) -> bool:
    return os.path.exists(str(split_extension(path)[0]))  # noqa: PTH110 - Path.exists refuses names that are too long


def manifest_of(content: bytes, needed: Collection[str]) -> dict[str, Any]:
    """Read a manifest.

    Parameters
    ----------
    content
        The file's content.
    needed
        Keys that it must have: `READABLE` or `REPEATABLE`.

    Raises
    ------
    Damaged
        If the content is not that of a manifest, or lacks a key.
    """
    read = parse_state(content, _FORM)
    manifest: dict[str, Any] = {**read}
    if missing := sorted(set(needed) - set(manifest)):
        raise Damaged(f"it lacks {', '.join(missing)}")
    return manifest
