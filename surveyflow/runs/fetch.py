"""Fetching a known release: in parallel, resumed where it was stopped, with a manifest of what came.

A file of the folder is complete or absent: it has a hidden name while it arrives. Nothing that is there is ever replaced; what
has changed at its source is reported.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from surveyflow.errors import InputError, OutputError
from surveyflow.files.addresses import Address
from surveyflow.files.durable import explained, file_digest, sync_file, write_over
from surveyflow.files.json_state import MOST_BYTES_OF_LISTS, recall_state
from surveyflow.files.remote import copy_from, state_at
from surveyflow.files.transfers import RemoteState, Unreachable
from surveyflow.inputs.remote_files import reaching
from surveyflow.settings.known_releases import KnownRelease, ReleaseFile, address_of
from surveyflow.values.notebooks import notebook_table

MANIFEST = "fetched.json"
FILES_AT_ONCE = 4
Listener = Callable[[int, int], None]
"""Called with the number of megabytes that came, and of all."""


class FetchStatus(StrEnum):
    """What became of a file."""

    FETCHED = "fetched"
    KEPT = "kept"
    CHANGED = "changed"
    DAMAGED = "damaged"
    MISSING = "missing"
    FAILED = "failed"


_FINE = {FetchStatus.FETCHED, FetchStatus.KEPT}


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """A file of a release, and what became of it.

    Parameters
    ----------
    name
        Its name.
    status
        What became of it.
    message
        Why, if it is not fine; empty otherwise.
    """

    name: str
    status: FetchStatus
    message: str = ""


@dataclass(frozen=True, slots=True)
class FetchResult:
    """The outcome of `fetch`.

    Parameters
    ----------
    folder
        The folder of the files.
    files
        The files.
    title, licence, citation, notes
        What the release says of itself.
    """

    folder: Path
    files: tuple[FetchedFile, ...]
    title: str
    licence: str
    citation: str
    notes: str

    @property
    def exit_code(self) -> int:
        """0 if every file is there as it is at its source; otherwise 3."""
        return 0 if all(file.status in _FINE for file in self.files) else 3

    @property
    def counts(self) -> dict[str, int]:
        """Number of files by status."""
        return dict(Counter(file.status.value for file in self.files))

    def as_json(self) -> dict[str, Any]:
        """The object that ``fetch --json`` prints."""
        return asdict(self) | {"folder": str(self.folder), "counts": self.counts}

    def _repr_html_(self) -> str:
        return notebook_table(self.as_json())


@dataclass(frozen=True, slots=True)
class _Entry:
    """What the manifest says of a file; ``address`` lacks secrets."""

    address: str
    size: int
    sha256: str
    headers: dict[str, str | int]
    fetched: str


_MANIFEST = TypeAdapter(dict[str, _Entry])
_PART = TypeAdapter(RemoteState)


@dataclass(slots=True)
class _Fetching:
    """A fetch into a folder."""

    folder: Path
    bases: tuple[str, ...]
    entries: dict[str, _Entry]
    listener: Listener
    sizes: dict[str, int] = field(default_factory=dict)
    n_bytes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def located(self, file: ReleaseFile) -> tuple[Address, RemoteState]:
        """Where a file is, and its state there: below the base, by path or by name alone."""
        places = [address_of(base, path) for base in self.bases for path in dict.fromkeys((file.path, file.name))]
        failures = []
        for place in places:
            try:
                return place, state_at(place)
            except Unreachable as error:
                failures.append(f"{place}: {error}")
        raise Unreachable("; ".join(failures))

    def came(self, n_bytes: int) -> None:
        with self.lock:
            self.n_bytes += n_bytes
            self.listener(self.n_bytes // 10**6, sum(self.sizes.values()) // 10**6)

    def record(self, name: str, entry: _Entry) -> None:
        with self.lock:
            self.entries[name] = entry
            content = {each: asdict(self.entries[each]) for each in sorted(self.entries)}
            write_over(self.folder / MANIFEST, json.dumps(content, indent=1).encode())


def fetch_release(
    release: KnownRelease, folder: Path, fields: tuple[str, ...] = (), mirror: str | None = None, listener: Listener | None = None
) -> FetchResult:
    """Fetch what is missing of a release, and compare what is there with its source.

    Parameters
    ----------
    release
        The release.
    folder
        The folder; it is made if it does not exist.
    fields
        The fields whose files are fetched; all if there are none.
    mirror
        An address to use instead of the release's own; below it, files have the same paths, or are in one folder.
    listener
        Receives the progress.

    Raises
    ------
    InputError
        If the release has no such field, the mirror is not an address, or a library is missing.
    OutputError
        If the folder cannot be written, its disk has too little room, or another process is fetching into it.
    """
    files = release.of_fields(fields)
    _check_mirror(mirror)
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder), reaching(folder, InputError), ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        fetching = _Fetching(folder, (mirror or release.base,), _entries(folder), listener or (lambda *_: None))
        found = list(pool.map(lambda file: _located(fetching, file), files))
        _check_room(fetching, files, found)
        done = list(pool.map(lambda pair: _settle(fetching, *pair), zip(files, found, strict=True)))
    return _result(release, folder, done)


def verify_fetched(release: KnownRelease, folder: Path, fields: tuple[str, ...] = ()) -> FetchResult:
    """Compare the files of a folder with its manifest, byte by byte, without a network.

    Parameters
    ----------
    release, folder, fields
        As for `fetch_release`.

    Raises
    ------
    InputError
        If the release has no such field.
    """
    entries = _entries(folder)
    return _result(release, folder, [_verified(folder / file.name, entries) for file in release.of_fields(fields)])


def _result(release: KnownRelease, folder: Path, files: Sequence[FetchedFile]) -> FetchResult:
    return FetchResult(folder, tuple(files), release.title, release.licence, release.citation, release.notes)


def _verified(path: Path, entries: Mapping[str, _Entry]) -> FetchedFile:
    entry = entries.get(path.name)
    if entry is None or not path.is_file():
        return FetchedFile(path.name, FetchStatus.MISSING, "it was not fetched, or was removed since. Fetch it.")
    if path.stat().st_size != entry.size or file_digest(path) != entry.sha256:
        return FetchedFile(
            path.name, FetchStatus.DAMAGED, f"it differs from what {MANIFEST} says. Remove it, and fetch it again."
        )
    return FetchedFile(path.name, FetchStatus.KEPT)


def _check_mirror(mirror: str | None) -> None:
    try:
        address_of(mirror or "https://host", "file")
    except ValueError as error:
        raise InputError(f"--from: {error}") from None


def _entries(folder: Path) -> dict[str, _Entry]:
    return recall_state(folder / MANIFEST, _MANIFEST, MOST_BYTES_OF_LISTS) or {}


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with explained(folder), (folder / ".fetch.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(f"another process is fetching into {folder}. Wait for it, or name another folder.") from None
        yield


def _located(fetching: _Fetching, file: ReleaseFile) -> tuple[Address, RemoteState] | str:
    """Where the file is; the reason if it cannot be found."""
    try:
        return fetching.located(file)
    except Unreachable as error:
        return str(error)


def _check_room(fetching: _Fetching, files: Sequence[ReleaseFile], found: Sequence[tuple[Address, RemoteState] | str]) -> None:
    for file, place in zip(files, found, strict=True):
        if not isinstance(place, str) and not (fetching.folder / file.name).exists():
            fetching.sizes[file.name] = place[1].size or file.size or 0
    needed, free = sum(fetching.sizes.values()), shutil.disk_usage(fetching.folder).free
    if needed > free:
        raise OutputError(
            f"{fetching.folder} has {free / 1e9:.1f} GB free, but the files need {needed / 1e9:.1f} GB. Free some space."
        )


def _settle(fetching: _Fetching, file: ReleaseFile, place: tuple[Address, RemoteState] | str) -> FetchedFile:
    """Fetch a file, or compare it with its source."""
    path = fetching.folder / file.name
    if isinstance(place, str):
        return FetchedFile(file.name, FetchStatus.FAILED, place)
    try:
        if not path.exists():
            return _fetched(fetching, file, *place)
    except (Unreachable, OSError) as error:
        return FetchedFile(file.name, FetchStatus.FAILED, f"{place[0]}: {error}")
    return _compared(path, fetching.entries.get(file.name), place[1])


def _compared(path: Path, entry: _Entry | None, state: RemoteState) -> FetchedFile:
    if entry is None:
        message = f"{path} is there, but not in {MANIFEST}, so nobody knows what it is. Move it away to fetch it."
        return FetchedFile(path.name, FetchStatus.FAILED, message)
    if path.stat().st_size != entry.size:
        return FetchedFile(
            path.name, FetchStatus.DAMAGED, f"it has {path.stat().st_size:,} bytes, but {entry.size:,} came. Remove it."
        )
    if entry.headers != _headers(state) or state.size not in (None, entry.size):
        message = (
            f"it is another file at its source since {entry.fetched}. To take the new one, move this one away, and fetch again."
        )
        return FetchedFile(path.name, FetchStatus.CHANGED, message)
    return FetchedFile(path.name, FetchStatus.KEPT)


def _fetched(fetching: _Fetching, file: ReleaseFile, address: Address, state: RemoteState) -> FetchedFile:
    if file.size is not None and state.size != file.size:
        raise Unreachable(
            f"it has {state.size} bytes, but {file.size:,} are published. Look for a newer description of the release"
        )
    part, about = (fetching.folder / f".{file.name}.{suffix}" for suffix in ("part", "state"))
    if recall_state(about, _PART, 10**4) != state:
        part.unlink(missing_ok=True)
        write_over(about, json.dumps(asdict(state)).encode())
    copy_from(address, state, part, fetching.came)
    digest = file_digest(part)
    if file.sha256 not in (None, digest):
        part.unlink()
        raise Unreachable(f"its SHA-256 is {digest}, but {file.sha256} is published. Fetch it again, or from another mirror")
    _check_packing(part, file.name)
    sync_file(part)
    entry = _Entry(str(address), part.stat().st_size, digest, _headers(state), datetime.now(UTC).isoformat(timespec="seconds"))
    fetching.record(file.name, entry)  # before the file has its name: a crash between the two leaves only a file to fetch
    os.link(part, fetching.folder / file.name)
    part.unlink()
    about.unlink(missing_ok=True)
    return FetchedFile(file.name, FetchStatus.FETCHED)


def _check_packing(part: Path, name: str) -> None:
    with part.open("rb") as content:
        begins = content.read(15).lower()
    if begins.startswith(b"\x1f\x8b") and not name.endswith(".gz"):
        part.unlink()
        raise Unreachable("the server packed it on the way. Fetch it from another mirror")
    if begins.startswith((b"<!doctype html", b"<html")):
        part.unlink()
        raise Unreachable("a web page came in its place. Check the address, or fetch it from a mirror")


def _headers(state: RemoteState) -> dict[str, str | int]:
    return {"etag": state.tag, "modified_ns": state.modified_ns}
