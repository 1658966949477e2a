"""The workflow file: fields, mosaics, source lists, models, sampling and output.

``load_workflow`` reads a workflow file, checks its content and every path in it, and either returns frozen values with
absolute paths or raises one ``WorkflowError`` that holds every problem found.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import tomlkit
from pydantic import TypeAdapter

from surveyflow.errors import Problem, WorkflowError
from surveyflow.files.addresses import is_address, redacted
from surveyflow.files.json_state import MOST_BYTES_OF_LISTS, Damaged
from surveyflow.settings.findings import Finding, Location, did_you_mean, listed
from surveyflow.settings.manifests import REPEATABLE, manifest_of, with_moved_paths, with_paths_beside
from surveyflow.settings.reader import SettingsFile, Unreadable, read_bytes
from surveyflow.settings.workflow_paths import IMAGE_ROLES, NO_INSTRUMENTS, input_paths, resolve_paths, table_at
from surveyflow.settings.workflow_tables import (
    ColumnMap,
    Discovery,
    FieldInputs,
    Guard,
    JoinedTable,
    Models,
    MosaicFiles,
    MosaicSpec,
    Notify,
    Output,
    Publish,
    Quality,
    RedshiftGrid,
    Redshifts,
    RedshiftTable,
    Remote,
    Sampling,
    Science,
    SourceListSpec,
    Survey,
    Tiling,
    Workflow,
)


def overlapping_ranges(document: Mapping[str, Any]) -> Iterator[Finding]:
    """Redshift ranges that overlap another one, each reported at the later of the two."""
    ranges = {name: pair for name, pair in table_at(document, "routing").items() if _is_range(pair)}
    order = {name: n for n, name in enumerate(ranges)}
    widest = ""
    for name in sorted(ranges, key=lambda name: ranges[name][0]):
        if widest and ranges[name][0] < ranges[widest][1]:
            first, second = sorted((widest, name), key=order.__getitem__)
            what = f"{second} {ranges[second]} overlaps {first} {ranges[first]}; a redshift must belong to one instrument."
            yield Finding(("routing", second), what, "Separate them: a range holds its low end and not its high end.")
        widest = name if not widest or ranges[name][1] > ranges[widest][1] else widest


def _is_range(value: Any) -> bool:
    numbers = isinstance(value, list) and len(value) == 2 and all(type(end) in (int, float) for end in value)
    return numbers and 0 <= value[0] < value[1] < math.inf


def unknown_instruments(document: Mapping[str, Any]) -> Iterator[Finding]:
    """Mosaics of an instrument that has no redshift range."""
    routing = table_at(document, "routing")
    for field in table_at(document, "fields") if routing else ():
        for instrument in table_at(document, "fields", field):
            if instrument not in routing and instrument not in NO_INSTRUMENTS:
                otherwise = "Give it a redshift range in [routing], or remove the table."
                remedy = did_you_mean(instrument, [*routing, *NO_INSTRUMENTS], otherwise)
                what = f"{instrument} is not an instrument of [routing], which has {listed(routing)}."
                yield Finding(("fields", field, instrument), what, remedy)


def images_named_twice(document: Mapping[str, Any]) -> Iterator[Finding]:
    """Images that are named for two fields, or twice for an instrument; instruments of one field may share a file."""
    seen: dict[str, list[Location]] = {}
    for place, image in _images(document):
        earlier = seen.setdefault(image, [])
        twin = next((other for other in earlier if other[1] != place[1] or other[:3] == place[:3]), None)
        if twin is not None:
            table, key = ".".join(map(str, twin[:3])), twin[3]
            yield Finding(place, f"{redacted(image)} is named by [{table}] {key}, too.", "Name the image that belongs here.")
        earlier.append(place)


def _images(document: Mapping[str, Any]) -> Iterator[tuple[Location, str]]:
    for place, path in input_paths(document):
        if place[3] in IMAGE_ROLES:
            yield place, path if is_address(path) else os.path.normpath(path)


logger = logging.getLogger(__name__)
__all__ = [
    "ColumnMap",
    "Discovery",
    "FieldInputs",
    "Guard",
    "JoinedTable",
    "Models",
    "MosaicFiles",
    "MosaicSpec",
    "Notify",
    "Output",
    "Publish",
    "Quality",
    "RedshiftGrid",
    "RedshiftTable",
    "Redshifts",
    "Remote",
    "Sampling",
    "Science",
    "SourceListSpec",
    "Survey",
    "Tiling",
    "Workflow",
    "is_manifest",
    "load_workflow",
    "read_document",
    "read_manifest_file",
    "to_toml",
]
_FILE = SettingsFile(
    TypeAdapter(Workflow),
    WorkflowError,
    "docs/reference/workflow.md",
    across=(overlapping_ranges, unknown_instruments, images_named_twice),
)


def load_workflow(path: str | Path, release: str | None = None, moved: Mapping[str, str] = MappingProxyType({})) -> Workflow:
    """Read and check a workflow file, or the workflow that a published manifest holds.

    Parameters
    ----------
    path
        A TOML file, in which every path is relative to the folder of the file; or a revision's ``manifest.json``, whose
        ``[notify]`` table is left out: making tables again does not run a command that came with them.
    release
        Name of the release, used instead of the one in the file; not allowed for a manifest, whose files are settled.
    moved
        Where the paths of a manifest's files begin now, by where they began; only for a manifest.

    Returns
    -------
    Workflow
        Frozen, with absolute paths and without patterns.

    Raises
    ------
    WorkflowError
        If anything is wrong; the error holds every problem found, in the order of the file: text that is not TOML, unknown and
        missing keys, values of the wrong type or range, paths that do not exist or match several files, an output folder that
        cannot be written.
    """
    file = Path(path).absolute()
    if is_manifest(file):
        return _checked_manifest(file, _workflow_of_manifest(file, release), moved)
    if moved:
        what = "is not a manifest: only the paths of a manifest can be mapped."
        raise WorkflowError([Problem(file.name, what, "Correct its paths.")])
    document, findings = resolve_paths(_with_release(read_document(file), release), file.parent)
    return _FILE.check(document, file, file.name, findings)


def is_manifest(path: Path) -> bool:
    """Whether a path names a revision's manifest and not a workflow file."""
    return path.suffix == ".json"


