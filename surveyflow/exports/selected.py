"""The rows and columns that are exported, read piece by piece, and what readers must know about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from surveyflow import __version__
from surveyflow.catalog.frames import column_entries, listed_columns, meaning_of_derived, stored_columns, with_derived
from surveyflow.catalog.selection import checked_filter
from surveyflow.errors import InputError
from surveyflow.releases.revisions import Revision, legible, open_catalog, read_manifest
from surveyflow.tasks.registry import cutout_size, warnings_of

_KEY = ("field", "source_id")
_ORIGIN = "weights_origin"
ROWS_AT_A_TIME = 16_384


@dataclass(frozen=True, slots=True)
class ExportColumn:
    """One column as it is exported.

    Parameters
    ----------
    name, type
        Its name, and its Arrow type.
    unit
        Its unit as the revision states it; None for names, counts and codes.
    description
        Its meaning; may be empty.
    ucd
        Its UCD; may be empty.
    nullable
        Whether a value may be missing.
    """

    name: str
    type: pa.DataType
    unit: str | None = None
    description: str = ""
    ucd: str = ""
    nullable: bool = True


@dataclass(frozen=True, slots=True)
class Selected:
    """A selection of a revision's rows and columns, of which a few thousand rows are in memory at a time.

    Parameters
    ----------
    root
        The output folder.
    revision
        The revision.
    manifest
        Its manifest.
    rows
        All its rows.
    where
        The selection as the user wrote it; empty for all rows.
    chosen
        The same as an Arrow expression.
    columns
        The columns of tables.
    n_rows
        Number of selected rows.
    """

    root: Path
    revision: Revision
    manifest: Mapping[str, Any]
    rows: ds.Dataset
    where: str
    chosen: pc.Expression | None
    columns: tuple[ExportColumn, ...]
    n_rows: int

    @property
    def names(self) -> list[str]:
        """Names of the columns of tables."""
        return [column.name for column in self.columns]

    @property
    def warnings(self) -> list[str]:
        """What readers must know about the origin of the numbers, the gravest first."""
        return warnings_of(self.manifest.get("models", []))

    @property
    def cutout_size(self) -> int:
        """Side of cutouts, pixels: that of the networks' images."""
        return cutout_size(self.manifest.get("models", []))

    @property
    def about(self) -> dict[str, str]:
        """What files say of themselves: where the rows come from, and the warnings about them."""
        origins = sorted({model["origin"] for model in self.manifest.get("models", [])})
        facts = {
            "survey": str(self.manifest.get("survey", "")),
            "revision": self.revision.name,
            "published": self.revision.created,
            "selection": self.where,
            "weights_origin": " ".join(origins),
            "warning": " ".join(self.warnings),
            "made_with": f"surveyflow {__version__}",
        }
        return {key: value for key, value in facts.items() if value}

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Read the selected rows in the order of the catalog.

        Parameters
        ----------
        columns
            Names of stored or derived columns; those of tables by default.

        Raises
        ------
        CatalogError
            If a file of the catalog is damaged.
        """
        wanted = self.names if columns is None else columns
        stored = stored_columns(wanted, self.rows.schema)
        with legible(self.root):
            for path in self.rows.files:
                yield from (with_derived(pa.table(batch), wanted) for batch in self._read(path, stored) if len(batch))
                pa.default_memory_pool().release_unused()

    def _read(self, path: str, stored: list[str]) -> Iterator[pa.RecordBatch]:
        """Read one file; a fragment of the dataset itself would keep what it learned of its file until the end."""
        fragment = self.rows.format.make_fragment(path, self.rows.filesystem)
        options = {"batch_size": ROWS_AT_A_TIME, "batch_readahead": 1, "use_threads": False}
        yield from fragment.to_batches(schema=self.rows.schema, columns=stored, filter=self.chosen, **options)


def select(root: Path, revision: Revision, where: str | pc.Expression | None, columns: Sequence[str] | None) -> Selected:
    """Check a selection, and count its rows.

    Parameters
    ----------
    root
        The output folder.
    revision
        A published revision.
    where
        Which rows; all if None.
    columns
        Names of the columns of tables, stored or derived; every stored one if None. The key and ``weights_origin`` are always
        among them.

    Raises
    ------
    InputError
        If there is no such column, or the selection cannot be used or holds no row.
    """
    with legible(root):
        rows = open_catalog(root, revision.name)
        chosen = None if where is None else checked_filter(where, rows.schema)
        wanted = rows.schema.names if columns is None else [*_KEY, *listed_columns(columns), _ORIGIN]
        described = _described(list(dict.fromkeys(wanted)), rows.schema)
        n_rows = rows.count_rows(filter=chosen)
    if n_rows == 0:
        raise InputError(f"{revision.name} has no galaxy that the selection {where!s:.200} holds. Select others.")
    text = "" if where is None else str(where)
    return Selected(root, revision, read_manifest(revision.path), rows, text, chosen, described, n_rows)


def _described(wanted: Sequence[str], schema: pa.Schema) -> tuple[ExportColumn, ...]:
    stored_columns(wanted, schema)
    entries = column_entries(schema)
    return tuple(_column(name, schema, entries.get(name, {})) for name in wanted)


def _column(name: str, schema: pa.Schema, entry: Mapping[str, Any]) -> ExportColumn:
    if name not in schema.names:
        return ExportColumn(name, pa.string(), description=meaning_of_derived(name))
    unit = None if entry.get("unit") is None else str(entry["unit"])
    description, ucd = str(entry.get("description") or ""), str((entry.get("meta") or {}).get("ucd") or "")
    return ExportColumn(name, schema.field(name).type, unit, description, ucd, schema.field(name).nullable)
