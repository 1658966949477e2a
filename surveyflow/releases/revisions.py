"""The published revisions of the catalog: numbering, finding, opening and reading them.

``ROOT/releases/v1.0-r2`` is an immutable HATS catalog with its ``manifest.json``; ``ROOT/latest`` is a symbolic link to one of
them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow.fs import LocalFileSystem
from pydantic import NonNegativeInt, TypeAdapter

from surveyflow.catalog.hats import read_partitions
from surveyflow.errors import CatalogError, CatalogNotFound
from surveyflow.files.durable import explained, sync_folder, temporary_path, write_over
from surveyflow.files.foreign import reason, refusing
from surveyflow.files.json_state import MOST_BYTES_OF_LISTS, Damaged, read_ordinary_file, read_state
from surveyflow.output import prepared
from surveyflow.settings.manifests import manifest_of

_NUMBERS_FORM: TypeAdapter[dict[str, NonNegativeInt]] = TypeAdapter(dict[str, NonNegativeInt])
NUMBERS = "revision_numbers.json"
"""The file in the output folder with the highest number of each release at the time when revisions were last removed."""


def highest_number(root: Path, release: str) -> int:
    """The highest number that a revision of a release has, or had before it was pruned; 0 if there was none.

    Parameters
    ----------
    root
        The output folder.
    release
        A release's name.

    Raises
    ------
    CatalogError
        If the file of removed numbers is damaged.
    """
    return _highest(root).get(release, 0)


def remember_numbers(root: Path) -> None:
    """Record the numbers of all revisions durably; call it before any revision is removed.

    Parameters
    ----------
    root
        The output folder; the caller must hold its lock.

    Raises
    ------
    CatalogError
        If the file of removed numbers is damaged.
    OutputError
        If the file cannot be written.
    """
    write_over(root / NUMBERS, json.dumps(_highest(root), indent=1, sort_keys=True).encode())


def _highest(root: Path) -> dict[str, int]:
    highest = _remembered(root / NUMBERS)
    for release, number in map(split_name, revision_names(root)):
        highest[release] = max(number, highest.get(release, 0))
    return highest


def _remembered(path: Path) -> dict[str, int]:
    remedy = (
        'It holds the highest revision number that each release has had, such as {"v1.0": 3}. Write it anew, or remove it if no '
        "pruned revision was ever cited."
    )
    return read_state(path, _NUMBERS_FORM, remedy) or {}


LATEST = prepared.LATEST
MANIFEST = "manifest.json"
_SCHEMA_FILE = Path("dataset", "_common_metadata")
RELEASE_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._+-]*"
_REVISION = re.compile(rf"({RELEASE_PATTERN})-r([1-9][0-9]*)")


@dataclass(frozen=True, slots=True)
class Revision:
    """A published snapshot of the catalog.

    Parameters
    ----------
    name
        ``v1.0-r2``: the release, and a number that counts its revisions from 1.
    path
        Its folder.
    n_rows
        Number of its rows.
    status_counts
        Number of rows by status.
    created
        When the run wrote its manifest, ISO 8601, UTC; ``""`` if the manifest does not say.
    """

    name: str
    path: Path
    n_rows: int
    status_counts: Mapping[str, int]
    created: str = ""


def list_revisions(root: Path) -> list[Revision]:
    """List every published revision, by release and number.

    Parameters
    ----------
    root
        The output folder.
    """
    return [_revision(root, name) for name in revision_names(root)]


def in_order_of_publication(root: Path) -> list[Revision]:
    """List every published revision, the oldest first.

    Parameters
    ----------
    root
        The output folder.
    """
    return sorted(list_revisions(root), key=publication_order)


def readable_revisions(root: Path) -> tuple[list[Revision], dict[str, str]]:
    """List the published revisions with intact manifests, the oldest first, and what is wrong with the others, by name.

    Parameters
    ----------
    root
        The output folder.
    """
    readable, damaged = [], {}
    for name in revision_names(root):
        try:
            readable.append(_revision(root, name))
        except CatalogError as error:
            damaged[name] = str(error)
    return sorted(readable, key=publication_order), damaged


def publication_order(revision: Revision) -> tuple[str, tuple[str, int]]:
    """Sort key of revisions by the time of their publication."""
    return revision.created, split_name(revision.name)


def latest(root: Path) -> Revision | None:
    """The revision that ``latest`` points to; None if nothing was published.

    Parameters
    ----------
    root
        The output folder.

    Raises
    ------
    CatalogNotFound
        If ``latest`` points to nothing.
    """
    return find(root, LATEST) if (root / LATEST).is_symlink() else None


def find(root: Path, release: str = LATEST) -> Revision:
    """Find a revision by name.

    Parameters
    ----------
    root
        The output folder.
    release
        ``latest``; a release, ``v1.0``, for its newest revision; or a revision, ``v1.0-r2``.

    Raises
    ------
    CatalogNotFound
        If there is no such revision, or no catalog at all.
    """
    link = root / LATEST
    if release == LATEST and link.is_symlink():
        return _pointed_at(root, link.readlink().name)
    names = revision_names(root)
    if not names:
        raise CatalogNotFound(
            f"{root} holds no catalog: no revision was published there. Name the output folder of a finished run."
        )
    of_release = [name for name in names if release in {name, split_name(name)[0]}]
    if not of_release:
        raise CatalogNotFound(f"{root} has no release or revision {release}. It has {', '.join(names)}.")
    return _revision(root, of_release[-1])


def read_manifest(revision_folder: Path) -> dict[str, Any]:
    """Read a revision's manifest, which says how the revision was made.

    Parameters
    ----------
    revision_folder
        A revision's folder.

    Raises
    ------
    CatalogNotFound
        If the folder holds no manifest.
    CatalogError
        If the manifest is damaged, or lacks a key that every manifest has.
    """
    try:
        return manifest_of(read_ordinary_file(revision_folder / MANIFEST, MOST_BYTES_OF_LISTS))
    except FileNotFoundError as error:
        raise CatalogNotFound(f"{revision_folder} is not a revision: it has no {MANIFEST}.") from error
    except Damaged as error:
        raise _damaged(revision_folder, str(error)) from error


def declared_schema(revision_folder: Path) -> pa.Schema:
    """Read the schema of a revision, which may differ from today's.

    Parameters
    ----------
    revision_folder
        A revision's folder.
    """
    return pq.read_schema(revision_folder / _SCHEMA_FILE)


def open_catalog(root: Path | str, release: str = LATEST) -> ds.Dataset:
    """Open a published catalog, without reading it.

    Parameters
    ----------
    root
        The output folder.
    release
        ``latest``, a release or a revision.

    Returns
    -------
    dataset
        A `pyarrow.dataset.Dataset`, in the order of ``_healpix_29``. It stays at its revision, whatever is published later.

    Raises
    ------
    CatalogNotFound
        If there is no such revision.
    CatalogError
        If its list of files, its schema or a file is damaged.

    Examples
    --------
    >>> open_catalog("catalogs/candels").count_rows()  # doctest: +SKIP
    186435
    """
    folder = find(Path(root), release).path.resolve()
    with refusing(lambda reason: _damaged_catalog(folder, reason)):
        files = [folder / partition.path for partition in read_partitions(folder)]
        if odd := [file for file in (*files, folder / _SCHEMA_FILE) if not file.is_file()]:
            raise _damaged_catalog(folder, f"{odd[0].name} is not an ordinary file")
        return ds.FileSystemDataset.from_paths(
            list(map(str, files)), schema=declared_schema(folder), format=ds.ParquetFileFormat(), filesystem=LocalFileSystem()
        )


@contextmanager
def legible(root: Path | str) -> Iterator[None]:
    """Say that a catalog is damaged where Arrow cannot read its files.

    Parameters
    ----------
    root
        The output folder.

    Raises
    ------
    CatalogError
        In place of an error of Arrow.
    """
    try:
        yield
    except (pa.ArrowException, Damaged) as error:
        raise _damaged_catalog(Path(root), reason(error)) from error


def _damaged_catalog(folder: Path, why: str) -> CatalogError:
    remedy = (
        "See which files with `surveyflow releases verify`; `surveyflow releases rollback` gives readers an earlier revision."
    )
    return CatalogError(f"{folder}: the catalog is damaged ({why}). {remedy}")


def read_catalog(
    root: Path | str,
    columns: Sequence[str] | None = None,
    filter: pc.Expression | list[Any] | None = None,  # noqa: A002 - the name that pandas and pyarrow users look for
    release: str = LATEST,
) -> pd.DataFrame:
    """Read a published catalog.

    Parameters
    ----------
    root
        The output folder.
    columns
        Names of the columns to read; all by default.
    filter
        Which rows to read: a `pyarrow.compute.Expression`, or a list of (column, operator, value) as in
        `pandas.read_parquet`.
    release
        ``latest``, a release or a revision.

    Raises
    ------
    CatalogNotFound
        If there is no such revision.

    Examples
    --------
    >>> read_catalog("catalogs/candels", ["field", "source_id", "p_pm_mean"], [("status", "==", "ok")])  # doctest: +SKIP
    """
    expression = pq.filters_to_expression(filter) if isinstance(filter, list) else filter
    wanted = None if columns is None else list(columns)
    table = open_catalog(root, release).to_table(columns=wanted, filter=expression)
    frame: pd.DataFrame = table.to_pandas()
    return frame


def point_latest_at(root: Path, name: str, guard: Callable[[], object] | None = None) -> None:
    """Point ``latest`` at a revision, in one atomic step.

    Parameters
    ----------
    root
        The output folder.
    name
        A revision's name.
    guard
        Called when all but the last step is done; what it raises stops that step.

    Raises
    ------
    CatalogNotFound
        If there is no such revision.
    OutputError
        If the link cannot be written.
    """
    _revision(root, name)
    link, temporary = root / LATEST, temporary_path(root / LATEST)
    with explained(link):
        temporary.symlink_to(Path("releases", name), target_is_directory=True)
        try:
            if guard is not None:
                guard()
            temporary.replace(link)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(root)


def revision_names(root: Path) -> list[str]:
    """List the names of the published revisions, by release and number.

    Parameters
    ----------
    root
        The output folder.
    """
    folders = (root / "releases").glob("*-r*")
    names = [folder.name for folder in folders if _REVISION.fullmatch(folder.name) and (folder / MANIFEST).is_file()]
    return sorted(names, key=split_name)


def split_name(name: str) -> tuple[str, int]:
    """Split a revision's name into release and number."""
    match = _REVISION.fullmatch(name)
    assert match is not None
    return match[1], int(match[2])


def _pointed_at(root: Path, name: str) -> Revision:
    if (root / "releases" / name / MANIFEST).is_file():
        return _revision(root, name)
    names, (readable, _) = revision_names(root), readable_revisions(root)
    point_at_newest = f"Point it at one: ln -sfn releases/{readable[-1].name} '{root / LATEST}'." if readable else None
    remedy = point_at_newest or "Remove it, and run again."
    raise CatalogNotFound(
        f"{root / LATEST} points to {name}, which is not a published revision. Published: {', '.join(names) or 'none'}. {remedy}"
    )


def _revision(root: Path, name: str) -> Revision:
    path = root / "releases" / name
    manifest = read_manifest(path)
    return Revision(name, path, manifest["rows"], manifest["status"], manifest.get("created", ""))


def _damaged(folder: Path, how: str) -> CatalogError:
    link = folder.parent.parent / LATEST
    if folder.is_symlink() or (link.is_symlink() and link.readlink().name == folder.name):
        remedy = "If an earlier revision is intact, point latest at it: surveyflow releases rollback; then run again."
    else:
        remedy = f"latest does not point to it: remove its folder, {folder}."
    return CatalogError(f"{folder / MANIFEST} is damaged ({how}). {remedy}")
