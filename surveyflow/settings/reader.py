"""The one reader of settings: it makes frozen values of every kind of TOML file, or one error with every problem found.

A kind of file is a `SettingsFile`: the type of its content, the class of its error, the page that describes it, and the checks
that compare several tables. Problems are described in the same sentences for every kind (`surveyflow.settings.findings`)::

    train.toml: [optimisation] epocs: is not a key that surveyflow knows. Did you mean `epochs`?

Any file is either read or refused within seconds.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from surveyflow.errors import InputError, Problem
from surveyflow.files.json_state import Damaged, TooLarge, read_ordinary_file
from surveyflow.files.paths import problem_of_file
from surveyflow.settings.checks import FileContext
from surveyflow.settings.findings import Finding, Location, Refused, Schema

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
