"""The worker, which does the jobs of a run and keeps models and mosaics open between them.

It may do two jobs at the same time, each in a thread of its own: one computes while the other reads or writes.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from surveyflow.errors import CatalogError, DeviceMemoryError, UnitDamaged
from surveyflow.execution.heartbeat import HeartbeatWriter, locked, report_progress
from surveyflow.files.addresses import Address
from surveyflow.inputs.mosaics import Mosaic, open_mosaic
from surveyflow.inputs.remote_images import KEPT_PIXELS
from surveyflow.measuring.orders import (
    DigestWindow,
    KeyedUnit,
    MeasureUnit,
    PlannedModel,
    PlannedMosaic,
    TileMeasurement,
    WorkerSettings,
)
from surveyflow.measuring.unit import SummarisingModel, UnitRows, UnitTask, process_unit, settled_rows
from surveyflow.models.engines.batches import is_out_of_memory
from surveyflow.models.engines.choice import ModelCache, jury_of, load_model
from surveyflow.models.engines.devices import framework_in_use
from surveyflow.models.engines.native_library import paired_digests, positive_medians
from surveyflow.output.units import FoundUnit, find_unit, write_unit
from surveyflow.planning.plan import unit_key, with_pixels
from surveyflow.planning.units import unit_sources
from surveyflow.sky.tiling import corner, stacked
from surveyflow.stats.posterior import AmountOutputs, AmountStatistics, PosteriorSummary
from surveyflow.tasks.card import Model, ModelCard
from surveyflow.tasks.domains import FeatureDomain, JuryDomain
from surveyflow.values.arrays import Float32Array, Int64Array, UInt64Array
from surveyflow.values.codes import EngineName
from surveyflow.values.images import Box, CutoutStack, Stamps, Stated, Window
from surveyflow.values.jobs import EngineChoice, Job, Receipt, Task
from surveyflow.values.sources import UnitSources

FACTORY = "surveyflow.measuring.worker:SurveyWorker"
"""The name by which an executor finds this class on the machine where a job runs."""

MOST_OPEN_MOSAICS = 16
"""Number of mosaics that a worker holds open, those used last; the units of a mosaic follow each other."""


def load_chosen(folder: Path, engine: EngineChoice) -> Model:
    """Load a model with the chosen engine.

    Parameters
    ----------
    folder
        The model's folder.
    engine
        The engine that computes it.

    Raises
    ------
    ModelError
        As for `surveyflow.models.engines.choice.load_model`.
    """
    return load_model(folder, engine.name, precision=engine.precision)


class SurveyWorker:
    """A worker for three kinds of job: it digests a window's pixels, measures a unit and writes its rows, or carries out a task.

    Parameters
    ----------
    settings
        The output folder, the engine, and the number of models that are kept in memory.
    load
        Loads the model in a folder. A test can replace it by one whose model computes nothing.
    """

    def __init__(self, settings: WorkerSettings, load: Callable[[Path, EngineChoice], Model] = load_chosen) -> None:
        self._root = Path(settings.root)
        self._mosaics: dict[tuple[str | Address, str | Address | None, Stated], Mosaic] = {}
        self._models = ModelCache(lambda folder: load(folder, settings.engine), settings.models_in_memory)
        self._reading, self._computing = threading.Lock(), threading.Lock()
        self._heartbeat = HeartbeatWriter(self._root)

    def do(self, job: Job) -> Any:
        """Do one job.

        Parameters
        ----------
        job
            Its order is a `DigestWindow`, a `MeasureUnit` or a `Task`.

        Returns
        -------
        The digests of a window by name, the receipt of a unit (of one that had no key, a `KeyedUnit`), or the result of a task;
        the error of surveyflow that ended it takes its place, so that whoever asked for it can act on what it says.

        Raises
        ------
        TypeError
            If the order is of another kind.
        """
        with self._heartbeat.during(job):
            match job.order:
                case DigestWindow() as order:
                    return self._digest(order)
                case MeasureUnit() as order:
                    return self._unit(job.name, order)
                case Task() as task:
                    return self._task(task)
                case other:
                    raise TypeError(f"{job.name}: a survey's worker cannot do {other}")

    def close(self) -> None:
        """Close mosaics, drop models and stop the heartbeat."""
        while self._mosaics:
            self._mosaics.popitem()[1].close()
        self._models.clear()
        self._heartbeat.stop()

    def _task(self, task: Task) -> Any:
        """Carry out a task, one at a time, so that no more than one partition of a catalog is in memory."""
        with locked(self._computing):
            try:
                return task.carry_out()
            except (CatalogError, UnitDamaged) as error:
                return error

    def _digest(self, order: DigestWindow) -> Mapping[str, str]:
        with locked(self._reading):
            digests = self._mosaic(order.mosaic).digests(order.box, paired_digests())
        order.mosaic.check_unchanged()
        return digests

    def _unit(self, name: str, order: MeasureUnit) -> Receipt | KeyedUnit:
        """Read, compute and write a unit; while one unit is computed, another may be read or written."""
        clock = _Stopwatch()
        if order.measurement is None:
            with clock.running():
                rows = UnitRows(settled_rows(self._sources(order), order.key))
            return self._written(name, order, rows, "", clock)
        with locked(self._reading), clock.running():
            unit = self._read(order, order.measurement)
        before = FoundUnit(None) if order.key else find_unit(self._root, unit.order.key)
        if before.receipt is not None:
            return KeyedUnit(before.receipt, was_done=True)
        rows, engine = self._measured(unit, order.measurement, clock)
        receipt = self._written(name, unit.order, rows, engine, clock)
        return receipt if order.key else KeyedUnit(receipt, damage=before.damage)

    def _written(self, name: str, order: MeasureUnit, result: UnitRows, engine: str, clock: _Stopwatch) -> Receipt:
        return write_unit(
            self._root,
            order.key,
            name,
            order.parts,
            result.rows,
            seconds=clock.seconds,
            worker=f"{socket.gethostname()}:{os.getpid()}",
            draws=result.draws,
            engine=engine,
            framework=framework_in_use() if EngineName.KERAS in engine.split("+") else "",
        )

    def _measured(self, unit: ReadUnit, measurement: TileMeasurement, clock: _Stopwatch) -> tuple[UnitRows, str]:
        """A unit's rows, and the names of the engines that computed them."""
        with locked(self._computing), clock.running(), _enough_memory():
            self._models.make_room(sum(len(model.each) for model in measurement.models))
            models = list(map(self._model, measurement.models))
            rows = process_unit(unit.task, unit.pixels, {model.card.key.task: _reporting(model) for model in models})
            return rows, "+".join(sorted({name for model in models for name in model.engine.split("+")}))

    def _model(self, planned: PlannedModel) -> Model:
        """Return a model, or a jury of the members that are in memory."""
        models = []
        for one in planned.each:
            models.append(self._models.get(one.folder, one.card_digest))
            report_progress()
        names = [Path(one.folder).name for one in planned.members]
        return jury_of(planned.folder, names, models) if names else models[0]

    def _read(self, order: MeasureUnit, measurement: TileMeasurement) -> ReadUnit:
        """Read a unit's pixels, and make its key of their digests if it has none."""
        mosaic, sources = self._mosaic(measurement.mosaic), self._sources(order)
        if order.key:
            pixels = _pixels(mosaic, sources, measurement)
        else:
            digests, pixels = _digested_pixels(mosaic, sources, measurement)
            parts = with_pixels(order.parts, digests)
            order = replace(order, key=unit_key(parts), parts=parts)
        measurement.mosaic.check_unchanged()
        task = UnitTask(
            key=order.key,
            sources=sources,
            tile=measurement.tile,
            mosaic_unit=mosaic.unit,
            mosaic_filter=mosaic.filter,
            mosaic_flags=mosaic.flags,
            psf_fwhm_arcsec=mosaic.stated.psf_fwhm_arcsec,
            sampling=measurement.sampling,
            min_valid_fraction=measurement.min_valid_fraction,
            prevalence=measurement.prevalence,
        )
        return ReadUnit(order, task, pixels)

    def _sources(self, order: MeasureUnit) -> UnitSources:
        digests = {name: order.parts[name] for name in ("sources", "positions")}
        return unit_sources(self._root / order.worklist, order.number, **digests)

    def _mosaic(self, planned: PlannedMosaic) -> Mosaic:
        """Return the open mosaic, opened again if its files are not in the state for which the job was planned."""
        name = planned.name
        mosaic = self._mosaics.pop(name, None)
        if mosaic is not None and mosaic.files != planned.files:
            mosaic.close()
            mosaic = None
        self._mosaics[name] = mosaic or open_mosaic(*name, kept=self._root / KEPT_PIXELS)
        while len(self._mosaics) > MOST_OPEN_MOSAICS:
            self._mosaics.pop(next(iter(self._mosaics))).close()
        return self._mosaics[name]


