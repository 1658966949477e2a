"""A worker: does the jobs of a run, and keeps models and open mosaics between them."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from surveyflow.catalog.units import write_unit
from surveyflow.catalog.worklists import read_worklist
from surveyflow.errors import UnitError
from surveyflow.inputs.mosaics import Mosaic, open_mosaic
from surveyflow.models.sampler import Precision, load_model
from surveyflow.process import UnitRows, UnitTask, process_unit, settled_rows
from surveyflow.types import Box, EngineChoice, Job, Model, Receipt, SamplingSettings, Tile

FACTORY = "surveyflow.worker:SurveyWorker"
"""How an executor finds this class on the machine where a job runs."""


class SurveyWorker:
    """Does two kinds of job: ``digest`` a window's pixels, and ``unit``: process a unit and write its rows.

    Parameters
    ----------
    context
        ``root`` (output folder), ``engine`` and ``precision``, all str.
    """

    def __init__(self, context: Mapping[str, Any]) -> None:
        self._root = Path(context["root"])
        self._engine = EngineChoice(context["engine"], context["precision"])
        self._mosaics: dict[tuple[str, str | None], Mosaic] = {}
        self._models: dict[str, Model] = {}

    def do(self, job: Job) -> Any:
        """Do one job.

        Parameters
        ----------
        job
            Its verb is ``digest`` or ``unit``.

        Returns
        -------
        The digests of a window by name, or the receipt of a unit.
        """
        return {"digest": self._digest, "unit": self._unit}[job.verb](job.payload)

    def close(self) -> None:
        """Let go of models and mosaics."""
        while self._mosaics:
            self._mosaics.popitem()[1].close()
        self._models.clear()

    def _digest(self, payload: Mapping[str, Any]) -> Mapping[str, str]:
        mosaic = self._mosaic(payload)
        digests = mosaic.digests(Box(*payload["box"]))
        _check_unchanged(payload["files"])
        return digests

    def _unit(self, payload: Mapping[str, Any]) -> Receipt:
        start = time.perf_counter()
        result = self._measured(payload) if payload["tile"] else self._settled(payload)
        return write_unit(
            self._root,
            payload["key"],
            payload["name"],
            payload["parts"],
            result.rows,
            seconds=time.perf_counter() - start,
            worker=f"{socket.gethostname()}:{os.getpid()}",
            draws=result.draws,
        )

    def _settled(self, payload: Mapping[str, Any]) -> UnitRows:
        sources = read_worklist(Path(payload["worklist"]), payload["number"])
        return UnitRows(settled_rows(sources, payload["key"]))

    def _measured(self, payload: Mapping[str, Any]) -> UnitRows:
        mosaic = self._mosaic(payload)
        task = UnitTask(
            key=payload["key"],
            sources=read_worklist(Path(payload["worklist"]), payload["number"]),
            tile=tile_from_json(payload["tile"]),
            mosaic_unit=mosaic.unit,
            sampling=SamplingSettings(**payload["sampling"]),
            min_valid_fraction=payload["min_valid_fraction"],
        )
        result = process_unit(task, mosaic, self._model(payload["model"], payload["weights_digest"]))
        _check_unchanged(payload["files"])
        return result

    def _mosaic(self, payload: Mapping[str, Any]) -> Mosaic:
        paths = payload["science"], payload["weight"]
        mosaic = self._mosaics.get(paths)
        if mosaic is not None and _states(mosaic) != [tuple(state) for state in payload["files"]]:
            self._mosaics.pop(paths).close()
        if paths not in self._mosaics:
            self._mosaics[paths] = open_mosaic(*paths)
        return self._mosaics[paths]

    def _model(self, folder: str, weights_digest: str) -> Model:
        if weights_digest not in self._models:
            model = load_model(Path(folder), self._engine.name, precision=cast("Precision", self._engine.precision))
            if model.card.weights_digest != weights_digest:
                raise UnitError(
                    f"{folder} holds weights {model.card.weights_digest[:12]}, but this run was planned with "
                    f"{weights_digest[:12]}: the model was replaced meanwhile. Run again."
                )
            self._models[weights_digest] = model
        return self._models[weights_digest]


def file_states(mosaic: Mosaic) -> list[list[Any]]:
    """A mosaic's files with size and modification time, as a job carries them."""
    return [list(state) for state in _states(mosaic)]


def tile_to_json(tile: Tile) -> dict[str, Any]:
    """A tile as a job carries it."""
    return {"row": tile.row, "column": tile.column, "core": box_to_json(tile.core), "window": box_to_json(tile.window)}


def tile_from_json(entry: Mapping[str, Any]) -> Tile:
    """The tile that a job carries."""
    return Tile(entry["row"], entry["column"], Box(*entry["core"]), Box(*entry["window"]))


def box_to_json(box: Box) -> list[int]:
    """A box as a job carries it: y0, y1, x0, x1."""
    return [box.y0, box.y1, box.x0, box.x1]


def _states(mosaic: Mosaic) -> list[tuple[str, int, int]]:
    return [(str(file.path), file.size, file.mtime_ns) for file in mosaic.files]


def _check_unchanged(planned: Sequence[Sequence[Any]]) -> None:
    for path, size, mtime_ns in planned:
        now = os.stat(path)  # noqa: PTH116
        if (now.st_size, now.st_mtime_ns) != (size, mtime_ns):
            raise UnitError(
                f"{path} changed while this run was reading it (size {size} then, {now.st_size} now). "
                f"Wait until the file is complete, then run again."
            )
