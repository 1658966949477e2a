"""The draws of p_pm of a revision, for workflows that keep them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow.fs import LocalFileSystem

from surveyflow.errors import CatalogError, CatalogNotFound
from surveyflow.files.durable import explained, file_digest, link_or_copy
from surveyflow.output.units import draws_path
from surveyflow.releases.revisions import LATEST, find, read_manifest
from surveyflow.values.codes import Status
from surveyflow.values.jobs import Receipt

FOLDER = "draws"


def link_draws(folder: Path, root: Path, receipts: Iterable[Receipt]) -> None:
    """Link the draws of units into a revision.

    Parameters
    ----------
    folder
        The revision's folder.
    root
        The output folder.
    receipts
        Receipts of the revision's units; units without draws are skipped.

    Raises
    ------
    CatalogError
        If a unit's draws are missing, cannot be read, or differ from those that the unit wrote.
    OutputError
        If a file can be neither linked nor copied.
    """
    for receipt in receipts:
        if receipt.draws_digest is not None:
            _link(folder, root, receipt)


def open_draws(root: Path | str, release: str = LATEST) -> ds.Dataset:
    """Open the draws of a published catalog, without reading them.

    Parameters
    ----------
    root
        The output folder.
    release
        ``latest``, a release or a revision.

    Returns
    -------
    dataset
        A `pyarrow.dataset.Dataset` with one row for each source of status ``ok``: ``field``, ``source_id`` and ``p_pm``, the
        draws as a list of fixed size.

    Raises
    ------
    CatalogNotFound
        If there is no such revision, or it has no draws.

    Examples
    --------
    >>> open_draws("catalogs/candels").head(1)["p_pm"].to_numpy()  # doctest: +SKIP
    """
    revision = find(Path(root), release)
    folder = revision.path.resolve()
    files = [str(folder / path) for path in sorted(read_manifest(folder)["files"]) if Path(path).parts[0] == FOLDER]
    if not files:
        raise CatalogNotFound(
            f"{revision.path} has no draws. Set `keep_draws = true` in the workflow's [sampling] and run again."
        )
    return ds.FileSystemDataset.from_paths(
        files, schema=pq.read_schema(files[0]), format=ds.ParquetFileFormat(), filesystem=LocalFileSystem()
    )


def _link(folder: Path, root: Path, receipt: Receipt) -> None:
    source, path = draws_path(root, receipt.key), folder / FOLDER / f"{receipt.name}.parquet"
    _check(source, receipt)
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    link_or_copy(source, path)


def _check(source: Path, receipt: Receipt) -> None:
    try:
        n_rows, digest = pq.read_metadata(source).num_rows, file_digest(source)
    except (OSError, pa.ArrowException) as error:
        raise CatalogError(
            f"{source} (draws of {receipt.name}) cannot be read: {error}. Remove the file and run again."
        ) from error
    expected = receipt.status_counts.get(Status.OK, 0)
    if (n_rows, digest) != (expected, receipt.draws_digest):
        raise CatalogError(
            f"{source} holds draws of {n_rows} sources, SHA-256 {digest[:12]}; unit {receipt.name} wrote those of {expected}, "
            f"SHA-256 {str(receipt.draws_digest)[:12]}. Remove the file and run again."
        )