def read_manifest_file(file: Path) -> dict[str, Any]:
    """Read a revision's ``manifest.json`` from any place.

    Raises
    ------
    WorkflowError
        If it is not a manifest of surveyflow.
    """
    try:
        return manifest_of(read_bytes(file, MOST_BYTES_OF_LISTS), REPEATABLE)
    except Unreadable as error:
        raise WorkflowError([Problem(file.name, error.what, error.remedy)]) from error
    except Damaged as error:
        problem = f"is not a manifest of surveyflow: {error}.", "Name a workflow file, or the manifest.json of a revision."
        raise WorkflowError([Problem(file.name, *problem)]) from error


def to_toml(workflow: Workflow) -> str:
    """The workflow as a TOML file with every default written out; its paths are absolute if the workflow was loaded."""
    return tomlkit.dumps(workflow.model_dump(mode="json", exclude_none=True))


def read_document(file: Path) -> dict[str, Any]:
    """Read a workflow file without checking its content.

    Raises
    ------
    WorkflowError
        If the file cannot be read, or is not TOML.
    """
    return _FILE.read(file, file.name)


def _with_release(document: dict[str, Any], release: str | None) -> dict[str, Any]:
    if release is None or not isinstance(document.get("survey"), dict):
        return document
    return document | {"survey": document["survey"] | {"release": release}}


def _checked_manifest(file: Path, workflow: dict[str, Any], moved: Mapping[str, str]) -> Workflow:
    """Check the workflow of a manifest; if its files are missing because the survey was moved, say how to map its paths.

    Files that were moved with the output folder are found without a map.
    """
    before, now = _output_folders(file, workflow)
    beside = workflow
    if not moved and now is not None and not before.exists():
        logger.warning("%s was made in %s, which is gone: files are looked for at the same place beside %s.", file, before, now)
        beside = with_paths_beside(workflow, before, now)
    try:
        return _FILE.check(_moved(beside, moved, file), file, file.name)
    except WorkflowError as error:
        raise WorkflowError([*error.problems, *([] if moved else _hints_of_a_move(file, workflow))]) from error


def _hints_of_a_move(file: Path, workflow: Mapping[str, Any]) -> Iterator[Problem]:
    """The map of paths that brought a manifest from the output folder that it names to where it lies."""
    before, now = _output_folders(file, workflow)
    if now is not None:
        old, new = before, now
        while old.name == new.name and old != old.parent and new != new.parent:
            old, new = old.parent, new.parent
        what = f"was made in {before}, but lies in {now}."
        if before.exists():
            yield Problem(file.name, what, f"If its files were moved in the same way, add --map {old}={new}.")
        else:  # the same way was tried
            yield Problem(file.name, what, f"Say where its other files are: add --map {old}=FOLDER, or name a folder in it.")


def _output_folders(file: Path, workflow: Mapping[str, Any]) -> tuple[Path, Path | None]:
    """The output folder that a manifest names, and the other one in which it lies; None if it does not lie in another one."""
    before, now = Path(str(table_at(workflow, "output").get("root", ""))), file.parent.parent.parent
    elsewhere = file.parent.parent.name == "releases" and before.is_absolute() and before != now
    return before, now if elsewhere else None


def _moved(workflow: dict[str, Any], moved: Mapping[str, str], file: Path) -> dict[str, Any]:
    """The workflow of a manifest with other beginnings of paths; a beginning that no path has is probably misspelt."""
    for old, new in moved.items():
        before, workflow = workflow, with_moved_paths(workflow, old, new)
        if before == workflow:
            remedy = f"Name a folder of one of its paths, such as {Path(str(before.get('output', {}).get('root', '/'))).parent}."
            raise WorkflowError([Problem(file.name, f"holds no path that begins with the folder {old}.", remedy)])
    return workflow


def _workflow_of_manifest(file: Path, release: str | None) -> dict[str, Any]:
    if release is not None:
        remedy = "Leave --release out, or name the workflow file."
        raise WorkflowError([Problem(file.name, f"is the manifest of a release; it cannot make {release}.", remedy)])
    workflow = dict(read_manifest_file(file)["workflow"])
    publish = workflow.get("publish")
    if isinstance(publish, dict):  # earlier manifests have the command here
        workflow["publish"] = {key: value for key, value in publish.items() if not key.startswith("notify")}
    if workflow.pop("notify", None) or (isinstance(publish, dict) and publish.get("notify")):
        logger.warning("%s names a command to tell people by, which is left out: only workflow files start commands.", file)
    return workflow
