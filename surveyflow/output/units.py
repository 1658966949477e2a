"""The files of a work unit: its part of the work list, its rows, its draws, and the receipt that proves them complete.

``ROOT/units/ab/<key>.parquet`` holds the rows, ``<key>.draws.parquet`` the draws if they are kept, and ``<key>.json`` beside
them the receipt, which is written last. Files without a receipt do not count. The key follows from all that determines the
results, so a run that needs the same unit again finds it done.

Workers read the work list. A job carries only the file's path and a number, never the sources themselves.
"""

from __future__ import annotations

import hashlib
import json
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from surveyflow.catalog.parquet import draws_bytes, rows_of_unit, unit_bytes
from surveyflow.catalog.schema import check_rows
from surveyflow.errors import UnitDamaged
from surveyflow.files.durable import (
    TEMPORARY_SUFFIX,
    explained,
    file_digest,
    remove_any,
    write_new,
    write_over,
    writer_has_ended,
)
from surveyflow.files.json_state import MOST_BYTES, Damaged, parse_state, read_ordinary_file, sealed
from surveyflow.values.jobs import Receipt
from surveyflow.values.sources import SOURCE_COLUMNS, UnitSources

_TYPES = {
    "field": pa.string(),
    "instrument": pa.string(),
    **{name: pa.from_numpy_dtype(column.dtype) for name, column in SOURCE_COLUMNS.items()},
    "x_pix": pa.float64(),
    "y_pix": pa.float64(),
    "status": pa.string(),
    "flags": pa.int32(),
}
_SCHEMA = pa.schema(list(_TYPES.items()))


def write_worklist(path: Path, units: Iterable[UnitSources]) -> None:
    """Write the sources of every unit, in order.

    Parameters
    ----------
    path
        A file that does not exist yet.
    units
        The units' sources; each unit holds at least one. Only one of them is in memory at a time.
    """
    with explained(path), pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, _SCHEMA) as writer:
        for sources in units:
            writer.write_batch(_batch(sources))


def read_worklist(path: Path, number: int) -> UnitSources:
    """Read the sources of one unit.

    Parameters
    ----------
    path
        A file written by `write_worklist`.
    number
        The unit's index in the file, from 0.

    Raises
    ------
    OSError
        If the file cannot be read.
    pa.ArrowException, LookupError, ValueError
        If it is damaged. It is read, not mapped, so that a file that is cut short meanwhile ends no process.
    """
    with pa.OSFile(str(path)) as source:
        batch = pa.ipc.open_file(source).get_batch(number)
        batch.validate(full=True)
        values = {name: batch.column(name).to_numpy(zero_copy_only=False).copy() for name in _TYPES}
    field = str(values.pop("field")[0])
    words = {name: values.pop(name).astype(np.str_) for name in ("instrument", "status")}
    return UnitSources(field=field, **values, **words)


def _batch(sources: UnitSources) -> pa.RecordBatch:
    columns = {name: getattr(sources, name) for name in _TYPES} | {"field": np.full(len(sources), sources.field)}
    return pa.record_batch({name: pa.array(columns[name], kind) for name, kind in _TYPES.items()}, schema=_SCHEMA)


_MOST_BYTES_OF_ROWS = 2**31


@dataclass(frozen=True, slots=True)
class _Entry(Receipt):
    """The content of a receipt's file: the receipt, and the sizes of the files."""

    size_bytes: int = -1
    draws_size_bytes: int = -1

    @property
    def receipt(self) -> Receipt:
        """The receipt without the sizes."""
        return Receipt(**{item.name: getattr(self, item.name) for item in fields(Receipt)})


_ENTRY = TypeAdapter(_Entry)


def unit_path(root: Path, key: str) -> Path:
    """Path of a unit's rows.

    Parameters
    ----------
    root
        The output folder.
    key
        The unit's key.
    """
    return root / "units" / key[:2] / f"{key}.parquet"


def draws_path(root: Path, key: str) -> Path:
    """Path of a unit's draws, if they are kept.

    Parameters
    ----------
    root
        The output folder.
    key
        The unit's key.
    """
    return unit_path(root, key).with_suffix(".draws.parquet")


