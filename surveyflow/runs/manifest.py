"""What a revision says of its own making."""

from __future__ import annotations

import platform
import socket
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from surveyflow import __version__
from surveyflow.runs.executing import Outcome
from surveyflow.runs.preflight import FieldSurvey, Survey
from surveyflow.types import ModelCard

REPORTED_PACKAGES = ("astropy", "dask", "keras", "numpy", "pyarrow", "tensorflow", "tensorflow-cpu")


def describe_run(survey: Survey, outcome: Outcome, run_id: str) -> dict[str, Any]:
    """Gather what a manifest holds; publishing adds the revision's name, rows, status counts and checksums.

    Parameters
    ----------
    survey
        The inputs.
    outcome
        What became of the units.
    run_id
        The run's name.
    """
    return {
        "survey": survey.workflow.survey.name,
        "release": survey.workflow.survey.release,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "run_id": run_id,
        "surveyflow_version": __version__,
        "inputs": list(_inputs(survey)),
        "models": [_model_entry(card) for _, card in sorted(survey.cards.items())],
        "workflow": survey.workflow.model_dump(mode="json"),
        "expected_rows": survey.n_sources,
        "units": outcome.counts,
        "unit_keys": [{"name": item.name, "key": item.key, "rows": item.n_rows} for item in outcome.receipts],
        "failed_units": [{"name": name, "error": error} for name, error in outcome.failures.items()],
        "timings": {"worker_seconds": sum(receipt.seconds for receipt in outcome.done)},
        "versions": package_versions(),
        "host": socket.gethostname(),
    }


def package_versions() -> dict[str, str]:
    """Versions of Python, surveyflow and the packages that results may depend on, as far as they are installed."""
    packages = {name: _version(name) for name in REPORTED_PACKAGES}
    installed = {name: number for name, number in packages.items() if number is not None}
    return {"python": platform.python_version(), "surveyflow": __version__} | installed


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _inputs(survey: Survey) -> Iterator[dict[str, Any]]:
    for name, opened in survey.fields.items():
        path = str(survey.workflow.fields[name].sources.path)
        yield {"field": name, "instrument": None, "kind": "sources", "path": path, "rows": len(opened.sources)}
        yield from _mosaic_inputs(name, opened)


def _mosaic_inputs(name: str, opened: FieldSurvey) -> Iterator[dict[str, Any]]:
    for instrument, mosaic in opened.mosaics.items():
        specs = {"science": mosaic.science, "weight": mosaic.weight}
        given = {kind: spec for kind, spec in specs.items() if spec is not None}
        for (kind, spec), file in zip(given.items(), mosaic.files, strict=True):
            cards = dict(mosaic.release_cards) if kind == "science" else {}
            entry = {"field": name, "instrument": instrument, "kind": kind, "path": str(spec), "size": file.size}
            yield entry | {"cards": cards}


def _model_entry(card: ModelCard) -> dict[str, Any]:
    return asdict(card) | {
        "key": str(card.key),
        "model_id": card.model_id,
        "stretch": card.stretch.value,
        "origin": card.origin.value,
    }
