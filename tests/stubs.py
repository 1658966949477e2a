"""Workers that are real but for their models: they read, cut, summarise and write, but no network computes."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from surveyflow.catalog.schema import build_rows, healpix_29
from surveyflow.measuring.orders import MeasureUnit, TileMeasurement, WorkerSettings
from surveyflow.measuring.unit import UnitRows
from surveyflow.measuring.worker import ReadUnit, SurveyWorker, _Stopwatch
from surveyflow.models.store import read_card
from surveyflow.output.units import read_receipt
from surveyflow.stats.posterior import summarise
from surveyflow.tasks.card import Architecture, Model, ModelCard
from surveyflow.tasks.domains import FeatureDomain
from surveyflow.values.arrays import Float32Array, UInt64Array
from surveyflow.values.codes import Status
from surveyflow.values.jobs import EngineChoice, Job, Receipt, Worker
from surveyflow.values.sources import SOURCE_COLUMNS, UnitSources

TINY = Architecture(filters=(2,), kernel_sizes=(3,), dense=(2,))
ENGINE = "stub"
"""What receipts say of units that were computed with a stub."""


@dataclass(frozen=True)
class StubModel:
    """Not a network: its features are the mean of the prepared cutout, and its draws are numbers seeded by the source's key."""

    card: ModelCard

    @property
    def engine(self) -> str:
        return ENGINE

    @property
    def domain(self) -> FeatureDomain | None:
        return None

    def features(self, cutouts: Float32Array) -> Float32Array:
        means: Float32Array = cutouts.mean(axis=(1, 2), dtype=np.float64)[:, None].astype(np.float32)
        return np.repeat(means, self.card.architecture.dense[0], axis=1)

    def draw(self, features: Float32Array, source_keys: UInt64Array, n_draws: int, seed: int) -> Float32Array:
        n_outputs = self.card.architecture.n_outputs
        spread = [np.random.default_rng([seed, int(key)]).random((n_draws, n_outputs)) for key in source_keys]
        draws = 0.5 * features[:, None, :1] + 0.5 * np.reshape(spread, (len(features), n_draws, n_outputs))
        return np.clip(draws, 0, 1).astype(np.float32)


def load_stub(folder: Path, engine: EngineChoice) -> Model:
    """A `StubModel` with the card of the model in a folder, whose weights are not read."""
    return StubModel(read_card(folder))


class StubWorker(SurveyWorker):
    """Samples `StubModel` instead of a network."""

    def __init__(self, settings: WorkerSettings) -> None:
        super().__init__(settings, load_stub)


class ListedWorker(StubWorker):
    """Makes the rows of a unit from its work list: its pixels are read and digested, and its results are random numbers."""

    def _measured(self, unit: ReadUnit, measurement: TileMeasurement, clock: _Stopwatch) -> tuple[UnitRows, str]:
        with clock.running():
            return UnitRows(_listed_rows(unit.task.sources, unit.order)), ENGINE


def _listed_rows(sources: UnitSources, order: MeasureUnit) -> pa.Table:
    n_rows, n_draws = len(sources), 20
    draws = np.random.default_rng(int(order.key[:12], 16)).random((n_rows, n_draws, 2), np.float32)
    identity = {SOURCE_COLUMNS[name].catalog_name: values for name, values in sources.columns.items()}
    identity |= {"_healpix_29": healpix_29(sources.ra_deg, sources.dec_deg), "field": np.full(n_rows, sources.field)}
    identity |= {"instrument": sources.instrument, "x_pix": sources.x_pix, "y_pix": sources.y_pix, "flags": sources.flags}
    model = {"model_id": np.full(n_rows, "merger/SKY/F814W@0123456789ab"), "weights_origin": np.full(n_rows, "untrained")}
    numbers = {"n_draws": np.full(n_rows, n_draws), "n_members": np.full(n_rows, 1), "seed": np.full(n_rows, 7)}
    results = {"status": np.full(n_rows, Status.OK.value), "unit_key": order.key, **summarise(draws).columns()}
    return build_rows(identity | model | numbers | results, n_rows)


class SlowWorker(StubWorker):
    """A `StubWorker` that takes its time for a unit, so that it can be disturbed at it."""

    def do(self, job: Job) -> Any:
        if isinstance(job.order, MeasureUnit):
            time.sleep(0.2)
        return super().do(job)


class _Troubled:
    """A worker that cannot do the units whose name holds a word of the file ``trouble`` in the output folder."""

    def __init__(self, worker: Worker, root: str) -> None:
        self._worker = worker
        self._trouble = Path(root) / "trouble"

    def do(self, job: Job) -> Any:
        words = self._trouble.read_text().split()
        if isinstance(job.order, MeasureUnit) and any(word in job.name for word in words):
            raise ValueError("the sky fell")
        done: Mapping[str, str] | Receipt = self._worker.do(job)
        return done

    def close(self) -> None:
        self._worker.close()


def check_stubbed(root: Path, most: int | None = None) -> None:
    """Refuse an output folder in which anything but a stub computed a unit; of many units, only ``most`` are asked.

    Raises
    ------
    AssertionError
        Naming the engines; also if no unit needed a model.
    """
    receipts = (read_receipt(root, path.stem) for path in islice((root / "units").glob("*/*.json"), most))
    engines = {receipt.engine for receipt in receipts if receipt is not None} - {""}
    if engines != {ENGINE}:
        raise AssertionError(f"{root}: units were computed by {sorted(engines)}, not with a stub")


def loaded_engines() -> set[str]:
    """The engines that this process has loaded: modules of Python, and libraries that Linux has mapped into its memory."""
    libraries = {line.rpartition("/")[2].strip() for line in Path("/proc/self/maps").read_text().splitlines()}
    return {"keras", "tensorflow", "jax", "torch", "libsurveyflow.so"} & {*sys.modules, *libraries}


def make_troubled_stub_worker(settings: WorkerSettings) -> Worker:
    """A `StubWorker` with some units that it cannot do."""
    return _Troubled(StubWorker(settings), settings.root)


def make_troubled_worker(settings: WorkerSettings) -> Worker:
    """A real worker with some units that it cannot do."""
    return _Troubled(SurveyWorker(settings), settings.root)
