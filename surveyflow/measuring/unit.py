"""What a worker does with one unit: from a mosaic's window to catalog rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from surveyflow.catalog.draws import build_draws
from surveyflow.catalog.healpix import healpix_29
from surveyflow.catalog.schema import SORT_ORDER, build_rows
from surveyflow.measuring.domain import band_differs, noise_outside
from surveyflow.measuring.sampling import Sample, sample
from surveyflow.measuring.source_keys import source_keys
from surveyflow.sky.cutouts import cut
from surveyflow.sky.noise import sky_rms
from surveyflow.sky.stretch import prepare
from surveyflow.stats.contamination import (
    CONTAMINATION_OUTPUTS,
    ContaminationSummary,
    can_be_measured,
    physical_draws,
    predictive_noise,
    summarise_contamination,
)
from surveyflow.tasks.card import Model, ModelCard
from surveyflow.values.arrays import BoolArray, Float32Array, Int32Array, UInt64Array
from surveyflow.values.codes import Flag, Status
from surveyflow.values.images import CutoutStack, Tile, Window, WindowReader
from surveyflow.values.sampling import SamplingSettings
from surveyflow.values.sources import SOURCE_COLUMNS, UnitSources

ALGORITHM_VERSION = "1"
"""Part of every unit's key: raised when a release of surveyflow measures otherwise, so that no earlier result is kept."""
BATCH_SIZE = 256
"""Cutouts cut, prepared and sampled together: 17 MB of pixels, and 20 MB of draws at 10,000 draws a source."""
DRAWS_AT_ONCE = 2**18
"""Draws of contamination, of all sources together, that are turned into percent and flux at once: 50 MB in float64."""


@dataclass(frozen=True, slots=True)
class UnitTask:
    """Everything about a unit but its pixels and its models.

    Parameters
    ----------
    key
        The unit's key, written into its rows.
    sources
        Its sources.
    tile
        Its tile.
    mosaic_unit, mosaic_filter
        Unit and filter of the mosaic, None where nothing says them.
    sampling
        Draws and seed.
    min_valid_fraction
        Sources with fewer valid pixels in their cutout are ``bad_pixels``.
    """

    key: str
    sources: UnitSources
    tile: Tile
    mosaic_unit: str | None
    mosaic_filter: str | None
    sampling: SamplingSettings
    min_valid_fraction: float


@dataclass(frozen=True, slots=True)
class _Contamination:
    """What the contamination model found, in the rows where ``measured`` is True, which are among the ``ok`` ones."""

    model_id: str
    measured: BoolArray
    summary: ContaminationSummary


@dataclass(frozen=True, slots=True)
class _Measured:
    """One batch of sources with all that was found out about them; the results cover the ``ok`` rows only."""

    sources: UnitSources
    status: NDArray[np.str_]
    flags: Int32Array
    valid_fraction: Float32Array
    weight_median: Float32Array
    sample: Sample
    contamination: _Contamination | None


@dataclass(frozen=True, slots=True)
class UnitRows:
    """A unit's part of the catalog.

    Parameters
    ----------
    rows
        Catalog rows, one a source.
    draws
        Field, source id and all draws of p_pm of the ``ok`` sources; None unless the draws are kept.
    """

    rows: pa.Table
    draws: pa.Table | None = None


def process_unit(
    task: UnitTask, mosaic: WindowReader, model: Model, batch_size: int = BATCH_SIZE, *, contamination: Model | None = None
) -> UnitRows:
    """Cut, prepare, sample and summarise every source of a unit.

    Parameters
    ----------
    task
        The unit.
    mosaic
        Where its pixels are read.
    model
        The merger model of its field and instrument.
    batch_size
        Cutouts in memory at a time; the result does not depend on it.
    contamination
        The contamination model, which takes cutouts of the same size; without one, its columns are null.
    """
    window = mosaic.read(task.tile.window)
    batches = _cut_ahead(window, task.sources, model.card.architecture.input_size, batch_size)
    measured = [_measure(task, model, contamination, sources, stack) for sources, stack in batches]
    return UnitRows(_rows(task, model.card, measured), _draws_table(task, model.card, measured))


