"""The draws of p_pm of a revision, for workflows that keep them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow.fs import LocalFileSystem

from surveyflow.catalog.frames import list_values, listed_columns
from surveyflow.errors import CatalogNotFound
from surveyflow.files.durable import explained, link_or_copy
from surveyflow.output.units import damage_of_file, damaged_unit, draws_path
from surveyflow.releases.revisions import LATEST, find, legible, read_catalog, read_manifest
from surveyflow.values.arrays import Float32Array
from surveyflow.values.codes import Status
from surveyflow.values.jobs import Receipt
from surveyflow.values.notebooks import MOST_ROWS

FOLDER = "draws"
_KEY = ("field", "source_id")


@dataclass(frozen=True, slots=True)
class SourceDraws:
    """The draws of some sources, beside their rows of the catalog.

    Parameters
    ----------
    rows
        A table with one row for each source, as `surveyflow.read_catalog` makes it.
    p_pm
        (n, n_draws) float32 in [0, 1]: the post-merger output in every draw, in the order of drawing; row i belongs to
        ``rows.iloc[i]``.
    """

    rows: pd.DataFrame
    p_pm: Float32Array

    def _repr_html_(self) -> str:
        table: str = self.rows.to_html(max_rows=MOST_ROWS)
        return f"<p>{self.p_pm.shape[1]:,} draws of p_pm for each of {len(self.rows):,} rows</p>{table}"


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


def read_draws(
    root: Path | str,
    columns: Sequence[str] = (),
    filter: str | pc.Expression | list[Any] | None = None,  # noqa: A002 - the name that read_catalog has
    release: str = LATEST,
) -> SourceDraws:
    """Read the draws of sources of a published catalog, with their catalog rows.

    Parameters
    ----------
    root
        The output folder.
    columns
        Names of the catalog's columns to read beside ``field`` and ``source_id``.
    filter
        Which sources to read, as in `surveyflow.read_catalog`. Each takes 4 bytes a draw.
    release
        ``latest``, a release or a revision.

    Returns
    -------
    The rows and the draws of the sources that were chosen and have draws, in the catalog's order.

    Raises
    ------
    CatalogNotFound
        If there is no such revision, or it has no draws.
    InputError
        If there is no such column, or the filter cannot be used.
    CatalogError
        If the catalog or its draws are damaged.

    Examples
    --------
    >>> near = read_draws("catalogs/candels", ["redshift"], "status == 'ok' and redshift < 1")  # doctest: +SKIP
    >>> near.p_pm.shape, len(near.rows)  # doctest: +SKIP
    ((5120, 1000), 5120)
    """
    name = find(Path(root), release).name
    dataset = open_draws(root, name)
    rows = read_catalog(root, [*_KEY, *listed_columns(columns)], filter, name)
    with legible(root):
        draws = dataset.to_table(filter=pc.field("source_id").isin(pa.array(rows["source_id"])))
    drawn = pd.MultiIndex.from_arrays([draws[part].to_pandas() for part in _KEY])
    places = drawn.get_indexer(pd.MultiIndex.from_frame(rows[list(_KEY)]))
    has_draws = places >= 0
    return SourceDraws(rows[has_draws].reset_index(drop=True), list_values(draws["p_pm"])[places[has_draws]])


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
