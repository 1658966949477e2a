"""The measurement of one unit: the steps from a mosaic's window to catalog rows, with the sampling of each model's head."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from surveyflow.catalog.draws import build_draws
from surveyflow.catalog.schema import build_rows, healpix_29, in_order
from surveyflow.models.engines.native_library import arcsinh_kernel
from surveyflow.models.framing import feature_distances
from surveyflow.sky.stretch import prepare
from surveyflow.sky.tiling import corner, cut
from surveyflow.stats.philox import source_keys
from surveyflow.stats.posterior import AmountOutputs, AmountStatistics, PosteriorSummary
from surveyflow.tasks.calibration import at_prevalence
from surveyflow.tasks.card import Model, ModelCard
from surveyflow.tasks.domains import Facts, band_differs, distance_outside, facts_outside, measured_facts, psf_outside
from surveyflow.tasks.registry import LEADING, TASKS
from surveyflow.tasks.task import Columns, Draws, Task
from surveyflow.values.arrays import BoolArray, Float32Array, Int32Array, UInt64Array
from surveyflow.values.codes import Flag, Status
from surveyflow.values.images import CutoutStack, Tile, Window, WindowReader
from surveyflow.values.jobs import SamplingSettings
from surveyflow.values.sources import SOURCE_COLUMNS, UnitSources

_Scalar = TypeVar("_Scalar", bound=np.generic)

ALGORITHM_VERSION = "3"
"""Part of every unit's key: raised when a release of surveyflow measures differently, so that no earlier result is kept."""
BATCH_SIZE = 256
"""Number of cutouts cut, prepared and sampled together: 17 MB of pixels, and 20 MB of draws at 10,000 draws a source."""


@dataclass(frozen=True, slots=True)
class UnitTask:
    """Everything about a unit except its pixels and its models.

    Parameters
    ----------
    key
        The unit's key, written into its rows.
    sources
        Its sources.
    tile
        Its tile.
    mosaic_unit, mosaic_filter
        Unit and filter of the mosaic; None if unknown.
    mosaic_flags
        Flags of all sources that are measured on it.
    psf_fwhm_arcsec
        FWHM of its PSF, arcsec, as the user states it; None if it is not stated.
    sampling
        Number of draws, and seed.
    min_valid_fraction
        Sources with fewer valid pixels in their cutout are ``bad_pixels``.
    prevalence
        Share of post-mergers at which probabilities are stated, too; None for none.
    """

    key: str
    sources: UnitSources
    tile: Tile
    mosaic_unit: str | None
    mosaic_filter: str | None
    sampling: SamplingSettings
    min_valid_fraction: float
    prevalence: float | None = None
    mosaic_flags: int = 0
    psf_fwhm_arcsec: float | None = None


@dataclass(frozen=True, slots=True)
class _Batch:
    """Sources with their cutouts, and what is measured on those without any model."""

    sources: UnitSources
    stack: CutoutStack
    facts: Facts


@dataclass(frozen=True, slots=True)
class _Found:
    """The results of one model for a batch, in the rows where ``measured`` is True; these are among the ``ok`` ones."""

    card: ModelCard
    measured: BoolArray
    blank: BoolArray
    sample: Sample
    feature_distance: Float32Array | None

    @property
    def too_distant(self) -> BoolArray:
        """(n,) bool, of all rows: whether the image lies too far from the training images; False where that is not known."""
        beyond = distance_outside(self.feature_distance, int(self.measured.sum()), self.card)
        return _within(self.measured, beyond)

    @property
    def disputed(self) -> BoolArray:
        """(n,) bool, of all rows: whether a member of the jury sees another class; False for tasks without classes."""
        agreement = self.sample.columns.get("member_agreement")
        return np.zeros(len(self.measured), dtype=bool) if agreement is None else _within(self.measured, agreement < 1)


