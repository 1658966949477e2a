"""The search for the newest release whose files are all present, complete and no longer changing.

Releases are found by the files that match the workflow's paths, with any name in the place of ``{release}``. The newest comes
first. Runs of digits count as numbers, so that v1.10 is newer than v1.9, and v1-2 equals v1.2 except in spelling; case does not
matter. If one name is the other with something appended, the longer is newer (v1.0.1 after v1.0), unless the appended part begins
with alpha, beta, dev, pre or rc (v2.0-rc1 before v2.0). Names of what was set aside (w5.gone, w5.bad) and those that
the workflow's ``[discovery]`` leaves out are not releases.

A release is complete if each source list, mosaic and weight map of the workflow names one file, and no file changed recently,
changes while it is watched, or contradicts its own checksums.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from surveyflow.errors import MosaicError, Problem, SourceListError, WorkflowError
from surveyflow.files.addresses import is_address, redacted
from surveyflow.files.paths import problem_of_file, split_extension
from surveyflow.inputs.fits_checksums import damage_of_fits
from surveyflow.inputs.list_files import files_of
from surveyflow.inputs.mosaic_lists import listed_mosaics
from surveyflow.settings.findings import Location
from surveyflow.settings.workflow import Discovery, MosaicSpec, is_manifest, read_document
from surveyflow.settings.workflow_paths import MOSAIC_TABLE, RELEASE, input_paths, releases_named, resolve_paths, table_at
from surveyflow.settings.workflow_tables import problem_of_release
from surveyflow.values.notebooks import notebook_table

_DEPTH = 4
"""Keys from the top of a workflow to a path; the entry of a list of paths lies deeper."""
_BEFORE_THE_RELEASE = {"alpha", "beta", "dev", "pre", "rc"}


@dataclass(frozen=True, slots=True)
class SkippedRelease:
    """A release that is newer than the chosen one.

    Parameters
    ----------
    release
        Its name.
    reasons
        What is wrong with its files, each in words.
    broken
        Whether nothing but new files can mend it; otherwise its files are still arriving.
    """

    release: str
    reasons: tuple[str, ...]
    broken: bool

    def __str__(self) -> str:
        return f"release {self.release} was skipped: {'; '.join(self.reasons)}"


@dataclass(frozen=True, slots=True)
class ReleaseChoice:
    """The newest complete release.

    Parameters
    ----------
    release
        Its name.
    skipped
        Newer releases that are not complete, the newest first.
    """

    release: str
    skipped: tuple[SkippedRelease, ...] = ()

    @property
    def broken(self) -> tuple[SkippedRelease, ...]:
        """The newer releases that are broken, the newest first."""
        return tuple(skipped for skipped in self.skipped if skipped.broken)

    def as_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints."""
        return asdict(self)

    def _repr_html_(self) -> str:
        return notebook_table(self.as_json())


@dataclass(frozen=True, slots=True)
class Watch:
    """The clock and the reader of files that a search uses: the system's, unless given.

    Parameters
    ----------
    now
        Returns the time, seconds since 1970.
    sleep
        Waits for the given number of seconds.
    damage
        Describes what is wrong with a file's content; None if nothing is.
    """

    now: Callable[[], float] = time.time
    sleep: Callable[[float], object] = time.sleep
    damage: Callable[[Path], str | None] = damage_of_fits


def find_newest_release(workflow: Path, watch: Watch | None = None) -> ReleaseChoice:
    """Find the newest release whose files are all complete.

    Parameters
    ----------
    workflow
        A workflow file; at least one path of its source lists and mosaics contains ``{release}``.
    watch
        The clock and the reader of files.

    Raises
    ------
    WorkflowError
        If no path contains ``{release}``, no file matches, or no release is complete; in the last case with every reason.
    """
    file = workflow.absolute()
    if is_manifest(file):
        raise _refusal(file, "is the manifest of one release, which names its files.", "Leave --release out.")
    document = read_document(file)
    settings, chosen_watch = _settings(document), watch or Watch()
    names = _releases(document, file, settings)
    files = {name: _FilesOfRelease.of(document, file.parent, name) for name in names}
    looks = {path: _look(path) for found in files.values() for path in found.paths.values()}
    chosen_watch.sleep(settings.watch_s)
    skipped: list[SkippedRelease] = []
    for name in names:
        found = files[name].check(name, looks, settings, chosen_watch)
        if found is None:
            return ReleaseChoice(name, tuple(skipped))
        skipped.append(found)
    raise _none_complete(file, skipped)


