"""The columns of the source lists that a catalog keeps, behind its own columns, and the names of sources.

They join the rows when a revision is built, by field and source id, and not when sources are measured: a list with other values
makes another revision, but no pixel is read again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from surveyflow.catalog.columns import COLUMNS, CatalogColumn, Null
from surveyflow.catalog.schema import CATALOG_SCHEMA
from surveyflow.files.durable import explained
from surveyflow.values.arrays import Int64Array
from surveyflow.values.listed import KeptColumn, ListedSources

_OWN_NAMES = {column.name.lower() for column in COLUMNS}
_KINDS = {
    "integers": pa.types.is_integer,
    "floating-point numbers": pa.types.is_floating,
    "truth values": pa.types.is_boolean,
    "text": pa.types.is_string,
}


@dataclass(frozen=True, slots=True)
class KeptColumns:
    """The kept columns of all fields, in one schema.

    Parameters
    ----------
    columns
        Their meaning, in the order of the workflow's fields and lists.
    filled
        Columns of the catalog's own that the lists fill: ``source_name``, if the ids of a list are text, ``p_range``, if it gives
        p(z), ``mosaic``, ``duplicate_of``, and the bits that these set in ``flags``.
    tables
        The values of each group of rows: ``source_id``, sorted, and every column, null where the field's list has no such column.
        They may be in several chunks, of which each holds some ids and no other holds any between them.
    groups
        The columns whose values, joined by ``/``, name a row's group.
    """

    columns: tuple[CatalogColumn, ...] = ()
    filled: tuple[str, ...] = ()
    tables: Mapping[str, pa.Table] = field(default_factory=dict)
    groups: tuple[str, ...] = ("field",)

    @classmethod
    def of(cls, lists: Mapping[str, ListedSources]) -> KeptColumns:
        """Combine the kept columns of fields that do not contradict each other (see `contradictions`).

        Parameters
        ----------
        lists
            The source lists, by field.
        """
        columns = tuple(_combined(name, fields) for name, fields in _by_name(lists).items())
        filled = tuple(dict.fromkeys(name for listed in lists.values() for name in listed.own))
        return cls(columns, filled, {name: _sorted_table(listed, columns, filled) for name, listed in lists.items()})

    @classmethod
    def of_alternatives(cls, lists: Mapping[str, ListedSources]) -> KeptColumns:
        """The same columns for rows of instruments that are less probable than another; each has its own ``p_range``.

        Parameters
        ----------
        lists
            The source lists, by field.
        """
        if all(listed.shares is None for listed in lists.values()):
            return NOTHING_KEPT
        plain = cls.of(lists)
        tables = {
            f"{name}/{instrument}": _sorted_table(one, plain.columns, plain.filled)
            for name, listed in lists.items()
            for instrument, one in by_instrument(listed).items()
        }
        return cls(plain.columns, plain.filled, tables, ("field", "instrument"))

    @classmethod
    def of_schema(
        cls, schema: pa.Schema, filled: Sequence[str], tables: Mapping[str, pa.Table], groups: tuple[str, ...]
    ) -> KeptColumns:
        """The columns of tables that were made by `sorted_table`.

        Parameters
        ----------
        schema
            The tables' schema.
        filled, tables, groups
            As above.
        """
        columns = kept_of_schema(pa.schema(list(schema)[1 + len(filled) :]))
        return cls(columns, tuple(filled), tables, groups)

    def stored(self, folder: Path) -> KeptColumns:
        """The same columns with their values in files, so that a task that joins them is small.

        Parameters
        ----------
        folder
            An existing folder for the files, which must stay.
        """
        if isinstance(self.tables, StoredTables):
            return self
        files = {name: (folder / f"kept-{number}.arrow",) for number, name in enumerate(self.tables)}
        for name, (path,) in files.items():
            with explained(path), pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, self.tables[name].schema) as file:
                file.write_table(self.tables[name].combine_chunks())
        return replace(self, tables=StoredTables(files))

    def sorted_table(self, listed: ListedSources) -> pa.Table:
        """The values of some sources as a group's table holds them.

        Parameters
        ----------
        listed
            The sources, with their kept columns and the columns that the lists fill.
        """
        return _sorted_table(listed, self.columns, self.filled)

    @property
    def names(self) -> list[str]:
        """Their names."""
        return [column.name for column in self.columns]

    @property
    def digest(self) -> str:
        """SHA-256 of all values and of what is said of them, hexadecimal; empty if there are none."""
        if self.is_empty:
            return ""
        digest = hashlib.sha256(json.dumps(self.described).encode())
        for name in sorted(self.tables):
            n_rows = sum(len(part) for part in self._parts(name))
            digest.update(json.dumps([name, n_rows, *self.filled]).encode())
            for column in next(self._parts(name)).schema:
                for part in self._parts(name):
                    digest.update(_nulls_of(_array(part[column.name])))
                for number, part in enumerate(part for part in self._parts(name) if len(part)):
                    digest.update(b"\0" * (number > 0 and pa.types.is_string(column.type)))
                    digest.update(_bytes_of(_array(part[column.name])))
        return digest.hexdigest()

    def _parts(self, name: str) -> Iterator[pa.Table]:
        """The parts of a group's table, of which only one is in memory."""
        yield from self.tables.parts(name) if isinstance(self.tables, StoredTables) else [self.tables[name]]

    @property
    def described(self) -> list[dict[str, str | None]]:
        """Name, type, unit and description of each column, as JSON values."""
        return [
            {"name": each.name, "type": str(each.type), "unit": each.unit, "description": each.description}
            for each in self.columns
        ]

    def added_to(self, rows: pa.Table) -> pa.Table:
        """Catalog rows with the columns that the lists fill, and the kept columns behind the catalog's own.

        Parameters
        ----------
        rows
            Rows of `CATALOG_SCHEMA`.

        Raises
        ------
        KeyError
            If there is no list of a row's group.
        ValueError
            If a source is not in its field's list.
        """
        if self.is_empty:
            return rows
        parts = [_joined(part, self.tables[name]) for name, part in _grouped(rows, self.groups)]
        fields = [kept_field(column) for column in self.columns]
        schema = pa.schema([*rows.schema, *fields], metadata=rows.schema.metadata)
        return pa.concat_tables([schema.empty_table(), *(part.cast(schema) for part in parts)])

    @property
    def is_empty(self) -> bool:
        """Whether rows stay as they are."""
        return not (self.columns or self.filled)


