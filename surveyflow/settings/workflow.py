"""What the user wants run: which fields, mosaics, source lists and models, sampled how, and written where.

``load_workflow`` reads a workflow file, checks all of it and every path in it, and either returns frozen values with
absolute paths or raises one ``WorkflowError`` that holds every problem found.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import tomlkit
from pydantic import TypeAdapter

from surveyflow.errors import Problem, WorkflowError
from surveyflow.settings.reader import SettingsFile
from surveyflow.settings.toml_documents import Unreadable, read_bytes, to_text
from surveyflow.settings.workflow_paths import resolve_paths
from surveyflow.settings.workflow_problems import images_named_twice, overlapping_ranges, unknown_instruments
from surveyflow.settings.workflow_tables import (
    ColumnMap,
    Discovery,
    FieldInputs,
    Models,
    MosaicSpec,
    Output,
    Publish,
    Quality,
    Sampling,
    SourceListSpec,
    Survey,
    Tiling,
    Workflow,
)

logger = logging.getLogger(__name__)

__all__ = [
    "ColumnMap",
    "Discovery",
    "FieldInputs",
    "Models",
    "MosaicSpec",
    "Output",
    "Publish",
    "Quality",
    "Sampling",
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


def load_workflow(path: str | Path, release: str | None = None) -> Workflow:
    """Read and check a workflow file, or the workflow that a published manifest holds.

    Parameters
    ----------
    path
        A TOML file, every path in which is relative to the folder that it lies in; or a revision's ``manifest.json``, whose
        ``[publish]`` table is left out: whoever makes tables again starts no command that came with them.
    release
        Name of the release, in the place of the one that the file names; never for a manifest, whose files are settled.

    Returns
    -------
    Workflow
        Frozen, with absolute paths and without patterns.

    Raises
    ------
    WorkflowError
        With every problem found, in the order of the file: text that is not TOML, unknown and missing keys, values of the
        wrong type or range, paths that do not exist or match several files, an output folder that cannot be written.
    """
    file = Path(path).absolute()
    if is_manifest(file):
        return _FILE.check(_workflow_of_manifest(file, release), file, file.name)
    document, findings = resolve_paths(_with_release(read_document(file), release), file.parent)
    return _FILE.check(document, file, file.name, findings)


def is_manifest(path: Path) -> bool:
    """Whether a path names a revision's manifest and no workflow file."""
    return path.suffix == ".json"


def read_manifest_file(file: Path) -> dict[str, Any]:
    """Read a revision's ``manifest.json``, wherever it lies.

    Raises
    ------
    WorkflowError
        If it is no manifest of surveyflow's.
    """
    try:
        manifest = json.loads(to_text(read_bytes(file)))
    except Unreadable as error:
        raise WorkflowError([Problem(file.name, error.what, error.remedy)]) from error
    except json.JSONDecodeError as error:
        problem = f"is not JSON: {error}.", "Name a workflow file, or the manifest.json of a published revision."
        raise WorkflowError([Problem(file.name, *problem)]) from error
    missing = sorted({"workflow", "inputs", "models", "unit_keys"} - set(manifest if isinstance(manifest, dict) else ()))
    if missing:
        problem = f"is no manifest of surveyflow's: it lacks {', '.join(missing)}.", "Name the manifest.json of a revision."
        raise WorkflowError([Problem(file.name, *problem)])
    return dict(manifest)


def to_toml(workflow: Workflow) -> str:
    """The workflow as a TOML file with every default written out; its paths are absolute where the workflow was loaded."""
    return tomlkit.dumps(workflow.model_dump(mode="json", exclude_none=True))


def read_document(file: Path) -> dict[str, Any]:
    """Read a workflow file as it stands, unchecked.

    Raises
    ------
    WorkflowError
        If it cannot be read, or is not TOML.
    """
    return _FILE.read(file, file.name)


def _with_release(document: dict[str, Any], release: str | None) -> dict[str, Any]:
    if release is None or not isinstance(document.get("survey"), dict):
        return document
    return document | {"survey": document["survey"] | {"release": release}}


def _workflow_of_manifest(file: Path, release: str | None) -> dict[str, Any]:
    if release is not None:
        remedy = "Leave --release out, or name the workflow file."
        raise WorkflowError([Problem(file.name, f"is the manifest of a release; it cannot make {release}.", remedy)])
    workflow = dict(read_manifest_file(file)["workflow"])
    publish = workflow.pop("publish", None)
    if isinstance(publish, dict) and publish.get("notify"):
        logger.warning("%s names a command to run once published, which is left out: only a workflow file starts commands.", file)
    return workflow
