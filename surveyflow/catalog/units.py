"""Where a work unit's rows lie, and how one knows that they are there: the receipt.

``ROOT/units/ab/<key>.parquet`` holds the rows, ``<key>.json`` beside it the receipt, which is written last. A file without a
receipt does not count. Files are addressed by content: whoever does the same unit again finds it done.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from surveyflow.catalog.parquet import parquet_bytes
from surveyflow.catalog.schema import check_rows
from surveyflow.catalog.storage import TEMPORARY_SUFFIX, explained, file_digest, write_new, write_over
from surveyflow.types import Receipt

logger = logging.getLogger(__name__)


def unit_path(root: Path, key: str) -> Path:
    """Where a unit's rows lie.

    Parameters
    ----------
    root
        The output folder.
    key
        The unit's key.
    """
    return root / "units" / key[:2] / f"{key}.parquet"


def write_unit(
    root: Path, key: str, name: str, parts: Mapping[str, str], table: pa.Table, *, seconds: float, worker: str
) -> Receipt:
    """Write a unit's rows, then its receipt, each in one durable step.

    Where the unit is there already, whoever wrote it, it stays as it is.

    Parameters
    ----------
    root
        The output folder.
    key, name, parts
        The unit's key, name and the digests that the key was made of.
    table
        Its catalog rows.
    seconds
        Wall time of the work.
    worker
        Host and process that did it.

    Returns
    -------
    The receipt on disk.

    Raises
    ------
    ValueError
        If the rows break the catalog's rules.
    OutputError
        If the file system refuses; then there is no receipt.
    """
    check_rows(table)
    content = parquet_bytes(table)
    receipt = Receipt(key, name, dict(parts), len(table), _status_counts(table), _digest(content), seconds, worker)
    return read_receipt(root, key, verify=True) or _settle(root, receipt, content)


def read_receipt(root: Path, key: str, *, verify: bool = False) -> Receipt | None:
    """Read a unit's receipt.

    Parameters
    ----------
    root
        The output folder.
    key
        The unit's key.
    verify
        Whether to compare the digest of the unit's file, too, which reads all of it.

    Returns
    -------
    The receipt; None unless it is there, and the unit's file with the right size (and digest).
    """
    path = unit_path(root, key)
    try:
        entry = json.loads(path.with_suffix(".json").read_bytes())
        size = path.stat().st_size
        receipt = Receipt(**{field.name: entry[field.name] for field in fields(Receipt)})
        intact = size == entry["size_bytes"] and (not verify or file_digest(path) == receipt.digest)
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        return None
    if not intact:
        logger.warning("unit=%s file=%s differs from its receipt: it will be made again", key, path)
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
    """Remove temporary files of writers that died, of units and of the output folder itself.

    Parameters
    ----------
    root
        The output folder.
    older_than_s
        Age from which a temporary file counts as abandoned, seconds; well above the time that writing one takes.

    Returns
    -------
    Number of files removed.
    """
    before = time.time() - older_than_s
    with explained(root):
        temporary = [*root.glob(f".*{TEMPORARY_SUFFIX}"), *root.glob(f"units/*/.*{TEMPORARY_SUFFIX}")]
        abandoned = [path for path in temporary if path.lstat().st_mtime < before]
        for path in abandoned:
            path.unlink(missing_ok=True)
    return len(abandoned)


def _settle(root: Path, receipt: Receipt, content: bytes) -> Receipt:
    """Write rows and receipt where no valid pair is; a damaged or unreceipted file gives way."""
    path = unit_path(root, receipt.key)
    if not write_new(path, content) and file_digest(path) != receipt.digest:
        write_over(path, content)
    entry = json.dumps(asdict(receipt) | {"size_bytes": len(content)}, indent=1).encode()
    if not write_new(path.with_suffix(".json"), entry):
        first = read_receipt(root, receipt.key, verify=True)
        if first is not None:
            return first
        write_over(path.with_suffix(".json"), entry)
    return receipt


def _status_counts(table: pa.Table) -> dict[str, int]:
    counts = pc.value_counts(table["status"]).to_pylist()
    return {entry["values"]: entry["counts"] for entry in sorted(counts, key=lambda entry: entry["values"])}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