@dataclass(frozen=True, slots=True)
class StoredTables(Mapping[str, pa.Table]):
    """Tables in Arrow files, which are mapped into memory when they are asked for.

    Parameters
    ----------
    files
        The files of each table, in the order of the ids in them, by the tables' names.
    """

    files: Mapping[str, tuple[Path, ...]]

    def __getitem__(self, name: str) -> pa.Table:
        return _mapped(self.files[name])

    def parts(self, name: str) -> Iterator[pa.Table]:
        """Each file's part of a table, which is forgotten before the next one is read."""
        for path in self.files[name]:
            yield pa.ipc.open_file(pa.memory_map(str(path))).read_all()

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)


@lru_cache(maxsize=64)
def _mapped(paths: tuple[Path, ...]) -> pa.Table:
    return pa.concat_tables([pa.ipc.open_file(pa.memory_map(str(path))).read_all() for path in paths])


NOTHING_KEPT = KeptColumns()
"""The catalog has no columns but its own."""


def combined_digest(*kept: KeptColumns) -> str:
    """The digests of several sets of columns as one; that of the only one that has values, and empty if none has."""
    digests = [each.digest for each in kept if not each.is_empty]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest() if digests else ""


def kept_field(column: CatalogColumn) -> pa.Field:
    """A kept column as a field of an Arrow schema; its metadata holds its unit and description."""
    metadata = {"description": column.description} | ({} if column.unit is None else {"unit": column.unit})
    return column.field.with_metadata(metadata)


