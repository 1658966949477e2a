"""Which work units a survey is made of, and which of them must be done."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from surveyflow.catalog.source_changes import SourceChanges
from surveyflow.sky.tiling import owning_tiles, tile
from surveyflow.types import (
    Flag,
    Float64Array,
    ModelCard,
    Receipt,
    SamplingSettings,
    SourceList,
    Status,
    Tile,
    UnitSources,
)

SETTLED_ROWS_PER_UNIT = 100_000
"""Rows of sources that need no pixels, in one unit: a few seconds of writing."""

WHAT_CHANGED = {
    "schema": "catalog schema changed",
    "science_pixels": "science pixels changed",
    "weight_pixels": "weight pixels changed",
    "image": "mosaic unit or filter changed",
    "algorithm": "surveyflow's way of measuring changed",
    "sources": "sources changed",
    "positions": "source positions on the mosaic changed",
    "model": "model weights changed",
    "preparation": "model card changed",
    "contamination": "contamination model changed",
    "sampling": "sampling settings changed",
    "quality": "quality settings changed",
    "precision": "arithmetic precision changed",
}
"""How a plan words a change in each part of a unit's key."""


class PixelMap(Protocol):
    """What planning asks of a mosaic."""

    @property
    def shape(self) -> tuple[int, int]: ...

    @property
    def unit(self) -> str | None: ...

    def to_pixels(self, ra_deg: Float64Array, dec_deg: Float64Array) -> tuple[Float64Array, Float64Array]: ...


class Decision(StrEnum):
    """What a plan does with a unit."""

    DO = "do"
    KEEP = "keep"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class WorkUnit:
    """One tile of one mosaic with its sources, or a batch of sources that need no pixels.

    Parameters
    ----------
    name
        ``EGS/F814W/y000x001``, or ``EGS/settled/000``.
    sources
        Its sources, sorted by id.
    instrument
        Instrument of its mosaic; None for a batch without pixels.
    tile
        Its tile; None for a batch without pixels.
    """

    name: str
    sources: UnitSources
    instrument: str | None = None
    tile: Tile | None = None

    @property
    def field(self) -> str:
        """Field of its sources."""
        return self.sources.field


