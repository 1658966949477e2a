"""Small simulated surveys on disk, and ways to change them."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tomlkit
from astropy.io import fits

from surveyflow.models.store import ModelStore, write_models, write_untrained
from surveyflow.simulation.survey import SimulatedSurvey, SurveySpec, write_survey
from surveyflow.sky.stretch import Stretch
from surveyflow.tasks.card import Architecture, Domain, ModelCard, ModelKey
from surveyflow.tasks.contamination.parts import OUTPUTS as CONTAMINATION_OUTPUTS
from surveyflow.tasks.contamination.task import CONTAMINATION
from surveyflow.tasks.merger import MERGER
from surveyflow.values.images import Box

SMALL = {"n_sources": 24, "shape_f814w": (900, 800), "core_size": 512, "draws": 50, "seed": 7}
"""Two tiles a side in F814W, one in F125W_F160W; about 50 sources a field, under two seconds to write."""

PIXEL_SCALE_ARCSEC = {"F814W": 0.03, "F125W_F160W": 0.06}
REDSHIFT_RANGE = {"F814W": (0.5, 1.5), "F125W_F160W": (1.5, 3.0)}
SKY_RMS_RANGE = (2e-4, 1e-2)
"""Sky rms, e-/s a pixel, that the simulated mosaics of both instruments keep to."""


def MiniSurvey(folder: Path, **overrides: Any) -> SimulatedSurvey:
    """Write a small survey; ``overrides`` are fields of `SurveySpec`."""
    values = SMALL | overrides
    return write_survey(folder, SurveySpec(**values | {"fields": tuple(values.get("fields", ("COSMOS", "EGS")))}))


def copied(survey: SimulatedSurvey, folder: Path) -> SimulatedSurvey:
    """A copy of a survey that a test may change."""
    shutil.copytree(survey.folder, folder, dirs_exist_ok=True, symlinks=True)
    return replace(survey, folder=folder, truth=survey.truth.copy())


def write_untrained_models(
    store: Path,
    fields: Sequence[str],
    architecture: Architecture,
    task: str = MERGER.name,
    also_for: Sequence[str] = (),
    first_seed: int = 0,
    **changes: Any,
) -> list[ModelCard]:
    """Write one model of fixed random weights for each field and instrument, labelled ``untrained``, and lend it to others."""
    if task == CONTAMINATION.name:
        architecture = replace(architecture, n_outputs=len(CONTAMINATION_OUTPUTS))
    values = {"stretch": Stretch.ASINH_MINMAX, "softening": 1e-3, "domain": Domain("electron/s", SKY_RMS_RANGE)}
    models = ModelStore(store)
    cards = [
        write_untrained(
            models,
            ModelKey(task, field, instrument),
            architecture=architecture,
            pixel_scale_arcsec=PIXEL_SCALE_ARCSEC[instrument],
            band=instrument.rpartition("_")[2],
            redshift_range=REDSHIFT_RANGE[instrument],
            seed=first_seed + number,
            **values | changes,
        )
        for number, (field, instrument) in enumerate((field, instrument) for field in fields for instrument in PIXEL_SCALE_ARCSEC)
    ]
    if not also_for:
        return cards
    lent = [(models.home(card.key), replace(card, also_for=tuple(also_for)), models.weights(card.key)) for card in cards]
    return write_models(lent, overwrite=True)


def write_untrained_juries(
    store: Path, fields: Sequence[str], architecture: Architecture, names: Sequence[str], task: str = MERGER.name, **changes: Any
) -> None:
    """Write a jury of models of fixed random weights for each field and instrument, with members of these names."""
    for number, name in enumerate(names):
        alone = store.with_name(f".{store.name}-{name}")
        for card in write_untrained_models(alone, fields, architecture, task, first_seed=100 * (number + 1), **changes):
            place = ModelStore(store).home(card.key) / name
            place.parent.mkdir(parents=True, exist_ok=True)
            ModelStore(alone).home(card.key).rename(place)
        shutil.rmtree(alone)


def edit_workflow(path: Path, changes: Mapping[str, Any]) -> None:
    """Change a workflow file in place: ``{"sampling": {"draws": 7}, "quality": None}``; None removes a key or table."""
    path.write_text(tomlkit.dumps(_merged(tomllib.loads(path.read_text()), changes)))


def perturb_mosaic(path: Path, box: Box, value: float, extension: int | str | None = None) -> None:
    """Set a box of a mosaic's or weight map's pixels to a value, in place; in the first image when no HDU is named."""
    with fits.open(path, mode="update", memmap=False) as hdus:
        hdu = hdus[extension] if extension is not None else next(hdu for hdu in hdus if hdu.data is not None)
        hdu.data[box.y0 : box.y1, box.x0 : box.x1] = np.float32(value)


def _merged(document: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(document)
    for key, value in changes.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            merged[key] = _merged(merged[key] if isinstance(merged.get(key), dict) else {}, value)
        else:
            merged[key] = value
    return merged