def kept_of_schema(schema: pa.Schema) -> tuple[CatalogColumn, ...]:
    """The kept columns of a schema: those behind the catalog's own.

    Parameters
    ----------
    schema
        The schema of rows as `KeptColumns.added_to` makes them.
    """
    return tuple(_of_arrow(each) for each in schema if each.name not in CATALOG_SCHEMA.names)


def contradictions(lists: Mapping[str, ListedSources]) -> Iterator[tuple[str, str, str]]:
    """Find what prevents the kept columns of all fields from having one schema.

    Parameters
    ----------
    lists
        The source lists, by field.

    Yields
    ------
    The field at fault, what is wrong, and the remedy.
    """
    for name, columns in _by_name(lists).items():
        first = next(iter(columns))
        if name.lower() in _OWN_NAMES:
            remedy = f'Give the list\'s column another name in the catalog: columns.keep = ["{name} as list_{name.lower()}"].'
            yield first, f"the column {name} cannot be kept: the catalog has a column of its own of that name.", remedy
        elif twin := next((other for other in _by_name(lists) if other != name and other.lower() == name.lower()), None):
            remedy = f'Use one name in all fields, such as "{name} as {twin}".'
            yield first, f"the kept columns {name} and {twin} differ only in upper and lower case.", remedy
        else:
            yield from _contradictions_of(name, columns)


def _contradictions_of(name: str, columns: Mapping[str, KeptColumn]) -> Iterator[tuple[str, str, str]]:
    kinds = {place: _kind(column) for place, column in columns.items() if column.values.null_count < len(column.values)}
    for what, found in (("type", kinds), ("unit", {place: column.unit for place, column in columns.items() if column.unit})):
        first = next(iter(found), "")
        for place, word in found.items():
            if word != found[first]:
                remedy = f'Convert one of the lists, or keep them apart: columns.keep = ["{name} as {name}_{place}"].'
                yield (
                    place,
                    f"the kept column {name} contradicts that of {first} in its {what}: {word} here, {found[first]} there.",
                    remedy,
                )


def _by_name(lists: Mapping[str, ListedSources]) -> dict[str, dict[str, KeptColumn]]:
    """Kept columns by name and field."""
    names = dict.fromkeys(name for listed in lists.values() for name in listed.kept)
    return {name: {field: listed.kept[name] for field, listed in lists.items() if name in listed.kept} for name in names}


def _combined(name: str, columns: Mapping[str, KeptColumn]) -> CatalogColumn:
    """One column of the catalog; a unit that only some of the lists state stands in the description."""
    units = {field: column.unit for field, column in columns.items()}
    stated = next((unit for unit in units.values() if unit is not None), None)
    description = next((column.description for column in columns.values() if column.description), "")
    if stated is not None and None in units.values():
        fields = ", ".join(field for field, unit in units.items() if unit is not None)
        description, stated = f"{description} [{stated} in {fields}]".strip(), None
    return CatalogColumn(name, _common_type(list(columns.values())), "", description, Null.NOT_LISTED, stated)


def _common_type(columns: Sequence[KeptColumn]) -> pa.DataType:
    """The widest type of columns of one kind; columns without any value do not count, unless all are without."""
    valued = [column for column in columns if column.values.null_count < len(column.values)] or columns[:1]
    schemas = [pa.schema([pa.field("", column.values.type)]) for column in valued]
    return pa.unify_schemas(schemas, promote_options="permissive").field(0).type


def _kind(column: KeptColumn) -> str:
    return next(word for word, is_kind in _KINDS.items() if is_kind(column.values.type))


def _sorted_table(listed: ListedSources, columns: Sequence[CatalogColumn], filled: Sequence[str]) -> pa.Table:
    n_rows, order = len(listed.sources), pa.array(np.argsort(listed.sources.source_id))
    arrays = {"source_id": pa.array(listed.sources.source_id)}
    arrays |= {name: listed.own.get(name, pa.nulls(n_rows, CATALOG_SCHEMA.field(name).type)) for name in filled}
    arrays |= {column.name: _values(listed.kept.get(column.name), column.type, n_rows) for column in columns}
    table = pa.table({name: values.take(order) for name, values in arrays.items()})
    described = {column.name: kept_field(column) for column in columns}
    return table.cast(pa.schema([described.get(field.name, field) for field in table.schema]))


