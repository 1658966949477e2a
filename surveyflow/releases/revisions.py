"""The published revisions of the catalog: numbering, finding, opening and reading them.

``ROOT/releases/v1.0-r2`` is an immutable HATS catalog with its ``manifest.json``; ``ROOT/latest`` is a symbolic link to one of
them.
"""

from __future__ import annotations

import json
import os
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

from surveyflow.catalog.frames import readable_columns, stored_columns, to_frame
from surveyflow.catalog.hats import read_partitions
from surveyflow.catalog.selection import checked_filter
from surveyflow.errors import CatalogError, CatalogNotFound, InputError
from surveyflow.files.durable import explained, sync_folder, temporary_path, write_over
from surveyflow.files.json_state import MOST_BYTES_OF_LISTS, Damaged, read_ordinary_file, read_state
from surveyflow.files.paths import reason, refusing
from surveyflow.output import prepared
from surveyflow.releases.decisions import ROLLED_BACK, Decisions, read_decisions
from surveyflow.settings.manifests import READABLE, manifest_of
from surveyflow.values import remedies

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


def remembered_numbers(root: Path) -> dict[str, int]:
    """Read the highest number of each release at the time when revisions were last removed; empty if none ever were.

    Raises
    ------
    CatalogError
        If the file of removed numbers is damaged.
    """
    remedy = (
        'It holds the highest revision number that each release has had, such as {"v1.0": 3}. Write it anew, or remove it if no '
        "pruned revision was ever cited."
    )
    return read_state(root / NUMBERS, _NUMBERS_FORM, remedy) or {}


def _highest(root: Path) -> dict[str, int]:
    """The highest number by release, of revisions and of anything else that has such a name."""
    highest = remembered_numbers(root)
    for release, number in map(split_name, _taken_names(root)):
        highest[release] = max(number, highest.get(release, 0))
    return highest


