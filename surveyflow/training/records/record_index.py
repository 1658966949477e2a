"""The index of a set of records: ``index.json`` lists the files that are complete, and the settings that made them.

A folder of records holds shards, ``part-00000-of-00012.tfrecord``, and ``index.json``, which lists each shard as soon as it
is complete.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError

from surveyflow.errors import InputError, Problem, RecordError
from surveyflow.files.durable import write_over
from surveyflow.files.json_state import MOST_BYTES_OF_LISTS, Amount, Count, Damaged, parse_state, read_ordinary_file
from surveyflow.simulation.noiseless import n_same_shapes
from surveyflow.values import remedies
from surveyflow.values.codes import POST_MERGER, STAR_FORMING
from surveyflow.values.notebooks import notebook_table

INDEX_NAME = "index.json"
FORMAT_VERSION = 1
_OF_ONE_SET = {"n", "first", "seed", "shard_mb", "post_merger_share", "truths", "recipe_version"}
_OF_DRAWN_GALAXIES = {"galaxies", "recipe", "magnitudes", "redshifts"}
_SMALL_SHARE = 0.1
_LARGEST_SIZE, _MOST_SHARDS = 2**16, 10**6

_AGAIN = f"Run `{remedies.simulate('SIMULATION')}` again with the file that made these records: it makes what is missing."


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of records.

    Parameters
    ----------
    name
        Name of the file in the folder.
    n
        Number of records in the file.
    bytes
        Its size.
    sha256
        Digest of its content, hexadecimal.
    n_post_mergers
        Number of records of post-mergers; None if the records were made before it was counted.
    nuisances
        Smallest and largest value of each nuisance that was drawn, by name; None if the records do not hold them.
    """

    name: str
    n: Count
    bytes: Count
    sha256: str
    n_post_mergers: Count | None = None
    nuisances: Mapping[str, Sequence[float]] | None = None


@dataclass(frozen=True, slots=True)
class RecordIndex:
    """The content of a folder of records.

    Parameters
    ----------
    settings
        Everything that determines the records, as JSON holds it.
    digest
        SHA-256 of the settings, hexadecimal; each record holds its first 12 digits.
    field, instrument, band
        The field, the instrument and the filter that were simulated.
    pixel_scale_arcsec, size, unit
        Pixel scale, side in pixels, and unit of the images.
    n, n_shards
        Number of records and shards of the complete set.
    shards
        The shards that are written, in order; all of them if the set is complete.
    version
        Version of this file format.
    """

    settings: Mapping[str, Any]
    digest: str
    field: str
    instrument: str
    band: str
    pixel_scale_arcsec: Annotated[Amount, Field(gt=0)]
    size: Annotated[int, Field(ge=1, le=_LARGEST_SIZE)]
    unit: str
    n: Count
    n_shards: Annotated[int, Field(ge=1, le=_MOST_SHARDS)]
    shards: tuple[Shard, ...] = ()
    version: int = FORMAT_VERSION

    @property
    def complete(self) -> bool:
        """Whether every shard is written."""
        return len(self.shards) == self.n_shards

    @property
    def classes(self) -> dict[str, int] | None:
        """Number of written examples of each class; None if the records were made before they were counted."""
        counts = [shard.n_post_mergers for shard in self.shards]
        known = [count for count in counts if count is not None]
        if len(known) < len(counts):
            return None
        return {POST_MERGER: sum(known), STAR_FORMING: sum(shard.n for shard in self.shards) - sum(known)}

    @property
    def nuisances(self) -> dict[str, tuple[float, float]] | None:
        """Smallest and largest value of each nuisance in the records; None if the records do not hold them."""
        ranges = [shard.nuisances for shard in self.shards]
        known = [one for one in ranges if one is not None]
        if not known or len(known) < len(ranges):
            return None
        names = [name for name in known[0] if all(name in one for one in known)]
        return {name: (min(one[name][0] for one in known), max(one[name][1] for one in known)) for name in names}

    @property
    def provenance(self) -> str:
        """The part of the digest that each record holds."""
        return self.digest[:12]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordFolder(RecordIndex):
    """The content of a folder of records, and the folder.

    Parameters
    ----------
    folder
        Where the records lie.
    """

    folder: Path

    @classmethod
    def of(cls, index: RecordIndex, folder: Path) -> RecordFolder:
        """Add the folder to an index."""
        return cls(**{field.name: getattr(index, field.name) for field in fields(index)}, folder=folder)

    def _repr_html_(self) -> str:
        shown = (
            "folder",
            "field",
            "instrument",
            "band",
            "pixel_scale_arcsec",
            "size",
            "unit",
            "n",
            "complete",
            "classes",
            "nuisances",
        )
        return notebook_table({name: getattr(self, name) for name in shown})