def write_unit(
    root: Path,
    key: str,
    name: str,
    parts: Mapping[str, str],
    table: pa.Table,
    *,
    seconds: float,
    worker: str,
    draws: pa.Table | None = None,
    engine: str = "",
    framework: str = "",
) -> Receipt:
    """Write a unit's rows, and its draws if they are kept, then its receipt, each in one durable step.

    A unit that is complete already stays as it is, whichever process wrote it.

    Parameters
    ----------
    root
        The output folder.
    key, name, parts
        The unit's key, its name, and the digests from which the key was made.
    table
        Its catalog rows.
    seconds
        Wall time of the work.
    worker
        Host and process of the worker.
    draws
        Its draws, as `surveyflow.catalog.draws.build_draws` makes them; None unless they are kept.
    engine
        Name of the engine that computed it; empty if no model was needed.
    framework
        The framework that the engine used, with version and device; empty without one.

    Returns
    -------
    The receipt on disk.

    Raises
    ------
    ValueError
        If the rows break the catalog's rules.
    OutputError
        If a file cannot be written; then there is no receipt.
    """
    check_rows(table)
    rows_content, draws_content = unit_bytes(table), None if draws is None else draws_bytes(draws)
    receipt = Receipt(
        key,
        name,
        dict(parts),
        len(table),
        _status_counts(table),
        _digest(rows_content),
        seconds,
        worker,
        None if draws_content is None else _digest(draws_content),
        engine,
        framework,
    )
    return read_receipt(root, key, verify=True) or _settle(root, receipt, rows_content, draws_content)


def read_receipt(root: Path, key: str, *, verify: bool = False) -> Receipt | None:
    """Read a unit's receipt.

    Parameters
    ----------
    root
        The output folder.
    key
        The unit's key.
    verify
        Whether to compare the digests of the unit's files, too, which reads the files completely.

    Returns
    -------
    The receipt; None if it is missing, or a file of the unit is missing or has the wrong size (or digest).
    """
    return find_unit(root, key, verify=verify).receipt


class ReceiptsOnDisk(Mapping[str, Receipt]):
    """Receipts of units, by the units' names; each is read whenever it is asked for, and none is held.

    Parameters
    ----------
    root
        The output folder.
    keys
        The units' keys, by name. A unit whose receipt is missing or damaged counts, but asking for it raises a KeyError.
    """

    def __init__(self, root: Path, keys: Mapping[str, str]) -> None:
        self._root = root
        self._keys = keys

    def __getitem__(self, name: str) -> Receipt:
        """The receipt of the unit of this name."""
        receipt = read_receipt(self._root, self._keys[name])
        if receipt is None:
            raise KeyError(name)
        return receipt

    def __iter__(self) -> Iterator[str]:
        """The units' names."""
        return iter(self._keys)

    def __len__(self) -> int:
        """Number of units."""
        return len(self._keys)


@dataclass(frozen=True, slots=True)
class FoundUnit:
    """What was found of a unit on disk.

    Parameters
    ----------
    receipt
        Its receipt; None if it is not complete.
    damage
        What is wrong with its files, in words; empty if nothing is, or if it has no receipt yet.
    """

    receipt: Receipt | None
    damage: str = ""


def find_unit(root: Path, key: str, *, verify: bool = False) -> FoundUnit:
    """Find what is on disk of a unit.

    Parameters
    ----------
    root, key, verify
        As in `read_receipt`.
    """
    path = unit_path(root, key).with_suffix(".json")
    try:
        entry = parse_state(read_ordinary_file(path, MOST_BYTES), _ENTRY)
    except FileNotFoundError:
        return FoundUnit(None)
    except Damaged as error:
        return FoundUnit(None, f"its receipt is damaged: {error}")
    damage = "its receipt is that of another unit" if entry.key != key else _damage_of_files(root, entry, verify=verify)
    return FoundUnit(None, damage) if damage else FoundUnit(entry.receipt)


def read_unit(root: Path, key: str, columns: list[str] | None = None) -> pa.Table:
    """Read a unit's rows.

    Parameters
    ----------
    root
        The output folder.
    key
        The unit's key.
    columns
        Names of the columns to read; all by default.
    """
    return rows_of_unit(pq.read_table(unit_path(root, key), columns=columns, partitioning=None, use_threads=False))


def read_intact_unit(root: Path, receipt: Receipt, columns: list[str] | None = None) -> pa.Table:
    """Read a unit's rows and check that they are those that the receipt proves.

    Parameters
    ----------
    root
        The output folder.
    receipt
        The unit's receipt.
    columns
        Names of the columns to read; all by default.

    Raises
    ------
    UnitDamaged
        If the file is missing, cannot be read, or differs from its receipt.
    """
    path = unit_path(root, receipt.key)
    try:
        content = read_ordinary_file(path, _MOST_BYTES_OF_ROWS)
        rows = _rows_of(content, columns) if _digest(content) == receipt.digest else None
    except (OSError, Damaged, pa.ArrowException) as error:
        raise damaged_unit(path, receipt, f"cannot be read: {error}") from error
    if rows is None:
        raise damaged_unit(path, receipt, "is damaged: it differs from its receipt")
    if len(rows) != receipt.n_rows:
        raise damaged_unit(path, receipt, f"has {len(rows)} rows, but its receipt says {receipt.n_rows}")
    return rows


