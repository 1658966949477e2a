"""What the user wants run: which fields, mosaics, source lists and models, sampled how, and written where.

``load_workflow`` reads a workflow file, checks all of it and every path in it, and either returns frozen values with
absolute paths or raises one ``WorkflowError`` that holds every problem found.
"""

from __future__ import annotations

import json
import logging
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from surveyflow.errors import Problem, WorkflowError
from surveyflow.files.paths import problem_of_file
from surveyflow.settings.toml_text import toml_text
from surveyflow.settings.workflow_paths import resolve_paths
from surveyflow.settings.workflow_problems import Finding, findings_across_tables, findings_of_tables, place_in
from surveyflow.settings.workflow_tables import (
    ColumnMap,
    Discovery,
    FieldInputs,
    FileContext,
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
        return _checked(_workflow_of_manifest(file, release), file, [])
    document, findings = resolve_paths(_with_release(read_document(file), release), file.parent)
    return _checked(document, file, findings)


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
        manifest = json.loads(_read_text(file))
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
    return toml_text(workflow.model_dump(mode="json", exclude_none=True))


def read_document(file: Path) -> dict[str, Any]:
    """Read a workflow file as it stands, unchecked.

    Raises
    ------
    WorkflowError
        If it cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(_read_text(file))
    except tomllib.TOMLDecodeError as error:
        problem = f"is not TOML: {error}.", "Correct that line; text stands in quotes, tables in [brackets]."
    raise WorkflowError([Problem(file.name, *problem)])


def _read_text(file: Path) -> str:
    if problem := problem_of_file(file):
        raise WorkflowError([Problem(file.name, *problem)])
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        problem = f"is not a text in UTF-8 (byte {error.start}).", "Save it as plain text in UTF-8."
    raise WorkflowError([Problem(file.name, *problem)])


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


def _checked(document: dict[str, Any], file: Path, findings: Sequence[Finding]) -> Workflow:
    """The document as values; ``findings`` are problems that are known already."""
    told = {finding.location for finding in findings}
    found = [*findings, *findings_across_tables(document)]
    try:
        workflow = Workflow.model_validate(document, context=FileContext(file))
    except ValidationError as error:
        of_tables = findings_of_tables(error.errors(include_url=False), document)
        found += [finding for finding in of_tables if finding.location not in told]
    if found:
        in_order = sorted(found, key=lambda finding: place_in(document, finding.location))
        raise WorkflowError([finding.problem(file) for finding in in_order])
    return workflow