@dataclass(frozen=True, slots=True)
class _Measured:
    """One batch of sources with its results by task; the leading task covers all ``ok`` rows."""

    sources: UnitSources
    status: NDArray[np.str_]
    flags: Int32Array
    valid_fraction: Float32Array
    weight_median: Float32Array
    facts: Facts
    found: Mapping[str, _Found]


@dataclass(frozen=True, slots=True)
class UnitRows:
    """A unit's part of the catalog.

    Parameters
    ----------
    rows
        Catalog rows, one for each source.
    draws
        Field, source id and all draws of p_pm of the ``ok`` sources; None unless the draws are kept.
    """

    rows: pa.Table
    draws: pa.Table | None = None


def process_unit(
    task: UnitTask, mosaic: WindowReader | CutoutStack, models: Mapping[str, Model], batch_size: int = BATCH_SIZE
) -> UnitRows:
    """Cut out, prepare, sample and summarise every source of a unit.

    Parameters
    ----------
    task
        The unit.
    mosaic
        The mosaic from which pixels are read; or the cutouts of the unit's sources, in order, if they were read before.
    models
        The models of its field and instrument by task: the merger model, which decides on status, and any others, which take
        cutouts of the same size. Columns of tasks without a model are null.
    batch_size
        Number of cutouts in memory at a time; the result does not depend on it.
    """
    card = models[LEADING.name].card
    pixels = mosaic if isinstance(mosaic, CutoutStack) else mosaic.read(task.tile.window)
    batches = _cut_ahead(pixels, task.sources, card.architecture.input_size, batch_size)
    measured = [_measure(task, models, sources, stack) for sources, stack in batches]
    return UnitRows(_rows(task, measured), _draws_table(task, card, measured))


def settled_rows(sources: UnitSources, unit_key: str | None, status: Status | None = None) -> pa.Table:
    """Make rows for sources without results.

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


def _cut_ahead(
    pixels: Window | CutoutStack, sources: UnitSources, size: int, batch_size: int
) -> Iterator[tuple[UnitSources, CutoutStack]]:
    """Cut out the next batch in a thread while the caller works on the present one."""
    starts = range(0, max(len(sources), 1), batch_size)  # a unit without sources has one batch, which is empty
    batches = [slice(start, min(start + batch_size, len(sources))) for start in starts]
    with ThreadPoolExecutor(1, thread_name_prefix="cut") as pool:
        stacks = [pool.submit(_cut, pixels, sources, batches[0], size)]
        for number, rows in enumerate(batches):
            stack = stacks.pop().result()
            if number + 1 < len(batches):
                stacks.append(pool.submit(_cut, pixels, sources, batches[number + 1], size))
            yield sources.take(np.arange(rows.start, rows.stop)), stack


def _cut(pixels: Window | CutoutStack, sources: UnitSources, rows: slice, size: int) -> CutoutStack:
    if isinstance(pixels, Window):
        return cut(pixels, sources.x_pix[rows], sources.y_pix[rows], size)
    return pixels.take(rows)


def _measure(task: UnitTask, models: Mapping[str, Model], sources: UnitSources, stack: CutoutStack) -> _Measured:
    batch = _Batch(sources, stack, _facts(sources, stack, models[LEADING.name].card))
    valid_fraction = stack.valid_fraction
    status = _status(stack, valid_fraction >= task.min_valid_fraction)
    leading = _find(task, models[LEADING.name], batch, status == Status.OK)
    status = np.where((status == Status.OK) & ~leading.measured, Status.BAD_PIXELS.value, status)
    ok = status == Status.OK
    found = {name: leading if name == LEADING.name else _find(task, model, batch, ok) for name, model in models.items()}
    flags = sources.flags | _flags(stack, valid_fraction, leading) | np.where(ok, np.int32(task.mosaic_flags), np.int32(0))
    for each in found.values():
        flags |= _domain_flags(task, each, batch, ok)
    return _Measured(sources, status, flags, valid_fraction, stack.weight_median, batch.facts, found)


def _facts(sources: UnitSources, stack: CutoutStack, card: ModelCard) -> Facts:
    """Measure sky and noise of the cutouts, and how far their light lies from the catalog's exact positions."""
    positions_yx = np.stack([sources.y_pix, sources.x_pix], axis=1)
    position_yx = positions_yx - corner(positions_yx, stack.pixels.shape[-1])
    return measured_facts(stack.pixels, stack.valid, position_yx, card.pixel_scale_arcsec)