LATEST = prepared.LATEST
MANIFEST = "manifest.json"
ALTERNATIVES = prepared.ALTERNATIVES
"""The link in a revision to the rows of instruments that are less probable than another."""
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
    held
        The reasons for which it was held back from readers when it was published; empty if it was not.
    """

    name: str
    path: Path
    n_rows: int
    status_counts: Mapping[str, int]
    created: str = ""
    held: tuple[str, ...] = ()


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
    """The revision that ``latest`` points to; None if readers were given none.

    Parameters
    ----------
    root
        The output folder.

    Raises
    ------
    CatalogNotFound
        If ``latest`` points to nothing.
    CatalogError
        As in `current_name`.
    """
    name = current_name(root)
    return None if name is None else _pointed_at(root, name)


def current_name(root: Path) -> str | None:
    """Name of the revision that ``latest`` names, whether or not it exists; None if there is no ``latest``.

    Parameters
    ----------
    root
        The output folder.

    Raises
    ------
    CatalogError
        If ``latest`` is not a link, or points elsewhere than to a place in ``releases``.
    """
    link = root / LATEST
    if not os.path.lexists(link):
        return None
    if not link.is_symlink():
        what = "a folder" if link.is_dir() else "a file"
        raise CatalogError(
            f"{link} is {what}, expected a symbolic link to a revision. Move it away: mv '{link}' '{link}.moved'. "
            f"{_repointing(root) or 'Then run again.'}"
        )
    target = link.readlink()
    if target.parent != Path("releases") and not (target.is_absolute() and _same_folder(target.parent, root / "releases")):
        raise CatalogError(
            f"{link} points to {target}, expected releases/REVISION. Remove the link: rm '{link}'. "
            f"{_repointing(root) or 'Then run again.'}"
        )
    return target.name


def find(root: Path, release: str = LATEST) -> Revision:
    """Find a revision by name.

    Parameters
    ----------
    root
        The output folder.
    release
        ``latest``; a release, ``v1.0``, for its newest revision that was not held back from readers or taken back from them;
        or any revision, ``v1.0-r2``.

    Raises
    ------
    CatalogNotFound
        If there is no such revision, or no catalog at all.
    CatalogError
        If ``latest`` is not a link to a revision, or, where a release is asked for, the file of decisions is damaged.
    """
    current = current_name(root) if release == LATEST else None
    if current is not None:
        return _pointed_at(root, current)
    names = named(root, release)
    return _revision(root, release) if release in names else _newest_released(root, release, names)


def named(root: Path, release: str) -> list[str]:
    """Names of the revisions that a release's name, or a revision's, stands for, by number.

    Raises
    ------
    CatalogNotFound
        If there is none.
    """
    names = revision_names(root)
    if not names:
        raise CatalogNotFound(
            f"{root} holds no catalog: no revision was published there. Name the output folder of a finished run."
        )
    of_release = [name for name in names if release in {name, split_name(name)[0]}]
    if not of_release and release == LATEST:
        raise CatalogNotFound(
            f"{root} has no release or revision latest: readers were given none of {', '.join(names)}. To see why: "
            f"`{remedies.list_releases(root)}`."
        )
    if not of_release:
        raise CatalogNotFound(f"{root} has no release or revision {release}. It has {', '.join(names)}.")
    return of_release


def _newest_released(root: Path, release: str, names: Sequence[str]) -> Revision:
    decisions, current = read_decisions(root), current_name(root)
    for revision in (_revision(root, name) for name in reversed(names)):
        if revision.name == current or not withheld_because(revision, decisions):
            return revision
    raise CatalogNotFound(
        f"{root} has no revision of {release} that readers were given: {', '.join(names)} is held. To read it all the same, name "
        f"the revision. To give it to readers: `{remedies.accept(root, names[-1])}`."
    )


def withheld_because(revision: Revision, decisions: Decisions) -> tuple[str, ...]:
    """The reasons for which readers should not get a revision; empty if they may.

    Parameters
    ----------
    revision
        A revision that ``latest`` does not name.
    decisions
        What people decided.
    """
    decision = decisions.get(revision.name)
    if decision is None:
        return revision.held
    return (f"It was {decision}.",) if decision.decision == ROLLED_BACK else ()


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
        return manifest_of(read_ordinary_file(revision_folder / MANIFEST, MOST_BYTES_OF_LISTS), READABLE)
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
    return open_rows(find(Path(root), release).path.resolve(), root)


def open_rows(folder: Path, root: Path | str) -> ds.Dataset:
    """Open the rows in a folder of a revision, without reading them.

    Parameters
    ----------
    folder
        The revision's folder, or that of its alternatives.
    root
        The output folder.

    Raises
    ------
    CatalogError
        If its list of files, its schema or a file is damaged.
    """
    with refusing(lambda reason: _damaged_catalog(folder, root, reason)):
        files = [folder / partition.path for partition in read_partitions(folder)]
        if odd := [file for file in (*files, folder / _SCHEMA_FILE) if not file.is_file()]:
            raise _damaged_catalog(folder, root, f"{odd[0].name} is not an ordinary file")
        return ds.FileSystemDataset.from_paths(
            list(map(str, files)), schema=declared_schema(folder), format=ds.ParquetFileFormat(), filesystem=LocalFileSystem()
        )


def file_by_file(dataset: ds.FileSystemDataset) -> Iterator[ds.FileSystemDataset]:
    """Each file of a dataset as a dataset of its own, so that memory does not grow with their number.

    Arrow keeps what it has read of a file's columns, some 0.3 MB, for as long as its dataset exists. It also reads ahead in
    threads, each of which keeps some 15 MB of what it freed. These datasets do not, if they are read with ``use_threads=False``.

    Parameters
    ----------
    dataset
        A dataset, as `open_rows` makes it.
    """
    form = ds.ParquetFileFormat(default_fragment_scan_options=ds.ParquetFragmentScanOptions(pre_buffer=False))
    about = {"schema": dataset.schema, "format": form, "filesystem": dataset.filesystem}
    return (ds.FileSystemDataset.from_paths([file], **about) for file in dataset.files)


_NOT_COMPUTED = ("overflow", "divide by zero", "Integer value")
"""How Arrow's errors about numbers, as opposed to files, begin."""


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
    InputError
        If numbers of a selection cannot be computed, which is no fault of the files.
    """
    try:
        yield
    except (pa.ArrowException, Damaged) as error:
        if isinstance(error, pa.ArrowInvalid) and str(error).startswith(_NOT_COMPUTED):
            raise InputError(
                f"The selection cannot be computed for every row: {error}. Integers must stay within 64 bits, and within 2^24 "
                "beside columns of 32-bit numbers; no integer may be divided by 0. Compare the columns one by one instead."
            ) from error
        raise _damaged_catalog(Path(root), root, reason(error)) from error


def _damaged_catalog(folder: Path, root: Path | str, why: str) -> CatalogError:
    remedy = (
        f"See which files: `{remedies.verify_releases(root)}`. To give readers an earlier revision: `{remedies.roll_back(root)}`."
    )
    return CatalogError(f"{folder}: the catalog is damaged ({why}). {remedy}")


def read_catalog(
    root: Path | str,
    columns: Sequence[str] | None = None,
    filter: str | pc.Expression | list[Any] | None = None,  # noqa: A002 - the name that pandas and pyarrow users look for
    release: str = LATEST,
) -> pd.DataFrame:
    """Read a published catalog.

    Parameters
    ----------
    root
        The output folder.
    columns
        Names of the columns to read; all by default. ``class`` and ``flags_text`` are computed: the class by the rule that the
        authors used (the larger mean output), and the names of the flags that are set.
    filter
        Which rows to read: text in the language of ``--where``, such as ``"status == 'ok' and 0.5 <= redshift < 1"``; or a
        `pyarrow.compute.Expression`; or a list of (column, operator, value) as in `pandas.read_parquet`.
    release
        ``latest``, a release or a revision.

    Returns
    -------
    frame
        In the order of ``_healpix_29``. Integers that may be missing have pandas' nullable types, floats are NaN where they are
        missing, and ``p_pm_hist`` holds a numpy array in each row, None where it is missing. ``frame.attrs`` has ``revision``,
        and ``units`` and ``descriptions`` by column.

    Raises
    ------
    CatalogNotFound
        If there is no such revision.
    InputError
        If there is no such column, or the filter cannot be used.
    CatalogError
        If the catalog is damaged.

    Examples
    --------
    >>> read_catalog("catalogs/candels", ["field", "source_id", "class"], "status == 'ok' and z < 1")  # doctest: +SKIP
    """
    revision = find(Path(root), release)
    with legible(root):
        frame = read_rows(open_catalog(root, revision.name), columns, filter)
    frame.attrs["revision"] = revision.name
    return frame


def read_rows(
    rows: ds.Dataset,
    columns: Sequence[str] | None,
    filter: str | pc.Expression | list[Any] | None,  # noqa: A002 - the name that read_catalog has
) -> pd.DataFrame:
    """Read rows of a catalog, or of its alternatives, as `read_catalog` does.

    Parameters
    ----------
    rows
        The rows.
    columns, filter
        As for `read_catalog`.

    Raises
    ------
    InputError
        If there is no such column, or the filter cannot be used.
    """
    wanted = readable_columns(rows.schema) if columns is None else columns
    chosen = None if filter is None else checked_filter(filter, rows.schema)
    table = rows.to_table(columns=stored_columns(wanted, rows.schema), filter=chosen)
    return to_frame(table, wanted, rows.schema)


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
    names = [name for name in _taken_names(root) if (root / "releases" / name / MANIFEST).is_file()]
    return sorted(names, key=split_name)


def _taken_names(root: Path) -> list[str]:
    return [path.name for path in (root / "releases").glob("*-r*") if _REVISION.fullmatch(path.name)]


def split_name(name: str) -> tuple[str, int]:
    """Split a revision's name into release and number."""
    match = _REVISION.fullmatch(name)
    assert match is not None
    return match[1], int(match[2])


