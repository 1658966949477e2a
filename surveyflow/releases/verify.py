"""The verification of a catalog: its files are read back from disk, one partition at a time."""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from surveyflow.catalog.collection import IndexPart
from surveyflow.catalog.hats import Partition, read_partitions
from surveyflow.catalog.schema import CATALOG_SCHEMA, SCHEMA_VERSION, SORT_ORDER, check_declared, check_rows, healpix_29
from surveyflow.errors import CatalogError
from surveyflow.files.durable import explained, file_digest
from surveyflow.releases.beside import alternatives_folder, margin_folder
from surveyflow.releases.revisions import ALTERNATIVES, MANIFEST, declared_schema, read_manifest
from surveyflow.values.arrays import Int64Array, UInt64Array
from surveyflow.values.jobs import Doing, in_this_process
from surveyflow.values.listed import key_of_name

_ROWS_CHECKED = 1_000
"""Number of rows of a partition whose cell, and whose id if it has a name, is computed again."""
_IDS_AT_A_TIME = 4_000_000
"""Number of ids that are compared in one task, 64 MB."""
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
"""An odd number: its products with ids, modulo 2**64, are as different as the ids, and spread evenly (Fibonacci hashing)."""
_UNSPREAD = np.uint64(pow(int(_SPREAD), -1, 2**64))


@dataclass(frozen=True, slots=True)
class CheckedPartition:
    """What was found of a partition: rows by status, digest of its file, its groups by number, and the index's footer."""

    status_counts: Mapping[str, int]
    digest: str
    groups: Mapping[int, str]
    footer: bytes


@dataclass(frozen=True, slots=True)
class CheckedCatalog:
    """What was found of a catalog.

    Parameters
    ----------
    digests
        SHA-256 of each partition's file as it was checked, by path relative to the catalog's folder.
    footers
        What `IndexPart.write` returned of each part of the index; empty if none was to be written.
    """

    digests: Mapping[str, str]
    footers: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class CheckPartition:
    """A task that reads a partition back from disk and checks it.

    Parameters
    ----------
    folder
        The catalog's folder.
    partition
        The partition.
    check, groups
        As in `check_catalog`.
    ids
        The file for the ids of its sources, to be compared with those of other partitions.
    part
        Its part of the index, which is written; None for none.
    """

    verb: ClassVar[str] = "check"

    folder: Path
    partition: Partition
    check: Callable[[pa.Table], None]
    groups: tuple[str, ...]
    ids: Path
    part: IndexPart | None

    def carry_out(self) -> CheckedPartition:
        """Check the partition.

        Raises
        ------
        CatalogError
            As in `check_catalog`.
        """
        path = self.folder / self.partition.path
        rows, digest = _read(path)
        _check_partition(path, self.partition, rows, self.check)
        counts = {each["values"]: each["counts"] for each in pc.value_counts(rows["status"]).to_pylist()}
        names, keys = _keys(rows, self.groups)
        with explained(self.ids), self.ids.open("wb") as file:
            np.save(file, keys)
        footer = b"" if self.part is None else self.part.write(rows["source_id"].to_numpy())
        return CheckedPartition(counts, digest, names, footer)


