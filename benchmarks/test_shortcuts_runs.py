from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest


@pytest.mark.slow
def test_the_benchmark_of_shortcuts_runs(capsys):
    pytest.importorskip("sklearn", reason="needs scikit-learn, of the extra train")
    spec = spec_from_file_location("shortcuts", Path(__file__).with_name("shortcuts.py"))
    benchmark = module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    benchmark.main(["--n", "60"])
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 26
    assert all(0 <= float(line.split()[-1]) <= 100 for line in told[2:])
