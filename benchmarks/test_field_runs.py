import os
import shutil
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

from surveyflow.models.engines.native_library import absence


@pytest.fixture
def field(monkeypatch):
    spec = spec_from_file_location("field", Path(__file__).with_name("field.py"))
    module = module_from_spec(spec)
    monkeypatch.syspath_prepend(Path(__file__).parent)  # its processes import it by name
    monkeypatch.setitem(sys.modules, "field", module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(absence() is not None, reason=f"the native core cannot be used: {absence()}")
def test_the_benchmark_of_a_field_runs(field, tmp_path, capsys):
    small = (field.Instrument("F814W", (900, 1200), 0.03, (0.0, 8.0)),)
    ratio = field.measure(tmp_path, small, n_workers=0)
    assert ratio > 1
    *_, last = capsys.readouterr().out.splitlines()
    assert last == f"CPU of the whole run / CPU of its networks alone: {ratio:.3f}"


def test_a_field_that_a_disk_cannot_hold_is_refused_before_it_is_made(field, tmp_path, monkeypatch):
    mosaics, usage = field.instruments(small=False, mosaic=True), shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=26 * 10**9))
    with pytest.raises(SystemExit, match=r"needs (26\.6|43\.0) GB of disk, but 26\.0 GB are free.*--folder"):
        field.measure(tmp_path, mosaics, n_workers=0)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=43 * 10**9))
    field.check_disk(tmp_path, mosaics)


def test_a_field_takes_the_space_that_is_asked_for(field, tmp_path):
    if not field.has_holes(tmp_path):
        pytest.skip("this file system has no holes in files")
    mosaic = field.Instrument("F814W", (1000, 8000), 0.03, (0.0, 8.0))
    field.write_mosaic(tmp_path, mosaic, [4000.0, 1003.0], [500.0, 120.0], np.random.default_rng(1))
    files = [tmp_path / f"F814W_{kind}.fits" for kind in ("sci", "wht")]
    for file in files:
        with file.open("rb") as stream:
            os.fsync(stream.fileno())  # blocks are allocated when they are written
        assert file.stat().st_size > 32e6
    assert 0.9 < sum(512 * file.stat().st_blocks for file in files) / field.allocated_bytes(mosaic) < 1.1
