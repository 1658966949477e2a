from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest


@pytest.mark.slow
def test_the_benchmark_of_simulations_runs(capsys):
    spec = spec_from_file_location("simulating", Path(__file__).with_name("simulating.py"))
    benchmark = module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    benchmark.main(["--n", "2", "--repeats", "1"])
    told = [line.split()[:3] for line in capsys.readouterr().out.splitlines()]
    assert [(instrument, name) for instrument, name, _ in told] == [
        (instrument, name) for instrument in ("F814W", "F125W_F160W") for name in ("stamps", "truths", "examples")
    ]
    assert all(float(rate) > 0 for _, _, rate in told)