def _find(task: UnitTask, model: Model, batch: _Batch, ok: BoolArray) -> _Found:
    """Sample one model on the ``ok`` cutouts that its task can measure and whose draws are numbers."""
    measurable = TASKS[model.card.key.task].measurable
    rms = None if measurable is None else batch.facts.sky.rms
    tried = ok if measurable is None or rms is None else ok & measurable(rms)
    prepared = _prepared(batch, tried, model.card)
    keys = source_keys(task.sources.field, batch.sources.source_id[tried])
    features = model.features(prepared)
    defined = have_draws(model, features, keys, task.sampling)
    measured, blank = _within(tried, defined), _within(tried, np.logical_not(prepared.any(axis=(1, 2))))
    noise = None if rms is None else rms[measured]
    distance = feature_distances(model, _chosen(prepared, defined), features[defined])
    sampled = sample(model, features[defined], keys[defined], task.sampling, noise)
    return _Found(model.card, measured, blank, sampled, distance)


def _prepared(batch: _Batch, rows: BoolArray, card: ModelCard) -> Float32Array:
    pixels, valid = _chosen(batch.stack.pixels, rows), _chosen(batch.stack.valid, rows)
    return prepare(pixels, valid, card.stretch, card.softening, sky=batch.facts.sky.of(rows), arcsinh=arcsinh_kernel())


def _chosen(images: NDArray[_Scalar], rows: BoolArray) -> NDArray[_Scalar]:
    """The images of some rows; of all rows without a copy."""
    return images if rows.all() else images[rows]


def _within(rows: BoolArray, chosen: BoolArray) -> BoolArray:
    """(n,) bool: those of the rows that are chosen among them."""
    found = np.zeros(len(rows), dtype=bool)
    found[rows] = chosen
    return found


def _status(stack: CutoutStack, enough: BoolArray) -> NDArray[np.str_]:
    seen = np.where(enough, Status.OK.value, Status.BAD_PIXELS.value)
    return np.where(stack.centre_valid, seen, Status.NO_COVERAGE.value)


def _flags(stack: CutoutStack, valid_fraction: Float32Array, leading: _Found) -> Int32Array:
    return _marked(
        {
            Flag.EDGE: stack.beyond_edge,
            Flag.PARTIAL_COVERAGE: valid_fraction < 1,
            Flag.CONSTANT_IMAGE: leading.blank,
            Flag.MEMBERS_DISAGREE: leading.disputed,
        }
    )


def _domain_flags(task: UnitTask, found: _Found, batch: _Batch, ok: BoolArray) -> Int32Array:
    """Flag the sources that differ from what the model was trained on, among those that it measures."""
    card = found.card
    low, high = card.redshift_range
    withheld = TASKS[card.key.task].columns_withheld(task.mosaic_unit)
    unit_differs = card.domain.unit not in (None, task.mosaic_unit) or bool(withheld)
    outside = {
        Flag.UNIT_DOMAIN: ok & unit_differs,
        Flag.BAND_DOMAIN: ok & band_differs(task.mosaic_filter, card),
        Flag.REDSHIFT_DOMAIN: ok & ~((batch.sources.redshift >= low) & (batch.sources.redshift < high)),
        Flag.PSF_DOMAIN: ok & psf_outside(task.psf_fwhm_arcsec, card),
        Flag.FEATURE_DOMAIN: ok & found.too_distant,
        **{flag: ok & rows for flag, rows in facts_outside(batch.facts, card).items()},
    }
    unknown = {Flag.FILTER_UNKNOWN: ok & (task.mosaic_filter is None)}
    return _marked(outside | unknown | {Flag.OUT_OF_DOMAIN: np.any(list(outside.values()), axis=0)})