@dataclass(frozen=True, slots=True)
class PlannedUnit:
    """A unit with what is to be done with it.

    Parameters
    ----------
    name
        The unit's name.
    decision, reason
        What to do, and why, in words.
    key
        The unit's key: its results' address; of a dropped unit, the key it had.
    parts
        The digests that the key is made of.
    n_sources
        Rows in the unit.
    unit
        The unit; None when it is dropped.
    changed
        The parts that differ from the last published revision's, as `WHAT_CHANGED` names them.
    source_changes
        How its sources differ from those of the last published revision; None unless they do, and it is to be done.
    """

    name: str
    decision: Decision
    reason: str
    key: str
    parts: Mapping[str, str]
    n_sources: int
    unit: WorkUnit | None
    changed: tuple[str, ...] = ()
    source_changes: SourceChanges | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Every unit of a survey with its decision, in the order of work."""

    units: tuple[PlannedUnit, ...]

    def having(self, decision: Decision) -> tuple[PlannedUnit, ...]:
        """The units with this decision."""
        return tuple(planned for planned in self.units if planned.decision is decision)

    @property
    def counts(self) -> dict[str, int]:
        """Number of units by decision."""
        return {decision.value: len(self.having(decision)) for decision in Decision}

    def as_json(self) -> list[dict[str, Any]]:
        """One entry a unit: name, decision, reason, key, sources, parts of the key that changed, and changes of the sources."""
        return [
            {
                "unit": planned.name,
                "decision": planned.decision.value,
                "reason": planned.reason,
                "key": planned.key,
                "sources": planned.n_sources,
                "changed": list(planned.changed),
                "source_changes": None if planned.source_changes is None else asdict(planned.source_changes),
            }
            for planned in self.units
        ]


def route(redshift: Float64Array, routing: Mapping[str, tuple[float, float]]) -> NDArray[np.str_]:
    """Choose the instrument for each redshift.

    Parameters
    ----------
    redshift
        (n,) float64; NaN where unknown.
    routing
        Half-open, disjoint redshift range [low, high) of each instrument.

    Returns
    -------
    (n,) str; ``""`` where the redshift is unknown or in no range.
    """
    width = max(map(len, routing), default=1)
    instrument = np.full(len(redshift), "", dtype=f"U{width}")
    for name, (low, high) in routing.items():
        instrument[(redshift >= low) & (redshift < high)] = name
    return instrument


def place(
    sources: SourceList,
    routing: Mapping[str, tuple[float, float]],
    mosaics: Mapping[str, PixelMap],
    modelled: Collection[str],
) -> UnitSources:
    """Settle every source as far as it can be without looking at pixels.

    Parameters
    ----------
    sources
        The sources of one field.
    routing
        Half-open redshift range of each instrument.
    mosaics
        The field's mosaics by instrument.
    modelled
        The instruments for which this field has a model.

    Returns
    -------
    The same sources in the same order, with instrument, position and flags, and with a status unless pixels decide it.
    """
    instrument = route(sources.redshift, routing)
    x_pix, y_pix = (np.full(len(sources), np.nan) for _ in range(2))
    status = np.full(len(sources), "", dtype="U16")
    flags = np.zeros(len(sources), dtype=np.int32)
    for name in np.unique(instrument[instrument != ""]):
        rows = instrument == name
        if name in mosaics:
            x_pix[rows], y_pix[rows] = mosaics[name].to_pixels(sources.ra_deg[rows], sources.dec_deg[rows])
            on_image = owning_tiles(x_pix[rows], y_pix[rows], mosaics[name].shape, max(mosaics[name].shape))[0] >= 0
            status[rows] = np.where(on_image, "", Status.OFF_MOSAIC)
        else:
            status[rows] = Status.OFF_MOSAIC
            flags[rows] |= Flag.NO_MOSAIC
        if name not in modelled:
            status[rows] = Status.NO_MODEL
    status[instrument == ""] = Status.NO_MODEL
    status[np.isnan(sources.redshift)] = Status.NO_REDSHIFT
    return UnitSources(
        field=sources.field,
        instrument=instrument,
        source_id=sources.source_id,
        ra_deg=sources.ra_deg,
        dec_deg=sources.dec_deg,
        redshift=sources.redshift,
        x_pix=x_pix,
        y_pix=y_pix,
        status=status,
        flags=flags,
    )


def units_of_field(
    placed: UnitSources, mosaics: Mapping[str, PixelMap], cards: Mapping[str, ModelCard], core_size: int
) -> list[WorkUnit]:
    """Divide a field's placed sources into work units; every source is in exactly one.

    Parameters
    ----------
    placed
        What `place` returned.
    mosaics, cards
        The field's mosaics and merger models by instrument.
    core_size
        Side of a tile's core, pixels.
    """
    placed = placed.take(np.argsort(placed.source_id, kind="stable"))
    units = _settled_units(placed.take(placed.status != ""))
    for name in np.unique(placed.instrument[placed.status == ""]):
        sources = placed.take((placed.status == "") & (placed.instrument == name))
        cutout_size = cards[name].architecture.input_size
        units += _tile_units(sources, str(name), mosaics[name].shape, core_size, cutout_size)
    return units


def _settled_units(sources: UnitSources) -> list[WorkUnit]:
    starts = range(0, len(sources), SETTLED_ROWS_PER_UNIT)
    return [
        WorkUnit(
            f"{sources.field}/settled/{number:03d}",
            sources.take(np.arange(start, min(start + SETTLED_ROWS_PER_UNIT, len(sources)))),
        )
        for number, start in enumerate(starts)
    ]


def _tile_units(
    sources: UnitSources, instrument: str, shape: tuple[int, int], core_size: int, cutout_size: int
) -> list[WorkUnit]:
    rows, columns = owning_tiles(sources.x_pix, sources.y_pix, shape, core_size)
    units = []
    for row, column in np.unique(np.stack([rows, columns], axis=1), axis=0):
        owner = tile(shape, core_size, cutout_size, int(row), int(column))
        members = sources.take((rows == row) & (columns == column))
        units.append(WorkUnit(f"{sources.field}/{instrument}/{owner.name}", members, instrument, owner))
    return units


def key_parts(
    unit: WorkUnit,
    *,
    schema_version: str,
    pixel_digests: Mapping[str, str] | None = None,
    mosaic_unit: str | None = None,
    mosaic_filter: str | None = None,
    algorithm_version: str = "",
    card: ModelCard | None = None,
    contamination: ModelCard | None = None,
    sampling: SamplingSettings | None = None,
    min_valid_fraction: float | None = None,
    precision: str = "float32",
) -> dict[str, str]:
    """Digest everything that can change a unit's rows, and nothing that cannot.

    A unit without a tile depends on its sources and the schema alone.

    Parameters
    ----------
    unit
        The unit.
    schema_version
        Version of the catalog's schema.
    pixel_digests
        Digests of the tile's window: ``science`` and ``weight``.
    mosaic_unit, mosaic_filter
        Unit and filter of the mosaic.
    algorithm_version
        Of the steps from pixels to rows.
    card
        Card of the merger model.
    contamination
        Card of the contamination model; None where there is none.
    sampling, min_valid_fraction, precision
        Settings that the results depend on.
    """
    sources = unit.sources
    parts = {
        "schema": schema_version,
        "sources": _digest(
            sources.field, sources.instrument, sources.source_id, sources.ra_deg, sources.dec_deg, sources.redshift
        ),
        "positions": _digest(sources.x_pix, sources.y_pix, sources.status, sources.flags),
    }
    if unit.tile is None:
        return parts
    if pixel_digests is None or card is None or sampling is None:
        raise ValueError(f"the key of {unit.name} needs its pixels' digests, a model card and sampling settings")
    return parts | {
        "science_pixels": pixel_digests["science"],
        "weight_pixels": pixel_digests["weight"],
        "algorithm": algorithm_version,
        "image": f"unit={mosaic_unit} filter={mosaic_filter}",
        "model": card.weights_digest,
        "preparation": replace(card, weights_digest="").digest,
        "contamination": "none" if contamination is None else contamination.digest,
        "sampling": f"draws={sampling.n_draws} seed={sampling.seed} keep_draws={sampling.keep_draws}",
        "quality": f"min_valid_fraction={min_valid_fraction!r}",
        "precision": precision,
    }


def unit_key(parts: Mapping[str, str]) -> str:
    """SHA-256, hexadecimal, over a unit's parts."""
    return hashlib.sha256(json.dumps(dict(parts), sort_keys=True).encode()).hexdigest()