def settings_digest(settings: Mapping[str, Any]) -> str:
    """SHA-256 of settings, hexadecimal, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def shard_name(number: int, n_shards: int) -> str:
    """Name of a shard's file; numbers start at 0."""
    return f"part-{number:05d}-of-{n_shards:05d}.tfrecord"


def write_index(folder: Path, index: RecordIndex) -> None:
    """Write ``index.json`` in one step.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    write_over(folder / INDEX_NAME, (json.dumps(asdict(index), indent=1) + "\n").encode())


def find_index(folder: Path) -> RecordIndex | None:
    """Read the index of a folder, complete or not; None if there is none.

    Raises
    ------
    RecordError
        If the file is not an index of this format.
    """
    file = folder / INDEX_NAME
    try:
        content = read_ordinary_file(file, MOST_BYTES_OF_LISTS)
        version = parse_state(content, _VERSION).version
        if version != FORMAT_VERSION:
            raise RecordError(f"{file} has version {version}, expected {FORMAT_VERSION}. Use the surveyflow it is for.")
        return _checked(parse_state(content, _INDEX))
    except FileNotFoundError:
        return None
    except Damaged as error:
        raise RecordError(f"{file} is not an index of records ({error}). Remove the folder, and simulate again.") from error


def _checked(index: RecordIndex) -> RecordIndex:
    """An index that does not contradict itself."""
    if found := _contradiction(index):
        raise Damaged(found)
    return index


def _contradiction(index: RecordIndex) -> str | None:
    """What in an index contradicts itself; None if nothing does."""
    if settings_digest(index.settings) != index.digest:
        return "its settings have another digest than it states"
    strange = [shard.name for shard in index.shards if not _is_named(shard.name, index.n_shards)]
    if strange or len({shard.name for shard in index.shards}) < len(index.shards):
        return f"it lists {', '.join(strange) or 'shards twice'}"
    if index.complete and (n := sum(shard.n for shard in index.shards)) != index.n:
        return f"its shards hold {n} records, and not {index.n}"
    return None


def _is_named(name: str, n_shards: int) -> bool:
    """Whether a file is named as a shard, so that an index leads to no file elsewhere."""
    number = re.fullmatch(r"part-(\d+)-of-\d+\.tfrecord", name)
    return number is not None and name == shard_name(int(number[1]), n_shards) and int(number[1]) < n_shards


@dataclass(frozen=True, slots=True)
class _Version:
    """The version of an index, of whatever form."""

    version: int


_IMAGES: TypeAdapter[list[tuple[str, str, str, tuple[float, float, float, float, float]]]] = TypeAdapter(
    list[tuple[str, str, str, tuple[float, float, float, float, float]]]
)
_VERSION: TypeAdapter[_Version] = TypeAdapter(_Version)
_INDEX: TypeAdapter[RecordIndex] = TypeAdapter(RecordIndex)


def read_index(folder: str | Path) -> RecordIndex:
    """Read the index of a complete set of records.

    Raises
    ------
    RecordError
        If there is no index, it is not of this format, or shards are missing.
    """
    folder = Path(folder)
    index = find_index(folder)
    if index is None:
        raise RecordError(
            f"{folder} holds no {INDEX_NAME}, so it holds no training records. Name a folder that has some, or make them: "
            f"`{remedies.simulate('SIMULATION')}`."
        )
    if not index.complete:
        raise RecordError(f"{folder} holds {len(index.shards)} of {index.n_shards} shards: the simulation was stopped. {_AGAIN}")
    return index


def check_shards(folder: str | Path, *, contents: bool = True) -> RecordIndex:
    """Check every shard against the index.

    Parameters
    ----------
    folder
        Folder of the records.
    contents
        Whether to read their content; otherwise only sizes are compared.

    Returns
    -------
    The index.

    Raises
    ------
    RecordError
        If a shard is missing, cut short, or not the one that was written; the error holds every such shard.
    """
    index = read_index(folder)
    problems = list(_problems(Path(folder), index.shards, contents))
    if problems:
        raise RecordError("\n".join(str(problem) for problem in problems))
    return index


def whole_shards(folder: Path, shards: Sequence[Shard]) -> tuple[Shard, ...]:
    """The shards that lie in the folder as they were written."""
    return tuple(shard for shard in shards if _problem(folder, shard, contents=True) is None)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _problems(folder: Path, shards: Sequence[Shard], contents: bool) -> Iterator[Problem]:
    for shard in shards:
        if problem := _problem(folder, shard, contents):
            yield problem


def _problem(folder: Path, shard: Shard, contents: bool) -> Problem | None:
    path = folder / shard.name
    try:
        size = path.stat().st_size
        if size != shard.bytes:
            told = f"has {size} bytes, expected {shard.bytes}: it was cut short, or belongs to other records."
            return Problem(str(path), told, _AGAIN)
        if contents and file_sha256(path) != shard.sha256:
            return Problem(str(path), "is not the file that was written: its SHA-256 is another one.", _AGAIN)
    except OSError as error:
        return Problem(str(path), f"cannot be read: {error.strerror}.", _AGAIN)
    return None


def check_apart(learned: Mapping[Path, RecordIndex], judged: Mapping[Path, RecordIndex]) -> None:
    """Check that no set of stamps is used for both training and evaluation.

    A simulated galaxy depends only on its seed and number, whatever its depth and neighbours are. Galaxies of the user's own are
    the same if they belong to one group, or if their pixels are the same apart from orientation, place, brightness and borders of
    zeros.

    Raises
    ------
    InputError
        If two sets are the same, or hold the same galaxies.
    RecordError
        If an earlier surveyflow made a set of the user's own galaxies, without a list of its images.
    """
    for folder, index in judged.items():
        for other, other_index in learned.items():
            shared = len(_galaxies(index) & _galaxies(other_index)) or n_same_shapes(_shapes(index), _shapes(other_index))
            if index.digest == other_index.digest or shared:
                raise InputError(
                    f"{folder} holds galaxies that {other} holds, too{f' ({shared})' if shared else ''}: a network must not be "
                    "evaluated on its training set. Simulate records with another seed; of galaxies of your own, with another "
                    "[simulation.stamps] share, and with a group_column if several images show one galaxy."
                )


def check_listed_once(folders: Sequence[Path], indices: Sequence[RecordIndex]) -> None:
    """Check that a list of folders does not count a set of records twice.

    Parameters
    ----------
    folders, indices
        The folders, and their indices in the same order.

    Raises
    ------
    InputError
        If two of them hold the same records.
    """
    first: dict[str, Path] = {}
    for folder, index in zip(folders, indices, strict=True):
        other = first.setdefault(index.digest, folder)
        if other is not folder:
            raise InputError(f"{folder} holds the same records as {other}, which would count twice. Name one of them.")


def check_observed_alike(folders: Sequence[Path], indices: Sequence[RecordIndex]) -> None:
    """Check that classes that lie in folders of their own do not differ in how they were observed.

    A network would tell such classes apart by noise, PSF or neighbours, also on validation and test sets that were made alike.

    Parameters
    ----------
    folders, indices
        The folders of one set, and their indices in the same order.

    Raises
    ------
    InputError
        If a folder of which more than 90 % are post-mergers differs from one of which more than 90 % are not.
    """
    shares = [_share_of_post_mergers(index) for index in indices]
    sets = list(zip(folders, map(_observation, indices), shares, strict=True))
    for folder, settings, share in sets:
        for other, others, other_share in sets:
            if share > 1 - _SMALL_SHARE and other_share < _SMALL_SHARE and settings != others:
                differing = ", ".join(key for key in {**settings, **others} if settings.get(key) != others.get(key))
                raise InputError(
                    f"{folder} holds post-mergers, {other} does not, and they differ in {differing}: a network would tell the "
                    "classes apart by that. Simulate both alike."
                )


def _share_of_post_mergers(index: RecordIndex) -> float:
    """The share of post-mergers in a set; NaN if it does not say."""
    return np.nan if index.classes is None else index.classes[POST_MERGER] / max(index.n, 1)


def _observation(index: RecordIndex) -> dict[str, Any]:
    """What may make stamps of one set differ from those of another, apart from the kind of the galaxies."""
    settings = {key: value for key, value in index.settings.items() if key not in _OF_ONE_SET}
    if "stamps" not in settings:
        return settings
    own = {"stamps": settings["stamps"].get("pixel_scale_arcsec")}
    return {key: value for key, value in settings.items() if key not in _OF_DRAWN_GALAXIES} | own


def _galaxies(index: RecordIndex) -> set[tuple[str, Any]]:
    """Each galaxy by what it was drawn from; empty if the settings do not say."""
    settings = index.settings
    if "stamps" in settings:
        known = ((kind, one[place]) for one in _images(index) for kind, place in (("group", 0), ("pixels", 1)))
        return {(kind, digest) for kind, digest in known if digest}
    if not {"seed", "first", "n"} <= settings.keys():
        return set()
    return {(f"seed {settings['seed']}", number) for number in range(settings["first"], settings["first"] + settings["n"])}


def _shapes(index: RecordIndex) -> list[tuple[float, ...]]:
    """The shapes of a user's own galaxies, by which an image is found that was turned, mirrored or multiplied."""
    return [one[3] for one in _images(index)] if "stamps" in index.settings else []


def _images(index: RecordIndex) -> list[tuple[str, str, str, tuple[float, ...]]]:
    """Group, pixels, facts and shape of each image of a user's own, as `surveyflow.inputs.stamps` identifies it."""
    try:
        return [*_IMAGES.validate_python(index.settings["stamps"].get("images"))]
    except ValidationError as error:
        told = "records of your own galaxies do not say which galaxies they show. Simulate them again."
        raise RecordError(told) from error
