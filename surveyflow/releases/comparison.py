"""The comparison of two revisions of a catalog: rows added, removed and changed, and shifts of the results.

Revisions of different schemas are compared in the columns that both have; the other columns are listed.

One region of the sky is in memory at a time, and the keys of all rows that only one revision has in its region. Equal files are
not read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from surveyflow.catalog.hats import Partition, read_partitions
from surveyflow.releases.alternatives import alternatives_of
from surveyflow.releases.revisions import Revision, declared_schema, find, open_catalog, read_manifest
from surveyflow.stats.shifts import Shifts
from surveyflow.values.arrays import BoolArray, Int64Array
from surveyflow.values.codes import Status
from surveyflow.values.notebooks import notebook_table

SOURCES_NAMED = 20
"""Sources of each kind that a difference names; the others are counted."""

SHIFTED_COLUMNS = ("f_pm", "p_pm_mean")

_KEY = ["field", "source_id"]
_PROVENANCE = {"unit_key"}
"""Columns that change whenever a unit is done again, even with the same results."""

SourceName = tuple[str, int]
"""Field and id of a source."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The differences between the columns of two revisions.

    Parameters
    ----------
    shared
        Columns of the same name and type, in the later revision's order. These are compared.
    added, removed
        Columns that only the later, or only the earlier, revision has.
    retyped
        Columns that both have, but with different types.
    """

    shared: tuple[str, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    retyped: tuple[str, ...]

    @classmethod
    def between(cls, old: pa.Schema, new: pa.Schema) -> Columns:
        """Compare two schemas."""
        both = [name for name in new.names if name in old.names]
        return cls(
            shared=tuple(name for name in both if new.field(name).type == old.field(name).type),
            added=tuple(name for name in new.names if name not in old.names),
            removed=tuple(name for name in old.names if name not in new.names),
            retyped=tuple(name for name in both if new.field(name).type != old.field(name).type),
        )

    def as_json(self) -> dict[str, list[str]]:
        """The columns that cannot be compared, as JSON values."""
        return {"added": list(self.added), "removed": list(self.removed), "retyped": list(self.retyped)}


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes in the sources that both revisions have.

    Parameters
    ----------
    n_recomputed
        Number of rows of units that were done again with the same result: only ``unit_key`` differs.
    n_changed
        Number of rows that differ in any other column.
    first
        Field and id of the first of the changed sources.
    columns
        Number of changed rows by column.
    transitions
        Number of rows whose status changed, by status before and after.
    shifts
        Changes of `SHIFTED_COLUMNS` in rows that are ok in both revisions.
    """

    n_recomputed: int = 0
    n_changed: int = 0
    first: tuple[SourceName, ...] = ()
    columns: Counter[str] = field(default_factory=Counter)
    transitions: Counter[tuple[str, str]] = field(default_factory=Counter)
    shifts: Mapping[str, Shifts] = field(default_factory=lambda: dict.fromkeys(SHIFTED_COLUMNS, Shifts.none()))

    @classmethod
    def between(cls, old: pa.Table, new: pa.Table) -> Changes:
        """Compare tables of the same columns and sources in the same order."""
        differs = {name: _differs(old[name], new[name]) for name in new.column_names}
        changed = np.any([rows for name, rows in differs.items() if name not in _PROVENANCE], axis=0)
        status = [table["status"].filter(differs["status"]).to_pylist() for table in (old, new)]
        return cls(
            n_recomputed=int((differs["unit_key"] & ~changed).sum()),
            n_changed=int(changed.sum()),
            first=_first(new.filter(changed)),
            columns=Counter({name: int((rows & changed).sum()) for name, rows in differs.items()}),
            transitions=Counter(zip(*status, strict=True)),
            shifts={
                name: _shifts(old, new, name, differs[name]) if name in differs else Shifts.none() for name in SHIFTED_COLUMNS
            },
        )

    def __or__(self, other: Changes) -> Changes:
        """Combine the changes of two sets of sources."""
        return Changes(
            n_recomputed=self.n_recomputed + other.n_recomputed,
            n_changed=self.n_changed + other.n_changed,
            first=tuple(sorted(self.first + other.first)[:SOURCES_NAMED]),
            columns=self.columns + other.columns,
            transitions=self.transitions + other.transitions,
            shifts={name: self.shifts[name] | other.shifts[name] for name in SHIFTED_COLUMNS},
        )


