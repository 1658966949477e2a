"""The one reader of settings: it makes frozen values of every kind of TOML file, or one error with every problem found.

A kind of file is a `SettingsFile`: the type of its content, the class of its error, the page that describes it, and the checks
that compare several tables. Problems are described in the same sentences for every kind (`surveyflow.settings.findings`)::

    train.toml: [optimisation] epocs: is not a key that surveyflow knows. Did you mean `epochs`?

Any file is either read or refused within seconds.

The types of values come first, each with its check: paths, ranges, bounded numbers, lines of text.
"""

from __future__ import annotations

import json
import math
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    Strict,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from surveyflow.errors import InputError, Problem
from surveyflow.files.addresses import Address, is_address, problem_of_address
from surveyflow.files.json_state import Damaged, TooLarge, read_ordinary_file
from surveyflow.files.paths import Place, absent, at_home, problem_of_file, split_extension
from surveyflow.settings.findings import Finding, Location, Refused, Schema, shown


class SettingsTable(BaseModel):
    """A table of a file of settings: frozen, without unknown keys, and without values of another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


@dataclass(frozen=True, slots=True)
class FileContext:
    """The context of checks that read a file: with it, paths are resolved and looked up.

    Parameters
    ----------
    file
        The file's absolute path.
    """

    file: Path


def refuse(what: str, remedy: str) -> PydanticCustomError:
    """Make the error that a check raises: what was found and expected, and what to do."""
    return PydanticCustomError("surveyflow", "{what} {remedy}", {"what": _encodable(what), "remedy": _encodable(remedy)})


def _encodable(text: str) -> str:
    """A text with escapes for what UTF-8 lacks: halves of characters, as names of files hold in the C locale."""
    return text.encode("utf-8", "backslashreplace").decode()


def _check_path(value: Any) -> Any:
    if isinstance(value, Path) or (isinstance(value, str) and value.strip() and value.isprintable()):
        return value
    raise refuse(f"found {shown(value)}, expected a path.", "Write it as text in quotes.")


def _resolve(path: Path, info: ValidationInfo[FileContext | None]) -> Path:
    return info.context.file.parent / at_home(path) if info.context else path


def _check_file(path: Path, info: ValidationInfo[FileContext | None]) -> Path:
    if info.context and (problem := problem_of_file(split_extension(path)[0])):
        raise refuse(*problem)
    return path


def _check_file_or_folder(path: Path, info: ValidationInfo[FileContext | None]) -> Path:
    return path if os.path.isdir(path) else _check_file(path, info)  # noqa: PTH112 - Path.is_dir refuses names that are too long


def _check_present(path: Path, info: ValidationInfo[FileContext | None]) -> Path:
    if info.context and not path.exists():
        raise refuse(*absent(path))
    return path


def _to_pair(value: Any) -> Any:
    if isinstance(value, (list, tuple)) and len(value) == 2:
        return tuple(value)
    raise refuse(f"found {shown(value)}, expected two numbers, [low, high].", "Write such as [0.5, 1.5].")


def _check_ordered(value: tuple[float, float]) -> tuple[float, float]:
    low, high = value
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise refuse(f"found [{low}, {high}], expected finite low <= high.", "Write the lower number first.")
    return value


def _check_text(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise refuse(f"found {shown(text)}, expected a text of one line that is not blank.", "Correct the value.")
    return text


def of_version(version: int) -> AfterValidator:
    """Make the check of a file's version."""

    def check(value: int) -> int:
        if value != version:
            remedy = f"Write `version = {version}`, or use the surveyflow that the file is for."
            raise refuse(f"found {shown(value)}, expected {version}.", remedy)
        return value

    return AfterValidator(check)


def within(low: float, high: float) -> AfterValidator:
    """Make the check that a number, or both numbers of a range, lie between two limits, ends included."""

    def check(value: Any) -> Any:
        numbers = value if isinstance(value, tuple) else (value,)
        if not all(low <= number <= high for number in numbers):
            found = str(list(value)) if isinstance(value, tuple) else shown(value)
            raise refuse(f"found {found}, expected a number from {low} to {high}.", "Correct the value.")
        return value

    return AfterValidator(check)


def _to_place(value: Any, info: ValidationInfo[FileContext | None]) -> Place:
    """A file that can be read, or an address, of which only the form is checked: asking its server is not for settings."""
    if isinstance(value, Address):
        return value
    text = _check_path(value)
    if not isinstance(text, str) or not is_address(text):
        return _check_file(_resolve(Path(text), info), info)
    if problem := problem_of_address(text):
        raise refuse(*problem)
    return Address(text)


def _to_place_of_table(value: Any, info: ValidationInfo[FileContext | None]) -> Place:
    """A file that can be read, a folder, or an address."""
    if isinstance(value, (str, Path)) and not is_address(str(value)):
        return _check_file_or_folder(_resolve(Path(_check_path(value)), info), info)
    return _to_place(value, info)


