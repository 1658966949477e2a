"""A unit of a small mosaic, and the cards of the models that measure it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from surveyflow.measuring.unit import UnitTask
from surveyflow.sky.stretch import Stretch
from surveyflow.sky.tiling import tile
from surveyflow.tasks.card import Architecture, ContaminationScale, Domain, ModelCard, ModelKey
from surveyflow.tasks.contamination.parts import OUTPUTS as CONTAMINATION_OUTPUTS
from surveyflow.values.codes import WeightsOrigin
from surveyflow.values.jobs import SamplingSettings
from surveyflow.values.sources import UnitSources

SIZE = 16
CARD = ModelCard(
    key=ModelKey("merger", "EGS", "F814W"),
    class_names=("post_merger", "star_forming"),
    pixel_scale_arcsec=0.03,
    band="F814W",
    redshift_range=(0.5, 1.5),
    stretch=Stretch.ASINH_MINMAX,
    softening=1e-3,
    architecture=Architecture(input_size=SIZE, filters=(2,), kernel_sizes=(3,), dense=(1,)),
    origin=WeightsOrigin.UNTRAINED,
    citation="",
    weights_digest="ab" * 32,
    domain=Domain(unit="electron/s", sky_rms=(1e-4, 1e-1), psf_fwhm_arcsec=(0.09, 0.15)),
)

CONTAMINATION_CARD = replace(
    CARD,
    key=ModelKey("contamination", "EGS", "F814W"),
    class_names=CONTAMINATION_OUTPUTS,
    architecture=replace(CARD.architecture, n_outputs=6),
    weights_digest="cd" * 32,
    domain=Domain(),
    contamination=ContaminationScale("sky_sigma", flux_range=8.0),
)


def sky(shape=(100, 120), seed=0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1e-3, shape).astype(np.float32)


def sources(x_pix, y_pix, redshift=1.0) -> UnitSources:
    n_sources = len(x_pix)
    return UnitSources(
        field="EGS",
        instrument=np.full(n_sources, "F814W"),
        source_id=np.arange(n_sources) + 1,
        ra_deg=np.linspace(214.0, 214.1, n_sources),
        dec_deg=np.linspace(52.0, 52.1, n_sources),
        redshift=np.full(n_sources, redshift),
        x_pix=np.asarray(x_pix, float),
        y_pix=np.asarray(y_pix, float),
        status=np.full(n_sources, ""),
        flags=np.zeros(n_sources, np.int32),
    )


def task(of: UnitSources, shape=(100, 120), mosaic_unit="electron/s", keep_draws=False, mosaic_filter="F814W") -> UnitTask:
    sampling = SamplingSettings(n_draws=20, seed=7, keep_draws=keep_draws)
    return UnitTask("k" * 64, of, tile(shape, 4096, SIZE, 0, 0), mosaic_unit, mosaic_filter, sampling, min_valid_fraction=0.5)
