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
post_merger_share = 0.3
"""


@pytest.mark.slow
def test_the_benchmark_of_juries_runs(tmp_path, capsys, monkeypatch):
    pytest.importorskip("tensorflow", reason="needs an extra: pip install 'surveyflow-mergers[cpu]'", exc_type=ImportError)
    pytest.importorskip("galsim", reason="needs an extra: pip install 'surveyflow-mergers[simulate]'", exc_type=ImportError)
    (tmp_path / "simulate.toml").write_text(SIMULATION)
    surveyflow.simulate(tmp_path / "simulate.toml")
    for name in ("domain", "juries"):
        spec = spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        benchmark = module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, benchmark)  # dataclasses look their module up, and juries imports domain
        spec.loader.exec_module(benchmark)
    jury, records = PACKAGED_MODELS / "merger" / "F814W" / "COSMOS", str(tmp_path / "records")
    benchmark.main([str(jury), "--test", records, "--shares", records, "--large", records, "--clean", records, "--draws", "6"])
    parts = capsys.readouterr().out.strip().split("\n\n")
    members, shares, large, changes = (part.splitlines() for part in parts if part.startswith("|"))
    assert [line.split(" | ")[0].strip("| ") for line in members[2:]][-2:] == ["jury", "gain over the mean member"]
    assert shares[2].startswith("| 0.3 | 12 | ")
    assert large[2].startswith("| records | all | 12 | ")
    assert sum(int(line.split(" | ")[2]) for line in large[3:]) == 12, "each stamp is in one bin of magnitude"
    distances = {line.split(" | ")[0].strip("| "): line.split(" | ")[-1] for line in changes[2:]}
    assert float(distances["empty sky"].split(" +- ")[0]) > 0.95
    assert changes[-1].startswith("| mean of the ")