def _rows_of(content: bytes, columns: list[str] | None) -> pa.Table:
    return rows_of_unit(pq.ParquetFile(pa.BufferReader(content)).read(columns, use_threads=False))


def damaged_unit(path: Path, receipt: Receipt, how: str) -> UnitDamaged:
    """Make the error for a damaged file of a unit."""
    return UnitDamaged(f"{path} (unit {receipt.name}) {how}. Run again: the unit is then done again.", receipt.key)


def remove_unit(root: Path, key: str) -> None:
    """Remove a unit's receipt, and then its files, so that it is done again.

    Parameters
    ----------
    root
        The output folder.
    key
        The unit's key.

    Raises
    ------
    OutputError
        If a file cannot be removed.
    """
    rows = unit_path(root, key)
    with explained(rows):
        for path in (rows.with_suffix(".json"), rows, draws_path(root, key)):
            remove_any(path)


def sweep(root: Path, older_than_s: float = 86_400.0) -> int:
    """Remove temporary files of dead writers from the output folder and from its units, digests and releases.

    Parameters
    ----------
    root
        The output folder.
    older_than_s
        Age from which a temporary file counts as abandoned, seconds; well above the time that writing one takes. A file whose
        writer was a process of this machine counts as abandoned as soon as that process has ended.

    Returns
    -------
    Number of files removed.
    """
    before = time.time() - older_than_s
    with explained(root):
        patterns = (f"{folder}.*{TEMPORARY_SUFFIX}" for folder in ("", "units/*/", "digests/", "releases/"))
        temporary = [path for pattern in patterns for path in root.glob(pattern)]
        abandoned = [path for path in temporary if path.lstat().st_mtime < before or writer_has_ended(path)]
        for path in abandoned:
            path.unlink(missing_ok=True)
    return len(abandoned)


def damage_of_file(path: Path, digest: str | None, size: int | None = None) -> str:
    """What is wrong with a file of a unit, in words; empty if nothing is.

    Parameters
    ----------
    path
        The file.
    digest, size
        Its SHA-256 and its size, bytes; None if they are not to be compared.
    """
    try:
        status = path.stat()
    except OSError as error:
        return f"{path.name} cannot be read ({error.strerror})"
    if not stat.S_ISREG(status.st_mode):
        return f"{path.name} is not an ordinary file"
    if size is not None and status.st_size != size:
        return f"{path.name} has {status.st_size} bytes instead of {size}"
    return f"{path.name} differs from its digest" if digest is not None and file_digest(path) != digest else ""


def _damage_of_files(root: Path, entry: _Entry, *, verify: bool) -> str:
    """What is wrong with the files that a receipt lists; empty if nothing is."""
    files = [(unit_path(root, entry.key), entry.digest, entry.size_bytes)]
    if entry.draws_digest is not None:
        files.append((draws_path(root, entry.key), entry.draws_digest, entry.draws_size_bytes))
    found = (damage_of_file(path, digest if verify else None, size) for path, digest, size in files)
    return next(filter(None, found), "")


def _settle(root: Path, receipt: Receipt, rows: bytes, draws: bytes | None) -> Receipt:
    """Write files and receipt of a unit that is not complete, replacing damaged files and those without a receipt."""
    sizes = {"size_bytes": len(rows)}
    if draws is not None and receipt.draws_digest is not None:
        sizes["draws_size_bytes"] = len(draws)
        _put(draws_path(root, receipt.key), draws, receipt.draws_digest)
    _put(unit_path(root, receipt.key), rows, receipt.digest)
    path = unit_path(root, receipt.key).with_suffix(".json")
    entry = sealed(json.dumps(asdict(receipt) | sizes, indent=1))
    if not write_new(path, entry):
        first = read_receipt(root, receipt.key, verify=True)
        if first is not None:
            return first
        write_over(path, entry)
    return receipt


def _put(path: Path, content: bytes, digest: str) -> None:
    if not write_new(path, content) and damage_of_file(path, digest, len(content)):
        write_over(path, content)


def _status_counts(table: pa.Table) -> dict[str, int]:
    counts = pc.value_counts(table["status"]).to_pylist()
    return {entry["values"]: entry["counts"] for entry in sorted(counts, key=lambda entry: entry["values"])}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
