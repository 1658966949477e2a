"""How a model's card is written in TOML, and read back.

::

    version = 1
    [model]           task, field, instrument, also_for, class_names, origin, citation, weights_digest, notes
    [images]          band, pixel_scale_arcsec, redshift_range, stretch, softening
    [domain]          unit, sky_rms: what the training images were like, as far as it is known
    [architecture]    the network's shape
    [contamination]   of contamination models: what their outputs stand for
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from difflib import get_close_matches
from enum import Enum
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError
from pydantic_core import ErrorDetails

from surveyflow.errors import ModelError, Problem
from surveyflow.sky.stretch import Stretch
from surveyflow.tasks.card import Architecture, Domain, ModelCard, ModelKey
from surveyflow.tasks.scale import ContaminationScale
from surveyflow.values.codes import WeightsOrigin

FolderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

_REMEDY = "Correct the card; docs/reference/models.md explains every key."


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _ModelTable(_Table):
    task: FolderName
    field: FolderName
    instrument: FolderName
    also_for: tuple[FolderName, ...] = ()
    class_names: tuple[str, ...]
    origin: WeightsOrigin
    citation: str
    weights_digest: Digest
    notes: str = ""


class _ImagesTable(_Table):
    band: str
    pixel_scale_arcsec: float
    redshift_range: tuple[float, float]
    stretch: Stretch
    softening: float


class _DomainTable(_Table):
    unit: str | None = None
    sky_rms: tuple[float, float] | None = None


class _ArchitectureTable(_Table):
    input_size: int
    filters: tuple[int, ...]
    kernel_sizes: tuple[int, ...]
    dense: tuple[int, ...]
    dropout: float
    n_outputs: int
    batch_norm_epsilon: float
    crop: int | None = None
    binning: int = 1
    asymmetry: bool = False


class _ContaminationTable(_Table):
    truth: str
    flux_range: float
    scatter_limit: float
    interval_scale_coverage: float
    interval_scale_flux_pp: float


class _CardFile(_Table):
    version: Literal[1]
    model: _ModelTable
    images: _ImagesTable
    domain: _DomainTable = _DomainTable()
    architecture: _ArchitectureTable
    contamination: _ContaminationTable | None = None


def card_from_toml(text: str, where: str) -> ModelCard:
    """Read a card.

    Parameters
    ----------
    text
        Content of a ``card.toml``.
    where
        The file's name, for messages.

    Raises
    ------
    ModelError
        If it is not TOML, or keys are missing, unknown, of the wrong type or impossible; all are reported at once.
    """
    try:
        tables = tomllib.loads(text)
        file = _CardFile.model_validate_json(json.dumps(tables, default=str), strict=True)
    except tomllib.TOMLDecodeError as error:
        raise ModelError(f"{where}: not valid TOML: {error}. {_REMEDY}") from error
    except ValidationError as error:
        raise ModelError("\n".join(str(_problem(details, where)) for details in error.errors())) from error
    try:
        return _card(file)
    except ValueError as error:
        raise ModelError(f"{where}: {error}. {_REMEDY}") from error


def card_to_toml(card: ModelCard) -> str:
    """The card as TOML, which `card_from_toml` reads back."""
    model = {
        **asdict(card.key),
        "also_for": card.also_for,
        "class_names": card.class_names,
        "origin": card.origin,
        "citation": card.citation,
        "weights_digest": card.weights_digest,
        "notes": card.notes,
    }
    images = {name: getattr(card, name) for name in _ImagesTable.model_fields}
    tables = {"model": model, "images": images, "domain": asdict(card.domain), "architecture": asdict(card.architecture)}
    if card.contamination is not None:
        tables["contamination"] = asdict(card.contamination)
    return "\n".join(["version = 1", *(_table(name, values) for name, values in tables.items())]) + "\n"


def _card(file: _CardFile) -> ModelCard:
    model = file.model
    return ModelCard(
        key=ModelKey(model.task, model.field, model.instrument),
        also_for=model.also_for,
        class_names=model.class_names,
        origin=model.origin,
        citation=model.citation,
        weights_digest=model.weights_digest,
        notes=model.notes,
        architecture=Architecture(**file.architecture.model_dump()),
        domain=Domain(**file.domain.model_dump()),
        contamination=ContaminationScale(**file.contamination.model_dump()) if file.contamination is not None else None,
        **file.images.model_dump(),
    )


def _problem(details: ErrorDetails, where: str) -> Problem:
    *tables, key = [str(part) for part in details["loc"]]
    place = f"{where}: {f'[{tables[0]}] ' if tables else ''}{' '.join([*tables[1:], key])}"
    if details["type"] == "missing":
        return Problem(place, "the key is missing.", _REMEDY)
    if details["type"] == "extra_forbidden":
        return Problem(place, f"unknown key.{_did_you_mean(key, tables)}", _REMEDY)
    return Problem(place, f"found {details['input']!r}: {details['msg']}.", _REMEDY)


def _did_you_mean(key: str, tables: list[str]) -> str:
    known = _CardFile.model_fields
    annotation = known[tables[0]].annotation if tables and tables[0] in known else _CardFile
    kinds = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type) and issubclass(kind, BaseModel)]
    names = kinds[0].model_fields if kinds else {}
    close = get_close_matches(key, names, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def _table(name: str, values: Mapping[str, Any]) -> str:
    return "\n".join([f"\n[{name}]", *_lines(values)])


def _lines(values: Mapping[str, Any]) -> Iterator[str]:
    return (f"{key} = {_value(value)}" for key, value in values.items() if value is not None)


def _value(value: object) -> str:
    if isinstance(value, Enum):
        return _value(value.value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for DEL, which JSON leaves as it is.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
