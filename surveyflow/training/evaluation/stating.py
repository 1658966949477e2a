"""What an evaluation found, as the cards of the model state it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

from surveyflow.models.store import placed, read_card, read_domain, read_weights, write_model
from surveyflow.tasks.card import EvaluationFacts, ModelCard, NuisanceLimits
from surveyflow.tasks.contamination.task import CONTAMINATION
from surveyflow.tasks.merger import MERGER
from surveyflow.tasks.registry import entry_of
from surveyflow.training.evaluation.limits import Limits, narrowed
from surveyflow.training.evaluation.nuisances import LEAST_FLAGGED, MOST_LOST, NUISANCES

_LOSS = " On another simulation"
_DIGITS = 4

_Row = tuple[float, float, float, bool]
_Tested = Callable[[str, Sequence[Mapping[str, Any]], Mapping[str, Any]], EvaluationFacts]
_AtLevel = Callable[[Mapping[str, Any]], _Row]
"""Reads a stress: level, loss of the score, share of the spoilt stamps that is flagged, and whether the model held."""


def state_in_cards(folder: Path, document: Mapping[str, Any]) -> list[ModelCard]:
    """Write into the cards of a model, or of a jury's members, how the evaluation found it.

    Parameters
    ----------
    folder
        The model's folder, or the jury's.
    document
        The evaluation, as JSON's plain values.

    Returns
    -------
    The cards as written. Their domains are narrowed to the limits that follow, if the evaluation was made with these. Weights
    and all else that can change a result stay as they are.

    Raises
    ------
    ModelError
        If the model cannot be read or written.
    """
    task = document[document["task"]]
    tested_facts, at_level = entry_of(document["task"], _FACTS, "evaluated")
    tested = tested_facts(document["model"]["id"], document["records"]["test"], task)
    limits: Limits = task["limits"] if task["narrowed"] else {}
    nuisances = _nuisances(task, at_level, limits)
    loss = next((f" {sentence}" for sentence in task.get("verdict", ()) if f" {sentence}".startswith(_LOSS)), "")
    return [
        write_model(
            home,
            replace(
                card,
                notes=card.notes.split(_LOSS, maxsplit=1)[0] + loss,
                domain=narrowed(card.domain, limits),
                evaluation=tested,
                nuisances=nuisances,
            ),
            read_weights(home, card),
            overwrite=True,
            domain=read_domain(home, card),
        )
        for home, card in placed(folder, read_card(folder))
    ]


def _merger(model: str, records: Sequence[Mapping[str, Any]], found: Mapping[str, Any]) -> EvaluationFacts:
    own, other = found["pooled"]["network"], (found["other"] or {}).get("network", {})
    return EvaluationFacts(
        model,
        tuple(one["digest"] for one in records),
        own["n"],
        "accuracy",
        own["accuracy"],
        round(own["accuracy_error"], _DIGITS),
        other.get("accuracy"),
        round(other["accuracy_error"], _DIGITS) if other else None,
    )


def _contamination(model: str, records: Sequence[Mapping[str, Any]], found: Mapping[str, Any]) -> EvaluationFacts:
    area = found["scores"]["areas"][CONTAMINATION.outputs[0]]
    digests = tuple(one["digest"] for one in records)
    return EvaluationFacts(model, digests, found["scores"]["n"], "auc", round(area, _DIGITS))


def _nuisances(found: Mapping[str, Any], at_level: _AtLevel, limits: Limits) -> tuple[NuisanceLimits, ...]:
    by_name = groupby(found["stresses"], key=lambda stress: str(stress["name"]))
    return tuple(_of_nuisance(name, [at_level(stress) for stress in stresses], limits) for name, stresses in by_name)


def _of_nuisance(name: str, rows: list[_Row], limits: Limits) -> NuisanceLimits:
    levels, lost, flagged, held = zip(*rows, strict=True)
    quantity = next((one.quantity for one in NUISANCES if one.name == name), None)
    if quantity is None or quantity not in limits:
        return NuisanceLimits(name, levels, lost, flagged, held)
    low, high = limits[quantity]
    return NuisanceLimits(name, levels, lost, flagged, held, quantity, (low, high))


def _merger_at(stress: Mapping[str, Any]) -> _Row:
    flagged = 1.0 if stress["spoiled_flagged"] is None else stress["spoiled_flagged"]
    return float(stress["level"]), round(stress["accuracy_lost"], _DIGITS), round(flagged, _DIGITS), stress["passed"]


def _contamination_at(stress: Mapping[str, Any]) -> _Row:
    """The evaluation does not count the stamps that a nuisance spoils, so the flagged share is that of all changed ones."""
    lost, flagged = stress["area_lost"], stress["flagged"]
    held = lost <= MOST_LOST or flagged >= LEAST_FLAGGED
    return float(stress["level"]), round(lost, _DIGITS), round(flagged, _DIGITS), held


_FACTS: Mapping[str, tuple[_Tested, _AtLevel]] = {
    MERGER.name: (_merger, _merger_at),
    CONTAMINATION.name: (_contamination, _contamination_at),
}
