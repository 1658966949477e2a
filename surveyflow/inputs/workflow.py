"""What the user wants run: which fields, mosaics, source lists and models, sampled how, and written where.

``load_workflow`` reads a workflow file, checks all of it and every path in it, and either returns frozen values with
absolute paths or raises one ``WorkflowError`` that holds every problem found.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from surveyflow.errors import Problem, WorkflowError
from surveyflow.inputs.paths import problem_of_file
from surveyflow.inputs.toml_text import toml_text
from surveyflow.inputs.workflow_problems import findings_across_tables, findings_of_tables, place_in
from surveyflow.inputs.workflow_tables import (
    ColumnMap,
    FieldInputs,
    FileContext,
    Models,
    MosaicSpec,
    Output,
    Quality,
    Sampling,
    SourceListSpec,
    Survey,
    Tiling,
    Workflow,
)

__all__ = [
    "ColumnMap",
    "FieldInputs",
    "Models",
    "MosaicSpec",
    "Output",
    "Quality",
    "Sampling",
    "SourceListSpec",
    "Survey",
    "Tiling",
    "Workflow",
    "load_workflow",
    "to_toml",
]


def load_workflow(path: str | Path) -> Workflow:
    """Read and check a workflow file.

    Parameters
    ----------
    path
        A TOML file; every path in it is relative to the folder that it lies in.

    Returns
    -------
    Workflow
        Frozen, with absolute paths.

    Raises
    ------
    WorkflowError
        With every problem found, in the order of the file: text that is not TOML, unknown and missing keys, values of the
        wrong type or range, paths that do not exist, an output folder that cannot be written.
    """
    file = Path(path).absolute()
    document = _read_document(file)
    findings = findings_across_tables(document)
    try:
        workflow = Workflow.model_validate(document, context=FileContext(file))
    except ValidationError as error:
        findings += findings_of_tables(error.errors(include_url=False), document)
    if findings:
        in_order = sorted(findings, key=lambda finding: place_in(document, finding.location))
        raise WorkflowError([finding.problem(file) for finding in in_order])
    return workflow


def to_toml(workflow: Workflow) -> str:
    """The workflow as a TOML file with every default written out; its paths are absolute where the workflow was loaded."""
    return toml_text(workflow.model_dump(mode="json", exclude_none=True))


def _read_document(file: Path) -> dict[str, Any]:
    if problem := problem_of_file(file):
        raise WorkflowError([Problem(file.name, *problem)])
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        problem = f"is not a text in UTF-8 (byte {error.start}).", "Save it as plain text in UTF-8."
    except tomllib.TOMLDecodeError as error:
        problem = f"is not TOML: {error}.", "Correct that line; text stands in quotes, tables in [brackets]."
    raise WorkflowError([Problem(file.name, *problem)])
