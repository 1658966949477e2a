"""The work lists of a survey: what its source lists become, part by part, before anything is planned.

Whoever plans holds the units and some facts of each list, and never the sources: these are in files in a folder of their own,
``ROOT/lists/<key>``. Its key is made of the states of all input files and of the settings on which the lists depend, so a run
whose inputs are as they were reads only the index, ``index.json`` and ``units.arrow``, and no list. Whatever is damaged is made
again.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import TypeAdapter

from surveyflow.catalog.kept import NOTHING_KEPT, KeptColumns, StoredTables, combined_digest
from surveyflow.errors import SourceListError
from surveyflow.files.durable import explained, file_digest, sync_file, sync_folder, write_over
from surveyflow.files.json_state import recall_state, sealed
from surveyflow.files.paths import Place
from surveyflow.inputs.joined_tables import check_joined
from surveyflow.inputs.list_files import ROWS_PER_PART, check_alike, parts_of_list
from surveyflow.inputs.source_lists import list_files, wanted_columns
from surveyflow.planning.expectations import Places
from surveyflow.planning.list_tasks import (
    DuplicateSearch,
    FieldPlan,
    FindDuplicates,
    GatherSettled,
    GatherTiles,
    MergeIds,
    PartFacts,
    RangeFacts,
    ReadPart,
    joined_heads,
    mapped_table,
    sources_of_table,
    table_of_sources,
    write_table,
)
from surveyflow.planning.units import MAIN, SETTLED_ROWS_PER_UNIT, LocatedSources, WorkUnit, unit_sources
from surveyflow.sky.tiling import tile
from surveyflow.values.arrays import Int64Array
from surveyflow.values.jobs import Doing
from surveyflow.values.listed import Join, ListedSources
from surveyflow.values.sources import UnitSources

_FORM = 1
"""Number of the form of work lists; another one is not read."""
_INDEX, _UNITS = "index.json", "units.arrow"
_MOST_PROBLEMS = 10
_ROWS_AT_A_TIME = 256
"""Rows of the index that are Python objects of 1 kB each at a time, before they become units."""
_BY_PART = ("list", "tiles", "settled", "range", "duplicates")
"""Kinds of files that are needed only until the work lists are complete."""


@dataclass(frozen=True, slots=True)
class ListFacts:
    """What is known of a field's list; it does not grow with the list.

    Parameters
    ----------
    n_sources
        Number of its sources.
    places
        How many of them have which instrument and status, as `surveyflow.planning.expectations.count_places` counts them.
    on_images
        Whether any source lies on the mosaics of an instrument, by instrument.
    joins
        How further tables joined it.
    has_names
        Whether its ids are text.
    kept_bytes
        Size of the columns that the catalog keeps from it, bytes.
    sample, spread
        Some of its sources in the order of the list, and up to three of each mosaic, with their places.
    """

    n_sources: int
    places: Places
    on_images: Mapping[str, bool]
    joins: tuple[Join, ...]
    has_names: bool
    kept_bytes: int
    sample: LocatedSources
    spread: LocatedSources

    def n_routed(self, instrument: str) -> int:
        """Number of the sources that are routed to an instrument."""
        return sum(number for (name, _, _), number in self.places.items() if name == instrument)


@dataclass(frozen=True, slots=True)
class SurveyLists:
    """The work lists of a survey.

    Parameters
    ----------
    folder
        The folder that holds them.
    facts
        What is known of each field's list.
    units
        All units, in the order of the fields, those without pixels first.
    kept, kept_beside
        The columns of the lists that the catalog keeps, and the same for the rows of further instruments.
    kept_digest
        SHA-256 of all values that the lists add to the rows; empty if there are none.
    """

    folder: Path
    facts: Mapping[str, ListFacts]
    units: tuple[WorkUnit, ...]
    kept: KeptColumns
    kept_beside: KeptColumns
    kept_digest: str

    @property
    def n_sources(self) -> int:
        """Number of sources in all lists."""
        return sum(facts.n_sources for facts in self.facts.values())

    def sources_of(self, unit: WorkUnit) -> UnitSources:
        """Read the sources of a unit.

        Parameters
        ----------
        unit
            One of the units.

        Raises
        ------
        UnitError
            If its work list is gone or damaged.
        """
        return unit_sources(self.folder / unit.worklist, unit.number, sources=unit.sources, positions=unit.positions)

    def moved_to(self, folder: Path) -> SurveyLists:
        """The same lists after their folder was moved.

        Parameters
        ----------
        folder
            Where they are now.
        """
        return replace(self, folder=folder, kept=_in(folder, self.kept), kept_beside=_in(folder, self.kept_beside))

    def kept_is_intact(self) -> bool:
        """Whether the columns that the catalog keeps are as they were read; all of their values are read for this."""
        try:
            return combined_digest(self.kept, self.kept_beside) == self.kept_digest
        except (OSError, pa.ArrowException):
            return False


def _in(folder: Path, kept: KeptColumns) -> KeptColumns:
    if not isinstance(kept.tables, StoredTables):
        return kept
    files = {name: tuple(folder / path.name for path in paths) for name, paths in kept.tables.files.items()}
    return replace(kept, tables=StoredTables(files))


@dataclass(frozen=True, slots=True)
class ReadList:
    """A field's list after all of its parts were read.

    Parameters
    ----------
    plan
        The field.
    files
        The list's files.
    parts
        What is known of each part.
    problem, unplaced
        What is wrong with the list, and why its sources could not be matched to the mosaics, in words; empty if nothing is.
    """

    plan: FieldPlan
    files: tuple[Place, ...]
    parts: tuple[PartFacts, ...]
    problem: str = ""
    unplaced: str = ""

    @property
    def head(self) -> ListedSources:
        """One source that shows of which types and units the columns are."""
        return joined_heads([part.head for part in self.parts if part.head is not None])

    @property
    def n_sources(self) -> int:
        """Number of its sources."""
        return sum(part.n_rows for part in self.parts)

    @property
    def streams(self) -> tuple[str, ...]:
        """The instruments of which it has rows, beside the most probable ones."""
        found = {name for part in self.parts for name in part.streams}
        return tuple(name for name in self.plan.routing if name in found)

    @property
    def cautions(self) -> tuple[str, ...]:
        """What a log is to say of the list."""
        return tuple(dict.fromkeys(caution for part in self.parts for caution in part.cautions))

    @property
    def facts(self) -> ListFacts:
        """What is known of it."""
        places: Counter[tuple[str, str, bool]] = Counter()
        for part in self.parts:
            places.update(part.places)
        return ListFacts(
            n_sources=self.n_sources,
            places=places,
            on_images={name: any(part.on_images[name] for part in self.parts) for name in self.plan.mosaics},
            joins=_joins(self.parts),
            has_names="source_name" in self.head.own,
            kept_bytes=sum(part.kept_bytes for part in self.parts),
            sample=_together(part.sample for part in self.parts),
            spread=_together(part.spread for part in self.parts),
        )

    def ranges(self, rows_per_range: int) -> list[int | None]:
        """The limits of ranges of ids that have about as many rows each, beginning and ending without a limit."""
        bounds = np.sort(np.concatenate([part.bounds for part in self.parts]))
        n_ranges = max(1, math.ceil(self.n_sources / rows_per_range))
        places = [len(bounds) * number // n_ranges for number in range(1, n_ranges)]
        return [None, *sorted({int(bounds[place]) for place in places}), None]


def _joins(parts: Sequence[PartFacts]) -> tuple[Join, ...]:
    """How further tables joined all parts."""
    sums = list(parts[0].joins)
    for part in parts[1:]:
        sums = [one + other for one, other in zip(sums, part.joins, strict=True)]
    return tuple(sums)


def _together(parts: Iterable[LocatedSources | None]) -> LocatedSources:
    """The sources of all parts, one below the other."""
    known = [part for part in parts if part is not None]
    tables = [table_of_sources(part) for part in known]
    return sources_of_table(known[0].field, pa.concat_tables(tables))


def read_lists(plans: Sequence[FieldPlan], folder: Path | None, do: Doing, rows_per_part: int = ROWS_PER_PART) -> list[ReadList]:
    """Read the lists of all fields, part by part, and match their sources to the mosaics.

    Parameters
    ----------
    plans
        The fields.
    folder
        An existing folder for the files; None if the lists are only checked.
    do
        Has the tasks carried out.
    rows_per_part
        Most rows of a part.
    """
    return [_read_list(plan, folder, do, rows_per_part) for plan in plans]


def _read_list(plan: FieldPlan, folder: Path | None, do: Doing, rows_per_part: int) -> ReadList:
    try:
        files = list_files(plan.spec)
        parts = parts_of_list(files, wanted_columns(plan.spec.columns), rows_per_part)
    except SourceListError as error:
        return ReadList(plan, (), (), problem=str(error))
    facts = tuple(do([ReadPart(plan, part, folder) for part in parts]))
    unplaced = next((part.unplaced for part in facts if part.unplaced), "")
    return ReadList(plan, tuple(files), facts, _problem_of(facts), unplaced)


def _problem_of(parts: Sequence[PartFacts]) -> str:
    """What is wrong with a list, in words."""
    problems = list(dict.fromkeys(part.problem for part in parts if part.problem))
    if problems:
        n_more = len(problems) - _MOST_PROBLEMS
        more = [f"{n_more} more parts of the list have problems."] if n_more > 0 else []
        return "\n".join([*problems[:_MOST_PROBLEMS], *more])
    try:
        check_alike(part.heads for part in parts)
        joined_heads([part.head for part in parts if part.head is not None])
        for summary in _joins(parts):
            check_joined(summary)
    except SourceListError as error:
        return str(error)
    return ""


def finish_lists(
    lists: Sequence[ReadList],
    folder: Path,
    do: Doing,
    *,
    radius_arcsec: float,
    same_id: bool,
    rows_per_range: int = ROWS_PER_PART,
) -> SurveyLists:
    """Make work lists of lists without problems.

    Parameters
    ----------
    lists
        What `read_lists` returned.
    folder
        The folder that it wrote to.
    do
        Has the tasks carried out.
    radius_arcsec, same_id
        Which sources of different lists are one galaxy, as for `surveyflow.planning.duplicates.mark_duplicates`.
    rows_per_range
        About as many rows of a list are in memory at a time.

    Raises
    ------
    SourceListError
        If an id occurs in several parts of a list.
    """
    with_duplicates = len(lists) > 1 and radius_arcsec > 0 and _find_duplicates(lists, folder, do, radius_arcsec, same_id)
    heads = {one.plan.name: _with_places(one.head, with_duplicates=with_duplicates) for one in lists}
    kept, beside = KeptColumns.of(heads), KeptColumns.of_alternatives(heads)
    units: list[WorkUnit] = []
    files: dict[str, tuple[Path, ...]] = {}
    for one in lists:
        limits, names = one.ranges(rows_per_range), tuple(file.name for file in one.files)
        tasks = [
            MergeIds(one.plan, folder, names, len(one.parts), number, *pair, one.streams, kept, beside, with_duplicates)
            for number, pair in enumerate(pairwise(limits))
        ]
        ranges: list[RangeFacts] = do(tasks)
        if problems := [each.problem for each in ranges if each.problem]:
            raise SourceListError("\n".join(f"{one.plan.name}: {problem}" for problem in problems[:_MOST_PROBLEMS]))
        for stream in (MAIN, *one.streams):
            units += _settled(one.plan, folder, stream, [each.n_settled[stream] for each in ranges], do)
            units += _tiles(one, folder, stream, rows_per_range, do)
        groups = [MAIN, *(one.head.shares.instruments if one.head.shares else ())]
        for group in groups:
            name = "/".join(filter(None, (one.plan.name, group)))
            files[name] = tuple(folder / one.plan.file("kept", group, number) for number in range(len(tasks)))
    stored = (_stored(kept, files), _stored(beside, files))
    _remove_parts(folder)
    facts = {one.plan.name: one.facts for one in lists}
    return SurveyLists(folder, facts, tuple(units), *stored, combined_digest(*stored))


def _stored(kept: KeptColumns, files: Mapping[str, tuple[Path, ...]]) -> KeptColumns:
    return replace(kept, tables=StoredTables({name: files[name] for name in kept.tables})) if kept.tables else NOTHING_KEPT


def _find_duplicates(lists: Sequence[ReadList], folder: Path, do: Doing, radius_arcsec: float, same_id: bool) -> bool:
    searches = []
    for one in lists:
        weights = np.array([part.n_rows for part in one.parts])
        centres = np.stack([part.centre for part in one.parts])
        centre = np.average(centres, axis=0, weights=weights)
        reach = max(float(np.linalg.norm(part.centre - centre)) + part.reach for part in one.parts)
        files = tuple(folder / one.plan.file("list", number) for number in range(len(one.parts)))
        searches.append(DuplicateSearch(one.plan.name, files, centre, reach, folder / one.plan.file("duplicates")))
    return bool(do([FindDuplicates(tuple(searches), radius_arcsec, same_id)])[0])


def _with_places(head: ListedSources, *, with_duplicates: bool) -> ListedSources:
    marks = {"duplicate_of": pa.nulls(1, pa.string()), "flags": pa.nulls(1, pa.int32())} if with_duplicates else {}
    return replace(head, own={**head.own, **marks, "mosaic": pa.nulls(1, pa.string())})


def _settled(plan: FieldPlan, folder: Path, stream: str, n_rows: Sequence[int], do: Doing) -> list[WorkUnit]:
    """The units of the sources that need no pixels, in the order of their ids."""
    ends = np.concatenate([[0], np.cumsum(n_rows)])
    pieces = [
        tuple(
            (number, max(start - low, 0), min(start + SETTLED_ROWS_PER_UNIT, high) - low)
            for number, (low, high) in enumerate(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True))
            if low < start + SETTLED_ROWS_PER_UNIT and high > start
        )
        for start in range(0, int(ends[-1]), SETTLED_ROWS_PER_UNIT)
    ]
    tasks = [GatherSettled(plan, folder, stream, number, each) for number, each in enumerate(pieces)]
    return [unit for units in do(tasks) for unit in units]


def _tiles(one: ReadList, folder: Path, stream: str, rows_per_range: int, do: Doing) -> list[WorkUnit]:
    """The units of the sources whose status depends on pixels, in the order of their tiles."""
    codes, counts = _counted_tiles(one, folder, stream)
    if not len(codes):
        return []
    groups = np.cumsum(counts) // rows_per_range
    starts = codes[np.flatnonzero(np.diff(groups, prepend=groups[0]))].tolist()
    limits = [None, *starts, None]
    tasks = [GatherTiles(one.plan, folder, len(one.parts), stream, number, *pair) for number, pair in enumerate(pairwise(limits))]
    return [unit for units in do(tasks) for unit in units]


def _counted_tiles(one: ReadList, folder: Path, stream: str) -> tuple[Int64Array, Int64Array]:
    """The tiles that have sources, and how many, of all parts together."""
    codes, counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
    for number in range(len(one.parts)):
        path = folder / one.plan.file("tiles", stream, number)
        if path.exists():
            found, n_found = np.unique(mapped_table(path)["tile"].to_numpy(), return_counts=True)
            codes, places = np.unique(np.concatenate([codes, found]), return_inverse=True)
            counts = np.bincount(places, np.concatenate([counts, n_found]), len(codes)).astype(np.int64)
    return codes, counts


def _remove_parts(folder: Path) -> None:
    """Remove the files that the work lists were made of."""
    for path in folder.iterdir():
        if path.name.split("-")[1:2] and path.name.split("-")[1].removesuffix(".arrow") in _BY_PART:
            path.unlink()


@dataclass(frozen=True, slots=True)
class _FieldEntry:
    """What the index says of a field's list."""

    n_sources: int
    places: list[tuple[str, str, bool, int]]
    on_images: dict[str, bool]
    joins: list[Join]
    has_names: bool
    kept_bytes: int


