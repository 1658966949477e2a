"""The tasks that turn source lists into work lists: each reads, matches, sorts or writes a part of the sources.

1. `ReadPart` reads a part of a list, checks it, matches it to the mosaics, and writes it twice: in the order of its ids, and in
   the order of its tiles.
2. `FindDuplicates` finds the sources that several lists have.
3. `MergeIds` puts a range of ids of all parts together: it finds ids that several parts have, and writes the columns that the
   catalog keeps from the list.
4. `GatherTiles` and `GatherSettled` put the sources of some units together and write their work list.

Each writes Arrow files into one folder. What it returns is small, and does not grow with the number of sources.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from surveyflow.catalog.kept import KeptColumns, by_instrument
from surveyflow.errors import MosaicError, SourceListError
from surveyflow.files.durable import explained
from surveyflow.inputs.list_files import ListPart
from surveyflow.inputs.source_lists import read_source_list
from surveyflow.planning.duplicates import mark_duplicates
from surveyflow.planning.expectations import Places, count_places
from surveyflow.planning.overlaps import on_images
from surveyflow.planning.units import (
    MAIN,
    LocatedSources,
    Mosaics,
    WorkUnit,
    alternative_sources,
    locate_sources,
    settled_unit,
    tiles_of,
    units_of_field,
    write_units,
)
from surveyflow.settings.workflow import SourceListSpec
from surveyflow.sky.footprints import directions
from surveyflow.tasks.card import ModelCard
from surveyflow.values.arrays import Float64Array, Int64Array
from surveyflow.values.listed import ColumnHead, Join, KeptColumn, ListedSources, RangeShares
from surveyflow.values.sources import SOURCE_COLUMNS, SourceList

SAMPLE_SIZE = 20_000
"""About as many sources of a list are remembered for the checks of its positions and of weight maps."""
_FEWEST_SAMPLED = 100
_ROWS_PER_BOUND = 4096
_MOST_PER_MOSAIC = 3
_MOST_INSTRUMENTS, _MOST_MOSAICS, _MOST_TILES_A_SIDE = 2**8, 2**20, 2**17
_N_SHOWN = 10
_OWN, _KEPT, _SHARE, _MOSAIC = "own:", "kept:", "share:", "mosaic:"
_LOCATED = (*SOURCE_COLUMNS, "instrument", "x_pix", "y_pix", "status", "flags", "mosaic")


@dataclass(frozen=True, slots=True)
class FieldPlan:
    """How the list of a field becomes work lists.

    Parameters
    ----------
    name
        The field.
    number
        Its number, by which its files are named.
    spec
        Its list.
    routing
        Half-open redshift range of each instrument.
    least_share
        The least share of p(z) with which a source is measured in a further instrument.
    core_size
        Side of a tile's core, pixels.
    mosaics, cards
        Its mosaics and merger models by instrument.
    """

    name: str
    number: int
    spec: SourceListSpec
    routing: Mapping[str, tuple[float, float]]
    least_share: float
    core_size: int
    mosaics: Mapping[str, Mosaics]
    cards: Mapping[str, ModelCard]

    def located(self, listed: ListedSources) -> dict[str, LocatedSources]:
        """The places of sources: those of their most probable instruments, and those of further ones that have any."""
        places = {MAIN: locate_sources(listed.sources, self.routing, self.mosaics, self.cards)}
        for instrument, within in self.routing.items():
            sources = alternative_sources(listed, instrument, self.least_share)
            if sources is not None and len(sources):
                places[instrument] = locate_sources(sources, {instrument: within}, self.mosaics, self.cards)
        return places

    def file(self, kind: str, *numbers: int | str) -> str:
        """Name of one of its files."""
        words = (f"{each:06d}" if isinstance(each, int) else each for each in numbers)
        return "-".join([f"{self.number:03d}", kind, *words]) + ".arrow"


@dataclass(frozen=True, slots=True)
class PartFacts:
    """What is known of a part of a list, or what is wrong with it.

    Parameters
    ----------
    problem
        What is wrong with the list, in words; empty if nothing is.
    unplaced
        Why its sources could not be matched to the mosaics, in words; empty if they were.
    n_rows
        Number of its sources.
    heads
        What is said of the columns, by their names in the list.
    head
        The same columns with one source that stands for all: a value if there is any in the part.
    kept_bytes
        Size of the kept columns, bytes.
    joins
        How further tables joined it.
    cautions
        What a log is to say of the list.
    places
        Numbers of its sources, as `count_places` counts them.
    on_images
        Whether any source lies on the mosaics of an instrument, by instrument.
    sample, spread
        Some of its sources in the order of the list, and some of each mosaic, with their places.
    streams
        The instruments of which it has rows, beside the most probable ones.
    bounds
        Every 4096th of its sorted ids.
    centre, reach
        The mean of its directions, (3,), and the largest distance from it.
    """

    problem: str = ""
    unplaced: str = ""
    n_rows: int = 0
    heads: Mapping[str, ColumnHead] = field(default_factory=dict)
    head: ListedSources | None = None
    kept_bytes: int = 0
    joins: tuple[Join, ...] = ()
    cautions: tuple[str, ...] = ()
    places: Places = field(default_factory=dict)
    on_images: Mapping[str, bool] = field(default_factory=dict)
    sample: LocatedSources | None = None
    spread: LocatedSources | None = None
    streams: tuple[str, ...] = ()
    bounds: Int64Array = field(default_factory=lambda: np.zeros(0, np.int64))
    centre: Float64Array = field(default_factory=lambda: np.zeros(3))
    reach: float = 0.0


@dataclass(frozen=True, slots=True)
class ReadPart:
    """A task that reads a part of a list, checks it, and matches it to the mosaics.

    Parameters
    ----------
    plan
        The field.
    part
        The part.
    folder
        Folder for its files; None if the part is only checked.
    """

    verb: ClassVar[str] = "list"

    plan: FieldPlan
    part: ListPart
    folder: Path | None

    def carry_out(self) -> PartFacts:
        """What is known of the part."""
        try:
            listed = read_source_list(self.plan.spec, self.plan.name, self.plan.routing, self.part)
        except SourceListError as error:
            return PartFacts(problem=str(error))
        facts = _facts_of_list(listed)
        if self.folder is None:
            return facts
        try:
            places = self.plan.located(listed)
            on = {name: _any_on(mosaics, listed.sources) for name, mosaics in self.plan.mosaics.items()}
        except MosaicError as error:
            return replace(facts, unplaced=str(error))
        self._write(self.folder, listed, places)
        quota = max(_FEWEST_SAMPLED, SAMPLE_SIZE // self.part.n_parts)
        main, streams = places[MAIN], tuple(name for name in places if name != MAIN)
        placed = replace(facts, places=count_places(main), on_images=on, streams=streams)
        return replace(placed, sample=_sampled(main, quota), spread=_of_each_mosaic(main, quota, self.part.number))

    def _write(self, folder: Path, listed: ListedSources, places: Mapping[str, LocatedSources]) -> None:
        plan, number = self.plan, self.part.number
        write_table(folder / plan.file("list", number), _table_of(plan, listed, places, _rows_in_files(self.part, listed)))
        for stream, located in places.items():
            measured = located.take(located.status == "")
            codes = _codes(tiles_of(measured, plan.mosaics, plan.core_size))
            order = np.argsort(codes, kind="stable")
            table = table_of_sources(measured.take(order)).append_column("tile", pa.array(codes[order]))
            write_table(folder / plan.file("tiles", stream, number), table)
            settled = located.take(located.status != "")
            settled = settled.take(np.argsort(settled.source_id, kind="stable"))
            write_table(folder / plan.file("settled", stream, number), table_of_sources(settled))


def _facts_of_list(listed: ListedSources) -> PartFacts:
    vectors = directions(listed.sources.ra_deg, listed.sources.dec_deg)
    centre = vectors.mean(axis=0)
    return PartFacts(
        n_rows=len(listed.sources),
        heads=listed.heads,
        head=_head(listed),
        kept_bytes=sum(column.values.nbytes for column in listed.kept.values()),
        joins=listed.joins,
        cautions=listed.cautions,
        bounds=np.sort(listed.sources.source_id)[::_ROWS_PER_BOUND].copy(),
        centre=centre,
        reach=float(np.linalg.norm(vectors - centre, axis=1).max()),
    )


def _head(listed: ListedSources) -> ListedSources:
    """A list of one source that shows of which types and units the columns are."""
    kept = {name: replace(column, values=_one_value(column.values)) for name, column in listed.kept.items()}
    shares = listed.shares
    if shares is not None:
        unknown = np.full((1, len(shares.instruments)), np.nan)
        shares = RangeShares(shares.instruments, unknown, unknown, np.full(1, np.nan), np.full(1, -1))
    own = {name: pa.nulls(1, values.type) for name, values in listed.own.items()}
    return ListedSources(SourceList(listed.sources.field, np.zeros(1, np.int64), *np.zeros((3, 1))), kept, own, shares)


def _one_value(values: pa.Array) -> pa.Array:
    """A value if any is known; of integers the largest, which shows whether floating-point numbers can hold all of them."""
    known = values.drop_null()
    if pa.types.is_integer(values.type) and len(known):
        return pa.array([max(pc.min_max(known).as_py().values(), key=abs)], values.type)
    return known[:1] if len(known) else pa.nulls(1, values.type)


def joined_heads(heads: Sequence[ListedSources]) -> ListedSources:
    """One source that shows of which types and units the columns of a whole list are.

    Parameters
    ----------
    heads
        The heads of its parts.

    Raises
    ------
    SourceListError
        If a kept column has integers in one part that the floating-point numbers of another part would round.
    """
    kept = {name: _joined_column([head.kept[name] for head in heads]) for name in heads[0].kept}
    return replace(heads[0], kept=kept)


def _joined_column(columns: Sequence[KeptColumn]) -> KeptColumn:
    valued = [column for column in columns if column.values.null_count == 0] or columns[:1]
    schemas = [pa.schema([pa.field("", column.values.type)]) for column in valued]
    kind = pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    unit = next((column.unit for column in columns if column.unit is not None), None)
    try:
        values = [column.values.cast(kind) for column in valued]
    except pa.ArrowInvalid as error:
        raise SourceListError(
            f"column {columns[0].name}: it holds integers beyond 2^53 in one part of the list and floating-point numbers in "
            "another, and no type holds all of their digits. Convert one of the files."
        ) from error
    return replace(columns[0], values=values[0], unit=unit)


def _any_on(mosaics: Mosaics, sources: SourceList) -> bool:
    return bool(on_images(mosaics.mosaics, sources.ra_deg, sources.dec_deg).any())


def _sampled(located: LocatedSources, quota: int) -> LocatedSources:
    """About as many sources, at equal distances in the list."""
    return located.take(np.arange(0, len(located), max(1, len(located) // quota)))


def _of_each_mosaic(located: LocatedSources, quota: int, first: int) -> LocatedSources:
    """Up to three measured sources of each mosaic, at equal distances in the list, of as many mosaics as the quota allows."""
    measured = np.flatnonzero(located.status == "")
    instruments = np.unique(located.instrument[measured], return_inverse=True)[1]
    order = np.lexsort((measured, located.mosaic[measured], instruments))
    keys = np.stack([instruments[order], located.mosaic[measured][order]])
    groups = np.split(measured[order], np.flatnonzero(np.any(np.diff(keys, axis=1), axis=0)) + 1) if len(order) else []
    chosen = [groups[(first + place) % len(groups)] for place in range(min(len(groups), quota))]
    rows = [rows[:: max(1, len(rows) // _MOST_PER_MOSAIC)][:_MOST_PER_MOSAIC] for rows in chosen]
    return located.take(np.sort(np.concatenate([np.zeros(0, np.int64), *rows])))


def _codes(tiles: Int64Array) -> Int64Array:
    """(n,) int64: one number for each mosaic and tile, in the order of the four numbers of `tiles_of`."""
    limits = (_MOST_INSTRUMENTS, _MOST_MOSAICS, _MOST_TILES_A_SIDE, _MOST_TILES_A_SIDE)
    if (tiles >= np.array(limits)).any():
        most = f"{_MOST_MOSAICS} mosaics, or a mosaic more than {_MOST_TILES_A_SIDE} tiles a side"
        raise MosaicError(f"a field has more than {most}. Choose a larger core_size, or divide the field.")
    codes = np.zeros(len(tiles), np.int64)
    for numbers, limit in zip(tiles.T, limits, strict=True):
        codes = codes * limit + numbers
    return codes


def _rows_in_files(part: ListPart, listed: ListedSources) -> tuple[Int64Array, Int64Array]:
    """(n,) int64 each: the number of every source's file in the list, and of its row there, from 1."""
    files = np.repeat([piece.number for piece in part.pieces], listed.n_rows)
    starts = [piece.rows.start + 1 + np.arange(n) for piece, n in zip(part.pieces, listed.n_rows, strict=True)]
    return files.astype(np.int64), np.concatenate(starts).astype(np.int64)


