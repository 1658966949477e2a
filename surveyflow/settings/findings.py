"""The messages on a file of settings: the place, what was found and expected, and what to do.

What is valid in a file is read from the JSON schema that pydantic makes of its type, so that it is stated once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from difflib import get_close_matches
from typing import Any, NamedTuple

import tomlkit
from pydantic_core import ErrorDetails

from surveyflow.files.addresses import redacted

Location = tuple[str | int, ...]

_LONGEST_SHOWN = 60
_MOST_NAMES = 100
_KINDS = ((str, "the text "), (list, "the list "), (datetime | date | time, "the date "))
_TYPES = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "string": "text in quotes",
    "array": "a list",
    "object": "a table",
}
_LIMITS = {
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number of {ge} or more",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number of {le} or less",
    "finite_number": "a finite number",
    "too_short": "{min_length} or more entries",
    "too_long": "{max_length} or fewer entries",
    "string_too_short": "text of {min_length} or more characters",
    "string_pattern_mismatch": "text that matches {pattern}",
    "byte_size": "an amount of memory such as '4 GiB'",
    "byte_size_unit": "an amount of memory such as '4 GiB'",
}


class Refused(ValueError):
    """A value that cannot be used.

    Parameters
    ----------
    what
        What was found and what was expected.
    remedy
        What to do about it.
    """

    def __init__(self, what: str, remedy: str) -> None:
        self.what, self.remedy = what, remedy
        super().__init__(what, remedy)

    def __str__(self) -> str:
        return f"{self.what} {self.remedy}"


class Finding(NamedTuple):
    """A problem, at its place in the document: ``("fields", "EGS", "sources", "path")``.

    Parameters
    ----------
    location
        Keys from the document's top to the value.
    what
        What was found and what was expected.
    remedy
        What to do about it.
    """

    location: Location
    what: str
    remedy: str


def shown(value: Any) -> str:
    """A value as a message shows it: its kind and its beginning. The content of a table is not shown: it may be secret."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value.bit_length() > 64:
        return "a whole number of more than 64 bits"
    text = value.isoformat() if isinstance(value, date | time) else redacted(repr(value))
    kind = next((words for kind, words in _KINDS if isinstance(value, kind)), "")
    return f"{kind}{_clipped(text)}"


