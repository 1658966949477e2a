"""The files of a work unit: its part of the work list, its rows, its draws, and the receipt that proves them complete.

``ROOT/units/ab/<key>.parquet`` holds the rows, ``<key>.draws.parquet`` the draws if they are kept, and ``<key>.json`` beside
them the receipt, which is written last. Files without a receipt do not count. The key follows from all that determines the
results, so a run that needs the same unit again finds it done.

Workers read the work list. A job carries only the file's path and a number, never the sources themselves.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from surveyflow.catalog.parquet import draws_bytes, parquet_bytes
from surveyflow.catalog.schema import check_rows
from surveyflow.files.durable import TEMPORARY_SUFFIX, explained, file_digest, write_new, write_over, writer_has_ended
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


def write_worklist(path: Path, units: Sequence[UnitSources]) -> None:
    """Write the sources of every unit, in order.

    Parameters
    ----------
    path
        A file that does not exist yet.
    units
        The units' sources; each unit holds at least one.
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
    """
    with pa.memory_map(str(path)) as source:
        batch = pa.ipc.open_file(source).get_batch(number)
        values = {name: batch.column(name).to_numpy(zero_copy_only=False).copy() for name in _TYPES}
    field = str(values.pop("field")[0])
    words = {name: values.pop(name).astype(np.str_) for name in ("instrument", "status")}
    return UnitSources(field=field, **values, **words)


def _batch(sources: UnitSources) -> pa.RecordBatch:
    columns = {name: getattr(sources, name) for name in _TYPES} | {"field": np.full(len(sources), sources.field)}
    return pa.record_batch({name: pa.array(columns[name], kind) for name, kind in _TYPES.items()}, schema=_SCHEMA)


logger = logging.getLogger(__name__)


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
    rows_content, draws_content = parquet_bytes(table), None if draws is None else draws_bytes(draws)
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
    try:
        entry = json.loads(unit_path(root, key).with_suffix(".json").read_bytes())
        receipt = Receipt(**{field.name: entry[field.name] for field in fields(Receipt) if field.name in entry})
        damaged = [
            path for path, size, digest in _files(root, key, entry) if not _is_intact(path, size, digest if verify else None)
        ]
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        return None
    if damaged:
        logger.warning("unit=%s file=%s differs from its receipt: the unit will be done again", key, damaged[0])
        return None
    return receipt


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
    return pq.read_table(unit_path(root, key), columns=columns, partitioning=None, use_threads=False)


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


def _files(root: Path, key: str, entry: Mapping[str, Any]) -> Iterator[tuple[Path, int, str]]:
    """Path, size and digest of each file that a receipt lists."""
    yield unit_path(root, key), entry["size_bytes"], entry["digest"]
    if entry.get("draws_digest") is not None:
        yield draws_path(root, key), entry["draws_size_bytes"], entry["draws_digest"]


def _is_intact(path: Path, size: int, digest: str | None) -> bool:
    """Whether a file has the given size and, unless it is None, the given digest; False if the file is missing."""
    try:
        return path.stat().st_size == size and (digest is None or file_digest(path) == digest)
    except FileNotFoundError:
        return False


def _settle(root: Path, receipt: Receipt, rows: bytes, draws: bytes | None) -> Receipt:
    """Write files and receipt of a unit that is not complete, replacing damaged files and those without a receipt."""
    sizes = {"size_bytes": len(rows)}
    if draws is not None and receipt.draws_digest is not None:
        sizes["draws_size_bytes"] = len(draws)
        _put(draws_path(root, receipt.key), draws, receipt.draws_digest)
    _put(unit_path(root, receipt.key), rows, receipt.digest)
    path = unit_path(root, receipt.key).with_suffix(".json")
    entry = json.dumps(asdict(receipt) | sizes, indent=1).encode()
    if not write_new(path, entry):
        first = read_receipt(root, receipt.key, verify=True)
        if first is not None:
            return first
        write_over(path, entry)
    return receipt


def _put(path: Path, content: bytes, digest: str) -> None:
    if not write_new(path, content) and file_digest(path) != digest:
        write_over(path, content)


def _status_counts(table: pa.Table) -> dict[str, int]:
    counts = pc.value_counts(table["status"]).to_pylist()
    return {entry["values"]: entry["counts"] for entry in sorted(counts, key=lambda entry: entry["values"])}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
