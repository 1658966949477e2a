"""The plan of a survey: its work units, their keys, and which of them must be done.

The key of a unit is a digest of everything that can change its rows.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Self

from surveyflow.planning.expectations import Expectation
from surveyflow.planning.source_changes import SourceChanges
from surveyflow.planning.units import WorkUnit
from surveyflow.tasks.card import ModelCard
from surveyflow.tasks.registry import BESIDE
from surveyflow.values.codes import Precision
from surveyflow.values.jobs import Receipt, SamplingSettings
from surveyflow.values.notebooks import MOST_ROWS, notebook_rows, notebook_table

_OWN = ("sources", "positions", "science_pixels", "weight_pixels")
"""The parts of a key that units of one mosaic do not have in common; those of pixels come last, since some units lack them."""


@dataclass(frozen=True, slots=True, eq=False)
class KeyParts(Mapping[str, str]):
    """The digests from which a unit's key is made, by name.

    Parameters
    ----------
    common
        Those that all units of a mosaic share, so that each is in memory once.
    own
        The unit's own: of its sources, of their positions and, if its pixels have been read, of its window's images.
    """

    common: Mapping[str, str]
    own: tuple[str, ...]

    @classmethod
    def of(cls, parts: Mapping[str, str]) -> Self:
        """Divide parts into the unit's own and those that it has in common with others."""
        common = tuple((name, digest) for name, digest in parts.items() if name not in _OWN)
        return cls(_in_common(common), tuple(parts[name] for name in _OWN if name in parts))

    def __getitem__(self, name: str) -> str:
        """The digest of this name."""
        return self.common[name] if name not in self._names else self.own[_OWN.index(name)]

    def __iter__(self) -> Iterator[str]:
        """The names."""
        yield from self._names
        yield from self.common

    def __len__(self) -> int:
        """Number of digests."""
        return len(self.own) + len(self.common)

    @property
    def _names(self) -> tuple[str, ...]:
        return _OWN[: len(self.own)]