def age_order(release: str) -> tuple[Any, ...]:
    """Sort key that orders names of releases from the oldest to the newest.

    Examples
    --------
    >>> sorted(["v1.10", "v2.0", "v1.9", "v2.0-rc1"], key=age_order)
    ['v1.9', 'v1.10', 'v2.0-rc1', 'v2.0']
    """
    parts = re.findall(r"\d+|[a-z]+", release.lower())
    return (*map(_part_order, parts), (1, 0, "")), release


def _part_order(part: str) -> tuple[int, int, str]:
    """Sort key of a part: before a name's end (1) if it announces a release, else after it; numbers after words."""
    if part.isdigit():
        return 3, int(part), ""
    return (0 if part in _BEFORE_THE_RELEASE else 2), 0, part


def _refusal(file: Path, what: str, remedy: str) -> WorkflowError:
    return WorkflowError([Problem(file.name, what, remedy)])


def _none_complete(file: Path, skipped: Sequence[SkippedRelease]) -> WorkflowError:
    remedy = "Wait until the files are complete, or name a release to run it as it is: --release NAME."
    head = Problem(file.name, "no release is complete.", remedy)
    return WorkflowError([head, *(Problem(file.name, f"{release}.", "") for release in skipped)])


def _settings(document: Mapping[str, Any]) -> Discovery:
    try:
        return Discovery.model_validate(document.get("discovery", {}))
    except ValidationError:
        return Discovery()  # problems of the table are reported, with all others, when the workflow is loaded


def _releases(document: Mapping[str, Any], file: Path, settings: Discovery) -> list[str]:
    """Names of the releases that have any files, the newest first."""
    texts = [text for _, text in input_paths(document) if RELEASE in text]
    if not texts:
        raise _refusal(
            file,
            f"no path of a source list or mosaic contains {RELEASE}, so there are no releases to choose from.",
            f'Write paths such as "mosaics/egs_{RELEASE}_sci.fits", or run without --release latest.',
        )
    if elsewhere := [text for text in texts if is_address(text)]:
        what = f"{redacted(elsewhere[0])} is an address, and releases are looked for in folders only."
        raise _refusal(file, what, "Name the release: --release NAME.")
    named = {name for text in texts for name in releases_named(file.parent, text)}
    names = sorted((name for name in named if problem_of_release(name) is None), key=age_order, reverse=True)
    if not names:
        shown = ", ".join(texts)
        raise _refusal(file, f"no file matches {shown}, whatever the release.", "Correct the paths, or put files there.")
    left_out = {name: why for name in names if (why := settings.why_left_out(name))}
    if len(left_out) == len(names):
        what = f"[discovery] leaves out every release that has files: {'; '.join(left_out.values())}."
        raise _refusal(file, what, "Rename it, correct include and exclude, or name it all the same: --release NAME.")
    return [name for name in names if name not in left_out]