@dataclass(frozen=True, slots=True)
class ReadUnit:
    """A unit whose pixels were read before its turn to be computed.

    Parameters
    ----------
    order
        The order, with the unit's key.
    task
        Everything about the unit but its pixels and models.
    pixels
        The cutouts of its sources, or its window.
    """

    order: MeasureUnit
    task: UnitTask
    pixels: CutoutStack | _ReadWindow


def _pixels(mosaic: Mosaic, sources: UnitSources, measurement: TileMeasurement) -> CutoutStack | _ReadWindow:
    """Read a unit's cutouts alone; its window if that holds fewer pixels, or only windows can be read."""
    stamps = None
    if _has_few_cutouts(sources, measurement):
        stamps = mosaic.read_stamps(*_corners(sources, measurement.cutout_size), measurement.cutout_size)
    return _ReadWindow(mosaic.read(measurement.tile.window)) if stamps is None else _stacked(stamps, sources, mosaic)


def _digested_pixels(
    mosaic: Mosaic, sources: UnitSources, measurement: TileMeasurement
) -> tuple[Mapping[str, str], CutoutStack | _ReadWindow]:
    """Read a unit's window once: return its digests with what `_pixels` makes of the same bytes."""
    window, size, found = measurement.tile.window, measurement.cutout_size, None
    if _has_few_cutouts(sources, measurement):
        found = mosaic.digested_stamps(window, *_corners(sources, size), size, paired_digests())
    if found is not None:
        return found[0], _stacked(found[1], sources, mosaic)
    digests, pixels = mosaic.digested(window, paired_digests())
    return digests, _ReadWindow(pixels)