def decide(
    units: Iterable[tuple[WorkUnit, Mapping[str, str]]],
    finished: Collection[str],
    published: Mapping[str, Receipt],
    source_changes: Mapping[str, SourceChanges] | None = None,
) -> Plan:
    """Decide what to do with every unit, and say why.

    Parameters
    ----------
    units
        Every unit of the survey with the parts of its key.
    finished
        Keys of the units whose results are on disk.
    published
        Receipts of the last published revision's units, by unit name.
    source_changes
        How units' sources differ from the last published revision's, by unit name, as far as it is known.

    Returns
    -------
    The units in the order of work, largest first within a mosaic, the units to drop last.
    """
    known = source_changes or {}
    decided = [_decide_one(unit, parts, finished, published.get(unit.name), known.get(unit.name)) for unit, parts in units]
    decided.sort(key=lambda planned: (planned.name.rsplit("/", 1)[0], -planned.n_sources, planned.name))
    names = {planned.name for planned in decided}
    dropped = [_drop(receipt) for name, receipt in sorted(published.items()) if name not in names]
    return Plan(tuple(decided + dropped))


def _decide_one(
    unit: WorkUnit,
    parts: Mapping[str, str],
    finished: Collection[str],
    previous: Receipt | None,
    source_changes: SourceChanges | None,
) -> PlannedUnit:
    key = unit_key(parts)
    changed = () if previous is None else changed_parts(previous.parts, parts)
    if key in finished:
        decision = Decision.KEEP
        reason = "its result is on disk from an earlier run" if changed else "nothing it depends on has changed"
    elif previous is None:
        decision, reason = Decision.DO, "no result yet"
    else:
        decision, reason = Decision.DO, what_changed(previous.parts, parts, source_changes)
    return PlannedUnit(unit.name, decision, reason, key, parts, len(unit.sources), unit, changed, source_changes)


def changed_parts(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[str, ...]:
    """The parts of a unit's key that differ, in the order of `WHAT_CHANGED`."""
    return tuple(part for part in WHAT_CHANGED if before.get(part) != after.get(part))


def what_changed(before: Mapping[str, str], after: Mapping[str, str], source_changes: SourceChanges | None = None) -> str:
    """Say in words which parts of a unit's key differ, and in numbers how its sources do, if that is known."""
    phrases = {part: WHAT_CHANGED[part] for part in changed_parts(before, after)}
    if source_changes is not None and source_changes.in_words():
        phrases["sources"] = source_changes.in_words()
        if not source_changes.placed:  # then positions differ only because the sources do
            phrases.pop("positions", None)
    return ", ".join(phrases.values()) or "its result is no longer on disk"


def _drop(receipt: Receipt) -> PlannedUnit:
    reason = "no longer a unit: no source is left in it, or its field or the tiling changed"
    return PlannedUnit(receipt.name, Decision.DROP, reason, receipt.key, receipt.parts, receipt.n_rows, None)


def _digest(*values: str | NDArray[Any]) -> str:
    digest = hashlib.sha256()
    for value in values:
        data = value.encode() if isinstance(value, str) else _bytes_of(value)
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def _bytes_of(array: NDArray[Any]) -> bytes:
    # The width of a text column depends on its longest entry, also among rows of other units: only the words count.
    if array.dtype.kind == "U":
        return "\0".join(_words(array)).encode()
    return np.ascontiguousarray(array).tobytes()


def _words(array: NDArray[np.str_]) -> Sequence[str]:
    return [str(word) for word in array]