@dataclass(frozen=True, slots=True)
class _Index:
    """The content of the index: what is said of each list, and of each file its size, and its digest if it is read at once."""

    fields: dict[str, _FieldEntry]
    kept: dict[str, list[str]]
    kept_beside: dict[str, list[str]]
    filled: list[str]
    kept_digest: str
    sizes: dict[str, int]
    digests: dict[str, str]


_ENTRY = TypeAdapter(_Index)
_UNIT_COLUMNS = {
    "name": pa.string(),
    "field": pa.dictionary(pa.int32(), pa.string()),
    "n_sources": pa.int64(),
    "sources": pa.string(),
    "positions": pa.string(),
    "instrument": pa.dictionary(pa.int32(), pa.string()),
    "row": pa.int64(),
    "column": pa.int64(),
    "mosaic": pa.int64(),
    "worklist": pa.dictionary(pa.int32(), pa.string()),
    "number": pa.int64(),
}


def write_index(lists: SurveyLists) -> None:
    """Make work lists durable, and write the index, by which a later run finds them; it comes last.

    Parameters
    ----------
    lists
        The complete work lists.
    """
    folder = lists.folder
    write_table(folder / _UNITS, _table_of_units(lists.units))
    for number, facts in enumerate(lists.facts.values()):
        for kind, sources in (("sample", facts.sample), ("spread", facts.spread)):
            write_table(folder / f"{number:03d}-{kind}.arrow", table_of_sources(sources))
    with explained(folder):
        files = sorted(folder.glob("*.arrow"))
        for path in files:
            sync_file(path)
        sync_folder(folder)
        read_at_once = [path for path in files if path.name == _UNITS or path.stem.split("-")[-1] in ("sample", "spread")]
        entry = _Index(
            fields={name: _entry_of(facts) for name, facts in lists.facts.items()},
            kept=_names_of(lists.kept),
            kept_beside=_names_of(lists.kept_beside),
            filled=list(lists.kept.filled),
            kept_digest=lists.kept_digest,
            sizes={path.name: path.stat().st_size for path in files},
            digests={path.name: file_digest(path) for path in read_at_once},
        )
    write_over(folder / _INDEX, sealed(json.dumps(asdict(entry))))


