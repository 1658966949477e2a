"""The card of a model as a TOML file: reading and writing.

::

    version = 1
    [model]           task, field, instrument, also_for, class_names, origin, citation, weights_digest, notes
    [images]          band, pixel_scale_arcsec, redshift_range, stretch, softening
    [domain]          unit, sky_rms, sky_sigma, offset_arcsec, feature_percentile, features_digest: properties of the training
                      images, as far as they are known
    [architecture]    the network's shape
    [contamination]   scales of the outputs; contamination models only
    [training]        records, number of images and score; models that surveyflow trained
    [[calibration]]   a map from the mean output to a probability, for each set of models that was calibrated together
    [evaluation]      the score in an evaluation, also on images of another simulation
    [[nuisance]]      how far each nuisance may go before it changes the model's answers
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Annotated, Any, Self

import tomlkit
from pydantic import Field, StringConstraints, TypeAdapter, model_validator

from surveyflow.errors import ModelError
from surveyflow.settings.checks import Line, Pair, SettingsTable, of_version, refuse, within
from surveyflow.settings.findings import Finding, line
from surveyflow.settings.reader import SettingsFile
from surveyflow.sky.stretch import Stretch
from surveyflow.tasks.calibration import Calibration
from surveyflow.tasks.card import (
    Architecture,
    ContaminationScale,
    Domain,
    EvaluationFacts,
    ModelCard,
    ModelKey,
    NuisanceLimits,
    TrainingFacts,
)
from surveyflow.values.codes import WeightsOrigin

FolderName = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$"),
    Field(description="a name of letters, digits, '_', '.', '+' and '-' that begins with a letter or digit"),
]
Digest = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9a-f]{64}$"),
    Field(description="the 64 digits of a SHA-256"),
]

RecordsDigest = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9a-f]{12,64}$"),
    Field(description="the digits of a SHA-256, 12 or more"),
]
Count = Annotated[int, within(0, 10**12)]
Share = Annotated[float, within(0, 1)]

CARD_VERSION = 1


class _ModelTable(SettingsTable):
    task: FolderName = Field(examples=["merger"])
    field: FolderName = Field(examples=["COSMOS"])
    instrument: FolderName = Field(examples=["F814W"])
    also_for: tuple[FolderName, ...] = ()
    class_names: tuple[str, ...] = Field(examples=[["post_merger", "star_forming"]])
    origin: WeightsOrigin
    citation: str = Field(examples=["Ferreira et al. 2022"])
    weights_digest: Digest
    notes: str = ""


class _ImagesTable(SettingsTable):
    band: str = Field(examples=["F814W"])
    pixel_scale_arcsec: float = Field(examples=[0.03])
    redshift_range: Pair = Field(examples=[[0.5, 1.5]])
    stretch: Stretch
    softening: float = Field(examples=[1.0])


class _TrainingTable(SettingsTable):
    records: tuple[RecordsDigest, ...] = Field(examples=[["<SHA-256>"]])
    validation_records: tuple[RecordsDigest, ...] = Field(examples=[["<SHA-256>"]])
    n_images: Count = Field(examples=[40000])
    n_validation: Count = Field(examples=[4000])
    positive: Count = Field(examples=[20013])
    validation_positive: Count = Field(examples=[1987])
    score: Line = Field(examples=["accuracy"])
    reached: Share = Field(examples=[0.885])
    constant: Share = Field(examples=[0.503])
    error: Share = Field(examples=[0.0079])


class _CalibrationTable(SettingsTable):
    members: tuple[Digest, ...] = Field(examples=[["<SHA-256>"]])
    a: float = Field(examples=[1.0])
    b: float = Field(examples=[1.0])
    c: float = Field(examples=[0.0])
    share: Share = Field(examples=[0.497])
    n_images: Count = Field(examples=[4000])
    records: tuple[RecordsDigest, ...] = Field(examples=[["<SHA-256>"]])


class _EvaluationTable(SettingsTable):
    records: tuple[RecordsDigest, ...] = Field(examples=[["<SHA-256>"]])
    n_images: Count = Field(examples=[4000])
    score: Line = Field(examples=["accuracy"])
    reached: Share = Field(examples=[0.759])
    error: Share | None = Field(None, examples=[0.0068])
    other_reached: Share | None = Field(None, examples=[0.669])
    other_error: Share | None = Field(None, examples=[0.011])


class _NuisanceTable(SettingsTable):
    name: Line = Field(examples=["position"])
    levels: tuple[float, ...] = Field(examples=[[1.0, 2.0, 3.0]])
    lost: tuple[Annotated[float, within(-1, 1)], ...] = Field(examples=[[0.001, 0.004, 0.026]])
    flagged: tuple[Share, ...] = Field(examples=[[0.04, 0.05, 0.09]])
    held: tuple[bool, ...] = Field(examples=[[True, True, False]])


class _CardFile(SettingsTable):
    version: Annotated[int, of_version(CARD_VERSION)] = Field(examples=[CARD_VERSION])
    model: _ModelTable
    images: _ImagesTable
    domain: Domain = Domain()
    architecture: Architecture
    contamination: ContaminationScale | None = None
    training: _TrainingTable | None = None
    calibration: tuple[_CalibrationTable, ...] = ()
    evaluation: _EvaluationTable | None = None
    nuisance: tuple[_NuisanceTable, ...] = ()

    @model_validator(mode="after")
    def _check_that_tables_agree(self) -> Self:
        self.card()
        sets = [one.members for one in self.calibration]
        if strange := [members for members in sets if self.model.weights_digest not in members or sets.count(members) > 1]:
            raise refuse(
                f"[[calibration]] members: {list(strange[0])} lack this model's weights_digest, or are named twice.",
                "Remove that table, and calibrate the model again.",
            )
        return self

    def card(self) -> ModelCard:
        """The card as the models take it."""
        model = dict(self.model)
        return ModelCard(
            key=ModelKey(*(model.pop(name) for name in ("task", "field", "instrument"))),
            architecture=self.architecture,
            domain=self.domain,
            contamination=self.contamination,
            training=None if self.training is None else TrainingFacts(**dict(self.training)),
            calibrations=tuple(Calibration(**dict(table)) for table in self.calibration),
            evaluation=None if self.evaluation is None else EvaluationFacts(**dict(self.evaluation)),
            nuisances=tuple(NuisanceLimits(**dict(table)) for table in self.nuisance),
            **model,
            **dict(self.images),
        )


_ADDED_LATER = {"crop", "binning", "asymmetry", "about_galaxy"}
"""Keys that a card may lack, so that older cards can be read."""


def _unstated_keys(document: Mapping[str, Any]) -> Iterator[Finding]:
    """Report keys that a card omits although they have a default in code: a card must state everything."""
    for name, table in {"architecture": Architecture, "contamination": ContaminationScale}.items():
        stated: Any = document.get(name)
        for field in fields(table) if isinstance(stated, Mapping) else ():
            if field.default is not MISSING and field.name not in {*stated, *_ADDED_LATER}:
                yield Finding((name, field.name), "is missing.", f"Add {line(field.name, field.default)}.")


_FILE = SettingsFile(TypeAdapter(_CardFile), ModelError, "docs/reference/models.md", across=(_unstated_keys,))


def card_from_file(file: Path) -> ModelCard:
    """Read a model's card.

    Parameters
    ----------
    file
        A ``card.toml``.

    Raises
    ------
    ModelError
        If it cannot be read, is not TOML, or keys are missing, unknown, of the wrong type or impossible; all are reported at
        once.
    """
    return _FILE.load(file.absolute(), str(file)).card()


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
        As `card_from_file`.
    """
    return _FILE.check(_FILE.parse(text.encode(), where), Path(where), where).card()


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
    for name, table in {"contamination": card.contamination, "training": card.training, "evaluation": card.evaluation}.items():
        if table is not None:
            tables[name] = asdict(table)
    stated: dict[str, Any] = {
        name: {key: value for key, value in table.items() if value is not None} for name, table in tables.items()
    }
    several: Mapping[str, Sequence[Calibration | NuisanceLimits]] = {
        "calibration": card.calibrations,
        "nuisance": card.nuisances,
    }
    stated |= {name: [asdict(one) for one in rows] for name, rows in several.items() if rows}
    return tomlkit.dumps({"version": CARD_VERSION, **stated})
