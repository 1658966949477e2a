"""The releases whose files `surveyflow fetch` knows: one TOML file each, in ``surveyflow/known_releases`` or your own."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from posixpath import basename
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, TypeAdapter

from surveyflow.errors import InputError
from surveyflow.files.addresses import Address, problem_of_address
from surveyflow.settings.reader import Line, SettingsFile, SettingsTable, of_version, refuse

VERSION = 1
FOLDER = Path(__file__).parents[1] / "known_releases"
"""The folder of the releases that come with the package."""


def _check_path(path: str) -> str:
    parts = path.split("/")
    if path.startswith("/") or not parts[-1] or any(part in {"", ".", ".."} or part.startswith(".") for part in parts):
        raise refuse(f"found {path!r}, expected the path of a file below `base`.", "Write folder/of/the/file.fits.")
    return path


def _check_base(base: str) -> str:
    if problem := problem_of_address(f"{base}/file"):
        raise refuse(*problem)
    return base.rstrip("/")


class ReleaseFile(SettingsTable):
    """``[[files]]``: one file of a release.

    Parameters
    ----------
    path
        Path below `base`; its last part is the file's name.
    field, kind, instrument
        What it holds; instrument is None for lists.
    joins_on
        The column on which lists of one field are joined; None for images.
    size
        Size, bytes; None if it is not published.
    sha256
        Its checksum, hexadecimal; None if it is not published.
    """

    path: Annotated[Line, AfterValidator(_check_path)] = Field(examples=["egs/v1.0/egs_drz.fits"])
    field: Line = Field(examples=["EGS"])
    kind: Literal["science", "weight", "photometry", "redshifts"] = Field(examples=["science"])
    instrument: Line | None = Field(default=None, examples=["F814W"])
    joins_on: Line | None = Field(default=None, examples=["ID"])
    size: int | None = Field(default=None, ge=0, examples=[2880])
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$", examples=["ab" * 32])

    @property
    def name(self) -> str:
        """The file's name."""
        return basename(self.path)


def _check_names(files: list[ReleaseFile]) -> list[ReleaseFile]:
    """Refuse files of one name, which would lie at one place: all files of a release come into one folder."""
    counts = Counter(file.name for file in files)
    if twice := [name for name, number in counts.items() if number > 1]:
        remedy = "Describe them as two releases, and fetch each into a folder of its own."
        raise refuse(f"found several files with the name {twice[0]}, expected different names.", remedy)
    return files


class KnownRelease(SettingsTable):
    """A release: where its files are, and what must be said of them.

    Parameters
    ----------
    version
        Version of the file format: 1.
    title, licence, citation, notes
        What it is, under which conditions, how to cite it, and how its lists join.
    base
        Address above all files.
    addresses_tried
        Whether somebody has fetched these files from these addresses.
    files
        The files.
    """

    version: Annotated[int, of_version(VERSION)] = Field(examples=[VERSION])
    title: Line = Field(examples=["Survey v1"])
    base: Annotated[Line, AfterValidator(_check_base)] = Field(examples=["https://archive.org/survey"])
    addresses_tried: bool = Field(examples=[True])
    licence: Line = Field(examples=["CC BY 4.0"])
    citation: Line = Field(examples=["A et al. 2020"])
    notes: Line = Field(examples=["Lists join on ID."])
    files: Annotated[list[ReleaseFile], AfterValidator(_check_names)] = Field(min_length=1, examples=[[]])

    def of_fields(self, fields: tuple[str, ...]) -> list[ReleaseFile]:
        """The files of these fields, or all.

        Raises
        ------
        InputError
            If a field has no files.
        """
        known = list(dict.fromkeys(file.field for file in self.files))
        if unknown := [name for name in fields if name not in known]:
            raise InputError(f"{self.title}: it has no field {', '.join(unknown)}, but {', '.join(known)}. Name one of these.")
        return [file for file in self.files if not fields or file.field in fields]


_FILE = SettingsFile(TypeAdapter(KnownRelease), InputError, "docs/how-to/fetch-releases.md")


def known_release(name_or_path: str) -> KnownRelease:
    """Read what is known of a release.

    Parameters
    ----------
    name_or_path
        ``candels-v1``, or the path of a TOML file of your own.

    Raises
    ------
    InputError
        If there is no such release, or the file is not valid.
    """
    if name_or_path.endswith(".toml"):
        file = Path(name_or_path).absolute()
        return _FILE.load(file, file.name)
    names = sorted(path.stem for path in FOLDER.glob("*.toml"))
    if name_or_path not in names:
        raise InputError(f"{name_or_path!r} is not a known release: these are {', '.join(names)}. Name one, or a file (.toml).")
    return _FILE.load(FOLDER / f"{name_or_path}.toml", f"{name_or_path}.toml")


def address_of(base: str, path: str) -> Address:
    """The address of a path below a base, whose query, if it has one, stays at the end."""
    before, mark, query = base.partition("?")
    return Address(f"{before.rstrip('/')}/{path}{mark}{query}")
