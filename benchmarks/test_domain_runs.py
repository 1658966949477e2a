import sys
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
n = 12
seed = 3
"""


@pytest.mark.slow
def test_the_benchmark_of_the_domain_runs(tmp_path, capsys, monkeypatch):
    pytest.importorskip("tensorflow", reason="needs an extra: pip install 'surveyflow-mergers[cpu]'", exc_type=ImportError)
    pytest.importorskip("galsim", reason="needs an extra: pip install 'surveyflow-mergers[simulate]'", exc_type=ImportError)
    (tmp_path / "simulate.toml").write_text(SIMULATION)
    surveyflow.simulate(tmp_path / "simulate.toml")
    spec = spec_from_file_location("domain", Path(__file__).with_name("domain.py"))
    benchmark = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "domain", benchmark)  # dataclasses look their module up
    spec.loader.exec_module(benchmark)
    model, records = PACKAGED_MODELS / "merger" / "F814W" / "COSMOS", tmp_path / "records"
    benchmark.main([str(model), str(records), "--clean", str(records), "--draws", "5"])
    lines = capsys.readouterr().out.splitlines()[2:]
    flagged = {line.split(" | ")[0].strip("| "): float(line.split(" | ")[2]) for line in lines}
    assert {flagged[name] for name in ("pedestal of +10 sigma", "multiplied by 10")} == {100.0}
