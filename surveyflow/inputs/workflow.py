"""What the user wants run: which fields, mosaics, source lists and models, sampled how, and written where.

``load_workflow`` reads a workflow file, checks all of it and every path in it, and either returns frozen values with
absolute paths or raises one ``WorkflowError`` that holds every problem found.
"""

from __future__ import annotations

import json
import math
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError, ValidationInfo
from pydantic import model_validator as check_model
from pydantic_core import ErrorDetails, PydanticCustomError

from surveyflow.errors import Problem, WorkflowError
from surveyflow.inputs.paths import absent, nearest_folder, problem_of_file, split_extension
from surveyflow.types import SamplingSettings

WORKFLOW_VERSION = 1
DEFAULT_DRAWS = 1000
DEFAULT_CORE_SIZE = 4096
SMALLEST_CORE_SIZE = 256
DEFAULT_MIN_VALID_FRACTION = 0.5

_CORRECT_IT = "Correct the value."


@dataclass(frozen=True, slots=True)
class _FileContext:
    """Tells the validators that they read a file, so that paths are resolved and looked up."""

    workflow: Path

    def resolve(self, path: str) -> Path:
        return self.workflow.parent / path


def _refuse(what: str, remedy: str) -> PydanticCustomError:
    return PydanticCustomError("surveyflow", "{what} {remedy}", {"what": what, "remedy": remedy})


def _to_path(value: Any, info: ValidationInfo) -> Path:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise _refuse(f"found {_shown(value)}, expected a path.", "Write it as text in quotes.")
    return info.context.resolve(value) if info.context else Path(value)


def _check_file(path: Path, info: ValidationInfo) -> Path:
    if info.context and (problem := problem_of_file(split_extension(path)[0])):
        raise _refuse(*problem)
    return path


def _check_store(path: Path, info: ValidationInfo) -> Path:
    if info.context and not os.path.lexists(path):
        what, remedy = absent(path)
        raise _refuse(what, f"{remedy} `surveyflow models import` makes a store.")
    if info.context and not path.is_dir():
        raise _refuse(f"{path} is a file, expected the folder of a model store.", "Name the folder that holds the models.")
    return path


def _check_output(path: Path, info: ValidationInfo) -> Path:
    if not info.context:
        return path
    present = path if os.path.lexists(path) else nearest_folder(path)
    if not present.is_dir():
        raise _refuse(f"{present} is a file, so no folder can be made of {path}.", "Name another folder.")
    if not os.access(present, os.W_OK | os.X_OK):
        raise _refuse(f"{present} may not be written to.", "Name a folder of your own, or ask its owner for permission.")
    return path


def _to_range(value: Any) -> Any:
    if isinstance(value, (list, tuple)) and len(value) == 2:
        return tuple(value)
    raise _refuse(f"found {_shown(value)}, expected two redshifts, [low, high).", "Write such as [0.5, 1.5].")


def _check_range(value: tuple[float, float]) -> tuple[float, float]:
    low, high = value
    if not (math.isfinite(low) and math.isfinite(high) and 0 <= low < high):
        raise _refuse(f"found [{low}, {high}], expected finite 0 <= low < high.", "Write such as [0.5, 1.5].")
    return value


def _check_version(version: int) -> int:
    if version != WORKFLOW_VERSION:
        raise _refuse(f"found {version}, expected {WORKFLOW_VERSION}.", "Write `version = 1`, or use the surveyflow it is for.")
    return version


def _check_release(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}", name):
        raise _refuse(
            f"found {_shown(name)}, which cannot name a folder: expected up to 100 letters, digits, '.', '_', '+' and '-', "
            "beginning with a letter or digit.",
            "Name it such as v1.0.",
        )
    if name == "latest" or re.search(r"-r\d+$", name):
        raise _refuse(f"found {_shown(name)}, a name that surveyflow gives to revisions.", "Name it such as v1.0.")
    return name


