"""How is a file of settings read, and all that is wrong with it told at once? For simulation and training files.

A file is a tree of tables, each a frozen pydantic model whose fields carry ``examples``; the messages are made from these.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError, ValidationInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from surveyflow.errors import Problem, WorkflowError
from surveyflow.files.paths import absent, problem_of_file, split_extension
from surveyflow.settings.toml_text import shown, toml_value

_EXPECTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text in quotes",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "dict_type": "a table",
}
_FOLDER = "folder"


class SettingsTable(BaseModel):
    """A table of a file of settings: frozen, with no keys but its own, and no value of another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


_Table = TypeVar("_Table", bound=SettingsTable)


def load_settings(path: str | Path, kind: type[_Table]) -> _Table:
    """Read a file of settings.

    Parameters
    ----------
    path
        A TOML file; paths in it are relative to the folder that it lies in.
    kind
        What the whole file is.

    Returns
    -------
    Frozen, with absolute paths.

    Raises
    ------
    WorkflowError
        With every problem found.
    """
    file = Path(path).absolute()
    document = _read_document(file)
    try:
        return kind.model_validate(document, context={_FOLDER: file.parent})
    except ValidationError as error:
        problems = [_problem(each, kind, file) for each in error.errors(include_url=False)]
    raise WorkflowError(problems)


def refuse(what: str, remedy: str) -> PydanticCustomError:
    """What a check raises: what was found and expected, and what to do."""
    return PydanticCustomError("surveyflow", "{what} {remedy}", {"what": what, "remedy": remedy})


def _to_path(value: Any, info: ValidationInfo) -> Path:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise refuse(f"found {shown(value)}, expected a path.", "Write it as text in quotes.")
    return Path(info.context[_FOLDER] / value) if info.context else Path(value)


def _check_file(path: Path, info: ValidationInfo) -> Path:
    if info.context and (problem := problem_of_file(split_extension(path)[0])):
        raise refuse(*problem)
    return path


def _check_present(path: Path, info: ValidationInfo) -> Path:
    if info.context and not path.exists():
        raise refuse(*absent(path))
    return path


def _to_pair(value: Any) -> Any:
    if isinstance(value, (list, tuple)) and len(value) == 2:
        return tuple(value)
    raise refuse(f"found {shown(value)}, expected two numbers, [low, high].", "Write such as [0.5, 1.5].")


def _check_ordered(value: tuple[float, float]) -> tuple[float, float]:
    low, high = value
    if not -float("inf") < low <= high < float("inf"):
        raise refuse(f"found [{low}, {high}], expected finite low <= high.", "Write the lower number first.")
    return value


def within(low: float, high: float) -> AfterValidator:
    """A check that a number, or both of a range, lie between two, ends included."""

    def check(value: Any) -> Any:
        numbers = value if isinstance(value, tuple) else (value,)
        if not all(low <= number <= high for number in numbers):
            raise refuse(f"found {toml_value(value)}, expected no number outside {low:g} to {high:g}.", "Correct the value.")
        return value

    return AfterValidator(check)


AnyPath = Annotated[Path, BeforeValidator(_to_path)]
"""A path, of something that need not exist."""
FilePath = Annotated[Path, BeforeValidator(_to_path), AfterValidator(_check_file)]
"""A file that can be read; ``image.fits[SCI]`` names an extension."""
PresentPath = Annotated[Path, BeforeValidator(_to_path), AfterValidator(_check_present)]
"""A file or folder that exists."""
Range = Annotated[tuple[float, float], BeforeValidator(_to_pair), AfterValidator(_check_ordered)]
"""Two finite numbers, the lower first."""


def _read_document(file: Path) -> dict[str, Any]:
    if problem := problem_of_file(file):
        raise WorkflowError([Problem(file.name, *problem)])
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        problem = f"is not a text in UTF-8 (byte {error.start}).", "Save it as plain text in UTF-8."
    except tomllib.TOMLDecodeError as error:
        problem = f"is not TOML: {error}.", "Correct that line; text stands in quotes, tables in [brackets]."
    raise WorkflowError([Problem(file.name, *problem)])


def _problem(error: ErrorDetails, kind: type[BaseModel], file: Path) -> Problem:
    location = tuple(str(part) for part in error["loc"] if isinstance(part, str))
    where = f"{file.name}: {_heading(location, kind)}".rstrip(": ")
    match error["type"]:
        case "surveyflow":
            return Problem(where, error["ctx"]["what"], error["ctx"]["remedy"])
        case "missing":
            return Problem(where, "is missing.", f"Add {_example(location, kind)}.")
        case "extra_forbidden":
            return Problem(where, "is not a key that surveyflow knows.", _did_you_mean(location, kind))
    expected = _EXPECTED.get(error["type"], error["msg"])
    return Problem(where, f"found {shown(error['input'])}, expected {expected}.", f"Write such as {_example(location, kind)}.")


def _heading(location: tuple[str, ...], kind: type[BaseModel]) -> str:
    """``[simulation.recipe] merger_strength``: a place as it is looked for in the file."""
    n_tables = sum(_table_at(location[: depth + 1], kind) is not None for depth in range(len(location)))
    table = f"[{'.'.join(location[:n_tables])}]" if n_tables else ""
    return f"{table} {'.'.join(location[n_tables:])}".strip()


def _example(location: tuple[str, ...], kind: type[BaseModel]) -> str:
    table = _table_at(location[:-1], kind)
    if table is None or _table_at(location, kind) is not None or location[-1] not in table.model_fields:
        return f"the table `[{'.'.join(location)}]`"
    example = (table.model_fields[location[-1]].examples or ["..."])[0]
    return f"`{location[-1]} = {toml_value(example)}`"


def _did_you_mean(location: tuple[str, ...], kind: type[BaseModel]) -> str:
    table = _table_at(location[:-1], kind)
    known = list(table.model_fields) if table else []
    close = get_close_matches(location[-1].lower(), known, n=1)
    return f"Did you mean `{close[0]}`?" if close else f"Remove it; known here: {', '.join(known)}."


def _table_at(location: tuple[str, ...], kind: type[BaseModel]) -> type[BaseModel] | None:
    """The table at a place of the file; None where there is a value."""
    for key in location:
        field = kind.model_fields.get(key)
        tables = [each for each in _types_in(field.annotation) if issubclass(each, BaseModel)] if field else []
        if not tables:
            return None
        kind = tables[0]
    return kind


def _types_in(annotation: Any) -> list[type]:
    """The classes that an annotation is made of: ``Table`` of ``Table | None``; none of a mapping's or a list's."""
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return [annotation]
    if get_origin(annotation) in (dict, list, tuple, Mapping):
        return []
    return [found for part in get_args(annotation) for found in _types_in(part)]
