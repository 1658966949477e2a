"""The card of a model as a TOML file: reading and writing.

::

    version = 1
    [model]           task, field, instrument, also_for, class_names, origin, citation, weights_digest, notes
    [images]          band, pixel_scale_arcsec, redshift_range, stretch, softening
    [domain]          unit, sky_rms, sky_sigma, offset_arcsec, feature_percentile, features_digest, noise_correlation,
                      psf_fwhm_arcsec, window_snr, edge_light_fraction: properties of the training images, as far as they are
                      known
    [architecture]    the network's shape
    [contamination]   scales of the outputs; contamination models only
    [training]        records, number of images and score; models that surveyflow trained
    [[calibration]]   a map from the mean output to a probability, for each set of models that was calibrated together
    [evaluation]      the score in an evaluation, also on images of another simulation
    [[nuisance]]      how far each nuisance may go before it changes the model's answers

A jury, several models for one task, field and instrument whose draws are taken together, has the card that its members' cards
make.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, fields, replace
from pathlib import Path
from typing import Annotated, Any, Self

import tomlkit
from pydantic import Field, StringConstraints, TypeAdapter, model_validator

from surveyflow.errors import ModelError
from surveyflow.settings.findings import Finding, line
from surveyflow.settings.reader import FolderName, Line, Pair, SettingsFile, SettingsTable, of_version, refuse, within
from surveyflow.sky.stretch import Stretch
from surveyflow.tasks.calibration import Calibration, absent_members
from surveyflow.tasks.card import (
    Architecture,
    ContaminationScale,
    Domain,
    EvaluationFacts,
    Member,
    ModelCard,
    ModelKey,
    NuisanceLimits,
    TrainingFacts,
)
from surveyflow.values import remedies
from surveyflow.values.codes import WeightsOrigin

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
    model: Line = Field(examples=["merger/COSMOS/F814W@db58ab304ffe"])
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
    quantity: Line | None = Field(None, examples=["noise_correlation"])
    limits: Pair | None = Field(None, examples=[[0.09, 0.53]])


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
    stated: dict[str, Any] = {name: _stated(table) for name, table in tables.items()}
    several: Mapping[str, Sequence[Calibration | NuisanceLimits]] = {
        "calibration": card.calibrations,
        "nuisance": card.nuisances,
    }
    stated |= {name: [_stated(asdict(one)) for one in rows] for name, rows in several.items() if rows}
    return tomlkit.dumps({"version": CARD_VERSION, **stated})


def _stated(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if value is not None}


_ALIKE: dict[str, Callable[[ModelCard], Any]] = {
    "task, field and instrument": lambda card: card.key,
    "class_names": lambda card: card.class_names,
    "pixel_scale_arcsec": lambda card: card.pixel_scale_arcsec,
    "band": lambda card: card.band,
    "redshift_range": lambda card: card.redshift_range,
    "stretch": lambda card: card.stretch.value,
    "softening": lambda card: card.softening,
    "input_size": lambda card: card.architecture.input_size,
    "origin": lambda card: card.origin.value,
    "also_for": lambda card: card.also_for,
    "[domain] unit": lambda card: card.domain.unit,
    "[contamination] truth": lambda card: card.contamination and card.contamination.truth,
}
"""What the members of a jury must have in common."""


def jury_card(members: Sequence[Member], where: str) -> ModelCard:
    """The card of a jury.

    What its members have in common is that of the first. ``weights_digest`` is the SHA-256 of the members' digests, each of 64
    hexadecimal digits, in order of name; that of a jury of one is its member's own. The limits of ``domain`` are those that hold
    for every member.

    Parameters
    ----------
    members
        The members, in order of name; at least one.
    where
        The jury's folder, for messages.

    Raises
    ------
    ModelError
        If the members contradict each other, in which case the error names every contradiction, or two of them are the same.
    """
    first, cards = members[0].card, [member.card for member in members]
    if problems := [problem for member in members[1:] if (problem := _contradictions(members[0], member))]:
        raise ModelError(f"{where}: the members of a jury must agree, but {'; '.join(problems)}. Remove or correct one of them.")
    if twice := _same_weights(members):
        raise ModelError(
            f"{where}: the members {' and '.join(twice)} have the same weights, so they are one. Remove one of them."
        )
    if len(members) == 1:
        return replace(first, members=tuple(members))
    return replace(
        first,
        weights_digest=_digest_of(card.weights_digest for card in cards),
        domain=_common_domain(cards, where),
        citation="; ".join(dict.fromkeys(card.citation for card in cards)),
        notes=_common_notes([card.notes for card in cards]),
        training=None,
        calibrations=(),
        members=tuple(members),
    )


def absence(card: ModelCard, home: Path) -> str:
    """In words, that a jury was calibrated together with members that are absent; empty if not, or if the model is alone.

    Parameters
    ----------
    card
        A card, as the folder gives it.
    home
        The model's folder.
    """
    absent = absent_members(card.each) if card.members else ()
    if not absent:
        return ""
    names = [member.name for member in card.members]
    calibrate = remedies.calibrate_models(*(home / name for name in names))
    return (
        f"{card.model_id}: the calibration in its cards is for {len(names) + len(absent)} members, but {home} holds only "
        f"{len(names)} of them, {', '.join(names)}, and not those with the weights {', '.join(one[:12] for one in absent)}. Put "
        f"their folders back. To leave them out on purpose, write members = {json.dumps(names)} in [models] of the workflow, "
        f"which holds for each of its juries, or calibrate those that are there: `{calibrate}`"
    )


def _contradictions(first: Member, other: Member) -> str:
    """In what a member differs from the first one, in words; empty if in nothing."""
    pairs = {name: (told(first.card), told(other.card)) for name, told in _ALIKE.items()}
    differing = [f"{name} {there!r} instead of {here!r}" for name, (here, there) in pairs.items() if here != there]
    return f"{other.name} has {', '.join(differing)} in {first.name}" if differing else ""


def _common_notes(notes: Sequence[str]) -> str:
    """The sentences of all notes, each once."""
    sentences = [sentence for note in notes for sentence in re.split(r"(?<=[.!?])\s+", note.strip()) if sentence]
    return " ".join(dict.fromkeys(sentences))


def _same_weights(members: Sequence[Member]) -> tuple[str, ...]:
    """Names of the first members that have the same weights; empty if there are none."""
    digests = [member.card.weights_digest for member in members]
    return next(
        (names for one in digests if len(names := tuple(m.name for m in members if m.card.weights_digest == one)) > 1), ()
    )


def _common_domain(cards: Sequence[ModelCard], where: str) -> Domain:
    """The limits that hold for every member."""
    domains = [card.domain for card in cards]
    percentiles = [one.feature_percentile for one in domains if one.feature_percentile is not None]
    digests = [one.features_digest for one in domains if one.features_digest is not None]
    told = len(percentiles) == len(domains)
    try:
        return Domain(
            unit=domains[0].unit,
            sky_rms=_common_range([one.sky_rms for one in domains]),
            noise_correlation=_common_range([one.noise_correlation for one in domains]),
            sky_sigma=_common_range([one.sky_sigma for one in domains]),
            psf_fwhm_arcsec=_common_range([one.psf_fwhm_arcsec for one in domains]),
            window_snr=_common_range([one.window_snr for one in domains]),
            offset_arcsec=_common_limit([one.offset_arcsec for one in domains]),
            edge_light_fraction=_common_limit([one.edge_light_fraction for one in domains]),
            feature_percentile=min(percentiles) if told else None,
            features_digest=_digest_of(digests) if told else None,
        )
    except ValueError as error:
        raise ModelError(
            f"{where}: the members' limits in [domain] have nothing in common: {error}. Remove or correct one of them."
        ) from error


def _common_range(ranges: Sequence[tuple[float, float] | None]) -> tuple[float, float] | None:
    known = [one for one in ranges if one is not None]
    return (max(low for low, _ in known), min(high for _, high in known)) if known else None


def _common_limit(limits: Sequence[float | None]) -> float | None:
    return min((one for one in limits if one is not None), default=None)


def _digest_of(digests: Any) -> str:
    return hashlib.sha256("".join(digests).encode()).hexdigest()
