"""The verification of a catalog: its files are read back from disk, one partition at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from surveyflow.catalog.hats import Partition, read_partitions
from surveyflow.catalog.schema import CATALOG_SCHEMA, SCHEMA_VERSION, SORT_ORDER, check_declared, check_rows, healpix_29
from surveyflow.errors import CatalogError
from surveyflow.files.durable import file_digest
from surveyflow.releases.margins import margin_folder
from surveyflow.releases.revisions import ALTERNATIVES, MANIFEST, declared_schema, read_manifest
from surveyflow.values.arrays import Int64Array
from surveyflow.values.listed import key_of_name

_ROWS_CHECKED = 1_000
"""Number of rows of a partition whose cell, and whose id if it has a name, is computed again."""


def check_catalog(
    folder: Path,
    status_counts: Mapping[str, int],
    check: Callable[[pa.Table], None] = check_rows,
    groups: tuple[str, ...] = ("field",),
) -> None:
    """Check a HATS catalog of surveyflow against the rows that it must have.

    Parameters
    ----------
    folder
        The catalog's folder.
    status_counts
        Expected rows by status.
    check
        A function that raises a ValueError about rows that break the schema or its rules; by default, today's schema.
    groups
        The columns in whose groups each source has at most one row.

    Raises
    ------
    CatalogError
        If a file cannot be read, breaks the schema or its rules, is not sorted or holds rows of another cell; if a source
        occurs twice; or if rows are missing or too many.
    """
    found: Counter[str] = Counter()
    ids: dict[str, list[Int64Array]] = {}
    for partition in read_partitions(folder):
        rows = _read(folder / partition.path)
        _check_partition(folder / partition.path, partition, rows, check)
        found.update(rows["status"].to_pylist())
        for name, source_id in _ids_by_group(rows, groups).items():
            ids.setdefault(name, []).append(source_id)
    for name, parts in ids.items():
        _check_unique(folder, name, np.concatenate(parts))
    if found != Counter(status_counts):
        raise CatalogError(f"{folder} holds rows {dict(sorted(found.items()))}, expected {dict(sorted(status_counts.items()))}.")


def check_digests(folder: Path, digests: Mapping[str, str], sizes: Mapping[str, int] | None = None) -> None:
    """Check that files have not changed since they were written.

    Parameters
    ----------
    folder
        The catalog's folder.
    digests
        SHA-256 by path relative to that folder.
    sizes
        Sizes by path, bytes, as far as they are known. A file of another size is not read: reading it might take for ever.

    Raises
    ------
    CatalogError
        If a file is missing or has another size or digest.
    """
    damage = list(_damage(folder, digests, sizes or {}))
    if damage:
        raise CatalogError("\n".join(damage))


def check_revision(folder: Path) -> int:
    """Check that a revision and its margin have not changed since publication: files, content, and no additional file.

    If a revision has another schema than today's, its rows are checked against the schema that it declares itself.

    Parameters
    ----------
    folder
        The revision's folder.

    Returns
    -------
    Number of files that were checked.

    Raises
    ------
    CatalogError
        If files are missing, differ or should not be there, with a line for each; if the files are intact, as
        `check_catalog`.
    """
    manifest = read_manifest(folder)
    beside = (manifest.get("margin") or {}).get("files", {})
    _check_files(folder, manifest["files"])
    _check_files(margin_folder(folder.resolve()), beside)
    check = _check_for(folder, manifest)
    check_catalog(folder, manifest["status"], check)
    if alternatives := manifest.get("alternatives"):
        check_alternatives(folder, alternatives["status"], check)
    return len(manifest["files"]) + len(beside)


def _check_files(folder: Path, entries: Mapping[str, Mapping[str, Any]]) -> None:
    """Check that a folder holds the files that the manifest lists, beside the manifest itself, and no others."""
    digests = {path: entry["sha256"] for path, entry in entries.items()}
    check_digests(folder, digests, {path: entry["size_bytes"] for path, entry in entries.items() if "size_bytes" in entry})
    present = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    strangers = sorted(present - set(digests) - {MANIFEST})
    if strangers:
        raise CatalogError("\n".join(f"{folder / path} is not in the manifest: remove it." for path in strangers))


def check_alternatives(folder: Path, status_counts: Mapping[str, int], check: Callable[[pa.Table], None]) -> None:
    """Check a revision's rows of instruments that are less probable than another, as `check_catalog` checks the catalog.

    Parameters
    ----------
    folder
        The revision's folder.
    status_counts
        Expected rows by status.
    check
        As for `check_catalog`.

    Raises
    ------
    CatalogError
        As for `check_catalog`; also if a source has two rows of one instrument.
    """
    check_catalog(folder / ALTERNATIVES, status_counts, check, ("field", "instrument"))


def _check_for(folder: Path, manifest: Mapping[str, Any]) -> Callable[[pa.Table], None]:
    """The check for a revision's rows: today's rules, or the schema that the revision declares if it is another."""
    if manifest.get("schema_version") == SCHEMA_VERSION:
        return check_of_kept([column["name"] for column in manifest.get("kept_columns", ())])
    return partial(check_declared, schema=declared_schema(folder))


def check_of_kept(names: Sequence[str]) -> Callable[[pa.Table], None]:
    """The check of rows that obey the catalog's rules, with kept columns behind the catalog's own.

    Parameters
    ----------
    names
        Names of the kept columns, in order.
    """

    def check(rows: pa.Table) -> None:
        expected = [*CATALOG_SCHEMA.names, *names]
        if rows.column_names != expected:
            raise ValueError(f"rows must have the catalog's schema and the columns {list(names)}, not {rows.column_names}")
        check_rows(rows.select(CATALOG_SCHEMA.names))

    return check


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of verifying a revision.

    Parameters
    ----------
    revision
        Its name.
    files
        Number of its files that were checked; 0 if anything is wrong.
    problems
        Every problem found.
    """

    revision: str
    files: int
    problems: tuple[str, ...]


