"""The check before a published revision is made again: its inputs, models and units must be those of its manifest."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from typing import Any

from surveyflow.catalog.schema import SCHEMA_VERSION
from surveyflow.errors import Problem, WorkflowError
from surveyflow.output.units import read_receipt
from surveyflow.planning.plan import Plan, PlannedUnit, what_changed
from surveyflow.runs.manifest import describe_inputs, describe_model, package_versions, precision_of
from surveyflow.runs.preflight import OpenedSurvey

logger = logging.getLogger(__name__)

_REMEDY = "Restore what it was made from, or run the workflow file to make a new revision."
_WORDS_ONLY = {"citation", "notes"}
_MOST_UNITS = 5

Manifest = Mapping[str, Any]


def check_inputs(manifest: Manifest, survey: OpenedSurvey) -> None:
    """Compare what can be compared before any pixel is read: schema, kept columns, sizes, digests, DATASUM, models and cards.

    Parameters
    ----------
    manifest
        Manifest of the revision that is to be made again.
    survey
        The inputs, opened with the manifest's own workflow.

    Raises
    ------
    WorkflowError
        If anything has changed; the error lists every change.
    """
    problems = [
        *_schema_problems(manifest),
        *_kept_problems(manifest, survey),
        *_file_problems(manifest, describe_inputs(survey)),
        *_model_problems(manifest, survey),
    ]
    _refuse(problems, manifest, survey)
    for package, now in package_versions().items():
        if (then := manifest.get("versions", {}).get(package)) != now:
            logger.warning("%s is %s here and was %s in %s: last digits may differ", package, now, then, manifest["revision"])


def check_plan(manifest: Manifest, survey: OpenedSurvey, plan: Plan) -> None:
    """Compare the pixels' digests and every unit's key, which covers everything on which its rows depend.

    Parameters
    ----------
    manifest, survey
        As in `check_inputs`.
    plan
        What a run of the survey would do.

    Raises
    ------
    WorkflowError
        If the tables would differ from the published ones; the error lists every cause.
    """
    problems = list(_unreadable_windows(manifest, plan) or _file_problems(manifest, describe_inputs(survey, plan)))
    if (then := manifest.get("precision")) != (now := precision_of(plan)) and then:
        problems.append(f"the models would be computed in {now}, but were computed in {then}; add --precision {then}")
    _refuse(problems or list(_unit_problems(manifest, survey, plan)), manifest, survey)


def _unreadable_windows(manifest: Manifest, plan: Plan) -> list[str]:
    """The units that were measured then, and whose pixels cannot be read now."""
    finished = {unit["name"] for unit in manifest["unit_keys"]}
    hopeless = [unit for unit in plan.units if unit.unreadable and unit.name in finished]
    return [f"unit {unit.name}: {unit.reason.rstrip('.')}" for unit in hopeless[:_MOST_UNITS]]


def _refuse(problems: list[str], manifest: Manifest, survey: OpenedSurvey) -> None:
    if problems:
        where = f"{survey.workflow.path.name}: {manifest['revision']} cannot be made again"
        raise WorkflowError([Problem(where, f"{problem}.", _REMEDY) for problem in problems])


def _schema_problems(manifest: Manifest) -> Iterator[str]:
    if (then := manifest["schema_version"]) != SCHEMA_VERSION:
        release = manifest["surveyflow_version"]
        yield f"its columns are those of schema {then}, but here they are {SCHEMA_VERSION}; use surveyflow {release} again"


def _kept_problems(manifest: Manifest, survey: OpenedSurvey) -> Iterator[str]:
    if manifest.get("kept_digest", "") != survey.kept_digest:
        yield "columns that it keeps from the source lists have other values, units or descriptions, or mosaics other names"


def _file_problems(manifest: Manifest, present: list[dict[str, Any]]) -> Iterator[str]:
    before = {_input(entry): entry for entry in manifest["inputs"]}
    for entry in present:
        then = before.get(_input(entry), {})
        what = " ".join(filter(None, (entry["field"], entry["instrument"], entry["kind"])))
        if entry["size"] != then.get("size", entry["size"]):
            yield f"{what}: {entry['path']} has {entry['size']:,} bytes, but had {then['size']:,}"
        elif entry.get("digest", then.get("digest")) != then.get("digest", entry.get("digest")):
            yield f"{what}: the {'content' if entry['digest_of'] == 'file' else 'pixels'} of {entry['path']} changed"
        elif None not in (sums := (_datasum(entry), _datasum(then))) and sums[0] != sums[1]:
            yield f"{what}: {entry['path']} has the DATASUM {sums[0]}, but had {sums[1]}"


def _input(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    return entry["field"], entry["instrument"], entry.get("mosaic"), entry["kind"]


def _datasum(entry: Mapping[str, Any]) -> Any:
    return entry.get("cards", {}).get("DATASUM")


def _model_problems(manifest: Manifest, survey: OpenedSurvey) -> Iterator[str]:
    before = {entry["key"]: entry for entry in manifest["models"]}
    present = {str(key): json.loads(json.dumps(describe_model(card))) for key, card in survey.cards.items()}
    for key in sorted(before.keys() | present.keys()):
        if key not in present:
            yield f"model {key} is no longer in {survey.workflow.models.store}"
        elif key not in before:
            yield f"{survey.workflow.models.store} holds model {key}, which was not used then"
        elif (now := present[key]["weights_digest"]) != (then := before[key]["weights_digest"]):
            yield f"model {key} has the weights {now[:12]}, but had {then[:12]}"
        elif changed := _differing(before[key], present[key]):
            yield f"the card of model {key} has another {', '.join(changed)}"


def _differing(before: Mapping[str, Any], present: Mapping[str, Any]) -> list[str]:
    return [name for name, value in present.items() if name not in _WORDS_ONLY and value != before.get(name)]


def _unit_problems(manifest: Manifest, survey: OpenedSurvey, plan: Plan) -> Iterator[str]:
    keys = {unit["name"]: unit["key"] for unit in manifest["unit_keys"]}
    failed = {unit["name"] for unit in manifest["failed_units"]}
    planned = {unit.name: unit for unit in plan.units if unit.unit}
    others = [unit for name, unit in planned.items() if name not in failed and keys.get(name) != unit.key]
    for unit in others[:_MOST_UNITS]:
        yield f"unit {unit.name}: {_why(survey, keys.get(unit.name), unit)}"
    if len(others) > _MOST_UNITS:
        yield f"{len(others) - _MOST_UNITS} more units would differ"
    if gone := sorted(keys.keys() - planned.keys()):
        yield f"{len(gone)} of its units have no sources now; the first is {gone[0]}"


def _why(survey: OpenedSurvey, key: str | None, unit: PlannedUnit) -> str:
    if key is None:
        return "there was no such unit then"
    receipt = read_receipt(survey.workflow.output.root, key)
    return "it would be made from other inputs or settings" if receipt is None else what_changed(receipt.parts, unit.parts)