def _marked(named: Mapping[Flag, BoolArray]) -> Int32Array:
    flags = np.zeros(len(next(iter(named.values()))), dtype=np.int32)
    for flag, rows in named.items():
        flags[rows] |= flag
    return flags


def _rows(task: UnitTask, measured: list[_Measured]) -> pa.Table:
    tables = [build_rows(_columns(task, batch), len(batch.sources)) for batch in measured]
    return in_order(pa.concat_tables(tables))


def _columns(task: UnitTask, batch: _Measured) -> dict[str, Any]:
    columns = (
        _identity(batch.sources)
        | {"status": batch.status, "flags": batch.flags, "unit_key": task.key}
        | {"valid_fraction": batch.valid_fraction, "weight_median": batch.weight_median}
        | {"offset_arcsec": batch.facts.offset_arcsec, "sky_sigma": batch.facts.sky_sigma}
        | {"noise_correlation": batch.facts.noise.correlation, "window_snr": batch.facts.window_snr}
        | {"edge_light_fraction": batch.facts.edge_light_fraction}
    )
    for name, found in batch.found.items():
        columns |= {
            column: [value if row else None for row in found.measured] for column, value in _model(task, name, found.card)
        }
        withheld = TASKS[name].columns_withheld(task.mosaic_unit)
        columns |= {
            column: _spread(found.measured, values) for column, values in found.sample.columns.items() if column not in withheld
        }
    leading = batch.found[LEADING.name]
    if leading.feature_distance is not None:
        columns["feature_distance"] = _spread(leading.measured, leading.feature_distance)
    return columns | {name: _spread(leading.measured, values) for name, values in _probabilities(task, leading)}


def _probabilities(task: UnitTask, leading: _Found) -> Iterator[tuple[str, Float32Array]]:
    """The columns of calibrated probabilities, if the model's card holds a calibration."""
    calibration = leading.card.calibration
    if calibration is None:
        return
    probability = calibration.probability(leading.sample.columns["p_pm_mean"])
    yield "p_pm_calibrated", probability.astype(np.float32)
    if task.prevalence is not None:
        yield "p_pm_at_prevalence", at_prevalence(probability, task.prevalence, calibration.share).astype(np.float32)


def _model(task: UnitTask, name: str, card: ModelCard) -> Iterator[tuple[str, Any]]:
    """The values of the columns that describe a task's model."""
    if name != LEADING.name:
        yield f"{name}_model_id", card.model_id
        return
    yield "model_id", card.model_id
    yield "weights_origin", card.origin.value
    yield "n_draws", task.sampling.n_draws
    yield "n_members", card.n_members
    yield "seed", task.sampling.seed


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
    kept = [batch.found[LEADING.name].sample.kept_draws for batch in measured]
    draws = np.concatenate([drawn for drawn in kept if drawn is not None])
    return build_draws(task.sources.field, source_id, draws, card.origin)


DRAWS_AT_ONCE = 2**18
"""Number of draws, of all sources in a block, for tasks that turn draws into other quantities: 50 MB in float64."""


_SAFE_FEATURE = 1e12
"""The dense layers do not overflow for features below this number, unless weights are absurdly large, too."""


@runtime_checkable
class SummarisingModel(Protocol):
    """A model that summarises its draws as it makes them, and keeps none of them."""

    def summarise(
        self, features: Float32Array, source_keys: UInt64Array, n_draws: int, seed: int, outputs: tuple[int, int]
    ) -> PosteriorSummary:
        """The summary of the draws of two outputs, in this order.

        It equals that of `surveyflow.stats.posterior.summarise`. Only the last bit of means, standard deviations and entropies of
        shares may differ, since they are sums in another order.
        """
        ...

    def summarise_amounts(
        self,
        features: Float32Array,
        source_keys: UInt64Array,
        n_draws: int,
        seed: int,
        amounts: Sequence[Sequence[AmountOutputs]],
    ) -> AmountStatistics | None:
        """The statistics of the amounts that the draws of each member stand for; None if the model cannot make them.

        They equal, within the rounding of float32, those of the physical draws that a task makes of all draws.
        """
        ...


