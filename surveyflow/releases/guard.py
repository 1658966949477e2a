"""The comparison of a new revision with the one that readers have, so that no worse catalog replaces a better one.

Sources are matched by field and id, and counted by field and instrument. What is counted is what became worse: results that were
lost, statuses that changed without a result, flags that came, probabilities that moved. Each share has a limit in the workflow's
``[publish.guard]``. In small groups chance alone exceeds any limit, so an excess counts only if it is significant.

Both revisions are read piece by piece of the sky, and only numbers are kept. Rows whose source has moved elsewhere or is gone are
looked for in all of the new revision, 250,000 of them at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from surveyflow.catalog.hats import read_partitions
from surveyflow.releases.regions import CELL, Reader, in_batches, reader, regions_of
from surveyflow.releases.revisions import declared_schema
from surveyflow.settings.workflow import Guard
from surveyflow.stats.limits import counted_probabilities, ks_distance, ks_error, share_exceeds
from surveyflow.tasks.registry import TASKS
from surveyflow.values.arrays import Int64Array
from surveyflow.values.codes import Flag, Status

_KEY = ["field", "source_id"]
_COLUMNS = ["instrument", "status", "flags"]
_MEANS = {task.name: next(column.name for column in task.columns if column.name.endswith("_mean")) for task in TASKS.values()}
"""The column with the mean probability of each task; it is null where the task has no result."""

_NOT_COMPARED = Flag.OUT_OF_DOMAIN
"""It is set with other bits, each of which is compared."""

_MOST_KINDS = 3
"""The greatest number of kinds that a sentence lists."""


class _Unreadable(ValueError):
    """The revision that readers have cannot be read."""


def judge(before: Path | None, after: Path, limits: Guard) -> tuple[str, ...]:
    """List the reasons for which readers should not get a new revision; empty if they should.

    Memory does not grow with the number of sources, whatever became of them.

    Parameters
    ----------
    before
        Folder of the revision that readers have; None if they have none.
    after
        Folder of the new revision, finished or still being built.
    limits
        How much worse it may be.

    Returns
    -------
    Sentences with the numbers and the limits.
    """
    statuses = _statuses(after)
    if not statuses[Status.OK]:
        return (f"None of the {statuses.total()} sources has a result ({_listed(statuses) or 'the lists are empty'}).",)
    if before is None:
        return ()
    try:
        tallies = _tallied(before, after, limits)
    except _Unreadable as error:
        return (f"{before.name}, which readers have, cannot be read, so nothing could be compared: {error}.",)
    return tuple(_reasons(tallies, limits))


def _statuses(folder: Path) -> Counter[str]:
    """Number of rows by status."""
    schema = declared_schema(folder)
    read = reader(folder, pa.schema([schema.field("status")]))
    counts: Counter[str] = Counter()
    for partition in read_partitions(folder):
        found = pc.value_counts(read(partition.path)["status"])
        counts.update({each["values"]: each["counts"] for each in found.to_pylist()})
    return counts


@dataclass(frozen=True, slots=True)
class _Moves:
    """How the mean probabilities of a task differ in sources that are measured in both revisions.

    Parameters
    ----------
    had, lacks
        Number of sources with a result of the task before, and of those that have none now.
    moved, known
        Number of sources that moved by more than the limit, and of all with both results.
    old, new
        Their probabilities, as `counted_probabilities` gives them; 0 without any.
    """

    had: int = 0
    lacks: int = 0
    moved: int = 0
    known: int = 0
    old: Int64Array | int = 0
    new: Int64Array | int = 0

    @classmethod
    def between(cls, old: pd.Series[float], new: pd.Series[float], limits: Guard) -> _Moves:
        """Compare the results of the same sources, NaN without one."""
        both = old.notna() & new.notna()
        before, after = (values[both].to_numpy(np.float32) for values in (old, new))
        return cls(
            int(old.notna().sum()),
            int((old.notna() & new.isna()).sum()),
            int(np.count_nonzero(np.abs(after - before) > limits.moved_by)),
            len(before),
            counted_probabilities(before),
            counted_probabilities(after),
        )

    def __or__(self, other: _Moves) -> _Moves:
        return _Moves(
            self.had + other.had,
            self.lacks + other.lacks,
            self.moved + other.moved,
            self.known + other.known,
            self.old + other.old,
            self.new + other.new,
        )


@dataclass(frozen=True, slots=True)
class _Tally:
    """What became of the sources of a group.

    Parameters
    ----------
    measured, lost
        Number of sources that had a result, and of those that have none now, by their status now.
    without, changed
        Number of sources that have no result in both revisions, and of those that have another status, by both.
    in_both, flagged
        Number of sources measured with the same instrument in both revisions, and of those with a new flag, by flag.
    moves
        How the mean probabilities of each task differ in these, as far as both revisions have them.
    """

    measured: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    without: int = 0
    changed: Counter[str] = field(default_factory=Counter)
    in_both: int = 0
    flagged: Counter[Flag] = field(default_factory=Counter)
    moves: Mapping[str, _Moves] = field(default_factory=dict)

    @classmethod
    def of(cls, pairs: pd.DataFrame, limits: Guard) -> _Tally:
        """Count pairs of rows of the same source; the columns of the new row are null if there is none."""
        old, new = pairs["status_old"], pairs["status_new"]
        was_ok = old == Status.OK
        now = new[was_ok].fillna("not in the catalog")
        without = pairs[~was_ok & new.notna() & (new != Status.OK)]
        changed = without[without["status_old"] != without["status_new"]]
        both = pairs[was_ok & (new == Status.OK) & (pairs["instrument_old"] == pairs["instrument_new"])]
        come = both["flags_new"].to_numpy(np.int64) & ~both["flags_old"].to_numpy(np.int64)
        columns = {task: (f"{mean}_old", f"{mean}_new") for task, mean in _MEANS.items()}
        return cls(
            int(was_ok.sum()),
            Counter(now[now != Status.OK]),
            len(without),
            Counter(f"{one} -> {two}" for one, two in zip(changed["status_old"], changed["status_new"], strict=True)),
            len(both),
            Counter({flag: int(np.count_nonzero(come & flag)) for flag in Flag}),
            {task: _Moves.between(both[a], both[b], limits) for task, (a, b) in columns.items() if {a, b} <= set(both)},
        )

    def __or__(self, other: _Tally) -> _Tally:
        """Combine the tallies of different sources."""
        return _Tally(
            self.measured + other.measured,
            self.lost + other.lost,
            self.without + other.without,
            self.changed + other.changed,
            self.in_both + other.in_both,
            self.flagged + other.flagged,
            {
                task: self.moves.get(task, _Moves()) | other.moves.get(task, _Moves())
                for task in _MEANS
                if task in self.moves or task in other.moves
            },
        )


Group = tuple[str, str]
"""Field and instrument of the old revision; the instrument is empty if none was chosen."""


def _tallied(before: Path, after: Path, limits: Guard) -> dict[Group, _Tally]:
    """What became of the sources of each group, sorted."""
    tallies: dict[Group, _Tally] = {}
    read_new = _reader(after)
    with _of_the_old():
        read_old, regions = _reader(before), list(regions_of(before, after))
    pieces = (piece for region in regions for piece in region.pieces(_of_the_old()(read_old), read_new))
    for left in in_batches(_counted_in_place(pieces, tallies, limits)):
        _count(_with_moved(left, after, read_new), tallies, limits)
    return dict(sorted(tallies.items()))


def _counted_in_place(
    pieces: Iterable[tuple[pa.Table, pa.Table]], tallies: dict[Group, _Tally], limits: Guard
) -> Iterator[pa.Table]:
    """Count the pairs of rows in each piece, and return the rows of the old revision that have no partner there."""
    for old, new in pieces:
        rows = _frame(old).merge(_frame(new), how="left", on=_KEY, suffixes=("_old", "_new"))
        elsewhere = rows["status_new"].isna().to_numpy()
        _count(rows[~elsewhere], tallies, limits)
        yield old.filter(pa.array(elsewhere))


@contextmanager
def _of_the_old() -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _Unreadable(str(error)) from error


def _count(pairs: pd.DataFrame, tallies: dict[Group, _Tally], limits: Guard) -> None:
    """Add pairs of rows to the tallies of their groups."""
    for names, rows in pairs.groupby(["field", "instrument_old"]):
        group = cast(Group, names)
        tallies[group] = tallies.get(group, _Tally()) | _Tally.of(rows, limits)


def _with_moved(left: pa.Table, after: Path, read: Reader) -> pd.DataFrame:
    """Pair rows of the old revision with those that their sources have elsewhere in the new one."""
    ids, fields = left["source_id"].combine_chunks(), pc.unique(left["field"])
    tables = (read(partition.path) for partition in read_partitions(after))
    found = (rows.filter(pc.is_in(rows["field"], value_set=fields)) for rows in tables)
    moved = [read(None), *(rows.filter(pc.is_in(rows["source_id"], value_set=ids)) for rows in found)]
    return _frame(left).merge(_frame(pa.concat_tables(moved)), how="left", on=_KEY, suffixes=("_old", "_new"))


def _reader(folder: Path) -> Reader:
    """Reads the compared columns of a revision; a revision of another schema may lack some means."""
    schema = declared_schema(folder)
    names = [CELL, *_KEY, *_COLUMNS, *(mean for mean in _MEANS.values() if mean in schema.names)]
    return reader(folder, pa.schema([schema.field(name) for name in names]))


def _frame(rows: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = rows.drop_columns([CELL]).to_pandas()
    return frame.fillna({"instrument": ""})


@dataclass(frozen=True, slots=True)
class _Named:
    """A group's name for sentences, and what became of its sources."""

    name: str
    tally: _Tally

    @classmethod
    def of(cls, group: Group, tally: _Tally) -> _Named:
        name, instrument = group
        return cls(f"{name} {instrument}" if instrument else f"{name} without instrument", tally)