StatedPath = Annotated[Path, Strict(False), BeforeValidator(_check_path)]
"""A path as it is written; nothing is looked up."""
AnyPath = Annotated[StatedPath, AfterValidator(_resolve)]
"""The path of something that need not exist."""
FilePath = Annotated[AnyPath, AfterValidator(_check_file)]
"""A file that can be read; ``image.fits[SCI]`` names an extension."""
FilePlace = Annotated[Place, PlainValidator(_to_place, json_schema_input_type=Path), PlainSerializer(str, when_used="json")]
"""A file that can be read, or the address of one; ``image.fits[SCI]`` names an extension."""
TablePlace = Annotated[
    Place, PlainValidator(_to_place_of_table, json_schema_input_type=Path), PlainSerializer(str, when_used="json")
]
"""As `FilePlace`, or a folder of files."""
PresentPath = Annotated[AnyPath, AfterValidator(_check_present)]
"""A file or folder that exists."""
Pair = Annotated[tuple[float, float], BeforeValidator(_to_pair)]
"""Two numbers."""
Range = Annotated[Pair, AfterValidator(_check_ordered)]
"""Two finite numbers, the lower first."""
Line = Annotated[str, AfterValidator(_check_text)]
"""Text of one line that is not blank."""
FolderName = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$"),
    Field(description="a name of letters, digits, '_', '.', '+' and '-' that begins with a letter or digit"),
]
"""Name of a folder of a model store."""


MOST_BYTES = 2**20
"""Size limit of a file: that of a survey of some thousand mosaics is smaller."""
MOST_LEVELS = 16
"""Limit of nested tables and lists."""
MOST_ENTRIES = 50_000
"""Limit of keys and values in all tables and lists, so that even a file full of problems is refused within seconds."""
_KEY = r"""(?:[^\s.=,{}\[\]"'#]++|"[^"\n]*+"|'[^'\n]*+')"""
_LONG_KEY = re.compile(rf"""(?<![^\s=,{{}}\[\]]){_KEY}(?:[ \t]*+\.[ \t]*+{_KEY}){{{4 * MOST_LEVELS}}}""")
"""A key of very many parts. For such a key, ``tomllib`` needs a time that grows with the square of their number."""


class Unreadable(Refused):
    """A file that cannot be read as settings."""


def read_bytes(file: Path, most_bytes: int = MOST_BYTES) -> bytes:
    """Read the complete content of a file.

    Raises
    ------
    Unreadable
        If there is no such file, if it may not be read, or if it is larger than ``most_bytes``.
    """
    if problem := problem_of_file(file):
        raise Unreadable(problem[0].removeprefix(f"{file} "), problem[1])
    try:
        return read_ordinary_file(file, most_bytes)
    except TooLarge as error:
        raise _too_large(most_bytes) from error
    except (Damaged, FileNotFoundError) as error:
        raise Unreadable(f"cannot be read: {error}.", "Name an ordinary file that you may read.") from error


def to_text(content: bytes) -> str:
    """Decode UTF-8, without a byte order mark.

    Raises
    ------
    Unreadable
        If the bytes are not UTF-8.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(f"is not text in UTF-8 (byte {error.start}).", "Save it as plain text in UTF-8.") from error


def to_document(text: str) -> dict[str, Any]:
    """Parse TOML.

    Raises
    ------
    Unreadable
        If the text is not TOML, holds a whole number of thousands of digits, or is nested too deeply.
    """
    if len(text) > MOST_BYTES:
        raise _too_large()
    if _LONG_KEY.search(text):
        raise too_deep()
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Unreadable(f"is not TOML: {error}.", "Correct that line; text stands in quotes, tables in [brackets].") from error
    except RecursionError:
        raise too_deep() from None
    except ValueError as error:
        raise Unreadable("holds a whole number of more digits than can be read.", "Write a smaller number.") from error


def too_deep() -> Unreadable:
    """Make the error for a document of too many levels."""
    return Unreadable(f"has tables or lists nested more than {MOST_LEVELS} deep.", "Write it with fewer levels.")


def _too_large(most_bytes: int = MOST_BYTES) -> Unreadable:
    return Unreadable(f"is larger than {most_bytes} bytes.", "Name a file of settings, which is smaller.")


MOST_REPORTED = 50
"""Return the problems of a file that are reported one by one."""
Values = TypeVar("Values")
Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SettingsFile(Generic[Values]):
    """A kind of settings file.

    Parameters
    ----------
    form
        The type of the complete file.
    error
        Class of the error, which is raised by its ``of``.
    reference
        The page that describes the file.
    across
        Checks of the raw document, so that other problems do not hide what they find. Other problems at a place that they report,
        or below it, are not reported.
    """

    form: TypeAdapter[Values]
    error: type[InputError]
    reference: str
    across: Sequence[Callable[[Document], Iterator[Finding]]] = ()

    def load(self, file: Path, name: str) -> Values:
        """Read and check a file.

        Parameters
        ----------
        file
            The file's absolute path; paths in the file are relative to its folder.
        name
            Name of the file in messages.

        Raises
        ------
        InputError
            The error of this kind, with every problem found, in the order of the file.
        """
        return self.check(self.read(file, name), file, name)

    def read(self, file: Path, name: str) -> dict[str, Any]:
        """Read a file without checking its content.

        Raises
        ------
        InputError
            If the file cannot be read, is too large or nested too deeply, or is not TOML.
        """
        try:
            return self.parse(read_bytes(file), name)
        except Unreadable as problem:
            raise self.error.of([Problem(name, problem.what, problem.remedy)]) from problem

    def parse(self, content: bytes, name: str) -> dict[str, Any]:
        """Parse a file's content without checking it.

        Raises
        ------
        InputError
            As for `read`.
        """
        try:
            document = to_document(to_text(content))
            _check_size(document)
        except Unreadable as problem:
            raise self.error.of([Problem(name, problem.what, problem.remedy)]) from problem
        return document

    def check(self, document: Document, file: Path, name: str, known: Sequence[Finding] = ()) -> Values:
        """Turn a document into values.

        Parameters
        ----------
        document
            The document, as `read` returns it.
        file, name
            As for `load`.
        known
            Problems that were found earlier.

        Raises
        ------
        InputError
            As for `load`.
        """
        found = [*known, *(finding for check in self.across for finding in islice(check(document), MOST_REPORTED))]
        odd = list(islice(_places_of_no_setting(document), MOST_REPORTED))
        errors: list[ErrorDetails] = []
        try:
            values = self.form.validate_json(json.dumps(_plain(document)), context=FileContext(file))
        except ValidationError as error:
            errors = error.errors(include_url=False, include_input=False)
        if found or odd or errors:
            schema = Schema(self.form.json_schema(), document, self.reference)
            found += [schema.unfit(location) for location in odd if schema.knows(location)]
            found += _findings(errors, schema, document, found)
            if found:
                raise self.error.of(_problems(found, schema, document, name))
        return values


def _findings(errors: list[ErrorDetails], schema: Schema, document: Document, told: Sequence[Finding]) -> list[Finding]:
    """Describe the first of pydantic's errors, except at places that are reported already; the others are only counted."""
    places = {finding.location for finding in told}
    errors = [error for error in errors if not _is_below(schema.location(error), places)]
    errors.sort(key=_Order(document).by(schema.location))
    later = [Finding(schema.location(error), "", "") for error in errors[MOST_REPORTED:]]
    return [*map(schema.finding, errors[:MOST_REPORTED]), *later]