def _entry_of(facts: ListFacts) -> _FieldEntry:
    places = [(*place, number) for place, number in facts.places.items()]
    return _FieldEntry(facts.n_sources, places, dict(facts.on_images), list(facts.joins), facts.has_names, facts.kept_bytes)


def _names_of(kept: KeptColumns) -> dict[str, list[str]]:
    files = kept.tables.files if isinstance(kept.tables, StoredTables) else {}
    return {name: [path.name for path in paths] for name, paths in files.items()}


def _table_of_units(units: Sequence[WorkUnit]) -> pa.Table:
    columns = {name: [getattr(unit, name) for unit in units] for name in _UNIT_COLUMNS if name not in ("row", "column")}
    columns |= {name: [unit.tile and getattr(unit.tile, name) for unit in units] for name in ("row", "column")}
    return pa.table({name: pa.array(columns[name], kind) for name, kind in _UNIT_COLUMNS.items()})


def recall_lists(folder: Path, plans: Sequence[FieldPlan]) -> SurveyLists | None:
    """Read the index of work lists that an earlier run made of the same inputs.

    Parameters
    ----------
    folder
        The folder.
    plans
        The fields.

    Returns
    -------
    The work lists; None if there are none, or a file is missing, damaged or of another size.
    """
    entry = recall_state(folder / _INDEX, _ENTRY)
    if entry is None or list(entry.fields) != [plan.name for plan in plans]:
        return None
    try:
        sizes = {path.name: path.stat().st_size for path in folder.glob("*.arrow")}
        if sizes != entry.sizes or any(file_digest(folder / name) != digest for name, digest in entry.digests.items()):
            return None
        return _recalled(folder, entry, plans)
    except (OSError, pa.ArrowException, LookupError, ValueError):
        return None