@dataclass(frozen=True, slots=True)
class _Share:
    """How many sources of a group became worse in one way, of all that could.

    Parameters
    ----------
    group
        The group's name.
    count, total
        The numbers.
    what
        What became of them, as the sentence says it after ``3 of 20``.
    """

    group: str
    count: int
    total: int
    what: str

    def beyond(self, name: str, limits: Guard) -> Iterator[str]:
        """The sentence that says so, if the share exceeds the limit of this name significantly."""
        limit = getattr(limits, name)
        if share_exceeds(self.count, self.total, limit, limits.significance):
            yield (
                f"{self.group}: {self.count} of {self.total} {self.what}, {100 * self.count / self.total:.1f} %; the limit is "
                f"{100 * limit:g} % ({name})."
            )


def _reasons(tallies: Mapping[Group, _Tally], limits: Guard) -> Iterator[str]:
    """The findings of every check by group; those of all groups together, if no single group exceeds a limit."""
    groups = [_Named.of(group, tally) for group, tally in tallies.items()]
    every = _Named("All fields", reduce(or_, tallies.values(), _Tally()))
    for check in (_lost, _lost_beside, _changed_status, _flagged, _moved):
        found = [reason for group in groups for reason in check(group, limits)]
        yield from found or check(every, limits)


def _lost(group: _Named, limits: Guard) -> Iterator[str]:
    """Sources that had a result and have none now, or are not listed any more."""
    tally = group.tally
    what = f"measured sources have lost their result (now {_listed(tally.lost)})"
    yield from _Share(group.name, tally.lost.total(), tally.measured, what).beyond("max_lost_fraction", limits)


