from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from surveyflow.models.engines.native_library import absence


@pytest.mark.skipif(absence() is not None, reason=f"the native core cannot be used: {absence()}")
def test_the_benchmark_of_the_fft_engine_runs():
    pytest.importorskip("keras", reason="needs an extra: pip install 'surveyflow-mergers[cpu]'", exc_type=ImportError)
    spec = spec_from_file_location("fft_engine", Path(__file__).with_name("fft_engine.py"))
    benchmark = module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    found = benchmark.measure(benchmark.NARROW, n_cutouts=2, rounds=1)
    assert len(found["cpu_ms_per_cutout"]) == 8
    assert min(found["cpu_ms_per_cutout"].values()) > 0
    assert found["10000 draws against 1000"] > 1
    (trunk,) = benchmark.measure_trunks({"narrow": benchmark.NARROW}, n_cutouts=2, rounds=1).values()
    assert trunk["ratio"] > 0
    assert trunk["difference"] < 1e-4
