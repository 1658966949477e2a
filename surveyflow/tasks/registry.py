"""The tasks by name."""

from __future__ import annotations

from collections.abc import Mapping

from surveyflow.errors import ModelError
from surveyflow.tasks.contamination.task import CONTAMINATION
from surveyflow.tasks.merger import MERGER
from surveyflow.tasks.task import Task

TASKS: Mapping[str, Task] = {task.name: task for task in (MERGER, CONTAMINATION)}
"""Every task by name; the leading one first."""

LEADING = next(task for task in TASKS.values() if task.leads)
"""The task that a source's status refers to."""

BESIDE = tuple(task for task in TASKS.values() if not task.leads)
"""The other tasks, whose models are used beside the leading one's where there are any."""


def task_of(name: str) -> Task:
    """The task with this name.

    Raises
    ------
    ModelError
        If there is no such task.
    """
    if name not in TASKS:
        raise ModelError(f"there is no task {name!r}; expected one of {', '.join(TASKS)}. Correct [model] task.")
    return TASKS[name]