@dataclass(frozen=True, slots=True)
class _FilesOfRelease:
    """The files of one release by their role (``EGS F814W weight``), and why others were not found."""

    paths: dict[str, Path]
    missing: list[str]

    @classmethod
    def of(cls, document: Mapping[str, Any], folder: Path, release: str) -> _FilesOfRelease:
        resolved, findings = resolve_paths(_of_release(document, release), folder)
        files = cls({}, [f"{_role(each.location)}: {each.what.rstrip('.')}" for each in findings if each.location[0] == "fields"])
        unresolved = {finding.location[:4] for finding in findings}
        for location, text in input_paths(resolved):
            if location[:4] not in unresolved and not is_address(text):
                files.add(location, folder / split_extension(Path(text))[0])
        return files

    def add(self, location: Location, path: Path) -> None:
        """Add a file, or why it cannot be read; for a table of mosaics, also their files."""
        role = _role(location) + (f" {path.name}" if len(location) > _DEPTH else "")
        if location[2] == "sources" and path.is_dir():
            self._add_folder(role, path)
            return
        if problem := problem_of_file(path):
            self.missing.append(f"{role}: {problem[0].rstrip('.')}")
            return
        self.paths[role] = path
        if location[3] == MOSAIC_TABLE:
            try:
                listed = listed_mosaics(MosaicSpec(mosaics=path), str(location[1]), str(location[2]))
            except MosaicError as error:
                self.missing.append(f"{role}: {error}")
            else:
                images = (image for each in listed for image in (each.science, each.weight) if isinstance(image, Path))
                self.paths.update({f"{role} {image.name}": split_extension(image)[0] for image in images})

    def _add_folder(self, role: str, folder: Path) -> None:
        try:
            files = [file for file in files_of([folder]) if isinstance(file, Path)]
            self.paths.update({f"{role} {file.name}": file for file in files})
        except SourceListError as error:
            self.missing.append(f"{role}: {error}")

    def check(self, name: str, looks: Mapping[Path, _Look | None], settings: Discovery, watch: Watch) -> SkippedRelease | None:
        """Why this release cannot be used; None if it can. Content is read only if nothing else is wrong."""
        unrest = [
            f"{role}: {path.name} {why}"
            for role, path in self.paths.items()
            if (why := _unrest(path, looks[path], settings, watch))
        ]
        if self.missing or unrest:
            arriving = bool(unrest) or self._changed_within(settings.arrival_s, watch)
            return SkippedRelease(name, (*self.missing, *unrest), broken=not arriving)
        damage = tuple(self._damage(watch)) if settings.checksums else ()
        return SkippedRelease(name, damage, broken=True) if damage else None

    def _damage(self, watch: Watch) -> Iterator[str]:
        for role, path in self.paths.items():
            if damage := watch.damage(path):
                yield f"{role}: {path.name} is damaged or incomplete: {damage}"

    def _changed_within(self, seconds: float, watch: Watch) -> bool:
        """Whether a file was written, or moved to its place, so recently."""
        try:
            newest = max((path.stat().st_ctime for path in self.paths.values()), default=float("-inf"))
        except OSError:  # it has just vanished
            return True
        return max(0.0, watch.now() - newest) < seconds


def _of_release(document: Mapping[str, Any], release: str) -> dict[str, Any]:
    return {**document, "survey": {**table_at(document, "survey"), "release": release}}


def _role(location: Location) -> str:
    _, field, table, role = map(str, location[:_DEPTH])
    if table == "sources":
        return f"{field} source list" if role == "path" else f"{field} {' '.join(map(str, location[3:-1]))}"
    return f"{field} {table} {role}"


@dataclass(frozen=True, slots=True)
class _Look:
    """The state of a file at one moment."""

    size: int
    mtime_ns: int
    inode: int


def _look(path: Path) -> _Look | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return _Look(status.st_size, status.st_mtime_ns, status.st_ino)


def _unrest(path: Path, before: _Look | None, settings: Discovery, watch: Watch) -> str | None:
    """Why a file seems to be still changing; None if it is not."""
    now = _look(path)
    if before is None or now is None:
        return "vanished while it was watched"
    if now.size != before.size:
        return f"is changing in size: {before.size:,} bytes, then {now.size:,}"
    if now != before:
        return "was written or replaced while it was watched"
    age_s = watch.now() - now.mtime_ns / 1e9
    if abs(age_s) < settings.quiet_s:
        return f"was written {max(age_s, 0):.0f} s ago, and counts as complete after {settings.quiet_s:g} s"
    return None
