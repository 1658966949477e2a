"""The publication of a revision of the catalog.

A revision is built under a hidden name, checked, and then renamed; the link is swapped last. Readers see the old revision or
the new one, never anything in between.
"""

from __future__ import annotations

import io
import json
import logging
import re
import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from surveyflow.catalog.catalog_files import write_catalog_files
from surveyflow.catalog.collection import index_parts, write_collection
from surveyflow.catalog.dataset import Dataset, write_dataset
from surveyflow.catalog.division import RowSource
from surveyflow.catalog.kept import NOTHING_KEPT, KeptColumns, combined_digest
from surveyflow.catalog.margin import MARGIN_ARCSEC, KeptBorders, write_margin
from surveyflow.catalog.schema import CATALOG_SCHEMA, SCHEMA_VERSION, completed
from surveyflow.errors import CatalogError, InputError
from surveyflow.files.durable import TEMPORARY_SUFFIX, explained, file_digest, make_folder, sync_file, sync_folder, write_new
from surveyflow.output.prepared import BUILDING, WITHDRAWN
from surveyflow.output.units import damaged_unit, read_intact_unit, unit_path
from surveyflow.releases.alternatives import write_alternatives
from surveyflow.releases.beside import (
    BuiltBeside,
    alternatives_folder,
    building_beside,
    link_alternatives,
    margin_folder,
    margin_name,
    sweep_beside,
)
from surveyflow.releases.draws import link_draws
from surveyflow.releases.pruning import PRUNED
from surveyflow.releases.revisions import (
    ALTERNATIVES,
    LATEST,
    MANIFEST,
    RELEASE_PATTERN,
    Revision,
    current_name,
    find,
    highest_number,
    latest,
    list_revisions,
    open_catalog,
    point_latest_at,
    read_catalog,
    read_manifest,
    revision_names,
)
from surveyflow.releases.verify import check_catalog, check_of_kept, check_same
from surveyflow.values.arrays import Int64Array
from surveyflow.values.jobs import Doing, Receipt, in_this_process

_FILES_PER_SEAL = 32
"""Number of files that one task seals."""

logger = logging.getLogger(__name__)

__all__ = ["LATEST", "MANIFEST", "Revision", "find", "latest", "list_revisions", "open_catalog", "point_latest_at", "publish"]
__all__ += ["read_catalog", "read_manifest"]


@dataclass(frozen=True, slots=True)
class Alternatives:
    """The rows of instruments that are less probable than another, by the sources' p(z).

    Parameters
    ----------
    receipts
        The units that hold them.
    extra_rows
        Rows that no unit holds (of failed units); None if there are none.
    kept
        The columns of the source lists that join them.
    """

    receipts: Sequence[Receipt] = ()
    extra_rows: pa.Table | None = None
    kept: KeptColumns = NOTHING_KEPT

    def sources(self, root: Path, scratch: Path) -> list[RowSource]:
        """The sources of rows; those that no unit holds are put into a folder."""
        scratch.mkdir()
        return _row_sources(root, self.receipts, self.extra_rows, self.kept, scratch)

    @property
    def status_counts(self) -> dict[str, int]:
        """Number of rows by status."""
        return _counted(self.receipts, self.extra_rows)


NO_ALTERNATIVES = Alternatives()
"""No source has rows of further instruments."""


