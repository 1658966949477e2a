import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest


def test_the_benchmark_of_a_gpu_runs(tmp_path, monkeypatch):
    pytest.importorskip("keras", reason="needs an extra: pip install 'surveyflow-mergers[cpu]'", exc_type=ImportError)
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec = spec_from_file_location("gpu", Path(__file__).with_name("gpu.py"))
    benchmark = module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    sections = benchmark.Benchmark(tmp_path, small=True).sections()
    trunk = sections["trunk"]()
    assert trunk.keys() == {"float32", "tf32", "bf16"}
    assert trunk["float32"]["error"] < 1e-4 < trunk["bf16"]["error"] < 0.1
    assert min(sections["head"]()["draws_per_s"].values()) > 0
    assert sections["unit"]()["cutouts_per_s"] > 0
    assert "left out" in sections["memory"]()
