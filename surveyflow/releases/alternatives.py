"""The alternatives of a revision: what further instruments say of sources whose p(z) reaches into several redshift ranges.

``ROOT/alternatives/v1.0-r2``, to which ``ROOT/releases/v1.0-r2/alternatives`` is a link, is a HATS catalog with the columns of
the catalog. The catalog has each source once, with the instrument of its most probable range; the alternatives have it once for
every other instrument in whose range lies at least the workflow's least share of p(z). There, ``redshift`` is the median of p(z)
within that range, and ``p_range`` the share in it. The first revisions have the folder itself in the place of the link.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from surveyflow.catalog.catalog_files import write_catalog_files
from surveyflow.catalog.dataset import Dataset, write_dataset
from surveyflow.catalog.division import RowSource
from surveyflow.catalog.schema import CATALOG_SCHEMA
from surveyflow.releases.revisions import ALTERNATIVES, LATEST, Revision, find, legible, open_rows, read_manifest, read_rows
from surveyflow.releases.verify import check_alternatives, check_same
from surveyflow.values.jobs import Doing, in_this_process


def open_alternatives(root: Path | str, release: str = LATEST) -> ds.Dataset:
    """Open what further instruments say of sources whose p(z) reaches into several redshift ranges, without reading it.

    Parameters
    ----------
    root
        The output folder.
    release
        ``latest``, a release or a revision.

    Returns
    -------
    dataset
        A `pyarrow.dataset.Dataset` with the catalog's columns, keyed (``field``, ``source_id``, ``instrument``); without rows if
        the source lists give no p(z), or none that reaches into a second range.

    Raises
    ------
    CatalogNotFound
        If there is no such revision.
    CatalogError
        If its list of files, its schema or a file is damaged.

    Examples
    --------
    >>> open_alternatives("catalogs/candels").count_rows()  # doctest: +SKIP
    """
    return alternatives_of(find(Path(root), release), root)


def read_alternatives(
    root: Path | str,
    columns: Sequence[str] | None = None,
    filter: str | pc.Expression | list[Any] | None = None,  # noqa: A002 - the name that read_catalog has
    release: str = LATEST,
) -> pd.DataFrame:
    """Read what further instruments say of sources whose p(z) reaches into several redshift ranges.

    To integrate over the redshifts of sources, weight each row of the catalog and of the alternatives with its ``p_range``.

    Parameters
    ----------
    root, columns, filter, release
        As for `surveyflow.read_catalog`.

    Returns
    -------
    frame
        As `surveyflow.read_catalog` returns it, with one row for each source and further instrument.

    Raises
    ------
    CatalogNotFound
        If there is no such revision.
    InputError
        If there is no such column, or the filter cannot be used.
    CatalogError
        If the alternatives are damaged.

    Examples
    --------
    >>> read_alternatives("catalogs/candels", ["field", "source_id", "p_range", "p_pm_mean"], "status == 'ok'")  # doctest: +SKIP
    """
    revision = find(Path(root), release)
    with legible(root):
        frame = read_rows(alternatives_of(revision, root), columns, filter)
    frame.attrs["revision"] = revision.name
    return frame


def write_alternatives(
    folder: Path,
    name: str,
    sources: Sequence[RowSource],
    status_counts: Mapping[str, int],
    check: Callable[[pa.Table], None],
    *,
    before: Path | None = None,
    do: Doing = in_this_process,
    scratch: Path | None = None,
    created: str = "",
) -> Dataset:
    """Write the alternatives of a revision, and check them.

    Parameters
    ----------
    folder
        Their folder.
    name
        Their catalog's name.
    sources
        The sources of rows.
    status_counts
        Number of their rows by status.
    check
        The check of rows; see `surveyflow.releases.verify.check_catalog`.
    before
        Folder of the alternatives of an earlier revision, whose equal files are shared; None if there is none.
    do
        Has the tasks carried out.
    scratch
        As in `surveyflow.catalog.dataset.write_dataset`.
    created
        Time of creation, ISO 8601; not stated if left out.

    Raises
    ------
    CatalogError
        If the rows fail a check, or a file has changed since it was written.
    """
    dataset = write_dataset(folder, sources, before=before, do=do, scratch=scratch)
    write_catalog_files(folder, name, dataset, before=before, created=created)
    check_same(folder, dataset.digests, check_alternatives(folder, status_counts, check, do=do, scratch=scratch).digests)
    return dataset


def alternatives_of(revision: Revision, root: Path | str) -> ds.Dataset:
    """Open the alternatives of a revision; without rows if it has none.

    Parameters
    ----------
    revision
        The revision.
    root
        The output folder.
    """
    folder = revision.path.resolve()
    if not read_manifest(folder).get("alternatives"):
        return ds.dataset(CATALOG_SCHEMA.empty_table())
    return open_rows(folder / ALTERNATIVES, root)
