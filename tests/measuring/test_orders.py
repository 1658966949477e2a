"""What travels from the driver to a survey's workers."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from surveyflow.errors import UnitError
from surveyflow.files.paths import FileState, file_state
from surveyflow.measuring.orders import DigestWindow, MeasureUnit, PlannedModel, PlannedMosaic, TileMeasurement, WorkerSettings
from surveyflow.values.images import Box, Stated, Tile
from surveyflow.values.jobs import EngineChoice, Job, SamplingSettings

DIGEST = "ab" * 32
MOSAIC = PlannedMosaic("egs.fits[SCI]", "egs.fits[WHT]", Stated(), (FileState(Path("/data/egs.fits"), 1, 2, 3),))
MEASUREMENT = TileMeasurement(
    MOSAIC,
    Tile(0, 1, Box(0, 512, 512, 1024), Box(0, 576, 448, 1088)),
    128,
    (PlannedModel("models/merger/F814W/EGS", DIGEST), PlannedModel("models/contamination/F814W/EGS", DIGEST)),
    SamplingSettings(1000, 7),
    0.5,
)
UNIT = MeasureUnit(DIGEST, {"sources": DIGEST}, "lists/0a/000-units--tiles-000000.arrow", 3, MEASUREMENT)


@pytest.mark.parametrize(
    "order", [UNIT, replace(UNIT, measurement=None), replace(UNIT, key=""), DigestWindow(MOSAIC, Box(0, 1, 0, 1))]
)
def test_orders_survive_the_way_to_a_worker(order):
    job = Job("EGS/F814W/y000x001", order, "EGS/F814W", 10)
    assert pickle.loads(pickle.dumps(job)) == job


def test_the_kind_of_work_is_a_word():
    assert [Job("one", order).order.verb for order in (UNIT, DigestWindow(MOSAIC, Box(0, 1, 0, 1)))] == ["unit", "digest"]


@pytest.mark.parametrize(
    ("order", "change", "told"),
    [
        (UNIT, {"key": "", "measurement": None}, "must have a key"),
        (UNIT, {"worklist": ""}, "and a work list"),
        (UNIT, {"number": -1}, "at least 0, not -1"),
        (MEASUREMENT, {"min_valid_fraction": 50}, "between 0 and 1, not 50"),
        (MEASUREMENT.models[0], {"card_digest": ""}, "its folder and its card's digest"),
        (MEASUREMENT, {"models": ()}, "at least one model"),
        (MEASUREMENT, {"cutout_size": 0}, "at least 1 pixel on a side, not 0"),
        (MOSAIC, {"files": ()}, "state of at least one file"),
        (WorkerSettings("catalog", EngineChoice(), 4), {"models_in_memory": 0}, "at least 1 model in memory, not 0"),
        (WorkerSettings("catalog", EngineChoice(), 4), {"root": ""}, "its output folder"),
        (Job("one", UNIT), {"name": ""}, "must have a name"),
        (Job("one", UNIT), {"n_sources": -1}, "one cannot have -1 sources"),
    ],
)
def test_impossible_orders_cannot_be_made(order, change, told):
    with pytest.raises(ValueError, match=told):
        replace(order, **change)


def test_a_file_that_was_written_since_it_was_planned_is_named(tmp_path):
    path = tmp_path / "egs.fits"
    path.write_bytes(b"1234")
    planned = PlannedMosaic(str(path), None, Stated(), (file_state(path),))
    planned.check_unchanged()
    path.write_bytes(b"12345")
    with pytest.raises(UnitError, match=r"egs\.fits changed while this run was reading it \(size 4 then, 5 now\)"):
        planned.check_unchanged()
    path.unlink()
    with pytest.raises(UnitError, match=r"size 4 then, None now"):
        planned.check_unchanged()


def test_orders_need_neither_astropy_nor_a_network():
    """Dask's scheduler unpickles every job that passes."""
    code = (
        "import sys, surveyflow.measuring.orders, surveyflow.training.trial_orders; "
        "print({'astropy', 'pyarrow', 'keras', 'tensorflow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
