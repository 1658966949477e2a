"""Pixels that cannot be read fail the units whose windows hold them, and no others."""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from astropy.io import fits

from stubs import TINY
from surveyflow.errors import WorkflowError
from surveyflow.inputs import fits_images
from surveyflow.measuring.orders import WorkerSettings
from surveyflow.output.digest_cache import forget_digests
from surveyflow.planning.plan import Decision
from surveyflow.releases.publish import read_catalog, read_manifest
from surveyflow.runs import decide
from surveyflow.runs.decide import make_plan, unchanged
from surveyflow.runs.execute import LateExecutor, Reporter
from surveyflow.runs.preflight import open_survey
from surveyflow.runs.rerun import check_plan
from surveyflow.runs.run import run_survey
from surveyflow.settings.workflow import load_workflow
from surveyflow.sites.serial.profile import SerialExecutor, SerialProfile
from surveyflow.values.codes import Precision
from surveyflow.values.jobs import EngineChoice, JobResult
from worlds import copied, edit_workflow, write_untrained_models

HOPELESS = "EGS/F814W/y001x000"
TILE_IN_IT = (8, 0)
"""Row and column, in tiles of 100 x 100 pixels, of one that no other window holds."""


@pytest.fixture
def survey(egs_folder, tmp_path):
    """A survey of one field whose F814W mosaic is tile-compressed."""
    made = copied(egs_folder, tmp_path / "survey")
    write_untrained_models(made.folder / "models", made.spec.fields, TINY)
    mosaic = made.science("EGS", "F814W")
    exact = {"compression_type": "GZIP_1", "quantize_level": 0, "tile_shape": (100, 100)}
    with fits.open(mosaic) as hdus:
        fits.CompImageHDU(hdus[0].data, hdus[0].header, **exact).writeto(mosaic.with_suffix(".fits.fz"))
    edit_workflow(made.workflow, {"fields": {"EGS": {"F814W": {"science": f"{mosaic.name}.fz"}}}})
    return made


def packed_mosaic(survey):
    return survey.science("EGS", "F814W").with_suffix(".fits.fz")


def damage(path, tile):
    """Overwrite a compressed tile; return what undoes it. Size and time stay, as when a disk loses a sector."""
    with fits.open(path, disable_image_compression=True) as hdus:
        row, n_columns = tile[0], -(-hdus[1].header["ZNAXIS1"] // 100)
        payload = hdus[1].data["COMPRESSED_DATA"][row * n_columns + tile[1]].tobytes()
    place, status = path.read_bytes().index(payload), path.stat()

    def put(content):
        with path.open("r+b") as file:
            file.seek(place)
            file.write(content)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    put(b"\xff" * len(payload))
    return lambda: put(payload)


def root(survey):
    return survey.folder / "catalog"


def run(survey):
    with open_survey(load_workflow(survey.workflow)) as opened:
        return run_survey(opened, SerialProfile(), factory="stubs:StubWorker")


def statuses(survey):
    return read_catalog(root(survey)).set_index("source_id").status.sort_index()


def test_damaged_tile_of_a_mosaic_fails_its_unit_until_it_can_be_read_and_when_it_is_measured(survey):
    restore = damage(packed_mosaic(survey), TILE_IN_IT)
    first = run(survey)
    assert first.exit_code == 3
    assert list(first.failed_units) == [HOPELESS]
    assert "sci.fits.fz: rows" in first.failed_units[HOPELESS]
    assert (first.units["failed"], first.rows) == (1, len(survey.truth))
    expected = survey.truth.set_index("source_id").status.sort_index()
    failed = statuses(survey) == "failed"
    assert 0 < failed.sum() == first.status["failed"]
    assert (statuses(survey)[~failed] == expected[~failed]).all()

    again = run(survey)
    assert (again.published, again.failed_units, again.exit_code) == (False, first.failed_units, 3)
    with open_survey(load_workflow(survey.workflow)) as opened:
        assert unchanged(opened, Precision.FLOAT32) is None

    restore()
    mended = run(survey)
    assert (mended.units["done"], mended.units["failed"], mended.exit_code) == (1, 0, 0)
    assert (statuses(survey) == expected).all()
    with open_survey(load_workflow(survey.workflow)) as opened:
        assert unchanged(opened, Precision.FLOAT32) is not None

    damage(packed_mosaic(survey), TILE_IN_IT)  # after it was digested
    edit_workflow(survey.workflow, {"sampling": {"seed": 8}})
    measured = run(survey)
    assert (list(measured.failed_units), measured.exit_code) == ([HOPELESS], 3)
    assert measured.units["done"] > 0
    assert [unit["name"] for unit in read_manifest(measured.path)["failed_units"]] == [HOPELESS]

    forget_digests(root(survey))
    planned = plan_of(survey, Disturbed(survey))
    words = rf"unit {HOPELESS}: the pixels of its window cannot be read: .*sci\.fits\.fz"
    with open_survey(load_workflow(survey.workflow)) as opened, pytest.raises(WorkflowError, match=words):
        check_plan(read_manifest(mended.path), opened, planned)


class Disturbed:
    """A serial executor in which workers die with one job."""

    dashboard = None

    def __init__(self, survey):
        self._serial = SerialExecutor("stubs:StubWorker", WorkerSettings(str(root(survey)), EngineChoice(), models_in_memory=1))

    def run(self, jobs):
        yield from (JobResult(job, error="3 workers died with it") for job in jobs if job.name == HOPELESS)
        yield from self._serial.run([job for job in jobs if job.name != HOPELESS])

    def close(self):
        self._serial.close()


def plan_of(survey, executor):
    with ExitStack() as stack, open_survey(load_workflow(survey.workflow)) as opened:
        late = LateExecutor(stack, lambda: closing(executor))
        return make_plan(opened, late, Reporter(()))


def test_window_with_which_workers_die_is_planned_as_a_failure_beside_the_others(survey, monkeypatch):
    monkeypatch.setattr(decide, "DIGESTED_HERE_BYTES", 0)
    planned = {unit.name: unit for unit in plan_of(survey, Disturbed(survey)).units}
    assert {name for name, unit in planned.items() if unit.unreadable} == {HOPELESS}
    assert planned[HOPELESS].decision is Decision.DO
    assert planned[HOPELESS].reason == "the pixels of its window cannot be read: 3 workers died with it"


def test_disk_that_fails_to_read_a_row_fails_the_windows_with_that_row(survey, monkeypatch):
    read = os.preadv

    def failing(file, buffers, offset):
        if "f125w_f160w_sci" in Path(f"/proc/self/fd/{file}").readlink().name:
            raise OSError(errno.EIO, "Input/output error")
        return read(file, buffers, offset)

    monkeypatch.setattr(fits_images.os, "preadv", failing)
    planned = plan_of(survey, Disturbed(survey)).units
    unreadable = {unit.name: unit.reason for unit in planned if unit.unreadable}
    assert {name.split("/")[1] for name in unreadable} == {"F125W_F160W"}
    assert all("Input/output error" in reason for reason in unreadable.values())