@dataclass(frozen=True, slots=True)
class FindTwins:
    """A task that looks for sources that have more than one row, among a part of all ids.

    Parameters
    ----------
    files
        The files with the ids of all partitions.
    part, n_parts
        Which part, from 0, and how many there are.
    """

    verb: ClassVar[str] = "twins"

    files: tuple[Path, ...]
    part: int
    n_parts: int

    def carry_out(self) -> list[tuple[int, int, int]]:
        """For each group with sources that have several rows: its number, how many there are, and the first one's id."""
        keys = np.concatenate([np.empty((0, 2), np.uint64), *map(self._own, self.files)])
        keys = keys[np.lexsort((keys[:, 0], keys[:, 1]))]
        again = (keys[1:] == keys[:-1]).all(axis=1)
        spread, groups = np.unique(keys[1:][again], axis=0).T
        ids = (spread * _UNSPREAD).astype(np.int64)
        return [(int(one), int((groups == one).sum()), int(ids[groups == one].min())) for one in np.unique(groups)]

    def _own(self, path: Path) -> UInt64Array:
        keys = np.load(path, mmap_mode="r")
        limits = [2**64 * part // self.n_parts for part in (self.part, self.part + 1)]
        low, high = (np.searchsorted(keys[:, 0], np.uint64(limit)) if limit < 2**64 else len(keys) for limit in limits)
        return np.asarray(keys[low:high])


def check_catalog(
    folder: Path,
    status_counts: Mapping[str, int],
    check: Callable[[pa.Table], None] = check_rows,
    groups: tuple[str, ...] = ("field",),
    *,
    do: Doing = in_this_process,
    scratch: Path | None = None,
    index: Sequence[IndexPart] = (),
) -> CheckedCatalog:
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
    do
        Has the tasks carried out; there is one for each partition.
    scratch
        An existing folder for the ids of all sources, 16 bytes each, which every worker sees; a temporary one by default.
    index
        The parts of the catalog's index, which are written from the ids that were read back; none by default.

    Raises
    ------
    CatalogError
        If a file cannot be read, breaks the schema or its rules, is not sorted or holds rows of another cell; if a source
        occurs twice; or if rows are missing or too many.
    """
    partitions = read_partitions(folder)
    with ExitStack() as stack:
        place = scratch or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        files = tuple(place / f"ids-{number}.npy" for number in range(len(partitions)))
        parts: Sequence[IndexPart | None] = index or [None] * len(partitions)
        each_with = zip(partitions, files, parts, strict=True)
        tasks = [CheckPartition(folder, partition, check, groups, ids, part) for partition, ids, part in each_with]
        checked: list[CheckedPartition] = do(tasks)
        found = sum((Counter(each.status_counts) for each in checked), Counter())
        n_parts = max(1, -(-found.total() // _IDS_AT_A_TIME))
        twins = do([FindTwins(files, part, n_parts) for part in range(n_parts)])
    names = {number: name for each in checked for number, name in each.groups.items()}
    _refuse_twins(folder, [(names[group], count, first) for found in twins for group, count, first in found])
    if found != Counter(status_counts):
        raise CatalogError(f"{folder} holds rows {dict(sorted(found.items()))}, expected {dict(sorted(status_counts.items()))}.")
    digests = {str(partition.path): each.digest for partition, each in zip(partitions, checked, strict=True)}
    return CheckedCatalog(digests, [each.footer for each in checked] if index else [])


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
    _refuse_damage(folder, {path: _difference(folder / path, each, (sizes or {}).get(path)) for path, each in digests.items()})


def check_same(folder: Path, digests: Mapping[str, str], expected: Mapping[str, str]) -> None:
    """Check digests of files against those that they had when they were written.

    Parameters
    ----------
    folder
        The catalog's folder.
    digests
        SHA-256 of its files, by path relative to that folder.
    expected
        SHA-256 of some of them when they were written.

    Raises
    ------
    CatalogError
        If a file is missing or has another digest.
    """
    _refuse_damage(folder, {path: _other_digest(digests.get(path), each) for path, each in expected.items()})


def check_revision(folder: Path) -> int:
    """Check that a revision, its margin and its alternatives are as they were published: files, content, and no additional file.

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
    manifest, own = read_manifest(folder), folder.resolve()
    margin, alternatives = manifest.get("margin") or {}, manifest.get("alternatives") or {}
    places = {folder: manifest, margin_folder(own): margin, alternatives_folder(own): alternatives}
    for place, about in places.items():
        _check_files(place, about.get("files", {}))
    check = _check_for(folder, manifest)
    check_catalog(folder, manifest["status"], check)
    if "files" in alternatives:
        _check_link(own)
    if alternatives:
        check_alternatives(folder / ALTERNATIVES, alternatives["status"], check)
    return sum(len(about.get("files", {})) for about in places.values())


def _check_link(folder: Path) -> None:
    """Check that readers of a revision's alternatives find those that lie beside it."""
    link, own = folder / ALTERNATIVES, alternatives_folder(folder)
    if not link.is_symlink() or link.resolve() != own.resolve():
        raise CatalogError(
            f"{link} is not a link to {own}, where the alternatives are: move what is there away, and link it again."
        )


def _check_files(folder: Path, entries: Mapping[str, Mapping[str, Any]]) -> None:
    """Check that a folder holds the files that the manifest lists, beside the manifest itself, and no others."""
    digests = {path: entry["sha256"] for path, entry in entries.items()}
    check_digests(folder, digests, {path: entry["size_bytes"] for path, entry in entries.items() if "size_bytes" in entry})
    present = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    strangers = sorted(present - set(digests) - {MANIFEST})
    if strangers:
        raise CatalogError("\n".join(f"{folder / path} is not in the manifest: remove it." for path in strangers))


def check_alternatives(
    folder: Path,
    status_counts: Mapping[str, int],
    check: Callable[[pa.Table], None],
    *,
    do: Doing = in_this_process,
    scratch: Path | None = None,
) -> CheckedCatalog:
    """Check a revision's rows of instruments that are less probable than another, as `check_catalog` checks the catalog.

    Parameters
    ----------
    folder
        Their folder.
    status_counts
        Expected rows by status.
    check, do, scratch
        As for `check_catalog`.

    Raises
    ------
    CatalogError
        As for `check_catalog`; also if a source has two rows of one instrument.
    """
    return check_catalog(folder, status_counts, check, ("field", "instrument"), do=do, scratch=scratch)


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
    return partial(_check_with_kept, names=tuple(names))


def _check_with_kept(rows: pa.Table, names: Sequence[str]) -> None:
    if rows.column_names != [*CATALOG_SCHEMA.names, *names]:
        raise ValueError(f"rows must have the catalog's schema and the columns {list(names)}, not {rows.column_names}")
    check_rows(rows.select(CATALOG_SCHEMA.names))


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


def _refuse_damage(folder: Path, differences: Mapping[str, str]) -> None:
    """Raise an error that names every file that differs, with how it does."""
    damage = [
        f"{folder / path} {what}: it was removed, changed or damaged after it was written. "
        "Publish again, or take another revision."
        for path, what in differences.items()
        if what
    ]
    if damage:
        raise CatalogError("\n".join(damage))


def _difference(path: Path, digest: str, size: int | None) -> str:
    """How a file differs from what was written; empty if it does not."""
    if not path.is_file():
        return "is missing"
    if size is not None and path.stat().st_size != size:
        return f"has {path.stat().st_size} bytes, expected {size}"
    return _other_digest(file_digest(path), digest)


def _other_digest(found: str | None, expected: str) -> str:
    """How a digest differs from another; empty if it does not."""
    if found is None:
        return "is missing"
    return "" if found == expected else f"has SHA-256 {found[:12]}, expected {expected[:12]}"


def _read(path: Path) -> tuple[pa.Table, str]:
    """The rows in a file, and its SHA-256."""
    try:
        content = path.read_bytes()
        rows = pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise CatalogError(f"{path} cannot be read back: {error}") from error
    return rows, hashlib.sha256(content).hexdigest()


def _check_partition(path: Path, partition: Partition, rows: pa.Table, check: Callable[[pa.Table], None]) -> None:
    try:
        check(rows)
    except ValueError as error:
        raise CatalogError(f"{path}: {error}") from error
    cells = rows["_healpix_29"].to_numpy()
    low, high = partition.span
    if cells.min() < low or cells.max() >= high:
        raise CatalogError(f"{path} holds rows outside its cell: {cells.min()} to {cells.max()}, expected {low} to {high}.")
    if not _is_sorted(rows, cells):
        raise CatalogError(f"{path} is not sorted by {', '.join(name for name, _ in SORT_ORDER)}.")
    _check_positions(path, rows)
    if "source_name" in rows.column_names:
        _check_names(path, rows.select(["source_id", "source_name"]).filter(pc.is_valid(rows["source_name"])))


def _is_sorted(rows: pa.Table, cells: Int64Array) -> bool:
    """Whether rows are in the catalog's order; only those that share a cell are compared in further columns."""
    if (cells[1:] < cells[:-1]).any():
        return False
    same = cells[1:] == cells[:-1]
    shared = rows.select([name for name, _ in SORT_ORDER]).filter(pa.array(np.append(same, False) | np.append(False, same)))
    return bool(shared.equals(shared.sort_by(SORT_ORDER)))


def _check_positions(path: Path, rows: pa.Table) -> None:
    sample = rows.select(["field", "source_id", "ra", "dec", "_healpix_29"]).take(_sample(len(rows)))
    cells = healpix_29(sample["ra"].to_numpy(), sample["dec"].to_numpy())
    wrong = np.flatnonzero(cells != sample["_healpix_29"].to_numpy())
    if len(wrong):
        row = sample.slice(int(wrong[0]), 1).to_pylist()[0]
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


def _keys(rows: pa.Table, groups: tuple[str, ...]) -> tuple[dict[int, str], UInt64Array]:
    """The names of the groups of rows by number, and for each row its spread id and its group's number, increasing."""
    columns = [rows[name] for name in groups]
    joined = columns[0] if len(columns) == 1 else pc.binary_join_element_wise(*columns, "/", null_handling="replace")
    named = joined.combine_chunks().dictionary_encode()
    numbers = [_number_of_group(name) for name in named.dictionary.to_pylist()]
    spread = rows["source_id"].to_numpy().astype(np.uint64) * _SPREAD
    keys = np.stack([spread, np.array(numbers, np.uint64)[named.indices.to_numpy()]], axis=1)
    return dict(zip(numbers, named.dictionary.to_pylist(), strict=True)), keys[np.argsort(spread)]


def _number_of_group(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")


def _refuse_twins(folder: Path, twins: Sequence[tuple[str, int, int]]) -> None:
    """Raise an error if any sources of a field, in any part of the ids, have several rows."""
    if twins:
        field = min(name for name, *_ in twins)
        counts, firsts = zip(*((count, first) for name, count, first in twins if name == field), strict=True)
        raise CatalogError(
            f"{folder}: {sum(counts)} sources of field {field} have more than one row; the first is {min(firsts)}. "
            "Units overlap: please report this error of surveyflow."
        )