def publish(
    root: Path,
    release: str,
    receipts: Sequence[Receipt],
    extra_rows: pa.Table | None,
    manifest: Mapping[str, Any],
    *,
    kept: KeptColumns = NOTHING_KEPT,
    alternatives: Alternatives = NO_ALTERNATIVES,
    decorate: Callable[[Path], object] | None = None,
    judge: Callable[[Path], Sequence[str]] | None = None,
    guard: Callable[[], object] | None = None,
    do: Doing = in_this_process,
) -> Revision:
    """Publish a revision made of units and further rows, in one atomic step. The caller must hold the `RunLock`.

    A revision that is held is complete, and ``latest`` does not name it.

    Parameters
    ----------
    root
        The output folder.
    release
        Name of the release: letters, digits and ``. _ + -``.
    receipts
        The units whose rows make the catalog.
    extra_rows
        Catalog rows that no unit holds (sources of failed units), in batches that are read one at a time; None if there are none.
    manifest
        How the revision was made, as JSON values. If it has ``expected_rows``, the catalog must have that number of rows;
        ``survey`` is part of the catalog's name. Publishing adds ``revision``, ``release``, ``schema_version``, ``rows``,
        ``status``, ``weights_origin``, ``kept_columns``, ``kept_digest``, ``alternatives``, ``held`` (what ``judge`` returned),
        ``margin`` and ``files`` (size and SHA-256 of every other file).
    kept
        The columns of the source lists that join the rows.
    alternatives
        The rows of further instruments.
    decorate
        Called with the finished folder before it is published, to add files to it. If it fails, these files are left out.
    judge
        Called with the folder when its dataset has been checked; returns the reasons for which the revision is held, none if
        readers are to have it.
    guard
        Called just before the revision appears, and again before ``latest`` names it; what it raises stops the publishing.
    do
        Has the tasks carried out that make, check and seal the files; by default, this process does them.

    Raises
    ------
    UnitDamaged
        If a unit's file differs from its receipt; nothing is published then.
    CatalogError
        If the catalog fails a check; nothing is published then.
    InputError
        If the release's name cannot be the name of a folder.
    OutputError
        If a file cannot be written; nothing is published then.
    """
    name = _next_name(root, release)
    _sweep(root)
    status_counts = _expected(root, receipts, extra_rows, manifest)
    with building_beside(root) as beside, _building(root, name) as folder:
        title, check = f"{manifest.get('survey', 'surveyflow')}_{name}", check_of_kept(kept.names)
        writing = _Writing(folder, beside, _before(root), title, str(manifest.get("created", "")), check, do)
        dataset = writing.catalog(_row_sources(root, receipts, extra_rows, kept, beside.scratch), status_counts, name)
        margin = writing.margin(dataset)
        further = writing.alternatives(alternatives, root)
        link_draws(folder, root, receipts)
        held = tuple(judge(folder)) if judge is not None else ()
        about = _about(manifest, name, release, status_counts, dataset)
        about |= {
            "kept_columns": kept.described,
            "kept_digest": combined_digest(kept, alternatives.kept),
            "alternatives": further,
            "held": list(held),
            "margin": margin,
        }
        _decorate(folder, about, decorate)
        if further:
            link_alternatives(folder, alternatives_folder(folder.with_name(name)))
        files = _sealed_as_written(folder, dataset, do)
        _write_manifest(folder, about | {"files": files})
        if guard is not None:
            guard()
        beside.move_into_place(root / "releases" / name)
        final = _move_into_place(folder, root, name)
    if not held:
        point_latest_at(root, name, guard)
    logger.info("published=%s rows=%d held=%r root=%s", name, dataset.n_rows, " ".join(held), root)
    return Revision(name, final, dataset.n_rows, status_counts, str(manifest.get("created", "")), held)


@dataclass(frozen=True, slots=True)
class _Writing:
    """A revision that is being written: its folder, what is built beside it, and the revision that it follows, if any."""

    folder: Path
    beside: BuiltBeside
    before: Path | None
    title: str
    created: str
    check: Callable[[pa.Table], None]
    do: Doing

    def catalog(self, sources: Sequence[RowSource], status_counts: Mapping[str, int], name: str) -> Dataset:
        """Write the catalog, check it, and write the collection with its index."""
        folder, before, do, scratch = self.folder, self.before, self.do, self.beside.scratch
        borders = partial(KeptBorders.of, folder=self._borders)
        dataset = write_dataset(folder, sources, before=before, do=do, scratch=scratch, borders=borders)
        write_catalog_files(folder, self.title, dataset, before=before, created=self.created)
        index = index_parts(folder, dataset.partitions, before, scratch)
        checked = check_catalog(folder, status_counts, self.check, do=do, scratch=scratch, index=index)
        check_same(folder, dataset.digests, checked.digests)
        margin, n_bytes = margin_name(name), dataset.n_bytes
        write_collection(folder, self.title, checked.footers, self.created, before, margin=margin, n_bytes=n_bytes)
        return dataset

    def margin(self, dataset: Dataset) -> dict[str, Any]:
        """Write the margin; returns what the manifest says of it."""
        before = None if self.before is None else margin_folder(self.before)
        own, borders = self.beside.margin, self._borders
        n_rows = write_margin(self.folder, own, self.title, dataset, borders, before=before, do=self.do, created=self.created)
        return {"rows": n_rows, "threshold_arcsec": MARGIN_ARCSEC, "files": _sealed(self.beside.margin, self.do)}

    def alternatives(self, rows: Alternatives, root: Path) -> dict[str, Any] | None:
        """Write the alternatives with their draws and check them; returns what the manifest says of them, None without any."""
        if not rows.status_counts:
            return None
        own, scratch = self.beside.alternatives, self.beside.scratch / ALTERNATIVES
        dataset = write_alternatives(
            own,
            f"{self.title}_{ALTERNATIVES}",
            rows.sources(root, scratch),
            rows.status_counts,
            self.check,
            before=None if self.before is None else self.before / ALTERNATIVES,
            do=self.do,
            scratch=scratch,
            created=self.created,
        )
        link_draws(own, root, rows.receipts)
        link_alternatives(self.folder, own)
        files = _sealed_as_written(own, dataset, self.do)
        return {"rows": dataset.n_rows, "status": rows.status_counts, "files": files}

    @property
    def _borders(self) -> Path:
        return self.beside.scratch / "borders"


