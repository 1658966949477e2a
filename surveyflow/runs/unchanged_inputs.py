"""The check that the inputs are still the files with which the run began.

The states of the files are recorded before the first file is read, and compared before anything is published. So a catalog is
made from one set of files, and never from a new mosaic and an old source list.
"""

from __future__ import annotations

from collections.abc import Sequence

from surveyflow.errors import InputsChanged
from surveyflow.files.paths import split_extension
from surveyflow.files.states import FileState, file_state
from surveyflow.settings.workflow import Workflow


def input_states(workflow: Workflow) -> tuple[FileState, ...]:
    """Return the state of every source list, mosaic and weight map that exists, each file once."""
    specs = [inputs.sources.path for inputs in workflow.fields.values()]
    for inputs in workflow.fields.values():
        specs += [spec for mosaic in inputs.mosaics.values() for spec in (mosaic.science, mosaic.weight) if spec is not None]
    paths = dict.fromkeys(split_extension(spec)[0] for spec in specs)
    return tuple(state for state in map(file_state, paths) if state is not None)


def check_constant(states: Sequence[FileState]) -> None:
    """Refuse to continue if files have changed.

    Raises
    ------
    InputsChanged
        If a file was written, replaced or removed since; the error names every such file.
    """
    changed = [change for before in states if (change := _change(before))]
    if changed:
        raise InputsChanged(
            f"Inputs changed while this run was reading them, so nothing was published: {'; '.join(changed)}. "
            f"Wait until the files are complete, then run again: finished work is kept."
        )


def _change(before: FileState) -> str | None:
    now = file_state(before.path)
    if now == before:
        return None
    if now is None:
        return f"{before.path} is gone"
    if now.size != before.size:
        return f"{before.path} had {before.size:,} bytes and has {now.size:,}"
    return f"{before.path} was {'replaced' if now.inode != before.inode else 'written to'}"
