from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

import surveyflow
from surveyflow.runs.demo import PACKAGED_MODELS

SIMULATION = """version = 1
[simulation]
output = "records"
field = "COSMOS"
instrument = "F814W"
n = 24
seed = 3
"""


@pytest.mark.slow
def test_the_benchmark_of_calibration_runs(tmp_path, capsys):
    for needed in ("tensorflow", "galsim", "sklearn"):
        pytest.importorskip(needed, reason="needs extras: pip install 'surveyflow-mergers[cpu,train]'", exc_type=ImportError)
    (tmp_path / "simulate.toml").write_text(SIMULATION)
    surveyflow.simulate(tmp_path / "simulate.toml")
    spec = spec_from_file_location("calibration", Path(__file__).with_name("calibration.py"))
    benchmark = module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    model, records = PACKAGED_MODELS / "merger" / "F814W" / "COSMOS", str(tmp_path / "records")
    benchmark.main([str(model), "--fit", records, "--test", records, "--n", "24", "--draws", "5"])
    lines = capsys.readouterr().out.splitlines()[2:]
    assert [line.split(" | ")[1] for line in lines] == ["raw", "temperature", "beta", "isotonic"]
    errors = [float(line.split(" | ")[2].split(",")[0]) for line in lines]
    assert all(0 <= error <= 1 for error in errors)
