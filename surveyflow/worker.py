"""A worker: does the jobs of a run, and keeps models and open mosaics between them."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from surveyflow.catalog.units import write_unit
from surveyflow.catalog.worklists import read_worklist
from surveyflow.errors import UnitError
from surveyflow.flow.heart import Heart
from surveyflow.inputs.mosaics import Mosaic, open_mosaic
from surveyflow.models.sampler import Precision, load_model
from surveyflow.payloads import check_unchanged, is_as_planned, tile_from_json
from surveyflow.process import UnitRows, UnitTask, process_unit, settled_rows
from surveyflow.types import Box, EngineChoice, Job, Model, Receipt, SamplingSettings

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
        self._mosaics: dict[tuple[str, str | None, str | None], Mosaic] = {}
        self._models: dict[tuple[str, str], Model] = {}
        self._heart = Heart(self._root)

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
        with self._heart.during(job):
            return {"digest": self._digest, "unit": self._unit}[job.verb](job.payload)

    def close(self) -> None:
        """Let go of models and mosaics."""
        while self._mosaics:
            self._mosaics.popitem()[1].close()
        self._models.clear()
        self._heart.stop()

    def _digest(self, payload: Mapping[str, Any]) -> Mapping[str, str]:
        mosaic = self._mosaic(payload)
        digests = mosaic.digests(Box(*payload["box"]))
        check_unchanged(payload)
        return digests

    def _unit(self, payload: Mapping[str, Any]) -> Receipt:
        start = time.perf_counter()
        models = self._models_of(payload)
        result = self._measured(payload, *models) if models else self._settled(payload)
        return write_unit(
            self._root,
            payload["key"],
            payload["name"],
            payload["parts"],
            result.rows,
            seconds=time.perf_counter() - start,
            worker=f"{socket.gethostname()}:{os.getpid()}",
            draws=result.draws,
            engine="+".join(sorted({model.engine for model in models})),
        )

    def _settled(self, payload: Mapping[str, Any]) -> UnitRows:
        sources = read_worklist(Path(payload["worklist"]), payload["number"])
        return UnitRows(settled_rows(sources, payload["key"]))

    def _models_of(self, payload: Mapping[str, Any]) -> list[Model]:
        """The merger model, and the contamination model if there is one; none for a unit without pixels."""
        if not payload["tile"]:
            return []
        named = [{"folder": payload["model"], "card_digest": payload["card_digest"]}, payload.get("contamination")]
        return [self._model(**model) for model in named if model]

    def _measured(self, payload: Mapping[str, Any], model: Model, contamination: Model | None = None) -> UnitRows:
        mosaic = self._mosaic(payload)
        task = UnitTask(
            key=payload["key"],
            sources=read_worklist(Path(payload["worklist"]), payload["number"]),
            tile=tile_from_json(payload["tile"]),
            mosaic_unit=mosaic.unit,
            mosaic_filter=mosaic.filter,
            sampling=SamplingSettings(**payload["sampling"]),
            min_valid_fraction=payload["min_valid_fraction"],
        )
        result = process_unit(task, mosaic, model, contamination=contamination)
        check_unchanged(payload)
        return result

    def _mosaic(self, payload: Mapping[str, Any]) -> Mosaic:
        name = payload["science"], payload["weight"], payload["stated_unit"]
        if name in self._mosaics and not is_as_planned(self._mosaics[name], payload):
            self._mosaics.pop(name).close()
        if name not in self._mosaics:
            self._mosaics[name] = open_mosaic(*name)
        return self._mosaics[name]

    def _model(self, folder: str, card_digest: str) -> Model:
        """Load a model once; two models may share their weights and differ in their cards."""
        name = folder, card_digest
        if name not in self._models:
            model = load_model(Path(folder), self._engine.name, precision=cast("Precision", self._engine.precision))
            if model.card.digest != card_digest:
                raise UnitError(
                    f"{folder}: card or weights are no longer those that this run was planned with; the model was changed "
                    f"meanwhile. Run again."
                )
            self._models[name] = model
        return self._models[name]