def judge(folder: Path) -> Verdict:
    """Check a published revision as `check_revision` does, and return what is wrong.

    Parameters
    ----------
    folder
        The revision's folder.
    """
    try:
        return Verdict(folder.name, check_revision(folder), ())
    except CatalogError as error:
        return Verdict(folder.name, 0, tuple(str(error).splitlines()))


def _damage(folder: Path, digests: Mapping[str, str], sizes: Mapping[str, int]) -> Iterator[str]:
    for path, expected in digests.items():
        if what := _difference(folder / path, expected, sizes.get(path)):
            yield (
                f"{folder / path} {what}: it was removed, changed or damaged after it was written. "
                "Publish again, or take another revision."
            )


def _difference(path: Path, digest: str, size: int | None) -> str:
    """How a file differs from what was written; empty if it does not."""
    if not path.is_file():
        return "is missing"
    if size is not None and path.stat().st_size != size:
        return f"has {path.stat().st_size} bytes, expected {size}"
    found = file_digest(path)
    return "" if found == digest else f"has SHA-256 {found[:12]}, expected {digest[:12]}"


def _read(path: Path) -> pa.Table:
    try:
        return pq.read_table(path, partitioning=None)
    except (OSError, pa.ArrowException) as error:
        raise CatalogError(f"{path} cannot be read back: {error}") from error


def _check_partition(path: Path, partition: Partition, rows: pa.Table, check: Callable[[pa.Table], None]) -> None:
    try:
        check(rows)
    except ValueError as error:
        raise CatalogError(f"{path}: {error}") from error
    cells = rows["_healpix_29"].to_numpy()
    low, high = partition.span
    if cells.min() < low or cells.max() >= high:
        raise CatalogError(f"{path} holds rows outside its cell: {cells.min()} to {cells.max()}, expected {low} to {high}.")
    if not rows.select([name for name, _ in SORT_ORDER]).equals(_sorted_keys(rows)):
        raise CatalogError(f"{path} is not sorted by {', '.join(name for name, _ in SORT_ORDER)}.")
    _check_positions(path, rows)
    if "source_name" in rows.column_names:
        _check_names(path, rows.filter(pc.is_valid(rows["source_name"])))


def _sorted_keys(rows: pa.Table) -> pa.Table:
    return rows.select([name for name, _ in SORT_ORDER]).sort_by(SORT_ORDER)


def _check_positions(path: Path, rows: pa.Table) -> None:
    sample = rows.take(_sample(len(rows)))
    cells = healpix_29(sample["ra"].to_numpy(), sample["dec"].to_numpy())
    wrong = np.flatnonzero(cells != sample["_healpix_29"].to_numpy())
    if len(wrong):
        row = sample.select(["field", "source_id", "ra", "dec", "_healpix_29"]).slice(int(wrong[0]), 1).to_pylist()[0]
        raise CatalogError(f"{path}: _healpix_29 is not the cell of ra and dec in {row}, expected {cells[wrong[0]]}.")


def _check_names(path: Path, named: pa.Table) -> None:
    """Check that ids are the numbers that stand for their names."""
    chosen = named.take(_sample(len(named)))
    for source_id, name in zip(chosen["source_id"].to_pylist(), chosen["source_name"].to_pylist(), strict=True):
        if source_id != key_of_name(name):
            raise CatalogError(f"{path}: source_id {source_id} does not stand for {name!r}, expected {key_of_name(name)}.")


def _sample(n_rows: int) -> Int64Array:
    """Numbers of rows that are checked one by one."""
    return np.unique(np.linspace(0, n_rows - 1, min(n_rows, _ROWS_CHECKED)).astype(np.int64))


def _ids_by_group(rows: pa.Table, groups: tuple[str, ...]) -> dict[str, Int64Array]:
    names = pc.binary_join_element_wise(*(rows[name] for name in groups), "/").combine_chunks().dictionary_encode()
    codes, ids = names.indices.to_numpy(), rows["source_id"].to_numpy()
    return {str(name): ids[codes == code] for code, name in enumerate(names.dictionary)}


def _check_unique(folder: Path, field: str, source_id: Int64Array) -> None:
    distinct, counts = np.unique(source_id, return_counts=True)
    if len(distinct) < len(source_id):
        twice = distinct[counts > 1]
        raise CatalogError(
            f"{folder}: {len(twice)} sources of field {field} have more than one row; the first is {twice[0]}. "
            "Units overlap: please report this error of surveyflow."
        )