@dataclass(frozen=True, slots=True)
class _Unit:
    """A unit's rows on disk."""

    root: Path
    receipt: Receipt

    def cells(self) -> Int64Array:
        cells: Int64Array = read_intact_unit(self.root, self.receipt, ["_healpix_29"])["_healpix_29"].to_numpy()
        return cells

    def rows(self) -> pa.Table:
        rows = completed(read_intact_unit(self.root, self.receipt))
        if not rows.schema.equals(CATALOG_SCHEMA):
            path = unit_path(self.root, self.receipt.key)
            raise damaged_unit(path, self.receipt, "has a different schema from this version of surveyflow")
        return rows


@dataclass(frozen=True, slots=True)
class _Extra:
    """A batch of rows in an Arrow file, which no unit holds."""

    path: Path
    number: int

    def cells(self) -> Int64Array:
        cells: Int64Array = self.rows()["_healpix_29"].to_numpy()
        return cells

    def rows(self) -> pa.Table:
        with pa.memory_map(str(self.path)) as file:
            return pa.Table.from_batches([pa.ipc.open_file(file).get_batch(self.number)])


@dataclass(frozen=True, slots=True)
class _WithKept:
    """Rows with the columns of the source lists."""

    source: RowSource
    kept: KeptColumns

    def cells(self) -> Int64Array:
        return self.source.cells()

    def rows(self) -> pa.Table:
        return self.kept.added_to(self.source.rows())


def _row_sources(
    root: Path, receipts: Sequence[Receipt], extra_rows: pa.Table | None, kept: KeptColumns, scratch: Path
) -> list[RowSource]:
    """Sources of rows that are small to send: what is in memory only is written to a folder."""
    nothing: dict[str, Any] = {}  # most of a receipt says how the unit was made, which no task needs
    units: list[RowSource] = [_Unit(root, replace(receipt, parts=nothing, status_counts=nothing)) for receipt in receipts]
    extra: list[RowSource] = [] if extra_rows is None else [*_extra(extra_rows, scratch / "extra.arrow")]
    if kept.is_empty:
        return units + extra
    stored = kept.stored(scratch)
    return [_WithKept(source, stored) for source in units + extra]


def _extra(rows: pa.Table, path: Path) -> list[_Extra]:
    """Write rows to a file; a task reads only the batches that it needs."""
    batches = rows.to_batches()
    with explained(path), pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as file:
        for batch in batches:
            file.write_batch(batch)
    return [_Extra(path, number) for number in range(len(batches))]


def _expected(
    root: Path, receipts: Sequence[Receipt], extra_rows: pa.Table | None, manifest: Mapping[str, Any]
) -> dict[str, int]:
    """The number of rows by status that the revision must have."""
    counts = _counted(receipts, extra_rows)
    found = sum(counts.values())
    n_rows = manifest.get("expected_rows", found)
    if found != n_rows:
        raise CatalogError(f"{root}: units and further rows hold {found} sources, but the source lists hold {n_rows}.")
    return counts


def _counted(receipts: Sequence[Receipt], extra_rows: pa.Table | None) -> dict[str, int]:
    """Number of rows by status, in order of the status."""
    counts: Counter[str] = Counter()
    for receipt in receipts:
        counts.update(receipt.status_counts)
    if extra_rows is not None:
        counts.update({each["values"]: each["counts"] for each in pc.value_counts(extra_rows["status"]).to_pylist()})
    return dict(sorted(counts.items()))


def _about(
    manifest: Mapping[str, Any], name: str, release: str, status_counts: Mapping[str, int], dataset: Dataset
) -> dict[str, Any]:
    return {
        **manifest,
        "revision": name,
        "release": release,
        "schema_version": SCHEMA_VERSION,
        "rows": dataset.n_rows,
        "status": dict(status_counts),
        "weights_origin": list(dataset.facts.weights_origins),
    }