def _pointed_at(root: Path, name: str) -> Revision:
    if (root / "releases" / name / MANIFEST).is_file():
        return _revision(root, name)
    published = ", ".join(revision_names(root)) or "none"
    raise CatalogNotFound(
        f"{root / LATEST} points to {name}, which is not a published revision. Published: {published}. "
        f"{_repointing(root) or 'Remove it, and run again.'}"
    )


def _repointing(root: Path) -> str | None:
    """How to point ``latest`` at the newest intact revision that readers may have; None if there is none."""
    decisions = read_decisions(root)
    names = [revision.name for revision in readable_revisions(root)[0] if not withheld_because(revision, decisions)]
    return f"Point it at one: `{remedies.point_latest_at(f'releases/{names[-1]}', root / LATEST)}`." if names else None


def _same_folder(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def _revision(root: Path, name: str) -> Revision:
    path = root / "releases" / name
    manifest = read_manifest(path)
    held = manifest.get("held") or []
    if not (isinstance(held, list) and all(isinstance(reason, str) for reason in held)):
        raise _damaged(path, "held is not a list of sentences")
    return Revision(name, path, manifest["rows"], manifest["status"], manifest.get("created", ""), tuple(held))


def _damaged(folder: Path, how: str) -> CatalogError:
    link = folder.parent.parent / LATEST
    if folder.is_symlink() or (link.is_symlink() and link.readlink().name == folder.name):
        remedy = f"If an earlier revision is intact, point latest at it: `{remedies.roll_back(link.parent)}`; then run again."
    else:
        remedy = f"latest does not point to it: remove its folder, {folder}."
    return CatalogError(f"{folder / MANIFEST} is damaged ({how}). {remedy}")