def _recalled(folder: Path, entry: _Index, plans: Sequence[FieldPlan]) -> SurveyLists:
    facts = {plan.name: _facts_of(folder, number, entry.fields[plan.name], plan.name) for number, plan in enumerate(plans)}
    units = tuple(_units_of(mapped_table(folder / _UNITS), {plan.name: plan for plan in plans}))
    kept, beside = (_kept_of(folder, files, entry.filled) for files in (entry.kept, entry.kept_beside))
    return SurveyLists(folder, facts, units, kept, beside, entry.kept_digest)


def _facts_of(folder: Path, number: int, entry: _FieldEntry, field: str) -> ListFacts:
    sample, spread = (
        sources_of_table(field, mapped_table(folder / f"{number:03d}-{kind}.arrow")) for kind in ("sample", "spread")
    )
    places = {(instrument, status, on_mosaic): n for instrument, status, on_mosaic, n in entry.places}
    return ListFacts(
        entry.n_sources, places, entry.on_images, tuple(entry.joins), entry.has_names, entry.kept_bytes, sample, spread
    )


def _units_of(table: pa.Table, plans: Mapping[str, FieldPlan]) -> Iterator[WorkUnit]:
    for batch in table.to_batches(max_chunksize=_ROWS_AT_A_TIME):
        for row in batch.to_pylist():
            y, x = row.pop("row"), row.pop("column")
            name = row["instrument"]
            if name is not None:
                plan = plans[row["field"]]
                shape, size = plan.mosaics[name].mosaics[row["mosaic"]].shape, plan.cards[name].architecture.input_size
                row["tile"] = tile(shape, plan.core_size, size, y, x)
            yield WorkUnit(**row)


def _kept_of(folder: Path, files: Mapping[str, Sequence[str]], filled: Sequence[str]) -> KeptColumns:
    if not files:
        return NOTHING_KEPT
    tables = {name: tuple(folder / each for each in names) for name, names in files.items()}
    schema = mapped_table(next(iter(tables.values()))[0]).schema
    groups = ("field", "instrument") if "/" in next(iter(tables)) else ("field",)
    return KeptColumns.of_schema(schema, filled, StoredTables(tables), groups)


def key_of_lists(states: Iterable[Sequence[Any]], settings: Mapping[str, Any]) -> str:
    """Name of the folder of work lists that are made of these inputs.

    Parameters
    ----------
    states
        The states of all input files: path, size, time, number and tag of each.
    settings
        Everything else on which the lists depend, as JSON values.
    """
    words = json.dumps([_FORM, sorted(map(list, states)), settings], sort_keys=True)
    return hashlib.sha256(words.encode()).hexdigest()[:32]