@dataclass(frozen=True, slots=True)
class Sample:
    """The results of sampling a batch of sources.

    Parameters
    ----------
    columns
        The summary of the draws, by name of the catalog's column; each (n, ...).
    kept_draws
        (n, n_draws) float32: the draws of the task's first output; None unless they are kept.
    """

    columns: Columns
    kept_draws: Float32Array | None = None


def have_draws(model: Model, features: Float32Array, source_keys: UInt64Array, settings: SamplingSettings) -> BoolArray:
    """Whether every draw of each source is a number.

    It is not if pixels are so large that the network's arithmetic overflows, which only the ``linear`` stretch allows. Such a
    source must not spoil the others of its batch. Only sources with huge features are drawn here.

    Parameters
    ----------
    model, features, source_keys, settings
        As for `sample`.
    """
    defined: BoolArray = np.all(features < _SAFE_FEATURE, axis=1)
    for row in np.flatnonzero(~defined):
        one = slice(row, row + 1)
        draws = model.draw(features[one], source_keys[one], settings.n_draws, settings.seed)
        defined[row] = np.isfinite(draws).all()
    return defined


def sample(
    model: Model,
    features: Float32Array,
    source_keys: UInt64Array,
    settings: SamplingSettings,
    sky_rms: Float32Array | None = None,
) -> Sample:
    """Sample a model's sources, and summarise their draws as its task says.

    Parameters
    ----------
    model
        The model. If it is a `SummarisingModel`, its task can use the summary, and the draws are not kept, they are never all in
        memory.
    features
        (n, width) float32: the model's features of the sources.
    source_keys
        (n,) uint64.
    settings
        Number of draws, seed, and whether the draws are kept.
    sky_rms
        (n,) float32: sky rms of the cutouts, for tasks that need it.
    """
    task = TASKS[model.card.key.task]
    order = [model.card.class_names.index(name) for name in task.outputs]
    keep_draws = settings.keep_draws and task.leads
    if task.from_pair is not None and isinstance(model, SummarisingModel) and not keep_draws:
        first, second = order
        pair = model.summarise(features, source_keys, settings.n_draws, settings.seed, (first, second))
        return Sample(task.from_pair(pair))
    if task.amounts is not None and sky_rms is not None and isinstance(model, SummarisingModel):
        amounts = [task.amounts.outputs(card) for card in model.card.each]
        statistics = model.summarise_amounts(features, source_keys, settings.n_draws, settings.seed, amounts)
        if statistics is not None:
            return Sample(task.amounts.columns(statistics, sky_rms))
    parts = []
    for rows in _blocks(task, len(source_keys), settings.n_draws):
        drawn = model.draw(features[rows], source_keys[rows], settings.n_draws, settings.seed)[..., order]
        noise = None if sky_rms is None else sky_rms[rows]
        parts.append(_summarised(task, Draws(drawn, source_keys[rows], settings.seed, model.card, noise), keep_draws))
    return _joined(parts)


def _blocks(task: Task, n_sources: int, n_draws: int) -> list[slice]:
    """Blocks of sources that are summarised together; there is at least one block."""
    step = max(1, DRAWS_AT_ONCE // n_draws) if task.in_blocks else max(n_sources, 1)
    return [slice(row, row + step) for row in range(0, max(n_sources, 1), step)]


def _summarised(task: Task, draws: Draws, keep_draws: bool) -> Sample:
    return Sample(task.summarise(draws), draws.outputs[..., 0].copy() if keep_draws else None)


def _joined(parts: list[Sample]) -> Sample:
    """Join the samples of several blocks of sources, in order."""
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns}
    kept = [part.kept_draws for part in parts if part.kept_draws is not None]
    return Sample(columns, np.concatenate(kept) if kept else None)
