"""The types of values in files of settings, each with its check: paths, ranges, bounded numbers, lines of text."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    PlainValidator,
    Strict,
    ValidationInfo,
)
from pydantic_core import PydanticCustomError

from surveyflow.files.addresses import Address, is_address, problem_of_address
from surveyflow.files.paths import Place, absent, at_home, problem_of_file, split_extension
from surveyflow.settings.findings import shown


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
