"""The comparison of a new revision with the one that readers have, so that no worse catalog replaces a better one.

Sources are matched by field and id, and counted by field and instrument. What is counted is what became worse: results that were
lost, statuses that changed without a result, flags that came, probabilities that moved. Each share has a limit in the workflow's
``[publish.guard]``. In small groups chance alone exceeds any limit, so an excess counts only if it is significant.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from surveyflow.catalog.hats import read_partitions
from surveyflow.releases.revisions import declared_schema
from surveyflow.settings.workflow import Guard
from surveyflow.stats.limits import ks_distance, ks_error, share_exceeds
from surveyflow.tasks.registry import TASKS
from surveyflow.values.arrays import Float32Array
from surveyflow.values.codes import Flag, Status

_KEY = ["field", "source_id"]
_COLUMNS = ["instrument", "status", "flags"]
_MEANS = {task.name: next(column.name for column in task.columns if column.name.endswith("_mean")) for task in TASKS.values()}
"""The column with the mean probability of each task; it is null where the task has no result."""

_NOT_COMPARED = Flag.OUT_OF_DOMAIN
"""It is set with other bits, each of which is compared."""

_MOST_KINDS = 3
"""The greatest number of kinds that a sentence lists."""


def judge(before: Path | None, after: Path, limits: Guard) -> tuple[str, ...]:
    """List the reasons for which readers should not get a new revision; empty if they should.

    Memory grows with the number of sources: about 700 bytes for each.

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
    new = _read(after)
    if not (new["status"] == Status.OK).any():
        return (f"None of the {len(new)} sources has a result ({_listed(Counter(new['status'])) or 'the lists are empty'}).",)
    if before is None:
        return ()
    try:
        old = _read(before)
    except (OSError, ValueError, pa.ArrowException) as error:
        return (f"{before.name}, which readers have, cannot be read, so nothing could be compared: {error}.",)
    return tuple(_reasons(_Pairs(old.merge(new, how="left", on=_KEY, suffixes=("_old", "_new"))), limits))


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Sources of the old revision with their rows in both; the columns of the new row are null if it has none.

    Parameters
    ----------
    rows
        The pairs.
    name
        Field and instrument, for sentences.
    """

    rows: pd.DataFrame
    name: str = "All fields"

    def by_group(self) -> Iterator[_Pairs]:
        """The pairs of each field and instrument of the old revision."""
        for (field, instrument), rows in self.rows.groupby(["field", "instrument_old"]):
            yield _Pairs(rows, f"{field} {instrument}" if instrument != "" else f"{field} without instrument")

    def where(self, chosen: pd.Series[bool]) -> _Pairs:
        """Some of the pairs."""
        return _Pairs(self.rows[chosen], self.name)

    @property
    def measured_in_both(self) -> _Pairs:
        """The pairs with a result of the same instrument in both revisions."""
        rows = self.rows
        ok = (rows["status_old"] == Status.OK) & (rows["status_new"] == Status.OK)
        return self.where(ok & (rows["instrument_old"] == rows["instrument_new"]))

    def means(self, task: str) -> tuple[pd.Series[float], pd.Series[float]] | None:
        """The mean probabilities in both revisions; None if one of them does not have the column."""
        names = [f"{_MEANS[task]}_{side}" for side in ("old", "new")]
        return (self.rows[names[0]], self.rows[names[1]]) if set(names) <= set(self.rows) else None


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


def _reasons(pairs: _Pairs, limits: Guard) -> Iterator[str]:
    """The findings of every check by group; those of all groups together, if no single group exceeds a limit."""
    groups = list(pairs.by_group())
    for check in (_lost, _lost_beside, _changed_status, _flagged, _moved):
        found = [reason for group in groups for reason in check(group, limits)]
        yield from found or check(pairs, limits)


def _lost(pairs: _Pairs, limits: Guard) -> Iterator[str]:
    """Sources that had a result and have none now, or are not listed any more."""
    measured = pairs.where(pairs.rows["status_old"] == Status.OK)
    now = measured.rows["status_new"].fillna("not in the catalog")
    lost = now[now != Status.OK]
    what = f"measured sources have lost their result (now {_listed(Counter(lost))})"
    yield from _Share(pairs.name, len(lost), len(now), what).beyond("max_lost_fraction", limits)


def _lost_beside(pairs: _Pairs, limits: Guard) -> Iterator[str]:
    """Sources that are still measured, but have lost the result of another task."""
    both = pairs.measured_in_both
    for task in TASKS.values():
        if not task.leads and (means := both.means(task.name)):
            had, lacks = means[0].notna(), means[1].isna()
            what = f"sources have lost their {task.name} result"
            yield from _Share(pairs.name, int((had & lacks).sum()), int(had.sum()), what).beyond("max_lost_fraction", limits)


def _changed_status(pairs: _Pairs, limits: Guard) -> Iterator[str]:
    """Sources without result in both revisions, for another reason now."""
    rows = pairs.rows
    without = rows[(rows["status_old"] != Status.OK) & rows["status_new"].notna()]
    changed = without[(without["status_new"] != Status.OK) & (without["status_old"] != without["status_new"])]
    kinds = Counter(f"{old} -> {new}" for old, new in zip(changed["status_old"], changed["status_new"], strict=True))
    what = f"sources without result have another status ({_listed(kinds)})"
    yield from _Share(pairs.name, len(changed), len(without), what).beyond("max_status_fraction", limits)


def _flagged(pairs: _Pairs, limits: Guard) -> Iterator[str]:
    """Sources measured in both revisions that have a flag which they did not have."""
    both = pairs.measured_in_both.rows
    come = both["flags_new"].to_numpy(np.int64) & ~both["flags_old"].to_numpy(np.int64)
    for flag in Flag:
        if flag is not _NOT_COMPARED:
            what = f"sources measured in both have the new flag {flag.name}"
            yield from _Share(pairs.name, int(np.count_nonzero(come & flag)), len(come), what).beyond("max_flag_fraction", limits)


def _moved(pairs: _Pairs, limits: Guard) -> Iterator[str]:
    """Sources measured in both revisions whose probability moved, and distributions that moved."""
    both = pairs.measured_in_both
    for task, column in _MEANS.items():
        if means := both.means(task):
            known = means[0].notna() & means[1].notna()
            old, new = (mean[known].to_numpy(np.float32) for mean in means)
            n_moved = int(np.count_nonzero(np.abs(new - old) > limits.moved_by))
            what = f"sources measured in both have moved in {column} by more than {limits.moved_by:g}"
            yield from _Share(pairs.name, n_moved, len(old), what).beyond("max_moved_fraction", limits)
            yield from _distance(pairs.name, column, old, new, limits) if len(old) else ()


def _distance(group: str, column: str, old: Float32Array, new: Float32Array, limits: Guard) -> Iterator[str]:
    distance, n_sources = ks_distance(old, new), len(old)
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


def _read(folder: Path) -> pd.DataFrame:
    """The compared columns of a revision; a revision of another schema may lack some means."""
    schema = declared_schema(folder)
    names = [*_KEY, *_COLUMNS, *(mean for mean in _MEANS.values() if mean in schema.names)]
    empty = pa.schema([schema.field(name) for name in names]).empty_table()
    files = [folder / partition.path for partition in read_partitions(folder)]
    tables = [pq.read_table(path, columns=names, partitioning=None).select(names) for path in files]
    frame: pd.DataFrame = pa.concat_tables([empty, *tables]).to_pandas()
    return frame.fillna({"instrument": ""})
