"""A survey to try everything on: simulated mosaics and source lists, with models whose numbers mean nothing yet."""

from __future__ import annotations

from pathlib import Path

from surveyflow.models.store import ModelStore, write_untrained
from surveyflow.simulate.survey import SurveySpec, write_survey
from surveyflow.types import MERGER_TASK, Architecture, Domain, ModelKey, Stretch

NARROW = Architecture(filters=(8, 16, 32))
"""The published network with a quarter of its filters: 14 times fewer multiplications."""

SOFTENING = 1e-3
"""Softening of the arcsinh stretch, e-/s: about the sky rms of the simulated mosaics."""

PIXEL_SCALE_ARCSEC = {"F814W": 0.03, "F125W_F160W": 0.06}
REDSHIFT_RANGE = {"F814W": (0.5, 1.5), "F125W_F160W": (1.5, 3.0)}
SKY_RMS_RANGE = (2e-4, 1e-2)
"""Sky rms, e-/s a pixel, that the simulated mosaics of both instruments keep to."""


def make_demonstration(folder: Path, spec: SurveySpec | None = None) -> Path:
    """Write a simulated survey with untrained models.

    Parameters
    ----------
    folder
        Where to; it is made if absent.
    spec
        Size and seed of the survey.

    Returns
    -------
    The workflow file.
    """
    spec = spec or SurveySpec()
    write_untrained_models(folder / "models", spec.fields)
    return Path(write_survey(folder, spec).workflow)


def write_untrained_models(store: Path, fields: tuple[str, ...], architecture: Architecture = NARROW) -> None:
    """Write one merger model of fixed random weights for each field and instrument, labelled ``untrained``.

    Parameters
    ----------
    store
        The model store.
    fields
        Names of the fields.
    architecture
        Shape of the networks.
    """
    models = ModelStore(store)
    for number, (field, instrument) in enumerate((field, instrument) for field in fields for instrument in PIXEL_SCALE_ARCSEC):
        write_untrained(
            models,
            ModelKey(MERGER_TASK, field, instrument),
            architecture=architecture,
            pixel_scale_arcsec=PIXEL_SCALE_ARCSEC[instrument],
            band=instrument.rpartition("_")[2],
            redshift_range=REDSHIFT_RANGE[instrument],
            stretch=Stretch.ASINH_MINMAX,
            softening=SOFTENING,
            domain=Domain(unit="electron/s", sky_rms=SKY_RMS_RANGE),
            seed=number,
        )