def _has_few_cutouts(sources: UnitSources, measurement: TileMeasurement) -> bool:
    """Whether cutouts hold fewer pixels than the window around them."""
    (height, width), size = measurement.tile.window.shape, measurement.cutout_size
    return size >= 2 and 0 < len(sources) * size**2 <= height * width


def _corners(sources: UnitSources, size: int) -> tuple[Int64Array, Int64Array]:
    return corner(sources.y_pix, size), corner(sources.x_pix, size)


def _stacked(stamps: Stamps, sources: UnitSources, mosaic: Mosaic) -> CutoutStack:
    return stacked(stamps, sources.x_pix, sources.y_pix, mosaic.shape, positive_medians())


@dataclass(slots=True)
class _Stopwatch:
    """A clock that adds up the seconds spent on a job, without those spent waiting for a lock."""

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
    """The part of a mosaic that was read before its turn to be computed; a `surveyflow.values.images.WindowReader`."""

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

    @property
    def domain(self) -> FeatureDomain | JuryDomain | None:
        return self.model.domain

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
    """A model that reports progress and summarises its draws as it makes them."""

    def summarise(
        self, features: Float32Array, source_keys: UInt64Array, n_draws: int, seed: int, outputs: tuple[int, int]
    ) -> PosteriorSummary:
        summary = cast("SummarisingModel", self.model).summarise(features, source_keys, n_draws, seed, outputs)
        report_progress()
        return summary

    def summarise_amounts(
        self,
        features: Float32Array,
        source_keys: UInt64Array,
        n_draws: int,
        seed: int,
        amounts: Sequence[Sequence[AmountOutputs]],
    ) -> AmountStatistics | None:
        statistics = cast("SummarisingModel", self.model).summarise_amounts(features, source_keys, n_draws, seed, amounts)
        report_progress()
        return statistics


def _reporting(model: Model) -> Model:
    return _ReportingSummariser(model) if isinstance(model, SummarisingModel) else _ReportingModel(model)


@contextmanager
def _enough_memory() -> Iterator[None]:
    """Restart a process whose device has no memory left, even though engines tried smaller batches first."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise DeviceMemoryError(
                f"the device's memory is full even for the smallest batch: {error}. If no other program is using it, lower "
                "models_in_memory in the profile."
            ) from error
        raise
