"""The demonstration survey: simulated mosaics and source lists, with the models that come with the package."""

from __future__ import annotations

import shutil
from pathlib import Path

from surveyflow.errors import ModelError, OutputError
from surveyflow.models.store import ModelStore
from surveyflow.simulation.survey import SurveySpec, write_survey

PACKAGED_MODELS = Path(__file__).parents[1] / "packaged_models"
"""A store of small networks, trained on surveyflow's own simulations: their cards say so, and name the fields that they serve."""

_UNFINISHED = ".unfinished-demo"
"""Name of the file that a demo's folder holds until it is complete."""


def is_unfinished(folder: Path) -> bool:
    """Whether a folder holds a demonstration that was begun and could not be completed."""
    return (folder / _UNFINISHED).exists()


def make_demonstration(folder: Path, spec: SurveySpec | None = None, models: Path = PACKAGED_MODELS) -> Path:
    """Write a simulated survey with a store of models beside it; one that was begun is written anew.

    Parameters
    ----------
    folder
        The folder of the survey; it is made if absent.
    spec
        Size and seed of the survey.
    models
        The store to copy.

    Returns
    -------
    The workflow file.

    Raises
    ------
    ModelError
        If there is no such store, or a card in it cannot be used.
    OutputError
        If the models cannot be copied.
    """
    if not ModelStore(models).cards():
        raise ModelError(f"{models} holds no models. Install surveyflow again, or name another store.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _UNFINISHED).touch()
        shutil.copytree(models, folder / "models", dirs_exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder / 'models'} cannot be written ({error.strerror}). Choose another folder.") from error
    survey = write_survey(folder, spec or SurveySpec())
    (folder / _UNFINISHED).unlink()
    return Path(survey.workflow)