@lru_cache(maxsize=4096)
def _in_common(parts: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    return dict(parts)


class Decision(StrEnum):
    """The decision of a plan about a unit."""

    DO = "do"
    KEEP = "keep"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class PlannedUnit:
    """A unit with the decision about it.

    Parameters
    ----------
    name
        The unit's name.
    decision, reason
        What to do, and why, in words.
    key
        The unit's key, the address of its results; the key that a dropped unit had. It is empty until somebody has read the
        unit's pixels.
    parts
        The digests from which the key is made; without a key, those of everything but the pixels.
    n_sources
        Number of rows in the unit.
    unit
        The unit; None if it is dropped.
    changed
        The parts that differ from those of the last published revision, as `WHAT_CHANGED` names them.
    source_changes
        How its sources differ from those of the last published revision; None if they do not, or the unit need not be done.
    damage
        What is wrong with its result on disk, in words; empty if nothing is, or if there is none.
    unreadable
        Why the pixels of its window cannot be read, so that it fails, in words; empty if nothing is known against them.
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
    damage: str = ""
    unreadable: str = ""


_SHOWN = {"unit", "decision", "reason", "sources"}


@dataclass(frozen=True, slots=True)
class Plan:
    """Every unit of a survey with the decision about it, in the order of work.

    Parameters
    ----------
    units
        The units.
    kept_changed
        Whether columns that the catalog keeps from the source lists differ from those of the last published revision. A run then
        publishes a revision even if no unit must be done.
    expected
        What is expected of each field and instrument; empty if that was not asked for.
    """

    units: tuple[PlannedUnit, ...]
    kept_changed: bool = False
    expected: tuple[Expectation, ...] = ()

    def having(self, decision: Decision) -> tuple[PlannedUnit, ...]:
        """The units with this decision."""
        return tuple(planned for planned in self.units if planned.decision is decision)

    @property
    def counts(self) -> dict[str, int]:
        """Number of units by decision."""
        return {decision.value: len(self.having(decision)) for decision in Decision}

    def sources_to_measure(self, field: str) -> dict[str, int]:
        """Number of a field's sources in units with pixels that must be done, by instrument."""
        counts: Counter[str] = Counter()
        for planned in self.having(Decision.DO):
            if planned.unit is not None and planned.unit.instrument is not None and planned.unit.field == field:
                counts[planned.unit.instrument] += planned.n_sources
        return dict(counts)

    @property
    def without_key(self) -> tuple[PlannedUnit, ...]:
        """The units whose pixels are digested when they are measured."""
        return tuple(planned for planned in self.units if not planned.key)

    def with_keys(self, parts: Mapping[str, Mapping[str, str]], unreadable: Mapping[str, str]) -> Plan:
        """The plan when the pixels of all units have been read.

        Parameters
        ----------
        parts
            All parts of the keys of the units that had none, by unit name.
        unreadable
            Why the pixels of some of their windows cannot be read, in words, by unit name.
        """
        units = (planned if planned.key else _keyed(planned, parts, unreadable) for planned in self.units)
        return replace(self, units=tuple(units))

    def doing_again(self, damaged: Mapping[str, str]) -> Plan:
        """A plan to do these units again, and no others.

        Parameters
        ----------
        damaged
            What is wrong with their results on disk, in words, by key.
        """
        return Plan(tuple(_again(planned, damaged[planned.key]) for planned in self.units if planned.key in damaged))

    def as_json(self) -> list[dict[str, Any]]:
        """One entry for each unit: name, decision, reason, key, sources, changed parts of the key, and changes of the sources."""
        return [
            {
                "unit": planned.name,
                "decision": planned.decision.value,
                "reason": planned.reason,
                "key": planned.key,
                "sources": planned.n_sources,
                "changed": list(planned.changed),
                "source_changes": None if planned.source_changes is None else planned.source_changes.as_json(),
            }
            for planned in self.units
        ]

    def _repr_html_(self) -> str:
        rows = [{key: value for key, value in unit.items() if key in _SHOWN} for unit in self.as_json()[: MOST_ROWS + 1]]
        return notebook_table(self.counts) + notebook_rows(rows)


def decide(
    units: Iterable[tuple[WorkUnit, Mapping[str, str]]],
    finished: Collection[str],
    published: Mapping[str, Receipt],
    source_changes: Mapping[str, SourceChanges] | None = None,
    damaged: Mapping[str, str] | None = None,
    *,
    unreadable: Mapping[str, str] | None = None,
) -> Plan:
    """Decide what to do with every unit, with the reason.

    Parameters
    ----------
    units
        Every unit of the survey with the parts of its key. Those that lack the digests of their pixels are to be done, because
        no result is known to have the other parts.
    finished
        Keys of the units whose results are on disk.
    published
        Receipts of the last published revision's units, by unit name.
    source_changes
        How units' sources differ from those of the last published revision, by unit name, as far as it is known.
    damaged
        What is wrong with the results on disk of units that are not finished, in words, by key.
    unreadable
        Why the pixels of units' windows cannot be read, in words, by unit name. Such units are to be done, and fail.

    Returns
    -------
    The units in the order of work, those to drop last. The mosaic with the largest unit comes first, and within a mosaic the
    largest unit. So the last units of a run are small, and workers keep their models and mosaics from one unit to the next.
    Batches without pixels come after all others.
    """
    known, damage, lacking = source_changes or {}, damaged or {}, unreadable or {}
    decided = [
        _decide_one(
            unit,
            parts,
            finished=finished,
            previous=published.get(unit.name),
            source_changes=known.get(unit.name),
            damage=damage.get(_key_of(unit, parts), ""),
            unreadable=lacking.get(unit.name, ""),
        )
        for unit, parts in units
    ]
    decided.sort(key=_order_of_work(decided))
    names = {planned.name for planned in decided}
    gone = (published.get(name) for name in sorted(published.keys() - names))
    dropped = [_drop(receipt) for receipt in gone if receipt is not None]
    return Plan(tuple(decided + dropped))


def _order_of_work(planned: Sequence[PlannedUnit]) -> Callable[[PlannedUnit], tuple[Any, ...]]:
    largest: dict[str, int] = {}
    for each in planned:
        largest[_mosaic_of(each)] = max(each.n_sources, largest.get(_mosaic_of(each), 0))

    def order(each: PlannedUnit) -> tuple[Any, ...]:
        without_pixels = each.unit is None or each.unit.tile is None
        return without_pixels, -largest[_mosaic_of(each)], _mosaic_of(each), -each.n_sources, each.name

    return order


def _mosaic_of(planned: PlannedUnit) -> str:
    return planned.name.rpartition("/")[0]


def _decide_one(
    unit: WorkUnit,
    parts: Mapping[str, str],
    *,
    finished: Collection[str],
    previous: Receipt | None,
    source_changes: SourceChanges | None,
    damage: str,
    unreadable: str,
) -> PlannedUnit:
    key = _key_of(unit, parts)
    before = {} if previous is None else previous.parts if key else without_pixels(previous.parts)
    changed = () if previous is None else changed_parts(before, parts)
    if unreadable:
        decision, reason = Decision.DO, _because_unreadable(unreadable)
    elif key in finished:
        decision = Decision.KEEP
        reason = "its result is on disk from an earlier run" if changed else "nothing it depends on has changed"
    elif damage:
        decision, reason = Decision.DO, _because_of(damage)
    elif previous is None:
        decision, reason = Decision.DO, "no result yet"
    else:
        decision, reason = Decision.DO, what_changed(before, parts, source_changes)
    return PlannedUnit(unit.name, decision, reason, key, parts, unit.n_sources, unit, changed, source_changes, damage, unreadable)


def _again(planned: PlannedUnit, damage: str) -> PlannedUnit:
    return replace(planned, decision=Decision.DO, reason=_because_of(damage), damage=damage)


def _keyed(planned: PlannedUnit, parts: Mapping[str, Mapping[str, str]], unreadable: Mapping[str, str]) -> PlannedUnit:
    reason = unreadable.get(planned.name, "")
    keyed = replace(planned, key=unit_key(parts[planned.name]), parts=parts[planned.name], unreadable=reason)
    return replace(keyed, reason=_because_unreadable(reason)) if reason else keyed


def _because_unreadable(why: str) -> str:
    return f"the pixels of its window cannot be read: {why}"


def _because_of(damage: str) -> str:
    return f"its result on disk is damaged: {damage}"


def _drop(receipt: Receipt) -> PlannedUnit:
    reason = "no longer a unit: it has no sources left, or its field or the tiling changed"
    return PlannedUnit(receipt.name, Decision.DROP, reason, receipt.key, receipt.parts, receipt.n_rows, None)


NOT_READ: Mapping[str, str] = MappingProxyType({})
"""In place of the digests of pixels that nobody has read: the parts of a unit's key then lack those of its pixels."""
_OF_PIXELS = {"science": "science_pixels", "weight": "weight_pixels"}

WHAT_CHANGED = {
    "schema": "catalog schema changed",
    "science_pixels": "science pixels changed",
    "weight_pixels": "weight pixels changed",
    "image": "mosaic unit, filter or stated PSF changed",
    "treatment": "conversion of the mosaic's pixels or weights changed",
    "algorithm": "surveyflow's measuring algorithm changed",
    "sources": "sources changed",
    "positions": "source positions on the mosaic changed",
    "model": "model weights changed",
    "preparation": "model card changed",
    **{task.name: f"{task.name} model changed" for task in BESIDE},
    "sampling": "sampling settings changed",
    "quality": "quality settings changed",
    "science": "stated prevalence changed",
    "precision": "arithmetic precision changed",
}
"""The words of a plan for a change in each part of a unit's key."""


def key_parts(
    unit: WorkUnit,
    *,
    schema_version: str,
    pixel_digests: Mapping[str, str] | None = None,
    mosaic_unit: str | None = None,
    mosaic_filter: str | None = None,
    psf_fwhm_arcsec: float | None = None,
    treatment: str = "",
    algorithm_version: str = "",
    card: ModelCard | None = None,
    beside: Mapping[str, ModelCard] | None = None,
    sampling: SamplingSettings | None = None,
    min_valid_fraction: float | None = None,
    prevalence: float | None = None,
    precision: Precision = Precision.FLOAT32,
) -> KeyParts:
    """Digest everything that can change a unit's rows, and nothing that cannot.

    A unit without a tile depends only on its sources and the schema.

    Parameters
    ----------
    unit
        The unit.
    schema_version
        Version of the catalog's schema.
    pixel_digests
        Digests of the tile's window: ``science`` and ``weight``; or `NOT_READ`.
    mosaic_unit, mosaic_filter
        Unit and filter of the mosaic.
    psf_fwhm_arcsec
        FWHM of its PSF that is stated for it, arcsec.
    treatment
        What is done to the numbers of its files before they are measured; empty if nothing is done.
    algorithm_version
        Version of the steps from pixels to rows.
    card
        Card of the merger model.
    beside
        Cards of the models beside it, by task; tasks without a model are left out.
    sampling, min_valid_fraction, prevalence, precision
        Settings on which the results depend.
    """
    parts = {"schema": schema_version, "sources": unit.sources, "positions": unit.positions}
    if unit.tile is None:
        return KeyParts.of(parts)
    if pixel_digests is None or card is None or sampling is None:
        raise ValueError(f"the key of {unit.name} needs its pixels' digests, a model card and sampling settings")
    every = with_pixels(parts, pixel_digests) | {
        "algorithm": algorithm_version,
        "image": f"unit={mosaic_unit} filter={mosaic_filter}{'' if psf_fwhm_arcsec is None else f' psf={psf_fwhm_arcsec!r}'}",
        **({"treatment": treatment} if treatment else {}),
        "model": card.weights_digest,
        "preparation": replace(card, weights_digest="").digest,
        **{task.name: beside[task.name].digest if beside and task.name in beside else "none" for task in BESIDE},
        "sampling": f"draws={sampling.n_draws} seed={sampling.seed} keep_draws={sampling.keep_draws}",
        "quality": f"min_valid_fraction={min_valid_fraction!r}",
        **({} if prevalence is None else {"science": f"prevalence={prevalence!r}"}),
        "precision": precision,
    }
    return KeyParts.of(every)


def with_pixels(parts: Mapping[str, str], pixel_digests: Mapping[str, str]) -> dict[str, str]:
    """Add the digests of a window's pixels, ``science`` and ``weight``, to the parts of a unit's key."""
    return {**parts, **{_OF_PIXELS[name]: digest for name, digest in pixel_digests.items()}}


def without_pixels(parts: Mapping[str, str]) -> dict[str, str]:
    """Leave out the digests of a window's pixels."""
    return {name: digest for name, digest in parts.items() if name not in _OF_PIXELS.values()}


def pixels_of(parts: Mapping[str, str]) -> dict[str, str]:
    """Return the digests of a window's pixels: ``science`` and ``weight``."""
    return {name: parts[part] for name, part in _OF_PIXELS.items()}


def is_read(unit: WorkUnit, parts: Mapping[str, str]) -> bool:
    """Whether these are all parts of a unit's key: those of its pixels are among them, if it has any."""
    return unit.tile is None or all(part in parts for part in _OF_PIXELS.values())


def _key_of(unit: WorkUnit, parts: Mapping[str, str]) -> str:
    return unit_key(parts) if is_read(unit, parts) else ""


def unit_key(parts: Mapping[str, str]) -> str:
    """Compute the SHA-256, hexadecimal, of a unit's parts."""
    return hashlib.sha256(json.dumps(dict(parts), sort_keys=True).encode()).hexdigest()


def changed_parts(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[str, ...]:
    """Find the parts of a unit's key that differ, in the order of `WHAT_CHANGED`."""
    return tuple(part for part in WHAT_CHANGED if before.get(part) != after.get(part))


def what_changed(before: Mapping[str, str], after: Mapping[str, str], source_changes: SourceChanges | None = None) -> str:
    """Describe which parts of a unit's key differ, with the numbers of changed sources if they are known."""
    phrases = {part: WHAT_CHANGED[part] for part in changed_parts(before, after)}
    if source_changes is not None and source_changes.in_words():
        phrases["sources"] = source_changes.in_words()
        if not source_changes.placed:  # positions differ only because the sources do
            phrases.pop("positions", None)
    return ", ".join(phrases.values()) or "its result is no longer on disk"
