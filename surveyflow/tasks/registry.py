"""The tasks by name."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

from surveyflow.errors import ModelError
from surveyflow.tasks.card import Architecture
from surveyflow.tasks.contamination.task import CONTAMINATION
from surveyflow.tasks.merger import MERGER
from surveyflow.tasks.task import Task
from surveyflow.values.codes import warnings_about

_Entry = TypeVar("_Entry")

TASKS: Mapping[str, Task] = {task.name: task for task in (MERGER, CONTAMINATION)}
"""Every task by name; the leading one first."""

LEADING = next(task for task in TASKS.values() if task.leads)
"""The task that a source's status refers to."""

BESIDE = tuple(task for task in TASKS.values() if not task.leads)
"""The other tasks, whose models are used beside the leading one's where there are any."""


def warnings_of(models: Sequence[Mapping[str, Any]], found: Collection[str] = ()) -> list[str]:
    """The warnings for readers of a revision, the gravest first; empty if its numbers may be quoted.

    Parameters
    ----------
    models
        The models that its manifest names: ``key`` and ``origin``.
    found
        Further origins of merger models, such as those in its rows.
    """
    beside = {task.name: origins_of(models, task) for task in BESIDE}
    return warnings_about(origins_of(models, LEADING) | set(found), beside)


def origins_of(models: Sequence[Mapping[str, Any]], task: Task) -> set[str]:
    """Where the weights of a task's models came from; the models are those that a manifest names."""
    return {model["origin"] for model in models if model["key"].startswith(f"{task.name}/")}


def cutout_size(models: Sequence[Mapping[str, Any]]) -> int:
    """Side of a picture, pixels: that of the largest cutout of the models that a manifest names."""
    return max((int(model["architecture"]["input_size"]) for model in models), default=Architecture().input_size)


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


def entry_of(name: str, entries: Mapping[str, _Entry], what: str) -> _Entry:
    """What a mapping by task's name holds for one task.

    Parameters
    ----------
    name
        Name of the task.
    entries
        The entries by task's name.
    what
        What an entry does, for the message: ``evaluated``, ``drawn``.

    Raises
    ------
    ModelError
        If the mapping has no entry for the task.
    """
    if name not in entries:
        raise ModelError(f"models of the task {name!r} cannot be {what}; expected a model of one of {', '.join(entries)}.")
    return entries[name]