def _clipped(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."


def listed(names: Iterable[str]) -> str:
    """Names, separated by commas."""
    names = list(names)
    return ", ".join(map(_clipped, names[:_MOST_NAMES])) + (", ..." if len(names) > _MOST_NAMES else "")


def did_you_mean(word: str, known: Iterable[str], otherwise: str) -> str:
    """The known name that is nearest to a word, as a question; ``otherwise`` if none is near."""
    near = get_close_matches(word[:_MOST_NAMES], list(known)[:_MOST_NAMES], n=1)
    near = near or get_close_matches(word[:_MOST_NAMES].lower(), list(known)[:_MOST_NAMES], n=1)
    return f"Did you mean `{near[0]}`?" if near else otherwise


def unknown(location: Location, value: Any, known: Iterable[str]) -> Finding:
    """Describe a key or table that is not among the known ones of its table."""
    known = list(known)
    remedy = did_you_mean(str(location[-1]), known, f"Remove it; known here: {listed(known)}.")
    return Finding(location, f"is not a {'table' if isinstance(value, Mapping) else 'key'} that surveyflow knows.", remedy)


def line(key: str, value: Any) -> str:
    """A line of a file, as a message recommends it."""
    return f"`{tomlkit.dumps({key: value}).strip()}`"


def value_at(document: Any, location: Location) -> Any:
    """The value at a place of the document; None if there is none."""
    for part in location:
        try:
            document = document[part]
        except (KeyError, IndexError, TypeError):
            return None
    return document


class Schema:
    """What is valid at each place of a document.

    Parameters
    ----------
    schema
        JSON schema of the complete file, as pydantic makes it.
    document
        The document that was read.
    reference
        The page that describes the file.
    """

    def __init__(self, schema: Mapping[str, Any], document: Mapping[str, Any], reference: str) -> None:
        self._top, self._definitions = dict(schema), schema.get("$defs", {})
        self._document = document
        self._reference = reference
        self._correct_it = f"Correct it; {reference} describes every key."

    def location(self, error: ErrorDetails) -> Location:
        """The place in the document that one of pydantic's errors is about."""
        location = tuple(part for part in error["loc"] if part != "[key]")
        is_entry = error["type"] == "missing" and isinstance(location[-1], int)
        return location[:-1] if is_entry else location

    def heading(self, location: Location) -> str:
        """``[fields.EGS.sources] path``: a place in the form in which it is found in the file."""
        names = [part for part in location if isinstance(part, str)]
        n_tables = sum(self._is_table(tuple(names[: depth + 1])) for depth in range(len(names)))
        tables, keys = (".".join(map(_name, part)) for part in (names[:n_tables], names[n_tables:]))
        return f"{f'[{tables}]' if tables else ''} {keys}".strip()

    def knows(self, location: Location) -> bool:
        """Whether the file's type knows this place."""
        return bool(self._at(location))

    def finding(self, error: ErrorDetails) -> Finding:
        """Describe one of pydantic's errors in our words."""
        location = self.location(error)
        match error["type"]:
            case "surveyflow":
                return Finding(location, error["ctx"]["what"], error["ctx"]["remedy"])
            case "value_error":
                return Finding(location, f"{error['ctx']['error']}.", self._correct_it)
            case "extra_forbidden" | "unexpected_keyword_argument":
                return self.unknown(location)
            case "missing" if self._lacks(location):
                return self.missing(location)
        limit = _LIMITS.get(error["type"])
        if error["type"] == "string_pattern_mismatch":
            limit = self._at(location).get("description", limit)
        return self.unfit(location, limit.format(**error.get("ctx", {})) if limit else None)

    def _lacks(self, location: Location) -> bool:
        table = value_at(self._document, location[:-1])
        return isinstance(table, Mapping) and location[-1] not in table

    def missing(self, location: Location) -> Finding:
        """Describe a missing key."""
        if self._is_table(location):
            keys = [f"`{key}`" for key in self._at(location).get("required", ())]
            remedy = f"Add the table `{self.heading(location)}`{' with ' if keys else ''}{listed(keys)}."
        else:
            remedy = (
                f"Add {example}." if (example := self._example(location)) else f"Add it; {self._reference} describes every key."
            )
        return Finding(location, "is missing.", remedy)

    def unknown(self, location: Location) -> Finding:
        """Describe a key or table that this kind of file does not have."""
        return unknown(location, value_at(self._document, location), self._at(location[:-1]).get("properties", {}))

    def unfit(self, location: Location, expected: str | None = None) -> Finding:
        """Describe a value that has another type than expected, or lies outside its limits."""
        found, choices = value_at(self._document, location), self._choices(location)
        example = self._example(location)
        remedy = f"Write such as {example}." if example else self._correct_it
        if isinstance(found, str):
            remedy = did_you_mean(found, choices, remedy)
        return Finding(location, f"found {shown(found)}, expected {expected or self._expected(location)}.", remedy)

    def _expected(self, location: Location) -> str:
        choices, node = self._choices(location), self._at(location)
        if choices:
            return f"one of {listed(choices)}" if len(choices) > 1 else choices[0]
        if "prefixItems" in node:
            return f"a list of {len(node['prefixItems'])}"
        if node.get("format") == "path":
            return "a path"
        return _TYPES.get(node.get("type", ""), "another value")

    def _choices(self, location: Location) -> list[str]:
        node = self._at(location)
        return [str(choice) for choice in node.get("enum", [node["const"]] if "const" in node else [])]

    def _example(self, location: Location) -> str | None:
        """A line that may be written; None for tables, and if the file's type states no example."""
        keys = tuple(part for part in location if isinstance(part, str))
        node = self._at(keys)
        examples = [*node.get("examples", ()), *self._choices(keys), node.get("default")]
        if self._is_table(keys) or not keys or examples[0] is None:
            return None
        return line(keys[-1], examples[0])

    def _is_table(self, location: Location) -> bool:
        node = self._at(location)
        return (
            node["type"] == "object" if "type" in node else not node and isinstance(value_at(self._document, location), Mapping)
        )

    def _at(self, location: Location) -> dict[str, Any]:
        """The schema of a place; empty if the file's type does not know the place."""
        node = self._top
        for part in location:
            node = self._resolved(_child(node, part))
        return node

    def _resolved(self, node: dict[str, Any]) -> dict[str, Any]:
        """A schema without references, and without the null of a key that was left out."""
        while "$ref" in node or "anyOf" in node:
            own = {key: value for key, value in node.items() if key not in ("$ref", "anyOf")}
            behind = self._definitions[node["$ref"].rpartition("/")[2]] if "$ref" in node else node["anyOf"][0]
            node = behind | own
        return node


def _child(node: Mapping[str, Any], part: str | int) -> dict[str, Any]:
    if isinstance(part, int):
        entries = node.get("prefixItems", ())
        return dict(entries[part] if part < len(entries) else node.get("items", {}))
    if part in node.get("properties", {}):
        return dict(node["properties"][part])
    others = [node.get("additionalProperties"), *node.get("patternProperties", {}).values()]
    return next((dict(other) for other in others if isinstance(other, dict)), {})


def _name(key: str) -> str:
    return _clipped(key if key.isprintable() else repr(key))