@dataclass(frozen=True, slots=True)
class AlternativeChanges:
    """Numbers of rows by how the alternatives of two revisions differ.

    Parameters
    ----------
    added, removed
        Rows that only the later, or only the earlier, revision has.
    changed
        Rows that differ in a column that both revisions have, other than ``unit_key``.
    unchanged
        All other rows.
    """

    added: int
    removed: int
    changed: int
    unchanged: int

    def as_json(self) -> dict[str, int]:
        """The numbers as JSON values."""
        return {"added": self.added, "removed": self.removed, "changed": self.changed, "unchanged": self.unchanged}


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference between two revisions.

    Parameters
    ----------
    before, after
        The revisions.
    columns
        The differences between their columns.
    changes
        Changes in the sources that both have.
    n_added, n_removed
        Number of sources that only the later, or only the earlier, revision has.
    added, removed
        Field and id of the first of these sources.
    alternatives
        The differences between the rows of further instruments.
    names
        The names in their source lists of those of the sources above whose ids are text, from which ``source_id`` is made: equal
        names are the same source.
    """

    before: Revision
    after: Revision
    columns: Columns
    changes: Changes
    n_added: int
    n_removed: int
    added: tuple[SourceName, ...]
    removed: tuple[SourceName, ...]
    alternatives: AlternativeChanges
    names: Mapping[SourceName, str] = field(default_factory=dict)

    @property
    def n_unchanged(self) -> int:
        """Number of rows that are the same in every shared column."""
        return self.after.n_rows - self.n_added - self.changes.n_changed - self.changes.n_recomputed

    def as_json(self) -> dict[str, Any]:
        """The difference as JSON values."""
        changes = self.changes
        return {
            "before": {"revision": self.before.name, "rows": self.before.n_rows},
            "after": {"revision": self.after.name, "rows": self.after.n_rows},
            "rows": {
                "added": self.n_added,
                "removed": self.n_removed,
                "changed": changes.n_changed,
                "recomputed": changes.n_recomputed,
                "unchanged": self.n_unchanged,
            },
            "sources": {"added": self.added, "removed": self.removed, "changed": changes.first},
            "source_names": [{"field": key[0], "source_id": key[1], "source_name": name} for key, name in self.names.items()],
            "alternatives": self.alternatives.as_json(),
            "schema": self.columns.as_json(),
            "columns": {name: changes.columns[name] for name in self.columns.shared if changes.columns[name]},
            "status": [{"before": one, "after": two, "rows": n} for (one, two), n in sorted(changes.transitions.items())],
            "shifts": {name: shifts.summary() for name, shifts in changes.shifts.items()},
        }

    def _repr_html_(self) -> str:
        return notebook_table(self.as_json())


def compare(root: Path | str, before: str, after: str) -> Difference:
    """Compare two revisions.

    Parameters
    ----------
    root
        The output folder.
    before, after
        ``latest``, releases or revisions.

    Raises
    ------
    CatalogNotFound
        If there is no such revision.
    """
    root = Path(root)
    revisions = find(root, before), find(root, after)
    schemas = [declared_schema(revision.path) for revision in revisions]
    columns = Columns.between(*schemas)
    empty = [pa.schema([schema.field(name) for name in columns.shared]).empty_table() for schema in schemas]
    changes, gone, come = Changes(), [empty[0].select(_KEY)], [empty[1].select(_KEY)]
    for old, new in (map(_read, files, empty) for files in _regions(*revisions)):
        old_rows, new_rows = _matches(old, new)
        changes |= Changes.between(old.take(old_rows), new.take(new_rows))
        gone.append(_keys_without(old, old_rows))
        come.append(_keys_without(new, new_rows))
    old_keys, new_keys = pa.concat_tables(gone), pa.concat_tables(come)
    old_rows, new_rows = _matches(old_keys, new_keys)
    changes |= _changes_of_moved(root, revisions, columns.shared, old_keys.take(old_rows))
    removed, added = _keys_without(old_keys, old_rows), _keys_without(new_keys, new_rows)
    further, first = _compare_alternatives(root, *revisions), (_first(added), _first(removed))
    names = _names(root, revisions[0].name, first[1]) | _names(root, revisions[1].name, (*first[0], *changes.first))
    return Difference(*revisions, columns, changes, len(added), len(removed), *first, further, names)


def _names(root: Path, revision: str, sources: Sequence[SourceName]) -> dict[SourceName, str]:
    """The names of sources that have one, in the order of field and id."""
    catalog = open_catalog(root, revision)
    if "source_name" not in catalog.schema.names or not sources:
        return {}
    wanted = pc.field("source_id").isin([source_id for _, source_id in sources]) & pc.field("source_name").is_valid()
    rows = catalog.to_table(columns=[*_KEY, "source_name"], filter=wanted).to_pylist()
    found = {(row["field"], row["source_id"]): row["source_name"] for row in rows}
    return {source: found[source] for source in sorted(set(sources)) if source in found}


def _compare_alternatives(root: Path, before: Revision, after: Revision) -> AlternativeChanges:
    """Compare the alternatives of two revisions, which are in memory at the same time."""
    old, new = (alternatives_of(revision, root).to_table() for revision in (before, after))
    old_rows, new_rows = _matches(old, new, [*_KEY, "instrument"])
    one, two = old.take(old_rows), new.take(new_rows)
    shared = set(Columns.between(old.schema, new.schema).shared) - _PROVENANCE
    changed = int(np.any([_differs(one[name], two[name]) for name in sorted(shared)], axis=0).sum())
    return AlternativeChanges(len(new) - len(two), len(old) - len(one), changed, len(two) - changed)


def _regions(old: Revision, new: Revision) -> Iterator[tuple[list[Path], list[Path]]]:
    """Files of both revisions by region of the sky; regions whose files are equal are left out.

    Cells are nested: either two of them do not overlap, or one contains the other. A region is a cell that no other contains.
    """
    digests = [read_manifest(revision.path)["files"] for revision in (old, new)]
    cells = [(cell, side) for side, revision in enumerate((old, new)) for cell in read_partitions(revision.path)]
    for region in _grouped(sorted(cells, key=lambda entry: (entry[0].span[0], -entry[0].span[1]))):
        paths = [[str(cell.path) for cell, of_side in region if of_side == side] for side in (0, 1)]
        contents = [[(path, files[path]["sha256"]) for path in own] for own, files in zip(paths, digests, strict=True)]
        if contents[0] != contents[1]:
            yield [old.path / path for path in paths[0]], [new.path / path for path in paths[1]]


def _grouped(cells: Sequence[tuple[Partition, int]]) -> Iterator[list[tuple[Partition, int]]]:
    group: list[tuple[Partition, int]] = []
    for cell, side in cells:
        if group and cell.span[0] >= group[0][0].span[1]:
            yield group
            group = []
        group.append((cell, side))
    if group:
        yield group


def _read(paths: Sequence[Path], empty: pa.Table) -> pa.Table:
    """Read the rows of files, with the columns of an empty table."""
    tables = (pq.read_table(path, columns=empty.column_names, partitioning=None) for path in paths)
    return pa.concat_tables([empty, *(table.select(empty.column_names) for table in tables)])


def _matches(old: pa.Table, new: pa.Table, key: list[str] = _KEY) -> tuple[Int64Array, Int64Array]:
    """Row numbers of the sources that both tables have."""
    joined = _numbered(old, "old", key).join(_numbered(new, "new", key), key, join_type="inner")
    return joined["old"].to_numpy(), joined["new"].to_numpy()


def _numbered(table: pa.Table, name: str, key: list[str]) -> pa.Table:
    return table.select(key).append_column(name, pa.array(np.arange(len(table))))


def _keys_without(table: pa.Table, rows: Int64Array) -> pa.Table:
    """The keys of all rows but the given ones."""
    keep = np.ones(len(table), dtype=bool)
    keep[rows] = False
    return table.select(_KEY).filter(keep).replace_schema_metadata(None)


def _changes_of_moved(root: Path, revisions: Sequence[Revision], columns: Sequence[str], keys: pa.Table) -> Changes:
    """Changes in the sources that moved from one region to another."""
    if not len(keys):
        return Changes()
    old, new = (_rows_of(root, revision.name, columns, keys) for revision in revisions)
    old_rows, new_rows = _matches(old, new)
    return Changes.between(old.take(old_rows), new.take(new_rows))


def _shifts(old: pa.Table, new: pa.Table, name: str, differs: BoolArray) -> Shifts:
    both_ok = pc.and_(pc.equal(old["status"], Status.OK), pc.equal(new["status"], Status.OK))
    rows = differs & np.asarray(both_ok)
    return Shifts.between(old[name].filter(rows).to_numpy(), new[name].filter(rows).to_numpy())


def _differs(old: pa.ChunkedArray, new: pa.ChunkedArray) -> BoolArray:
    """(n,) bool: whether two columns differ; null equals null."""
    if pa.types.is_fixed_size_list(old.type):
        items = _differs(pc.list_flatten(old), pc.list_flatten(new))
        return np.asarray(items.reshape(len(old), old.type.list_size).any(axis=1))
    values = pc.fill_null(pc.not_equal(old, new), fill_value=False)
    return np.asarray(pc.or_(values, pc.xor(pc.is_null(old), pc.is_null(new))))


def _rows_of(root: Path, revision: str, columns: Sequence[str], keys: pa.Table) -> pa.Table:
    """Read the rows of given sources from a revision, in given columns."""
    wanted = pc.field("source_id").isin(keys["source_id"].combine_chunks())
    candidates = open_catalog(root, revision).to_table(columns=list(columns), filter=wanted)
    return candidates.take(_matches(candidates, keys)[0])


def _first(rows: pa.Table) -> tuple[SourceName, ...]:
    """Names of the first few sources."""
    few = rows.select(_KEY).sort_by([(name, "ascending") for name in _KEY]).slice(0, SOURCES_NAMED)
    return tuple(zip(few["field"].to_pylist(), few["source_id"].to_pylist(), strict=True))