def _table_of(
    plan: FieldPlan, listed: ListedSources, places: Mapping[str, LocatedSources], rows: tuple[Int64Array, Int64Array]
) -> pa.Table:
    """A part of a list, sorted by id, with everything of it that is not measured."""
    sources, n_sources = listed.sources, len(listed.sources)
    arrays = {"source_id": sources.source_id, "file": rows[0], "row": rows[1], "ra": sources.ra_deg, "dec": sources.dec_deg}
    columns: dict[str, pa.Array] = {name: pa.array(values) for name, values in arrays.items()}
    columns |= {f"{_OWN}{name}": values for name, values in listed.own.items()}
    columns |= {f"{_KEPT}{name}": _typed_if_known(column.values) for name, column in listed.kept.items()}
    if listed.shares is not None:
        pairs = zip(listed.shares.instruments, listed.shares.shares.T, strict=True)
        columns |= {f"{_SHARE}{name}": pa.array(shares) for name, shares in pairs}
    columns |= {
        f"{_MOSAIC}{stream}": _mosaic_names(plan, located, _rows_of(located, sources, stream), n_sources)
        for stream, located in places.items()
    }
    return pa.table(columns).take(pa.array(np.argsort(sources.source_id, kind="stable")))


def _typed_if_known(values: pa.Array) -> pa.Array:
    """The values without a type if all are null, so that they fit whatever other parts hold."""
    return pa.nulls(len(values)) if values.null_count == len(values) else values


