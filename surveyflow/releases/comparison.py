"""The comparison of two revisions of a catalog: rows added, removed and changed, and shifts of the results.

Revisions of different schemas are compared in the columns that both have; the other columns are listed.

One partition of each revision is in memory at a time. The keys of rows that only one revision has in its place are compared in
parts, which are in files if there are many of them. Equal files are not read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from surveyflow.catalog.hats import read_partitions
from surveyflow.files.durable import explained
from surveyflow.releases.regions import MOST_ROWS, Reader, Region, in_batches, reader, regions_of
from surveyflow.releases.revisions import ALTERNATIVES, Revision, declared_schema, file_by_file, find, open_catalog, read_manifest
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
    found = _Sides.of_catalogs(*revisions).compared()
    added, removed, further = found.added, found.removed, _compare_alternatives(*revisions)
    names = _names(root, revisions[0].name, removed.first) | _names(root, revisions[1].name, (*added.first, *found.changes.first))
    counts, first = (added.n_rows, removed.n_rows), (added.first, removed.first)
    return Difference(*revisions, found.columns, found.changes, *counts, *first, further, names)


@dataclass(slots=True)
class _OneSided:
    """The number of rows that one catalog has and another lacks, and the first of their sources."""

    n_rows: int = 0
    first: tuple[SourceName, ...] = ()

    def add(self, keys: pa.Table) -> None:
        """Count further rows, by their keys."""
        self.n_rows += len(keys)
        self.first = tuple(sorted(self.first + _first(keys))[:SOURCES_NAMED])


@dataclass(frozen=True, slots=True)
class _Compared:
    """How two catalogs differ: in their columns, in the rows of sources that both have, and in those that one has."""

    columns: Columns
    changes: Changes
    added: _OneSided
    removed: _OneSided


_N_PARTS = 16


class _Keys:
    """The keys of rows in parts, so that equal keys are in the same part.

    Parameters
    ----------
    path
        The beginning of the names of the files for them, if there are more than `regions.MOST_ROWS`.
    none
        A table without keys.
    """

    def __init__(self, path: Path, none: pa.Table) -> None:
        self._path, self._none, self._n_files = path, none, 0
        self._held, self._n_held = [none], 0

    def add(self, keys: pa.Table) -> None:
        """Add keys."""
        self._held += [keys] if len(keys) else []
        self._n_held += len(keys)
        if self._n_held >= MOST_ROWS:
            for number in range(_N_PARTS):
                path = self._file(number, self._n_files)
                with explained(Path(path)), pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, self._none.schema) as file:
                    file.write_table(self._of_held(number))
            self._held, self._n_held, self._n_files = [self._none], 0, self._n_files + 1

    def parts(self) -> Iterator[pa.Table]:
        """The parts, of which one is in memory at a time."""
        for number in range(_N_PARTS):
            files = [pa.memory_map(self._file(number, file)) for file in range(self._n_files)]
            yield pa.concat_tables([self._of_held(number), *(pa.ipc.open_file(file).read_all() for file in files)])

    def _of_held(self, number: int) -> pa.Table:
        held = pa.concat_tables(self._held)
        return held.filter(pa.array(held["source_id"].to_numpy() % _N_PARTS == number))

    def _file(self, number: int, file: int) -> str:
        return f"{self._path}-{number}-{file}.arrow"


@dataclass(frozen=True, slots=True)
class _Sides:
    """Two catalogs that are compared.

    Parameters
    ----------
    folders
        Their folders.
    digests
        SHA-256 of their files, by path in these folders.
    key
        The columns that name a row.
    """

    folders: tuple[Path, Path]
    digests: tuple[Mapping[str, Any], Mapping[str, Any]]
    key: list[str]

    @classmethod
    def of_catalogs(cls, old: Revision, new: Revision) -> _Sides:
        """The catalogs of two revisions."""
        return cls((old.path, new.path), (read_manifest(old.path)["files"], read_manifest(new.path)["files"]), _KEY)

    def compared(self) -> _Compared:
        """Compare them, region by region of the sky."""
        schemas = [declared_schema(folder) for folder in self.folders]
        columns = Columns.between(*schemas)
        shared = [pa.schema([schema.field(name) for name in columns.shared]) for schema in schemas]
        readers = [reader(folder, schema) for folder, schema in zip(self.folders, shared, strict=True)]
        with TemporaryDirectory() as folder:
            gone, come = (_Keys(Path(folder, str(side)), read(None).select(self.key)) for side, read in enumerate(readers))
            changes, added, removed = self._changes_in_place(readers, gone, come), _OneSided(), _OneSided()
            for keys in in_batches(self._moved(gone, come, removed, added)):
                changes |= self._changes_of_moved(readers, keys)
        return _Compared(columns, changes, added, removed)

    def _changes_in_place(self, readers: Sequence[Reader], gone: _Keys, come: _Keys) -> Changes:
        """The changes of sources that have both their rows in one piece of the sky; the keys of all others are put aside."""
        changes = Changes()
        for region in filter(self._differs, regions_of(*self.folders)):
            for old, new in region.pieces(*readers):
                old_rows, new_rows = _matches(old, new, self.key)
                changes |= Changes.between(old.take(old_rows), new.take(new_rows))
                gone.add(_without(old.select(self.key), old_rows))
                come.add(_without(new.select(self.key), new_rows))
        return changes

    def _moved(self, gone: _Keys, come: _Keys, removed: _OneSided, added: _OneSided) -> Iterator[pa.Table]:
        """The keys of sources that both have in different places; those that one has are counted."""
        for old, new in zip(gone.parts(), come.parts(), strict=True):
            old_rows, new_rows = _matches(old, new, self.key)
            removed.add(_without(old, old_rows))
            added.add(_without(new, new_rows))
            yield old.take(old_rows)

    def _differs(self, region: Region) -> bool:
        """Whether the files of a region differ."""
        old, new = (
            [(str(cell.path), files[str(cell.path)]["sha256"]) for cell in cells]
            for cells, files in zip((region.old, region.new), self.digests, strict=True)
        )
        return old != new

    def _changes_of_moved(self, readers: Sequence[Reader], keys: pa.Table) -> Changes:
        """Changes in some of the sources that moved from one region to another."""
        old, new = (self._rows_of(folder, read, keys) for folder, read in zip(self.folders, readers, strict=True))
        old_rows, new_rows = _matches(old, new, self.key)
        return Changes.between(old.take(old_rows), new.take(new_rows))

    def _rows_of(self, folder: Path, read: Reader, keys: pa.Table) -> pa.Table:
        """The rows of given keys, wherever they are in a catalog."""
        found = [read(None)]
        for partition in read_partitions(folder):
            rows = read(partition.path)
            found.append(rows.take(_matches(rows, keys, self.key)[0]))
        return pa.concat_tables(found)


def _names(root: Path, revision: str, sources: Sequence[SourceName]) -> dict[SourceName, str]:
    """The names of sources that have one, in the order of field and id."""
    catalog = open_catalog(root, revision)
    if "source_name" not in catalog.schema.names or not sources:
        return {}
    wanted = pc.field("source_id").isin([source_id for _, source_id in sources]) & pc.field("source_name").is_valid()
    files = (file.to_table([*_KEY, "source_name"], wanted, use_threads=False) for file in file_by_file(catalog))
    found = {(row["field"], row["source_id"]): row["source_name"] for rows in files for row in rows.to_pylist()}
    return {source: found[source] for source in sorted(set(sources)) if source in found}


def _compare_alternatives(before: Revision, after: Revision) -> AlternativeChanges:
    """Compare the alternatives of two revisions, of which each may have none."""
    about = [read_manifest(revision.path).get("alternatives") for revision in (before, after)]
    n_rows = [0 if one is None else int(one["rows"]) for one in about]
    if None in about:
        return AlternativeChanges(added=n_rows[1], removed=n_rows[0], changed=0, unchanged=0)
    folders = before.path / ALTERNATIVES, after.path / ALTERNATIVES
    found = _Sides(folders, (_digests_of_alternatives(before), _digests_of_alternatives(after)), [*_KEY, "instrument"]).compared()
    n_both, n_changed = n_rows[1] - found.added.n_rows, found.changes.n_changed
    return AlternativeChanges(found.added.n_rows, found.removed.n_rows, n_changed, n_both - n_changed)


def _digests_of_alternatives(revision: Revision) -> Mapping[str, Any]:
    """The files of a revision's alternatives, by path in their folder; the first revisions list them with their own."""
    manifest, prefix = read_manifest(revision.path), f"{ALTERNATIVES}/"
    own = {path.removeprefix(prefix): entry for path, entry in manifest["files"].items() if path.startswith(prefix)}
    files: Mapping[str, Any] = manifest["alternatives"].get("files", own)
    return files


def _matches(old: pa.Table, new: pa.Table, key: list[str]) -> tuple[Int64Array, Int64Array]:
    """Row numbers of the sources that both tables have."""
    joined = _numbered(old, "old", key).join(_numbered(new, "new", key), key, join_type="inner")
    return joined["old"].to_numpy(), joined["new"].to_numpy()


def _numbered(table: pa.Table, name: str, key: list[str]) -> pa.Table:
    return table.select(key).append_column(name, pa.array(np.arange(len(table))))


def _without(table: pa.Table, rows: Int64Array) -> pa.Table:
    """All rows but the given ones."""
    keep = np.ones(len(table), dtype=bool)
    keep[rows] = False
    return table.filter(pa.array(keep))


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


def _first(rows: pa.Table) -> tuple[SourceName, ...]:
    """Names of the first few sources."""
    few = rows.select(_KEY).sort_by([(name, "ascending") for name in _KEY]).slice(0, SOURCES_NAMED)
    return tuple(zip(few["field"].to_pylist(), few["source_id"].to_pylist(), strict=True))