def _is_below(location: Location, places: set[Location]) -> bool:
    return bool(places) and any(location[:depth] in places for depth in range(1, len(location) + 1))


def _problems(found: Iterable[Finding], schema: Schema, document: Document, name: str) -> list[Problem]:
    in_order = sorted(found, key=_Order(document).by(lambda finding: finding.location))
    places = [f"{name}: {schema.heading(each.location)}".removesuffix(": ") for each in in_order[:MOST_REPORTED]]
    problems = [Problem(place, each.what, each.remedy) for place, each in zip(places, in_order, strict=False)]
    n_more = len(in_order) - len(problems)
    more = f"has {n_more} more {'problem' if n_more == 1 else 'problems'}."
    return [*problems, Problem(name, more, "Correct these first.")] if n_more else problems


_NOTHING: Document = {}


class _Order:
    """Return a sort key that follows the order of the file; a missing key comes at the end of its table."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._numbers: dict[int, dict[str, int]] = {}

    def by(self, location_of: Callable[[Any], Location]) -> Callable[[Any], list[int]]:
        """Make a sort key for things that are each at a location."""
        return lambda thing: self._place(location_of(thing))

    def _place(self, location: Location) -> list[int]:
        place: list[int] = []
        table: Document = self._document
        for part in location:
            if id(table) not in self._numbers:
                self._numbers[id(table)] = {key: n for n, key in enumerate(table)}
            numbers = self._numbers[id(table)]
            place.append(part if isinstance(part, int) else numbers.get(part, len(numbers)))
            value = table.get(part) if isinstance(part, str) else None
            table = value if isinstance(value, dict) else _NOTHING
        return place


def _check_size(document: Document) -> None:
    """Check the depth and the number of entries, level by level."""
    values: list[Any] = [document]
    n_entries = 0
    for _ in range(MOST_LEVELS):
        inner = [value for value in values if isinstance(value, (dict, list))]
        values = [item for value in inner for item in (value.values() if isinstance(value, dict) else value)]
        n_entries += len(values)
        if n_entries > MOST_ENTRIES:
            raise Unreadable(f"has more than {MOST_ENTRIES} keys and values.", "Name a file of settings, which has fewer.")
        if not values:
            return
    raise too_deep()


def _places_of_no_setting(value: Any, location: Location = ()) -> Iterator[Location]:
    """Places of dates, times and numbers that no setting can be."""
    if isinstance(value, (dict, list)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _places_of_no_setting(item, (*location, key))
    elif _is_no_setting(value):
        yield location


def _is_no_setting(value: Any) -> bool:
    return isinstance(value, (date, time)) or (isinstance(value, int) and value.bit_length() > 64)


def _plain(value: Any) -> Any:
    """Turn a value into one that JSON may hold."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if _is_no_setting(value) else value