def _rows_of(located: LocatedSources, complete: SourceList, stream: str) -> Int64Array:
    """The rows of some sources in the list."""
    if stream == MAIN:
        return np.arange(len(complete))
    order = np.argsort(complete.source_id)
    return np.asarray(order[np.searchsorted(complete.source_id, located.source_id, sorter=order)])


def _mosaic_names(plan: FieldPlan, located: LocatedSources, rows: Int64Array, n_rows: int) -> pa.Array:
    """(n,) text: the name of each source's mosaic, in the rows of the list; null where there is none."""
    names = np.full(n_rows, None, dtype=object)
    for instrument, mosaics in plan.mosaics.items():
        there = (located.instrument == instrument) & (located.mosaic >= 0)
        names[rows[there]] = np.array(mosaics.names, dtype=object)[located.mosaic[there]]
    return pa.array(names, pa.string())


def table_of_sources(located: LocatedSources) -> pa.Table:
    """Sources as a table.

    Parameters
    ----------
    located
        Sources of one field.
    """
    arrays = {name: pa.array(getattr(located, name)) for name in _LOCATED}
    return pa.table(arrays)


def sources_of_table(field: str, table: pa.Table) -> LocatedSources:
    """The sources in a table that `table_of_sources` made.

    Parameters
    ----------
    field
        Their field.
    table
        The table.
    """
    return LocatedSources(field, **{name: _array_of(table[name]) for name in _LOCATED})