def _decorate(folder: Path, about: Mapping[str, Any], decorate: Callable[[Path], object] | None) -> None:
    """Let the caller add files to a folder that looks published; on failure, remove them."""
    if decorate is None:
        return
    before = set(_files(folder))
    draft = folder / MANIFEST
    with explained(draft):
        draft.write_bytes(_json({**about, "files": {}}))  # the list of files is not final yet
    try:
        decorate(folder)
    except Exception:
        logger.warning("revision=%s is published without the files that could not be added", about["revision"], exc_info=True)
        for path in set(_files(folder)) - before - {draft}:
            path.unlink()
    draft.unlink()


@dataclass(frozen=True, slots=True)
class SealFiles:
    """A task that makes files read-only and durable.

    Parameters
    ----------
    folder
        Their folder.
    paths
        Their paths in it.
    """

    verb: ClassVar[str] = "seal"

    folder: Path
    paths: tuple[str, ...]

    def carry_out(self) -> dict[str, dict[str, Any]]:
        """Size and digest of every file, by its path."""
        with explained(self.folder):
            return {path: _seal(self.folder / path) for path in self.paths}


def _seal(path: Path) -> dict[str, Any]:
    """Make a file durable and read-only, unless it is shared with an earlier revision, where it is so already.

    In this order, so that a worker that is killed in between leaves nothing that looks durable and is not.
    """
    mode = path.stat().st_mode
    if mode & 0o222:
        sync_file(path)
        path.chmod(mode & ~0o222)
    return {"size_bytes": path.stat().st_size, "sha256": file_digest(path)}


def _sealed(folder: Path, do: Doing) -> dict[str, dict[str, Any]]:
    """Make every file in a folder read-only, and everything in it durable; returns size and digest of each by its path there."""
    paths = [str(path.relative_to(folder)) for path in _files(folder)]
    batches = [tuple(paths[start : start + _FILES_PER_SEAL]) for start in range(0, len(paths), _FILES_PER_SEAL)]
    entries: dict[str, dict[str, Any]] = {}
    for found in do([SealFiles(folder, batch) for batch in batches]):
        entries |= found
    if folder.is_dir():
        _sync_folders(folder)
    return entries


def _sealed_as_written(folder: Path, dataset: Dataset, do: Doing) -> dict[str, dict[str, Any]]:
    """Seal a catalog's files as `_sealed` does, and check that the dataset's are those that were written."""
    files = _sealed(folder, do)
    check_same(folder, {path: entry["sha256"] for path, entry in files.items()}, dataset.digests)
    return files


def _sync_folders(folder: Path) -> None:
    with explained(folder):
        for subfolder in [*(path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink()), folder]:
            sync_folder(subfolder)


def _write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    path = folder / MANIFEST
    write_new(path, _json(manifest))
    with explained(path):
        _seal(path)
        sync_folder(folder)


def _json(value: Mapping[str, Any]) -> bytes:
    """A JSON object; in one step, `json.dumps` would hold five times as much, in pieces."""
    content = io.BytesIO()
    for piece in json.JSONEncoder(indent=1).iterencode(value):
        content.write(piece.encode())
    return content.getvalue()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _before(root: Path) -> Path | None:
    """The folder of the revision whose files the next one may share; None if there is none."""
    names, current = revision_names(root), current_name(root)
    return root / "releases" / (current if current in names else names[-1]) if names else None


@contextmanager
def _building(root: Path, name: str) -> Iterator[Path]:
    """Make a folder to build a revision in; remove it if that fails.

    No other publication has a folder of this name, so a worker of an earlier one, which may still be writing, cannot meet it.
    """
    folder = root / "releases" / f"{BUILDING}{name}-{secrets.token_hex(4)}"
    with explained(folder):
        make_folder(folder)
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _move_into_place(folder: Path, root: Path, name: str) -> Path:
    final = root / "releases" / name
    with explained(final):
        folder.rename(final)
        sync_folder(final.parent)
    return final


def _sweep(root: Path) -> None:
    """Remove what killed publishers and pruners left behind."""
    with explained(root):
        for prefix in (BUILDING, WITHDRAWN, PRUNED):
            for folder in (root / "releases").glob(f"{prefix}*"):
                shutil.rmtree(folder)
        for link in root.glob(f".{LATEST}.*{TEMPORARY_SUFFIX}"):
            link.unlink()
    sweep_beside(root)


def _next_name(root: Path, release: str) -> str:
    if not re.fullmatch(RELEASE_PATTERN, release) or release == LATEST:
        raise InputError(
            f"the release's name {release!r} cannot be the name of a folder. Use letters, digits and . _ + -, but not {LATEST}."
        )
    return f"{release}-r{highest_number(root, release) + 1}"
