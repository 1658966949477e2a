import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from surveyflow.models.engines.native_library import absence


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(absence() is not None, reason=f"the native core cannot be used: {absence()}")
def test_the_benchmark_of_a_field_runs(tmp_path, capsys, monkeypatch):
    spec = spec_from_file_location("field", Path(__file__).with_name("field.py"))
    benchmark = module_from_spec(spec)
    monkeypatch.syspath_prepend(Path(__file__).parent)  # its processes import it by name
    monkeypatch.setitem(sys.modules, "field", benchmark)
    spec.loader.exec_module(benchmark)
    benchmark.N_ALONE = 8
    small = (benchmark.Instrument("F814W", (900, 1200), 0.03, (0.0, 8.0)),)
    ratio = benchmark.measure(tmp_path, small, n_workers=0)
    assert ratio > 1
    *_, last = capsys.readouterr().out.splitlines()
    assert last == f"CPU of the whole run / CPU of its networks alone: {ratio:.3f}"