def _array_of(column: pa.ChunkedArray) -> Any:
    return column.to_numpy().astype(np.str_) if pa.types.is_string(column.type) else column.to_numpy()


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table to an Arrow file, in one batch.

    Parameters
    ----------
    path
        The file.
    table
        The table.
    """
    with explained(path), pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as file:
        file.write_table(table.combine_chunks())


def mapped_table(path: Path) -> pa.Table:
    """A table in an Arrow file, whose values are read when they are used.

    Parameters
    ----------
    path
        A file that one of these tasks wrote.
    """
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def _range(table: pa.Table, column: str, low: int | None, high: int | None) -> pa.Table:
    """The rows of a table, sorted by a column, whose values are in a half-open range."""
    values = table[column].to_numpy()
    start = 0 if low is None else int(np.searchsorted(values, low))
    stop = len(values) if high is None else int(np.searchsorted(values, high))
    return table.slice(start, max(0, stop - start))


@dataclass(frozen=True, slots=True)
class DuplicateSearch:
    """A field's list, as far as the search for sources of several lists needs it.

    Parameters
    ----------
    name
        The field.
    files
        The files of its parts, as `ReadPart` wrote them.
    centre, reach
        The mean of its directions, (3,), and a distance from it that no source exceeds.
    output
        File for the sources that have the same galaxy in another list.
    """

    name: str
    files: tuple[Path, ...]
    centre: Float64Array
    reach: float
    output: Path


@dataclass(frozen=True, slots=True)
class FindDuplicates:
    """A task that finds the sources that several lists have. Its memory grows with the sources where lists overlap.

    Parameters
    ----------
    fields
        The fields, in the order of the workflow.
    radius_arcsec, same_id
        As for `surveyflow.planning.duplicates.mark_duplicates`.
    """

    verb: ClassVar[str] = "duplicates"

    fields: tuple[DuplicateSearch, ...]
    radius_arcsec: float
    same_id: bool

    def carry_out(self) -> bool:
        """Whether there are any; their files are written then."""
        lists = {one.name: listed for one in self.fields if (listed := self._near_others(one)) is not None}
        found = mark_duplicates(lists, self.radius_arcsec, same_id=self.same_id)
        for one in self.fields if found else ():
            write_table(one.output, _marked(lists.get(one.name), found.get(one.name, {})))
        return bool(found)

    def _near_others(self, one: DuplicateSearch) -> ListedSources | None:
        """The sources near any other list; None if there are none."""
        others = [other for other in self.fields if other is not one]
        parts = [part for file in one.files if len(part := self._near(mapped_table(file), others))]
        if not parts:
            return None
        table = pa.concat_tables(parts, promote_options="permissive")
        names = f"{_OWN}source_name"
        own = {"source_name": table[names].combine_chunks()} if names in table.column_names else {}
        ids, ra, dec = (table[name].to_numpy() for name in ("source_id", "ra", "dec"))
        ids, first = np.unique(ids, return_index=True)  # ids that occur twice are refused later
        own = {name: values.take(pa.array(first)) for name, values in own.items()}
        return ListedSources(SourceList(one.name, ids, ra[first], dec[first], np.zeros(len(first))), own=own)

    def _near(self, table: pa.Table, others: Sequence[DuplicateSearch]) -> pa.Table:
        wanted = [name for name in ("source_id", "ra", "dec", f"{_OWN}source_name") if name in table.column_names]
        vectors = directions(table["ra"].to_numpy(), table["dec"].to_numpy())
        chord = 2 * np.sin(np.radians(self.radius_arcsec / 3600) / 2)
        near = np.zeros(len(table), bool)
        for other in others:
            near |= np.linalg.norm(vectors - other.centre, axis=1) <= other.reach + chord
        return table.select(wanted).filter(pa.array(near))


def _marked(listed: ListedSources | None, columns: Mapping[str, pa.Array]) -> pa.Table:
    """The marked rows of a field, sorted by id."""
    if listed is None:
        columns = {"duplicate_of": pa.nulls(0, pa.string()), "flags": pa.nulls(0, pa.int32())}
        return pa.table({"source_id": pa.nulls(0, pa.int64()), **columns})
    table = pa.table({"source_id": listed.sources.source_id, **columns})
    return table.filter(table["duplicate_of"].is_valid()).sort_by("source_id").combine_chunks()


@dataclass(frozen=True, slots=True)
class RangeFacts:
    """What is known of a range of ids.

    Parameters
    ----------
    problem
        What is wrong with the ids, in words; empty if nothing is.
    n_settled
        Number of sources that need no pixels, by the instrument of their rows.
    """

    problem: str
    n_settled: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class MergeIds:
    """A task that puts a range of ids of all parts of a list together.

    Parameters
    ----------
    plan
        The field.
    folder
        The folder of all files.
    files
        Names of the list's files, for messages.
    n_parts
        Number of parts.
    number, low, high
        Number of the range, and its half-open limits; None for no limit.
    streams
        The instruments of which any part has rows, beside the most probable ones.
    kept, kept_beside
        The columns that the catalog keeps, without values.
    with_duplicates
        Whether sources that several lists have are marked.
    """

    verb: ClassVar[str] = "ids"

    plan: FieldPlan
    folder: Path
    files: tuple[str, ...]
    n_parts: int
    number: int
    low: int | None
    high: int | None
    streams: tuple[str, ...]
    kept: KeptColumns
    kept_beside: KeptColumns
    with_duplicates: bool

    def carry_out(self) -> RangeFacts:
        """What is known of the range."""
        rows = self._sorted(self._parts("list"))
        problem = _repeated(rows, self.plan, self.files)
        if problem:
            return RangeFacts(problem, {})
        listed = _listed(self.plan, rows, self.streams, self._duplicates(rows))
        write_table(self.folder / self.plan.file("kept", MAIN, self.number), self.kept.sorted_table(listed))
        for instrument, one in by_instrument(listed).items():
            write_table(self.folder / self.plan.file("kept", instrument, self.number), self.kept_beside.sorted_table(one))
        return RangeFacts("", {stream: self._settled(stream) for stream in (MAIN, *self.streams)})

    def _parts(self, *kind: str) -> list[Path]:
        paths = (self.folder / self.plan.file(*kind, number) for number in range(self.n_parts))
        return [path for path in paths if path.exists()]

    def _sorted(self, paths: Sequence[Path]) -> pa.Table:
        tables = [_range(mapped_table(path), "source_id", self.low, self.high) for path in paths]
        table = pa.concat_tables(tables, promote_options="permissive").combine_chunks()
        return table if len(tables) == 1 else table.take(pa.array(np.argsort(table["source_id"].to_numpy(), kind="stable")))

    def _settled(self, stream: str) -> int:
        table = self._sorted(self._parts("settled", stream))
        write_table(self.folder / self.plan.file("range", stream, self.number), table)
        return len(table)

    def _duplicates(self, rows: pa.Table) -> dict[str, pa.Array]:
        """The columns that name the same galaxy in another list; empty if no list has any such."""
        if not self.with_duplicates:
            return {}
        marked = _range(mapped_table(self.folder / self.plan.file("duplicates")), "source_id", self.low, self.high)
        places = np.searchsorted(rows["source_id"].to_numpy(), marked["source_id"].to_numpy())
        words, flags = np.full(len(rows), None, dtype=object), np.zeros(len(rows), np.int32)
        words[places], flags[places] = marked["duplicate_of"].to_numpy(), marked["flags"].to_numpy()
        return {"duplicate_of": pa.array(words, pa.string()), "flags": pa.array(flags)}


def _listed(plan: FieldPlan, rows: pa.Table, streams: Sequence[str], duplicates: Mapping[str, pa.Array]) -> ListedSources:
    """A range of a list as it was read, with what is known of the places of its sources."""

    def named(start: str) -> dict[str, pa.Array]:
        names = (name for name in rows.column_names if name.startswith(start))
        return {name.removeprefix(start): rows[name].combine_chunks() for name in names}

    ids, ra, dec = (rows[name].to_numpy() for name in ("source_id", "ra", "dec"))
    kept = {name: KeptColumn(name, values) for name, values in named(_KEPT).items()}
    shares, mosaics = named(_SHARE), named(_MOSAIC)
    unknown = np.full((len(ids), len(shares)), np.nan)
    values = np.stack([each.to_numpy() for each in shares.values()], axis=1) if shares else unknown
    beside = {stream: {"mosaic": mosaics[stream]} for stream in streams}
    return ListedSources(
        SourceList(plan.name, ids, ra, dec, np.full(len(ids), np.nan)),
        kept,
        {**named(_OWN), **duplicates, "mosaic": mosaics[MAIN]},
        RangeShares(tuple(shares), values, unknown, unknown.sum(axis=1), np.full(len(ids), -1)) if shares else None,
        beside,
    )


def _repeated(rows: pa.Table, plan: FieldPlan, files: Sequence[str]) -> str:
    """What is wrong with ids that occur more than once, in words."""
    ids = rows["source_id"].to_numpy()
    same = np.flatnonzero(ids[1:] == ids[:-1])
    if not len(same):
        return ""
    first = same[np.diff(ids[same], prepend=ids[same[0]] - 1) != 0]
    shown = [_places_of(rows, ids, int(row), files) for row in first[:_N_SHOWN]]
    count = f"{len(first)} id{'s occur' if len(first) > 1 else ' occurs'} more than once"
    more = ", ..." if len(first) > _N_SHOWN else ""
    column = f"column {plan.spec.columns.named()['source_id']}"
    remedy = "Keep one row a source: ids must be unique within a field."
    return f"{', '.join(files[:1])}{' and others' * (len(files) > 1)}, {column}: {count}: {', '.join(shown)}{more}. {remedy}"


def _places_of(rows: pa.Table, ids: Int64Array, first: int, files: Sequence[str]) -> str:
    """An id, or the name that it stands for, and the rows that have it."""
    members = rows.slice(first, int(np.searchsorted(ids, ids[first], side="right")) - first)
    places = zip(members["file"].to_pylist(), members["row"].to_pylist(), strict=True)
    words = [f"row {row} of {files[file]}" if len(files) > 1 else str(row) for file, row in places]
    name = f"{_OWN}source_name"
    names = dict.fromkeys(members[name].to_pylist()) if name in rows.column_names else {ids[first]: None}
    shown = " and ".join(map(str, names))
    return f"{shown} ({'' if len(files) > 1 else 'rows '}{', '.join(words[:3])}{', ...' * (len(words) > 3)})"


@dataclass(frozen=True, slots=True)
class GatherTiles:
    """A task that puts the sources of some tiles together, and writes the work list of their units.

    Parameters
    ----------
    plan
        The field.
    folder
        The folder of all files.
    n_parts
        Number of parts of the list.
    stream
        The instrument of the rows; empty for the most probable ones.
    number, low, high
        Number of the range of tiles, and its half-open limits; None for no limit.
    """

    verb: ClassVar[str] = "tiles"

    plan: FieldPlan
    folder: Path
    n_parts: int
    stream: str
    number: int
    low: int | None
    high: int | None

    def carry_out(self) -> list[WorkUnit]:
        """The units."""
        plan, names = self.plan, (self.plan.file("tiles", self.stream, number) for number in range(self.n_parts))
        paths = [path for name in names if (path := self.folder / name).exists()]
        table = pa.concat_tables([_range(mapped_table(path), "tile", self.low, self.high) for path in paths])
        located = sources_of_table(plan.name, table)
        gathered = units_of_field(located, plan.mosaics, plan.cards, plan.core_size)
        return write_units(gathered, self.stream, self.folder / plan.file("units", self.stream, "tiles", self.number))


@dataclass(frozen=True, slots=True)
class GatherSettled:
    """A task that puts the sources of a unit together that need no pixels, and writes its work list.

    Parameters
    ----------
    plan, folder, stream
        As for `GatherTiles`.
    number
        Number of the unit.
    pieces
        The numbers of the ranges of ids that hold its sources, and the half-open rows there.
    """

    verb: ClassVar[str] = "settled"

    plan: FieldPlan
    folder: Path
    stream: str
    number: int
    pieces: tuple[tuple[int, int, int], ...]

    def carry_out(self) -> list[WorkUnit]:
        """The unit."""
        plan = self.plan
        tables = [
            mapped_table(self.folder / plan.file("range", self.stream, place)).slice(start, stop - start)
            for place, start, stop in self.pieces
        ]
        gathered = [settled_unit(sources_of_table(plan.name, pa.concat_tables(tables)), self.number)]
        return write_units(gathered, self.stream, self.folder / plan.file("units", self.stream, "settled", self.number))
