"""The manifest of a revision: how it was made, in enough detail to make it again."""

from __future__ import annotations

import hashlib
import platform
import socket
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from surveyflow import __version__
from surveyflow.errors import SourceListError
from surveyflow.files.addresses import Address
from surveyflow.files.durable import file_digest
from surveyflow.files.paths import FileState, Place, split_extension
from surveyflow.inputs.list_files import files_of
from surveyflow.inputs.mosaics import Mosaic, release_cards
from surveyflow.inputs.remote_files import local_copy, reaching
from surveyflow.planning.plan import Plan
from surveyflow.planning.work_lists import ListFacts
from surveyflow.runs.execute import PlanOutcome
from surveyflow.runs.preflight import MosaicName, OpenedField, OpenedSurvey
from surveyflow.runs.weight_checks import weights_entry
from surveyflow.settings.manifests import path_from
from surveyflow.settings.workflow import SourceListSpec
from surveyflow.sky.weight_kind import WeightCheck
from surveyflow.tasks.card import ModelCard

REPORTED_PACKAGES = ("astropy", "dask", "jax", "jaxlib", "keras", "numpy", "pyarrow", "tensorflow", "tensorflow-cpu", "torch")


def describe_run(survey: OpenedSurvey, plan: Plan, outcome: PlanOutcome, run_id: str, wall_seconds: float) -> dict[str, Any]:
    """Gather the content of a manifest; publishing adds the revision's name, rows, status counts and checksums.

    Parameters
    ----------
    survey
        The inputs.
    plan
        Every unit, with the parts of its key.
    outcome
        The outcome of the plan.
    run_id
        The run's name.
    wall_seconds
        Seconds since the run began.
    """
    keys = {planned.name: planned.key for planned in plan.units}
    names = {planned.key: planned.name for planned in plan.units if planned.unit}  # a kept receipt may bear an earlier name
    return {
        "survey": survey.workflow.survey.name,
        "release": survey.workflow.survey.release,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "run_id": run_id,
        "surveyflow_version": __version__,
        "inputs": describe_inputs(survey, plan),
        "models": [describe_model(card) for _, card in sorted(survey.cards.items())],
        "workflow": survey.workflow.model_dump(mode="json"),
        "precision": precision_of(plan),
        "engines": Counter(receipt.engine for receipt in outcome.receipts if receipt.engine),
        "frameworks": Counter(receipt.framework for receipt in outcome.receipts if receipt.framework),
        "expected_rows": survey.n_sources,
        "units": outcome.counts,
        "unit_keys": [{"name": names[item.key], "key": item.key, "rows": item.n_rows} for item in outcome.receipts],
        "failed_units": [{"name": name, "key": keys[name], "error": error} for name, error in outcome.failures.items()],
        "timings": {"wall_seconds": wall_seconds, "worker_seconds": sum(receipt.seconds for receipt in outcome.done)},
        "versions": package_versions(),
        "host": socket.gethostname(),
    }


def describe_inputs(survey: OpenedSurvey, plan: Plan | None = None) -> list[dict[str, Any]]:
    """Describe every input file: field, instrument, kind, path, size, time of change, digest and release cards.

    The path is absolute. That from the output folder is there, too, unless they have nothing in common.

    Parameters
    ----------
    survey
        The inputs.
    plan
        Every unit, with the parts of its key; without it, mosaics have no ``digest``.

    Returns
    -------
    entries
        ``digest`` of a source list is the SHA-256 of its file. Mosaics are not read again: their digest is the SHA-256 of the
        digests of the windows that have sources, which are in the plan, and ``digest_of`` says so.
    """
    entries: list[dict[str, Any]] = []
    for name, opened in survey.fields.items():
        spec = survey.workflow.fields[name].sources
        entries += _describe_list(name, spec, survey.lists.facts[name])
        entries += [
            _describe_table(name, instrument, "mosaics", mosaics.mosaics)
            for instrument, mosaics in survey.workflow.fields[name].mosaics.items()
            if mosaics.mosaics is not None
        ]
        entries += _describe_mosaics(name, opened, plan, survey.weights)
    return [entry | _from_root(survey.workflow.output.root, entry["path"]) for entry in entries]


def _from_root(root: Path, paths: str) -> dict[str, str]:
    relative = path_from(root, paths) if ", /" not in paths else None
    return {} if relative is None else {"path_from_root": relative}


def describe_model(card: ModelCard) -> dict[str, Any]:
    """Describe a model by its card; a jury also by its map, and by name and digests of the weights and card of each member."""
    told = asdict(card) | {
        "key": str(card.key),
        "model_id": card.model_id,
        "stretch": card.stretch.value,
        "origin": card.origin.value,
    }
    if card.members:
        told["calibrations"] = [asdict(card.calibration)] if card.calibration else []
    told["members"] = [
        {"name": one.name, "weights_digest": one.card.weights_digest, "card_digest": one.card.digest} for one in card.members
    ]
    return {name: value for name, value in told.items() if value or name != "members"}