def _lost_beside(group: _Named, limits: Guard) -> Iterator[str]:
    """Sources that are still measured, but have lost the result of another task."""
    for task in TASKS.values():
        if not task.leads and (moves := group.tally.moves.get(task.name)):
            what = f"sources have lost their {task.name} result"
            yield from _Share(group.name, moves.lacks, moves.had, what).beyond("max_lost_fraction", limits)


def _changed_status(group: _Named, limits: Guard) -> Iterator[str]:
    """Sources without result in both revisions, for another reason now."""
    tally = group.tally
    what = f"sources without result have another status ({_listed(tally.changed)})"
    yield from _Share(group.name, tally.changed.total(), tally.without, what).beyond("max_status_fraction", limits)


def _flagged(group: _Named, limits: Guard) -> Iterator[str]:
    """Sources measured in both revisions that have a flag which they did not have."""
    tally = group.tally
    for flag in Flag:
        if flag is not _NOT_COMPARED:
            what = f"sources measured in both have the new flag {flag.name}"
            yield from _Share(group.name, tally.flagged[flag], tally.in_both, what).beyond("max_flag_fraction", limits)


def _moved(group: _Named, limits: Guard) -> Iterator[str]:
    """Sources measured in both revisions whose probability moved, and distributions that moved."""
    for task, column in _MEANS.items():
        if (moves := group.tally.moves.get(task)) and moves.known:
            what = f"sources measured in both have moved in {column} by more than {limits.moved_by:g}"
            yield from _Share(group.name, moves.moved, moves.known, what).beyond("max_moved_fraction", limits)
            yield from _distance(group.name, column, moves, limits)


def _distance(group: str, column: str, moves: _Moves, limits: Guard) -> Iterator[str]:
    distance, n_sources = ks_distance(np.asarray(moves.old), np.asarray(moves.new)), moves.known
    error = ks_error(n_sources, n_sources, limits.significance)
    if distance - error > limits.max_distance:
        yield (
            f"{group}: the distribution of {column} over the {n_sources} sources measured in both has moved by a distance "
            f"(Kolmogorov-Smirnov) of {distance:.3f}, and chance explains {error:.3f}; the limit is {limits.max_distance:g} "
            "(max_distance)."
        )


def _listed(counts: Counter[str]) -> str:
    """The most frequent kinds with their numbers."""
    common = counts.most_common(_MOST_KINDS)
    rest = counts.total() - sum(count for _, count in common)
    return ", ".join([*(f"{count} {kind}" for kind, count in common), *([f"{rest} other"] if rest else [])])
