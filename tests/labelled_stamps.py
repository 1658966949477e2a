"""Stamps that anybody can tell apart, with their truth."""

from __future__ import annotations

import numpy as np

from fake_models import STAMP_SIZE as SIZE
from networks import card
from surveyflow.simulation.contamination import Contamination
from surveyflow.simulation.examples import Example
from surveyflow.sky.stretch import Stretch
from surveyflow.tasks.card import Architecture, ContaminationScale, Domain, ModelKey
from surveyflow.tasks.contamination.parts import OUTPUTS as CONTAMINATION_OUTPUTS
from surveyflow.training.records.labelled import LabelledStamps
from surveyflow.values.codes import WeightsOrigin

SKY = 1e-3
_Y, _X = np.mgrid[:SIZE, :SIZE] - SIZE // 2


def blob(y_pix, x_pix, flux, sigma_pix=2.0):
    return flux * np.exp(-((_Y - y_pix) ** 2 + (_X - x_pix) ** 2) / (2 * sigma_pix**2))


def labelled(n=200, seed=0, field="COSMOS", neighbours=True, hardness=0.3):
    """Post-mergers have a second nucleus on their left; half of all have a neighbour, the nearer the heavier."""
    rng = np.random.default_rng([seed, neighbours])
    is_post_merger = rng.random(n) < 0.5
    shown = np.where(rng.random(n) < hardness, rng.random(n) < 0.5, is_post_merger)
    distance_pix = np.where(neighbours & (rng.random(n) < 0.6), rng.uniform(7, 22, n), np.inf)
    peak_sky = rng.uniform(20, 80, n)
    pixels = rng.normal(scale=SKY, size=(n, SIZE, SIZE))
    for i in range(n):
        pixels[i] += blob(0, 0, 80 * SKY) + shown[i] * blob(0, -3, 40 * SKY)
        if np.isfinite(distance_pix[i]):
            pixels[i] += blob(distance_pix[i] / 1.5, distance_pix[i] / 1.5, peak_sky[i] * SKY)
    return LabelledStamps(
        field=field,
        instrument="F814W",
        digest=f"{seed:012d}",
        pixels=pixels.astype(np.float32),
        source_id=np.arange(n),
        is_post_merger=is_post_merger,
        magnitude_ab=rng.uniform(20.0, 24.0, n),
        redshift=rng.uniform(0.5, 1.5, n),
        sky_rms=np.full(n, SKY),
        coverage_pct=np.where(distance_pix < 15, 100 * np.clip(1 - distance_pix / 15, 0, 1), 0.0),
        flux_pp=np.where(np.isfinite(distance_pix), 0.3 * peak_sky * SKY, 0.0),
        psf_fwhm_pix=np.full(n, 3.0),
    )


def merger_card(**changes):
    architecture = changes.pop("architecture", Architecture(input_size=SIZE, filters=(2,), kernel_sizes=(3,), dense=(2,)))
    own = {
        "key": ModelKey("merger", "COSMOS", "F814W"),
        "class_names": ("post_merger", "star_forming"),
        "stretch": Stretch.LINEAR,
        "softening": 10 * SKY,
        "origin": WeightsOrigin.SIMULATED,
        "domain": Domain("electron/s", (0.5 * SKY, 2 * SKY)),
    }
    return card(architecture, **own | changes)


def contamination_card(**changes):
    six = Architecture(input_size=SIZE, filters=(2,), kernel_sizes=(3,), dense=(2,), n_outputs=6)
    architecture = changes.pop("architecture", six)
    own = {
        "key": ModelKey("contamination", "COSMOS", "F814W"),
        "class_names": CONTAMINATION_OUTPUTS,
        "stretch": Stretch.ASINH_NOISE,
        "softening": 1.0,
        "origin": WeightsOrigin.SIMULATED,
        "domain": Domain("electron/s", (0.5 * SKY, 2 * SKY)),
        "contamination": ContaminationScale("sky_sigma", flux_range=6.0),
    }
    return card(architecture, **own | changes)


def write_records(folder, stamps):
    """The stamps as a folder of records of one shard."""
    from surveyflow.training.records.record_index import RecordIndex, settings_digest, write_index
    from surveyflow.training.records.shards import serialised, write_shard

    folder.mkdir(parents=True)
    name = "part-00000-of-00001.tfrecord"
    settings = {"redshifts": [0.5, 1.5], "stamps_digest": stamps.digest}
    digest = settings_digest(settings)
    shard = write_shard(folder / name, [serialised(_example(stamps, i), digest[:12]) for i in range(len(stamps))])
    place = (stamps.field, stamps.instrument, "F814W", 0.03, SIZE, "electron/s")
    write_index(folder, RecordIndex(settings, digest, *place, len(stamps), 1, (shard,)))


def _example(stamps, i):
    truth = Contamination(stamps.coverage_pct[i], stamps.flux_pp[i], 30)
    return Example(
        example_id=int(stamps.source_id[i]),
        pixels=stamps.pixels[i],
        label=int(stamps.is_post_merger[i]),
        magnitude_ab=stamps.magnitude_ab[i],
        radius_arcsec=0.3,
        redshift=stamps.redshift[i],
        sky_rms=stamps.sky_rms[i],
        truths={"sky_sigma": truth, "self_sigma": truth},
    )
