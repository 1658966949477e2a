"""What is wrong with a workflow file, in words: where, what was found and expected, and what to do."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from surveyflow.errors import Problem
from surveyflow.settings.toml_text import shown, toml_value
from surveyflow.settings.workflow_tables import (
    ColumnMap,
    Discovery,
    FieldInputs,
    Models,
    MosaicSpec,
    Output,
    Publish,
    Quality,
    Sampling,
    SourceListSpec,
    Survey,
    Tiling,
    Workflow,
)

Location = tuple[str | int, ...]

IMAGE_ROLES = ("science", "weight")
"""Keys of a mosaic's table whose values are paths of images."""


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

    def problem(self, file: Path) -> Problem:
        """The problem as it is reported."""
        return Problem(f"{file.name}: {_heading(self.location)}", self.what, self.remedy)


def _heading(location: Location) -> str:
    """``[fields.EGS.sources] path``: a place as it is looked for in the file."""
    keys = [str(part) for part in location if isinstance(part, str)]
    if keys == ["version"]:
        return "version"
    depth = 3 if keys[:1] == ["fields"] else 1
    table = f"[{'.'.join(keys[:depth])}]" if keys else ""
    return f"{table} {'.'.join(keys[depth:])}".strip()


def place_in(document: Any, location: Location) -> list[int]:
    """Sorts as the file is ordered; a key that is missing comes at its table's end."""
    place = []
    for part in location:
        keys = list(document) if isinstance(document, dict) else []
        place.append(keys.index(part) if part in keys else len(keys))
        document = document[part] if part in keys else None
    return place


def findings_of_tables(errors: Sequence[ErrorDetails], document: Mapping[str, Any]) -> list[Finding]:
    """What each table of its own has wrong; an unknown instrument's table is one problem, and told elsewhere."""
    unknown = {finding.location for finding in _unknown_instruments(document)}
    return [_finding(error) for error in errors if error["loc"][:3] not in unknown]


def _finding(error: ErrorDetails) -> Finding:
    location = tuple(part for part in error["loc"] if part != "[key]")
    found = shown(error["input"])
    match error["type"]:
        case "surveyflow":
            return Finding(location, error["ctx"]["what"], error["ctx"]["remedy"])
        case "missing":
            return Finding(location, "is missing.", f"Add {_example(location)}.")
        case "extra_forbidden":
            return Finding(location, "is not a key that surveyflow knows.", _did_you_mean(location))
    expected = _EXPECTED.get(error["type"], error["msg"])
    return Finding(location, f"found {found}, expected {expected}.", f"Write such as {_example(location)}.")


_EXPECTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text in quotes",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "dict_type": "a table",
}


def _example(location: Location) -> str:
    key = str(location[-1])
    model = _model_at(location[:-1])
    if model is None or key not in model.model_fields:
        return f"the table `[{'.'.join(map(str, location))}]`"
    example = (model.model_fields[key].examples or ["..."])[0]
    if isinstance(example, dict) and key != "columns":
        return f"a table `{_heading(location)}` with {', '.join(f'`{name}`' for name in example)}"
    return f"`{key} = {toml_value(example)}`"


def _did_you_mean(location: Location) -> str:
    model = _model_at(location[:-1])
    known = list(model.model_fields) if model else []
    close = get_close_matches(str(location[-1]).lower(), known, n=1)
    if close:
        return f"Did you mean `{close[0]}`?"
    return f"Remove it; known here: {', '.join(known)}."


_TABLES: dict[str, type[BaseModel]] = {
    "survey": Survey,
    "output": Output,
    "models": Models,
    "sampling": Sampling,
    "quality": Quality,
    "tiling": Tiling,
    "discovery": Discovery,
    "publish": Publish,
}


def _model_at(location: Location) -> type[BaseModel] | None:
    """The model of the table at a place of the document; None for one whose keys are names."""
    match location:
        case ("fields", _, "sources", *deeper):
            return ColumnMap if deeper else SourceListSpec
        case ("fields", _, *deeper):
            return MosaicSpec if deeper else FieldInputs
        case (str() as name,):
            return _TABLES.get(name)
    return None if location else Workflow


def findings_across_tables(document: Mapping[str, Any]) -> list[Finding]:
    """What no table has wrong by itself. Works on the raw document, so that other problems do not hide these."""
    return [*_overlapping_ranges(document), *_unknown_instruments(document), *_images_named_twice(document)]


def _overlapping_ranges(document: Mapping[str, Any]) -> Iterator[Finding]:
    ranges = [(name, pair) for name, pair in table_at(document, "routing").items() if _is_range(pair)]
    for (first, a), (second, b) in combinations(ranges, 2):
        if max(a[0], b[0]) < min(a[1], b[1]):
            what = f"{second} {b} overlaps {first} {a}; a redshift must belong to one instrument."
            yield Finding(("routing", second), what, "Part them: a range holds its low end and not its high end.")


def _is_range(value: Any) -> bool:
    numbers = isinstance(value, list) and len(value) == 2 and all(type(end) in (int, float) for end in value)
    return numbers and value[0] < value[1]


def _unknown_instruments(document: Mapping[str, Any]) -> Iterator[Finding]:
    routing = table_at(document, "routing")
    for field in table_at(document, "fields") if routing else ():
        for instrument in table_at(document, "fields", field):
            if instrument not in routing and instrument != "sources":
                close = get_close_matches(instrument, [*routing, "sources"], n=1)
                remedy = f"Did you mean {close[0]}?" if close else "Give it a redshift range in [routing], or remove the table."
                what = f"{instrument} is not an instrument of [routing], which has {', '.join(routing)}."
                yield Finding(("fields", field, instrument), what, remedy)


def _images_named_twice(document: Mapping[str, Any]) -> Iterator[Finding]:
    for (place_a, image_a), (place_b, image_b) in combinations(_images(document), 2):
        if image_a == image_b and (place_a[1] != place_b[1] or place_a[:3] == place_b[:3]):
            what = f"{image_b} is named by {_heading(place_a)}, too."
            yield Finding(place_b, what, "Name the image that belongs here.")


def _images(document: Mapping[str, Any]) -> Iterator[tuple[Location, str]]:
    for field in table_at(document, "fields"):
        for instrument in table_at(document, "fields", field):
            for role, path in table_at(document, "fields", field, instrument).items():
                if role in IMAGE_ROLES and isinstance(path, str):
                    yield ("fields", field, instrument, role), os.path.normpath(path)


def table_at(document: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """The table at a place; empty where there is something else, which its own check tells."""
    value: Any = document
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}
