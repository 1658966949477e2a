"""The card of a jury: of several models for one task, field and instrument, whose draws are taken together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from surveyflow.errors import ModelError
from surveyflow.tasks.calibration import absent_members
from surveyflow.tasks.card import Domain, Member, ModelCard
from surveyflow.values import remedies

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
        notes="\n".join(dict.fromkeys(card.notes for card in cards if card.notes)),
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
            sky_sigma=_common_range([one.sky_sigma for one in domains]),
            offset_arcsec=min((one.offset_arcsec for one in domains if one.offset_arcsec is not None), default=None),
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


def _digest_of(digests: Any) -> str:
    return hashlib.sha256("".join(digests).encode()).hexdigest()
