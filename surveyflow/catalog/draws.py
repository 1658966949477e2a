"""Every draw of p_pm, where a workflow keeps them: a dataset of its own beside the catalog, one file a work unit.

``ROOT/releases/v1.0-r2/draws/EGS/F814W/y000x001.parquet`` shares its content with the unit's own file by a hard link, so a
revision's draws take no further space. Rows join the catalog's on (``field``, ``source_id``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow.fs import LocalFileSystem

from surveyflow.catalog.revisions import LATEST, find, read_manifest
from surveyflow.catalog.schema import SCHEMA_VERSION
from surveyflow.catalog.storage import explained, file_digest, link_or_copy
from surveyflow.catalog.units import draws_path
from surveyflow.errors import CatalogError, CatalogNotFound
from surveyflow.types import Float32Array, Int64Array, Receipt, Status, WeightsOrigin

FOLDER = "draws"

_DESCRIPTION = "Monte Carlo dropout draws of the probability of being a post-merger"


def build_draws(field: str, source_id: Int64Array, p_pm: Float32Array, origin: WeightsOrigin) -> pa.Table:
    """Make rows of draws.

    Parameters
    ----------
    field
        The sources' field.
    source_id
        (n,) int64.
    p_pm
        (n, n_draws) float32 in [0, 1]: every draw, in the order of drawing.
    origin
        Where the model's weights came from.

    Returns
    -------
    One row a source: ``field``, ``source_id``, and ``p_pm``, a list of fixed size.
    """
    about = {"schema_version": SCHEMA_VERSION, "weights_origin": [origin.value], "description": _DESCRIPTION}
    columns = {
        "field": pa.array(np.full(len(source_id), field), pa.string()),
        "source_id": pa.array(source_id, pa.int64()),
        "p_pm": pa.FixedSizeListArray.from_arrays(pa.array(p_pm.ravel(), pa.float32()), p_pm.shape[1]),
    }
    metadata = {"surveyflow": json.dumps(about), "table::len::field": str(len(field))}  # astropy wants the strings' length
    return pa.table(columns).replace_schema_metadata(metadata)


def link_draws(folder: Path, root: Path, receipts: Iterable[Receipt]) -> None:
    """Give the draws of units a name in a revision.

    Parameters
    ----------
    folder
        The revision's folder.
    root
        The output folder.
    receipts
        Receipts of the revision's units; those that keep no draws are passed over.

    Raises
    ------
    CatalogError
        If a unit's draws are missing, cannot be read, or are not those that it wrote.
    OutputError
        If the file system refuses.
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
        If there is no such revision, or it keeps no draws.

    Examples
    --------
    >>> open_draws("catalogs/candels").head(1)["p_pm"].to_numpy()  # doctest: +SKIP
    """
    revision = find(Path(root), release)
    folder = revision.path.resolve()
    files = [str(folder / path) for path in sorted(read_manifest(folder)["files"]) if Path(path).parts[0] == FOLDER]
    if not files:
        raise CatalogNotFound(
            f"{revision.path} keeps no draws. Say `keep_draws = true` in the workflow's [sampling] and run again."
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