def precision_of(plan: Plan) -> str | None:
    """The arithmetic precision of a plan's models; None if no unit needs a model."""
    return next((planned.parts["precision"] for planned in plan.units if planned.unit and "precision" in planned.parts), None)


def package_versions() -> dict[str, str]:
    """Versions of Python, surveyflow and the installed packages on which results may depend, by name."""
    packages = {name: _version(name) for name in REPORTED_PACKAGES}
    installed = {name: number for name, number in packages.items() if number is not None}
    return {"python": platform.python_version(), "surveyflow": __version__} | installed


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _describe_list(field: str, spec: SourceListSpec, facts: ListFacts) -> Iterator[dict[str, Any]]:
    """Entries of a source list's files, and of the tables that join it."""
    files = files_of(spec.path)
    if len(files) == len(spec.path) == 1:
        yield _describe_table(field, None, "sources", spec.path[0]) | {"rows": facts.n_sources}
    elif len(files) == len(spec.path):
        numbered = enumerate(spec.path, 1)
        yield from (_describe_table(field, None, f"sources {number}", path) for number, path in numbered)
    else:
        yield _describe_folders(field, spec.path, files) | {"rows": facts.n_sources}
    for join, table in zip(facts.joins, spec.tables.values(), strict=True):
        counts = {"found": join.n_found, "unused": join.n_unused, "repeated": join.n_repeated}
        yield _describe_table(field, None, join.role, table.path) | {"joined": counts}


def _describe_folders(field: str, paths: Sequence[Place], files: Sequence[Place]) -> dict[str, Any]:
    """One entry for all files of a list that is in folders; its digest is that of their digests."""
    local = [_local(split_extension(file)[0]) for file in files]
    digests = hashlib.sha256("".join(f"{file_digest(file)}\n" for file, _ in local).encode())
    return {
        "field": field,
        "instrument": None,
        "kind": "sources",
        "path": ", ".join(map(str, paths)),
        "size": sum(state.size for _, state in local),
        "modified": _time(max(state.mtime_ns for _, state in local)),
        "digest": digests.hexdigest(),
        "digest_of": "file",
    }


def _describe_table(field: str, instrument: str | None, kind: str, path: Place) -> dict[str, Any]:
    file, state = _local(split_extension(path)[0])
    return {
        "field": field,
        "instrument": instrument,
        "kind": kind,
        "path": str(path),
        **_state_entry(state),
        "digest": file_digest(file),
        "digest_of": "file",
    }


def _local(place: Place) -> tuple[Path, FileState]:
    """A file on this machine with the content of a place, and the state of that place."""
    if isinstance(place, Address):
        with reaching(place, SourceListError):
            return local_copy(place)
    status = place.stat()
    return place, FileState(place, status.st_size, status.st_mtime_ns, status.st_ino)


def _state_entry(state: FileState) -> dict[str, Any]:
    return {"size": state.size, "modified": _time(state.mtime_ns)} | ({"etag": state.tag} if state.tag else {})


def _describe_mosaics(
    name: str, opened: OpenedField, plan: Plan | None, weights: Mapping[MosaicName, WeightCheck]
) -> Iterator[dict[str, Any]]:
    numbered = ((key, number) for key, mosaics in opened.mosaics.items() for number in range(len(mosaics.mosaics)))
    for instrument, number in numbered:
        mosaics = opened.mosaics[instrument]
        for kind, image in mosaics.mosaics[number].images.items():
            entry = {
                "field": name,
                "instrument": instrument,
                "mosaic": mosaics.names[number],
                "kind": kind,
                "path": image.location,
                **_state_entry(image.file),
                "cards": release_cards(image),
            }
            noise = weights_entry(weights.get((name, instrument))) if kind == "weight" else {}
            yield (
                entry
                | (_treated(mosaics.mosaics[number]) if kind == "science" else {})
                | noise
                | (_pixel_digest(plan, (name, instrument, number), kind) if plan is not None else {})
            )


def _treated(mosaic: Mosaic) -> dict[str, Any]:
    """What was done to a science image's pixels; empty if nothing was."""
    converted = {} if mosaic.conversion is None else {"conversion": asdict(mosaic.conversion)}
    if mosaic.resampled_from_arcsec is None:
        return converted
    return converted | {"resampled_arcsec": [mosaic.resampled_from_arcsec, mosaic.pixel_scale_arcsec]}


def _pixel_digest(plan: Plan, mosaic: tuple[str, str, int], kind: str) -> dict[str, str]:
    """One digest of the digests of a mosaic's windows; empty if no source needs a window."""
    units = [planned for planned in plan.units if planned.unit and planned.unit.tile]
    windows = sorted(
        f"{planned.name} {planned.parts[f'{kind}_pixels']}\n"
        for planned in units
        if planned.unit and (planned.unit.field, planned.unit.instrument, planned.unit.mosaic) == mosaic
    )
    if not windows:
        return {}
    return {"digest": hashlib.sha256("".join(windows).encode()).hexdigest(), "digest_of": f"pixels of {len(windows)} windows"}


def _time(mtime_ns: int) -> str:
    return datetime.fromtimestamp(mtime_ns / 1e9, UTC).isoformat(timespec="seconds")
