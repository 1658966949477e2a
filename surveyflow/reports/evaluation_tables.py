"""The tables and the heading numbers of an evaluation, whatever its task; made from its document alone."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from surveyflow.reports import contamination_tables, merger_tables
from surveyflow.reports.tables import Table
from surveyflow.tasks.contamination.task import CONTAMINATION
from surveyflow.tasks.merger import MERGER
from surveyflow.tasks.registry import entry_of

TABLES_OF_TASKS: Mapping[str, ModuleType] = {MERGER.name: merger_tables, CONTAMINATION.name: contamination_tables}
"""The tables of each task."""


def evaluation_tables(evaluation: Mapping[str, Any]) -> list[Table]:
    """Put the numbers of an evaluation in tables.

    Parameters
    ----------
    evaluation
        The document that ``evaluation.json`` holds.

    Raises
    ------
    ModelError
        If evaluations of this task cannot be tabulated.
    """
    task = evaluation["task"]
    return [table for make in _of(task).TABLES for table in [make(evaluation[task])] if table.rows]


def evaluation_facts(evaluation: Mapping[str, Any]) -> dict[str, str]:
    """The few numbers that head an evaluation's page, by what they are.

    Parameters
    ----------
    evaluation
        The document that ``evaluation.json`` holds.

    Raises
    ------
    ModelError
        If evaluations of this task cannot be tabulated.
    """
    task = evaluation["task"]
    facts: dict[str, str] = _of(task).facts(evaluation[task])
    return facts


def _of(task: str) -> ModuleType:
    return entry_of(task, TABLES_OF_TASKS, "tabulated")
