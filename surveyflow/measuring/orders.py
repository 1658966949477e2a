"""What travels to a worker with a job, as JSON's plain values, and how it is read there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from surveyflow.errors import UnitError
from surveyflow.inputs.mosaics import FileState, Mosaic, file_state
from surveyflow.values.images import Box, Tile


def mosaic_payload(mosaic: Mosaic, stated_unit: str | None) -> dict[str, Any]:
    """Name a mosaic so that a worker can open it, and notice that it has changed.

    Parameters
    ----------
    mosaic
        The open mosaic.
    stated_unit
        The unit that the workflow states for it.
    """
    return {
        "science": mosaic.science,
        "weight": mosaic.weight,
        "stated_unit": stated_unit,
        "files": [_state_to_json(state) for state in mosaic.files],
    }


def is_as_planned(mosaic: Mosaic, payload: Mapping[str, Any]) -> bool:
    """Whether an open mosaic is of the files, in the state, that a job was planned for."""
    planned: Sequence[Any] = payload["files"]
    return [_state_to_json(state) for state in mosaic.files] == planned


def check_unchanged(payload: Mapping[str, Any]) -> None:
    """Refuse what was read of a mosaic whose files are no longer those that the job was planned for.

    Raises
    ------
    UnitError
        Naming the file.
    """
    for planned in payload["files"]:
        now = file_state(planned[0])
        if now is None or _state_to_json(now) != planned:
            raise UnitError(
                f"{planned[0]} changed while this run was reading it (size {planned[1]} then, {now and now.size} now). "
                f"Wait until the file is complete, then run again."
            )


def tile_to_json(tile: Tile) -> dict[str, Any]:
    """Write a tile."""
    return {"row": tile.row, "column": tile.column, "core": box_to_json(tile.core), "window": box_to_json(tile.window)}


def tile_from_json(entry: Mapping[str, Any]) -> Tile:
    """Read a tile."""
    return Tile(entry["row"], entry["column"], Box(*entry["core"]), Box(*entry["window"]))


def box_to_json(box: Box) -> Sequence[int]:
    """Write a box: y0, y1, x0, x1."""
    return [box.y0, box.y1, box.x0, box.x1]


def _state_to_json(state: FileState) -> list[Any]:
    return [str(state.path), state.size, state.mtime_ns, state.inode]