def _check_part_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_+-]{0,63}", name) or name == "sources":
        raise _refuse(
            f"the name {_shown(name)} cannot be part of a path: expected up to 64 letters, digits, '_', '+' and '-', "
            "beginning with a letter or digit, and not 'sources'.",
            "Rename it, such as GOODS_S.",
        )
    return name


def _check_text(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise _refuse(f"found {_shown(text)}, expected a text of one line that is not blank.", _CORRECT_IT)
    return text


def _within(low: float, high: float) -> AfterValidator:
    def check(value: float) -> float:
        if not low <= value <= high:
            raise _refuse(f"found {value}, expected a number from {low} to {high}.", _CORRECT_IT)
        return value

    return AfterValidator(check)


def _not_empty(table: dict[str, Any]) -> dict[str, Any]:
    if not table:
        raise _refuse("the table is empty.", "Add at least one entry.")
    return table


_Text = Annotated[str, AfterValidator(_check_text)]
_FilePath = Annotated[Path, BeforeValidator(_to_path), AfterValidator(_check_file)]
_PartName = Annotated[str, AfterValidator(_check_part_name)]
_Range = Annotated[tuple[float, float], BeforeValidator(_to_range), AfterValidator(_check_range)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Survey(_Table):
    """``[survey]``: what the catalog is called.

    Parameters
    ----------
    name
        Name of the survey, shown in the catalog and the report.
    release
        Name of the release; its revisions are published as ``<release>-r1``, ``<release>-r2``, ... A folder's name.
    """

    name: _Text = Field(examples=["candels"])
    release: Annotated[str, AfterValidator(_check_release)] = Field(examples=["v1.0"])


class Output(_Table):
    """``[output]``: where results are kept.

    Parameters
    ----------
    root
        Folder, made by the run where it does not exist.
    """

    root: Annotated[Path, BeforeValidator(_to_path), AfterValidator(_check_output)] = Field(examples=["catalog"])


class Models(_Table):
    """``[models]``: which networks.

    Parameters
    ----------
    store
        Folder of models, ``STORE/<task>/<instrument>/<FIELD>/``.
    """

    store: Annotated[Path, BeforeValidator(_to_path), AfterValidator(_check_store)] = Field(examples=["models"])


class Sampling(_Table):
    """``[sampling]``: how each galaxy's distribution is drawn.

    Parameters
    ----------
    draws
        Monte Carlo dropout draws a source, 1 to 65535. 1000, unless given.
    seed
        0 to 2**32 - 1. It has no default: the seed decides every number of the catalog, so it is the user's own choice and
        stands in the file that others repeat the run from.
    keep_draws
        Whether every draw of p_pm is written, too. False, unless given.
    """

    draws: Annotated[int, _within(1, 65_535)] = Field(default=DEFAULT_DRAWS, examples=[1000])
    seed: Annotated[int, _within(0, 2**32 - 1)] = Field(examples=[20220523])
    keep_draws: bool = Field(default=False, examples=[False])

    def settings(self) -> SamplingSettings:
        """The value that workers sample with."""
        return SamplingSettings(n_draws=self.draws, seed=self.seed, keep_draws=self.keep_draws)


class Quality(_Table):
    """``[quality]``: what is good enough to be measured.

    Parameters
    ----------
    min_valid_fraction
        Fraction of a cutout's pixels that must hold data, 0 to 1; a source below it is ``bad_pixels``. 0.5, unless given.
    """

    min_valid_fraction: Annotated[float, _within(0.0, 1.0)] = Field(default=DEFAULT_MIN_VALID_FRACTION, examples=[0.5])


class Tiling(_Table):
    """``[tiling]``: how mosaics are parted into work units.

    Parameters
    ----------
    core_size
        Side of a tile's core, pixels, at least 256. 4096, unless given: a window of 71 MB with as much again for its weights.
    """

    core_size: Annotated[int, _within(SMALLEST_CORE_SIZE, 2**31 - 1)] = Field(default=DEFAULT_CORE_SIZE, examples=[4096])


class ColumnMap(_Table):
    """``columns``: what the source list calls the columns that are needed; names are case-sensitive.

    Parameters
    ----------
    id
        Whole numbers, unique within the field.
    ra, dec
        ICRS degrees.
    redshift
        Redshift, or None where the list has none: every source is then ``no_redshift``.
    """

    id: _Text = Field(examples=["ID"])
    ra: _Text = Field(examples=["RA"])
    dec: _Text = Field(examples=["DEC"])
    redshift: _Text | None = Field(default=None, examples=["zbest"])

    @check_model(mode="after")
    def _check_each_column_is_used_once(self) -> Self:
        names = [self.id, self.ra, self.dec, self.redshift]
        if repeated := sorted({name for name in names if name is not None and names.count(name) > 1}):
            raise _refuse(f"the column {', '.join(repeated)} is named more than once.", "Name a column of its own for each.")
        return self


class SourceListSpec(_Table):
    """``[fields.<FIELD>.sources]``: the list of a field's sources.

    Parameters
    ----------
    path
        FITS, Parquet, CSV, ECSV, VOTable or ASCII table; ``list.fits[CAT]`` names an extension.
    columns
        Which of its columns are needed.
    """

    path: _FilePath = Field(examples=["cosmos_sources.fits"])
    columns: ColumnMap = Field(examples=[{"id": "ID", "ra": "RA", "dec": "DEC", "redshift": "zbest"}])


class MosaicSpec(_Table):
    """``[fields.<FIELD>.<INSTRUMENT>]``: the mosaic of a field in one instrument.

    Parameters
    ----------
    science
        FITS image; ``mosaic.fits[SCI]`` names an extension.
    weight
        Its weight map, 0 where there is no data; None where there is none.
    """

    science: _FilePath = Field(examples=["cosmos_f814w_sci.fits"])
    weight: _FilePath | None = Field(default=None, examples=["cosmos_f814w_wht.fits"])


class FieldInputs(_Table):
    """``[fields.<FIELD>]``: a source list, and a mosaic for each instrument that saw the field.

    Parameters
    ----------
    sources
        The source list.
    **mosaics
        The mosaics, by instrument.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, MosaicSpec]

    sources: SourceListSpec = Field(examples=[{"path": "cosmos_sources.fits", "columns": {"id": "ID", "ra": "RA", "dec": "DEC"}}])

    @property
    def mosaics(self) -> dict[str, MosaicSpec]:
        """The mosaics, by instrument."""
        return dict(self.__pydantic_extra__)

    @check_model(mode="after")
    def _check_there_is_a_mosaic(self) -> Self:
        if not self.__pydantic_extra__:
            raise _refuse("the field has no mosaic.", "Add a table for an instrument, with `science = ...`.")
        return self


class Workflow(_Table):
    """A whole workflow; ``docs/reference/workflow.md`` describes the file.

    Parameters
    ----------
    version
        Version of the file's form: 1.
    survey, output, models, sampling, quality, tiling
        The tables of these names.
    routing
        Half-open redshift range [low, high) of each instrument; ranges do not overlap.
    fields
        The inputs of each field, by its name.
    """

    version: Annotated[int, AfterValidator(_check_version)] = Field(examples=[WORKFLOW_VERSION])
    survey: Survey = Field(examples=[{"name": "candels", "release": "v1.0"}])
    output: Output = Field(examples=[{"root": "catalog"}])
    models: Models = Field(examples=[{"store": "models"}])
    sampling: Sampling = Field(examples=[{"seed": 20220523}])
    routing: Annotated[dict[_PartName, _Range], AfterValidator(_not_empty)] = Field(examples=[{"F814W": [0.5, 1.5]}])
    quality: Quality = Field(default=Quality(), examples=[{"min_valid_fraction": DEFAULT_MIN_VALID_FRACTION}])
    tiling: Tiling = Field(default=Tiling(), examples=[{"core_size": DEFAULT_CORE_SIZE}])
    fields: Annotated[dict[_PartName, FieldInputs], AfterValidator(_not_empty)] = Field(examples=[{"COSMOS": "..."}])

    _path: Path = PrivateAttr(default=Path())

    def model_post_init(self, context: Any, /) -> None:
        if isinstance(context, _FileContext):
            self._path = context.workflow

    @property
    def path(self) -> Path:
        """The file that it was read from."""
        return self._path


def load_workflow(path: str | Path) -> Workflow:
    """Read and check a workflow file.

    Parameters
    ----------
    path
        A TOML file; every path in it is relative to the folder that it lies in.

    Returns
    -------
    Workflow
        Frozen, with absolute paths.

    Raises
    ------
    WorkflowError
        With every problem found, in the order of the file: text that is not TOML, unknown and missing keys, values of the
        wrong type or range, paths that do not exist, an output folder that cannot be written.
    """
    file = Path(path).absolute()
    document = _read_document(file)
    findings = _findings_across_tables(document)
    try:
        workflow = Workflow.model_validate(document, context=_FileContext(file))
    except ValidationError as error:
        findings += _findings_of_tables(error.errors(include_url=False), document)
    if findings:
        in_order = sorted(findings, key=lambda finding: _place(document, finding.location))
        raise WorkflowError([finding.problem(file) for finding in in_order])
    return workflow


def to_toml(workflow: Workflow) -> str:
    """The workflow as a TOML file with every default written out; its paths are absolute where the workflow was loaded."""
    return "\n".join(_toml_lines(workflow.model_dump(mode="json", exclude_none=True), ()))


Location = tuple[str | int, ...]


class _Finding(NamedTuple):
    """A problem, at its place in the document: ``("fields", "EGS", "sources", "path")``."""

    location: Location
    what: str
    remedy: str

    def problem(self, file: Path) -> Problem:
        return Problem(f"{file.name}: {_heading(self.location)}".rstrip(": "), self.what, self.remedy)


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


def _heading(location: Location) -> str:
    """``[fields.EGS.sources] path``: a place as it is looked for in the file."""
    keys = [str(part) for part in location if isinstance(part, str)]
    if keys == ["version"]:
        return "version"
    depth = 3 if keys[:1] == ["fields"] else 1
    table = f"[{'.'.join(keys[:depth])}]" if keys else ""
    return f"{table} {'.'.join(keys[depth:])}".strip()


def _place(document: Any, location: Location) -> list[int]:
    """Sorts as the file is ordered; a key that is missing comes at its table's end."""
    place = []
    for part in location:
        keys = list(document) if isinstance(document, dict) else []
        place.append(keys.index(part) if part in keys else len(keys))
        document = document[part] if part in keys else None
    return place


def _findings_of_tables(errors: Sequence[ErrorDetails], document: Mapping[str, Any]) -> list[_Finding]:
    """What each table of its own has wrong; an unknown instrument's table is one problem, and told elsewhere."""
    unknown = {finding.location for finding in _unknown_instruments(document)}
    return [_finding(error) for error in errors if error["loc"][:3] not in unknown]


def _finding(error: ErrorDetails) -> _Finding:
    location = tuple(part for part in error["loc"] if part != "[key]")
    found = _shown(error["input"])
    match error["type"]:
        case "surveyflow":
            return _Finding(location, error["ctx"]["what"], error["ctx"]["remedy"])
        case "missing":
            return _Finding(location, "is missing.", f"Add {_example(location)}.")
        case "extra_forbidden":
            return _Finding(location, "is not a key that surveyflow knows.", _did_you_mean(location))
        case "literal_error":
            return _Finding(
                location, f"found {found}, expected 1.", "Write `version = 1`, or use the surveyflow of that version."
            )
    expected = _EXPECTED.get(error["type"], error["msg"])
    return _Finding(location, f"found {found}, expected {expected}.", f"Write such as {_example(location)}.")


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
        return f"`[{'.'.join(map(str, location))}]`, a table" if len(location) > 1 else f"`{key}`"
    example = (model.model_fields[key].examples or ["..."])[0]
    if isinstance(example, dict) and key != "columns":
        return f"a table `{_heading(location)}` with {', '.join(f'`{name}`' for name in example)}"
    return f"`{key} = {_toml_value(example)}`"


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


_KINDS = ((str, "the text "), (dict, "the table "), (list, "the list "))


def _shown(value: Any) -> str:
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    kind = next((name for kind, name in _KINDS if isinstance(value, kind)), "")
    return f"{kind}{text if len(text) <= 60 else text[:57] + '...'}"


def _findings_across_tables(document: Mapping[str, Any]) -> list[_Finding]:
    """What no table has wrong by itself. Works on the raw document, so that other problems do not hide these."""
    return [*_overlapping_ranges(document), *_unknown_instruments(document), *_images_named_twice(document)]


def _overlapping_ranges(document: Mapping[str, Any]) -> Iterator[_Finding]:
    ranges = [(name, pair) for name, pair in _table(document, "routing").items() if _is_range(pair)]
    for (first, a), (second, b) in combinations(ranges, 2):
        if max(a[0], b[0]) < min(a[1], b[1]):
            what = f"{second} {b} overlaps {first} {a}; a redshift must belong to one instrument."
            yield _Finding(("routing", second), what, "Part them: a range holds its low end and not its high end.")


def _is_range(value: Any) -> bool:
    numbers = isinstance(value, list) and len(value) == 2 and all(type(end) in (int, float) for end in value)
    return numbers and value[0] < value[1]


def _unknown_instruments(document: Mapping[str, Any]) -> Iterator[_Finding]:
    routing = _table(document, "routing")
    for field in _table(document, "fields") if routing else ():
        for instrument in _table(document, "fields", field):
            if instrument not in routing and instrument != "sources":
                close = get_close_matches(instrument, [*routing, "sources"], n=1)
                remedy = f"Did you mean {close[0]}?" if close else "Give it a redshift range in [routing], or remove the table."
                what = f"{instrument} is not an instrument of [routing], which has {', '.join(routing)}."
                yield _Finding(("fields", field, instrument), what, remedy)


def _images_named_twice(document: Mapping[str, Any]) -> Iterator[_Finding]:
    for (place_a, image_a), (place_b, image_b) in combinations(_images(document), 2):
        if image_a == image_b and (place_a[1] != place_b[1] or place_a[:3] == place_b[:3]):
            what = f"{image_b} is named by {_heading(place_a)}, too."
            yield _Finding(place_b, what, "Name the image that belongs here.")


def _images(document: Mapping[str, Any]) -> Iterator[tuple[Location, str]]:
    for field in _table(document, "fields"):
        for instrument in _table(document, "fields", field):
            for role, path in _table(document, "fields", field, instrument).items():
                if role in MosaicSpec.model_fields and isinstance(path, str):
                    yield ("fields", field, instrument, role), os.path.normpath(path)


def _table(document: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """The table at a place; empty where there is something else, which its own check tells."""
    value: Any = document
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _toml_lines(table: Mapping[str, Any], name: tuple[str, ...]) -> Iterator[str]:
    """A table's lines: its own values first, as TOML wants, then the tables in it."""
    values = {key: value for key, value in table.items() if not isinstance(value, dict)}
    if name and values:
        yield f"\n[{'.'.join(map(_toml_key, name))}]"
    for key, value in values.items():
        yield f"{_toml_key(key)} = {_toml_value(value)}"
    for key, value in table.items():
        if key not in values:
            yield from _toml_lines(value, (*name, key))


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _toml_value(key)


def _toml_value(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
        case dict():
            return f"{{ {', '.join(f'{_toml_key(key)} = {_toml_value(item)}' for key, item in value.items())} }}"
    return f"[{', '.join(map(_toml_value, value))}]"