def settled_rows(sources: UnitSources, unit_key: str | None, status: Status | None = None) -> pa.Table:
    """Rows of sources without results.

    Parameters
    ----------
    sources
        Sources whose status is settled, unless ``status`` is given.
    unit_key
        The unit's key.
    status
        Status of rows that have none yet: ``failed``, for a unit that could not be finished.
    """
    words = sources.status if status is None else np.where(sources.status == "", status.value, sources.status)
    return build_rows(_identity(sources) | {"status": words, "flags": sources.flags, "unit_key": unit_key}, len(sources))


def _cut_ahead(window: Window, sources: UnitSources, size: int, batch_size: int) -> Iterator[tuple[UnitSources, CutoutStack]]:
    """Cut the next batch in a thread while the caller works on the present one."""
    batches = [sources.take(np.arange(i, min(i + batch_size, len(sources)))) for i in range(0, len(sources), batch_size)]
    with ThreadPoolExecutor(1, thread_name_prefix="cut") as pool:
        stacks = [pool.submit(cut, window, batches[0].x_pix, batches[0].y_pix, size)]
        for number, batch in enumerate(batches):
            stack = stacks.pop().result()
            if number + 1 < len(batches):
                upcoming = batches[number + 1]
                stacks.append(pool.submit(cut, window, upcoming.x_pix, upcoming.y_pix, size))
            yield batch, stack


def _measure(task: UnitTask, model: Model, contamination: Model | None, sources: UnitSources, stack: CutoutStack) -> _Measured:
    status = _status(stack, task.min_valid_fraction)
    ok = status == Status.OK
    prepared = _prepared(stack, ok, model.card)
    blank = np.zeros(len(ok), dtype=bool)
    blank[ok] = ~prepared.any(axis=(1, 2))
    keys = source_keys(task.sources.field, sources.source_id[ok])
    flags = sources.flags | _flags(stack, blank)
    for card in (model.card, *([] if contamination is None else [contamination.card])):
        flags |= _domain_flags(task, card, sources, stack, ok)
    return _Measured(
        sources=sources,
        status=status,
        flags=flags,
        valid_fraction=stack.valid_fraction,
        weight_median=stack.weight_median,
        sample=sample(model, model.features(prepared), keys, task.sampling),
        contamination=None if contamination is None else _measure_contamination(task, contamination, sources, stack, ok),
    )


