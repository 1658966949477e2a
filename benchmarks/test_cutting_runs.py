from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path


def test_the_cutting_benchmark_runs():
    spec = spec_from_file_location("cutting", Path(__file__).with_name("cutting.py"))
    cutting = module_from_spec(spec)
    spec.loader.exec_module(cutting)
    rates = cutting.measure(side=200, n_cutouts=3, size=32, rounds=1)
    assert len(rates) == 14
    assert min(rates.values()) > 0
