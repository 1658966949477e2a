"""The plan of a survey: its work units, and which of them must be done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from surveyflow.planning.expectations import Expectation
from surveyflow.planning.keys import changed_parts, unit_key, what_changed
from surveyflow.planning.source_changes import SourceChanges
from surveyflow.planning.units import WorkUnit
from surveyflow.values.jobs import Receipt


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
        The unit's key, the address of its results; the key that a dropped unit had.
    parts
        The digests from which the key is made.
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


def decide(
    units: Iterable[tuple[WorkUnit, Mapping[str, str]]],
    finished: Collection[str],
    published: Mapping[str, Receipt],
    source_changes: Mapping[str, SourceChanges] | None = None,
    damaged: Mapping[str, str] | None = None,
) -> Plan:
    """Decide what to do with every unit, with the reason.

    Parameters
    ----------
    units
        Every unit of the survey with the parts of its key.
    finished
        Keys of the units whose results are on disk.
    published
        Receipts of the last published revision's units, by unit name.
    source_changes
        How units' sources differ from those of the last published revision, by unit name, as far as it is known.
    damaged
        What is wrong with the results on disk of units that are not finished, in words, by key.

    Returns
    -------
    The units in the order of work, those to drop last. The mosaic with the largest unit comes first, and within a mosaic the
    largest unit. So the last units of a run are small, and workers keep their models and mosaics from one unit to the next.
    Batches without pixels come after all others.
    """
    known, damage = source_changes or {}, damaged or {}
    decided = [
        _decide_one(
            unit,
            parts,
            finished=finished,
            previous=published.get(unit.name),
            source_changes=known.get(unit.name),
            damage=damage.get(unit_key(parts), ""),
        )
        for unit, parts in units
    ]
    decided.sort(key=_order_of_work(decided))
    names = {planned.name for planned in decided}
    dropped = [_drop(receipt) for name, receipt in sorted(published.items()) if name not in names]
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
) -> PlannedUnit:
    key = unit_key(parts)
    changed = () if previous is None else changed_parts(previous.parts, parts)
    if key in finished:
        decision = Decision.KEEP
        reason = "its result is on disk from an earlier run" if changed else "nothing it depends on has changed"
    elif damage:
        decision, reason = Decision.DO, _because_of(damage)
    elif previous is None:
        decision, reason = Decision.DO, "no result yet"
    else:
        decision, reason = Decision.DO, what_changed(previous.parts, parts, source_changes)
    return PlannedUnit(unit.name, decision, reason, key, parts, len(unit.sources), unit, changed, source_changes, damage)


def _again(planned: PlannedUnit, damage: str) -> PlannedUnit:
    return replace(planned, decision=Decision.DO, reason=_because_of(damage), damage=damage)


def _because_of(damage: str) -> str:
    return f"its result on disk is damaged: {damage}"


def _drop(receipt: Receipt) -> PlannedUnit:
    reason = "no longer a unit: it has no sources left, or its field or the tiling changed"
    return PlannedUnit(receipt.name, Decision.DROP, reason, receipt.key, receipt.parts, receipt.n_rows, None)
