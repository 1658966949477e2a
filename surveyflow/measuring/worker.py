"""The worker, which does the jobs of a run and keeps models and mosaics open between them.

It may do two jobs at the same time, each in a thread of its own: one computes while the other reads or writes.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from surveyflow.errors import DeviceMemoryError
from surveyflow.execution.heartbeat import HeartbeatWriter
from surveyflow.execution.watchdog import locked, report_progress
from surveyflow.inputs.mosaics import Mosaic, open_mosaic
from surveyflow.measuring.orders import check_unchanged, is_as_planned, tile_from_json
from surveyflow.measuring.sampling import SummarisingModel
from surveyflow.measuring.unit import UnitRows, UnitTask, process_unit, settled_rows
from surveyflow.models.engines.batches import is_out_of_memory
from surveyflow.models.engines.cache import ModelCache
from surveyflow.models.engines.choice import load_model
from surveyflow.output.units import write_unit
from surveyflow.output.worklists import read_worklist
from surveyflow.stats.posterior import PosteriorSummary
from surveyflow.tasks.card import Model, ModelCard
from surveyflow.values.arrays import Float32Array, UInt64Array
from surveyflow.values.codes import EngineName, Precision
from surveyflow.values.images import Box, Window
from surveyflow.values.jobs import Job, Receipt
from surveyflow.values.sampling import EngineChoice, SamplingSettings

FACTORY = "surveyflow.measuring.worker:SurveyWorker"
"""How an executor finds this class on the machine where a job runs."""


MODELS_IN_MEMORY = 4
"""How many models a worker keeps ready if nobody says otherwise."""


class SurveyWorker:
    """Does two kinds of job: ``digest`` a window's pixels, and ``unit``: process a unit and write its rows.

    Parameters
    ----------
    context
        ``root`` (output folder), ``engine`` and ``precision``, all str; ``models_in_memory``, int, may be left out.
    """

    def __init__(self, context: Mapping[str, Any]) -> None:
        self._root = Path(context["root"])
        self._engine = EngineChoice(EngineName(context["engine"]), Precision(context["precision"]))
        self._mosaics: dict[tuple[str, str | None, str | None], Mosaic] = {}
        self._models = ModelCache(self._load, context.get("models_in_memory", MODELS_IN_MEMORY))
        self._reading, self._computing = threading.Lock(), threading.Lock()
        self._heartbeat = HeartbeatWriter(self._root)

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
        with self._heartbeat.during(job):
            return {"digest": self._digest, "unit": self._unit}[job.verb](job.payload)

    def close(self) -> None:
        """Close mosaics, drop models and stop the heartbeat."""
        while self._mosaics:
            self._mosaics.popitem()[1].close()
        self._models.clear()
        self._heartbeat.stop()

    def _digest(self, payload: Mapping[str, Any]) -> Mapping[str, str]:
        with locked(self._reading):
            digests = self._mosaic(payload).digests(Box(*payload["box"]))
        check_unchanged(payload)
        return digests

    def _unit(self, payload: Mapping[str, Any]) -> Receipt:
        """Read, compute, write; of two units, one may be read or written while the other is computed."""
        clock = _Stopwatch()
        result, engine = self._measured(payload, clock) if payload["tile"] else (self._settled(payload, clock), "")
        return write_unit(
            self._root,
            payload["key"],
            payload["name"],
            payload["parts"],
            result.rows,
            seconds=clock.seconds,
            worker=f"{socket.gethostname()}:{os.getpid()}",
            draws=result.draws,
            engine=engine,
        )

    def _settled(self, payload: Mapping[str, Any], clock: _Stopwatch) -> UnitRows:
        with clock.running():
            sources = read_worklist(Path(payload["worklist"]), payload["number"])
            return UnitRows(settled_rows(sources, payload["key"]))

    def _measured(self, payload: Mapping[str, Any], clock: _Stopwatch) -> tuple[UnitRows, str]:
        """A unit's rows, and the names of the engines that computed them."""
        with locked(self._reading), clock.running():
            task, window = self._read(payload)
        with locked(self._computing), clock.running(), _enough_memory():
            models = [self._models.get(model["folder"], model["card_digest"]) for model in payload["models"]]
            report_progress()
            rows = process_unit(task, window, {model.card.key.task: _reporting(model) for model in models})
            return rows, "+".join(sorted({model.engine for model in models}))

    def _read(self, payload: Mapping[str, Any]) -> tuple[UnitTask, _ReadWindow]:
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
        window = mosaic.read(task.tile.window)
        check_unchanged(payload)
        return task, _ReadWindow(window)

    def _mosaic(self, payload: Mapping[str, Any]) -> Mosaic:
        name = payload["science"], payload["weight"], payload["stated_unit"]
        if name in self._mosaics and not is_as_planned(self._mosaics[name], payload):
            self._mosaics.pop(name).close()
        if name not in self._mosaics:
            self._mosaics[name] = open_mosaic(*name)
        return self._mosaics[name]

    def _load(self, folder: Path) -> Model:
        return load_model(folder, self._engine.name, precision=self._engine.precision)


@dataclass(slots=True)
class _Stopwatch:
    """Adds up the seconds spent on a job, without those that it waited for a lock."""

    seconds: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - start


@dataclass(frozen=True, slots=True)
class _ReadWindow:
    """The part of a mosaic that was read before its turn to be computed came; a `surveyflow.values.images.WindowReader`."""

    window: Window

    @property
    def shape(self) -> tuple[int, int]:
        return self.window.mosaic_shape

    def read(self, box: Box) -> Window:
        if box.clipped(self.shape) != self.window.box:
            raise ValueError(f"{self.window.box} was read, not {box}")
        return self.window


@dataclass(frozen=True, slots=True)
class _ReportingModel:
    """A model that reports progress to the watchdog after every batch."""

    model: Model

    @property
    def card(self) -> ModelCard:
        return self.model.card

    @property
    def engine(self) -> str:
        return self.model.engine

    def features(self, cutouts: Float32Array) -> Float32Array:
        features = self.model.features(cutouts)
        report_progress()
        return features

    def draw(self, features: Float32Array, source_keys: UInt64Array, n_draws: int, seed: int) -> Float32Array:
        draws = self.model.draw(features, source_keys, n_draws, seed)
        report_progress()
        return draws


@dataclass(frozen=True, slots=True)
class _ReportingSummariser(_ReportingModel):
    """The same for a model that summarises its draws as it makes them."""

    def summarise(
        self, features: Float32Array, source_keys: UInt64Array, n_draws: int, seed: int, outputs: tuple[int, int]
    ) -> PosteriorSummary:
        summary = cast("SummarisingModel", self.model).summarise(features, source_keys, n_draws, seed, outputs)
        report_progress()
        return summary


def _reporting(model: Model) -> Model:
    return _ReportingSummariser(model) if isinstance(model, SummarisingModel) else _ReportingModel(model)


@contextmanager
def _enough_memory() -> Iterator[None]:
    """Restart a process whose device has no memory left; engines have tried smaller batches by then."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise DeviceMemoryError(
                f"the device's memory is full even for the smallest batch: {error}. Are other programs on it? Else lower "
                "models_in_memory in the profile."
            ) from error
        raise
