from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest


def test_the_inference_benchmark_runs():
    pytest.importorskip("keras", reason="needs an extra: pip install 'surveyflow-mergers[cpu]'", exc_type=ImportError)
    spec = spec_from_file_location("inference", Path(__file__).with_name("inference.py"))
    inference = module_from_spec(spec)
    spec.loader.exec_module(inference)
    found = inference.measure(inference.NARROW, n_cutouts=3, draws=(5, 50), rounds=1)
    assert set(found["cpu_ms_per_cutout"]) == {
        "predict, one draw",
        "features",
        *(f"{part}draw {n}" for part in ("", "features, ") for n in (1, 5, 50)),
    }
    assert min(found["cpu_ms_per_cutout"].values()) > 0
    assert found["times_the_predict_loop"].keys() == {5, 50}
    assert found["peak_memory_mib"] > 50