def _values(column: KeptColumn | None, kind: pa.DataType, n_rows: int) -> pa.Array:
    if column is None or column.values.null_count == n_rows:
        return pa.nulls(n_rows, kind)
    return column.values.cast(kind)


def by_instrument(listed: ListedSources) -> dict[str, ListedSources]:
    """The source list as rows of each instrument see it that is less probable than another; empty if the list gives no p(z).

    Parameters
    ----------
    listed
        The source list.
    """
    if listed.shares is None:
        return {}
    return {
        instrument: replace(
            listed,
            own={
                **listed.own,
                **listed.own_beside.get(instrument, {}),
                "p_range": pa.array(listed.shares.shares[:, place].astype(np.float32), from_pandas=True),
            },
        )
        for place, instrument in enumerate(listed.shares.instruments)
    }


def _grouped(rows: pa.Table, groups: Sequence[str]) -> Iterator[tuple[str, pa.Table]]:
    """The rows of each group."""
    names = pc.binary_join_element_wise(*(rows[name] for name in groups), "/") if len(groups) > 1 else rows[groups[0]]
    for name in pc.unique(names).to_pylist():
        yield name, rows.filter(pc.equal(names, name))


def _joined(rows: pa.Table, kept: pa.Table) -> pa.Table:
    chosen = _chosen(kept, rows["source_id"].to_numpy(), str(rows["field"][0]))
    for name in kept.column_names[1:]:
        place = rows.schema.get_field_index(name)
        values = pc.bit_wise_or(rows[name], chosen[name]) if name == "flags" else chosen[name]
        rows = rows.append_column(name, values) if place < 0 else rows.set_column(place, name, values)
    return rows


def _chosen(kept: pa.Table, wanted: Int64Array, field: str) -> pa.Table:
    """The rows of the wanted ids, in their order; each chunk is searched for the ids that it may hold."""
    parts = [part for part in kept.to_batches() if len(part)]
    ids = [part["source_id"].to_numpy() for part in parts]
    owners = np.searchsorted([each[0] for each in ids], wanted, side="right") - 1
    order = np.argsort(owners, kind="stable")
    found = []
    for owner, rows in _runs(owners, order):
        places = np.minimum(np.searchsorted(ids[owner], wanted[rows]), len(ids[owner]) - 1)
        if owner < 0 or (missing := ids[owner][places] != wanted[rows]).any():
            absent = wanted[rows][0] if owner < 0 else wanted[rows][missing][0]
            raise ValueError(f"source {absent} of {field} is not in the source list")
        found.append(parts[owner].take(pa.array(places)))
    chosen = pa.Table.from_batches(found, kept.schema)
    return chosen if len(found) == 1 else chosen.take(pa.array(np.argsort(order, kind="stable")))


def _runs(owners: Int64Array, order: Int64Array) -> Iterator[tuple[int, Int64Array]]:
    """Each owner with the rows that it owns."""
    starts = np.flatnonzero(np.diff(owners[order], prepend=-2))
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(order)], strict=True):
        yield int(owners[order[start]]), order[start:end]


def _of_arrow(field: pa.Field) -> CatalogColumn:
    words = {key.decode(): text.decode() for key, text in (field.metadata or {}).items()}
    return CatalogColumn(field.name, field.type, "", words.get("description", ""), Null.NOT_LISTED, words.get("unit"))


def _array(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _nulls_of(values: pa.Array) -> bytes:
    """Which values are null, as bytes."""
    return np.asarray(pc.is_null(values)).tobytes()


def _bytes_of(values: pa.Array) -> bytes:
    """The values as bytes, whatever memory under nulls holds."""
    if pa.types.is_string(values.type):
        return "\0".join(text or "" for text in values.to_pylist()).encode()
    filled = pc.fill_null(values, pa.scalar(0).cast(values.type))
    return np.ascontiguousarray(filled.to_numpy(zero_copy_only=False)).tobytes()