def _measure_contamination(
    task: UnitTask, model: Model, sources: UnitSources, stack: CutoutStack, ok: BoolArray
) -> _Contamination:
    """Sample the contamination of the ``ok`` cutouts in which the sky's noise can be measured."""
    rms = sky_rms(stack.pixels, stack.valid)
    measured = ok & can_be_measured(rms)
    features = model.features(_prepared(stack, measured, model.card))
    keys, rms = source_keys(task.sources.field, sources.source_id[measured]), rms[measured]
    step = max(1, DRAWS_AT_ONCE // task.sampling.n_draws)
    blocks = [slice(row, row + step) for row in range(0, max(len(keys), 1), step)]
    parts = [_contamination_summary(task.sampling, model, features[rows], keys[rows], rms[rows]) for rows in blocks]
    return _Contamination(model.card.model_id, measured, ContaminationSummary.joined(parts))


def _contamination_summary(
    sampling: SamplingSettings, model: Model, features: Float32Array, keys: UInt64Array, rms: Float32Array
) -> ContaminationSummary:
    card = model.card
    if card.contamination is None:
        raise ValueError(f"the card of {card.key} does not say what its outputs stand for")
    draws = model.draw(features, keys, sampling.n_draws, sampling.seed)
    outputs = draws[..., [card.class_names.index(name) for name in CONTAMINATION_OUTPUTS]]
    noise = predictive_noise(keys, sampling.n_draws, sampling.seed, card.model_word)
    return summarise_contamination(outputs, physical_draws(outputs, rms, card.contamination, *noise))


def _prepared(stack: CutoutStack, rows: BoolArray, card: ModelCard) -> Float32Array:
    return prepare(stack.pixels[rows], stack.valid[rows], card.stretch, card.softening)


def _status(stack: CutoutStack, min_valid_fraction: float) -> NDArray[np.str_]:
    enough = stack.valid_fraction >= min_valid_fraction
    seen = np.where(enough, Status.OK.value, Status.BAD_PIXELS.value)
    return np.where(stack.centre_valid, seen, Status.NO_COVERAGE.value)


def _flags(stack: CutoutStack, blank: BoolArray) -> Int32Array:
    return _marked(
        {
            Flag.EDGE: stack.beyond_edge,
            Flag.PARTIAL_COVERAGE: stack.valid_fraction < 1,
            Flag.CONSTANT_IMAGE: blank,
        }
    )


def _domain_flags(task: UnitTask, card: ModelCard, sources: UnitSources, stack: CutoutStack, ok: BoolArray) -> Int32Array:
    """Flag what the model was not trained on, among the sources that it measures."""
    low, high = card.redshift_range
    unit_differs = card.domain.unit is not None and task.mosaic_unit != card.domain.unit
    outside = {
        Flag.UNIT_DOMAIN: ok & unit_differs,
        Flag.BAND_DOMAIN: ok & band_differs(task.mosaic_filter, card),
        Flag.NOISE_DOMAIN: ok & noise_outside(stack.pixels, stack.valid, card),
        Flag.REDSHIFT_DOMAIN: ok & ~((sources.redshift >= low) & (sources.redshift < high)),
    }
    return _marked(outside | {Flag.OUT_OF_DOMAIN: np.any(list(outside.values()), axis=0)})


def _marked(named: Mapping[Flag, BoolArray]) -> Int32Array:
    flags = np.zeros(len(next(iter(named.values()))), dtype=np.int32)
    for flag, rows in named.items():
        flags[rows] |= flag
    return flags


def _rows(task: UnitTask, card: ModelCard, measured: list[_Measured]) -> pa.Table:
    tables = [build_rows(_columns(task, card, batch), len(batch.sources)) for batch in measured]
    return pa.concat_tables(tables).sort_by(SORT_ORDER)


def _columns(task: UnitTask, card: ModelCard, batch: _Measured) -> dict[str, Any]:
    ok = batch.status == Status.OK
    provenance = {
        "model_id": card.model_id,
        "weights_origin": card.origin.value,
        "n_draws": task.sampling.n_draws,
        "seed": task.sampling.seed,
    }
    return (
        _identity(batch.sources)
        | {"status": batch.status, "flags": batch.flags, "unit_key": task.key}
        | {"valid_fraction": batch.valid_fraction, "weight_median": batch.weight_median}
        | {name: [value if measured else None for measured in ok] for name, value in provenance.items()}
        | {name: _spread(ok, values) for name, values in batch.sample.summary.columns().items()}
        | ({} if batch.contamination is None else _contamination_columns(batch.contamination))
    )


def _contamination_columns(found: _Contamination) -> dict[str, Any]:
    results = {name: _spread(found.measured, values) for name, values in found.summary.columns().items()}
    return results | {"contamination_model_id": [found.model_id if measured else None for measured in found.measured]}


def _identity(sources: UnitSources) -> dict[str, Any]:
    return {
        "_healpix_29": healpix_29(sources.ra_deg, sources.dec_deg),
        "field": np.full(len(sources), sources.field),
        **{SOURCE_COLUMNS[name].catalog_name: values for name, values in sources.columns.items()},
        "instrument": [name or None for name in sources.instrument.tolist()],
        "x_pix": sources.x_pix,
        "y_pix": sources.y_pix,
    }


def _spread(rows: BoolArray, values: NDArray[Any]) -> np.ma.MaskedArray[Any, Any]:
    """Spread the values of the chosen rows over all rows, masked elsewhere."""
    shape = (len(rows), *values.shape[1:])
    mask = np.broadcast_to(~rows.reshape(-1, *[1] * (values.ndim - 1)), shape)
    full = np.zeros(shape, values.dtype)
    full[rows] = values
    return np.ma.MaskedArray(full, mask)


def _draws_table(task: UnitTask, card: ModelCard, measured: list[_Measured]) -> pa.Table | None:
    if not task.sampling.keep_draws:
        return None
    ok = np.concatenate([batch.status == Status.OK for batch in measured])
    source_id = np.concatenate([batch.sources.source_id for batch in measured])[ok]
    draws = np.concatenate([batch.sample.p_pm_draws for batch in measured if batch.sample.p_pm_draws is not None])
    return build_draws(task.sources.field, source_id, draws, card.origin)
