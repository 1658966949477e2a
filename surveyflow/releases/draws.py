"""The draws of p_pm of a revision, for workflows that keep them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow.fs import LocalFileSystem

from surveyflow.errors import CatalogNotFound
from surveyflow.files.durable import explained, link_or_copy
from surveyflow.output.units import damage_of_file, damaged_unit, draws_path
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
    UnitDamaged
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
    damage = damage_of_file(source, receipt.draws_digest)
    if damage:
        raise damaged_unit(source, receipt, damage)
    n_rows, expected = pq.read_metadata(source).num_rows, receipt.status_counts.get(Status.OK, 0)
    if n_rows != expected:
        raise damaged_unit(source, receipt, f"holds draws of {n_rows} sources, but the unit has {expected} that were measured")
