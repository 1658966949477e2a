import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from surveyflow.runs.demo import PACKAGED_MODELS


@pytest.mark.slow
def test_the_benchmark_of_blends_runs(capsys, monkeypatch):
    for extra, module in (("cpu", "tensorflow"), ("simulate", "galsim"), ("train", "photutils")):
        pytest.importorskip(module, reason=f"needs an extra: pip install 'surveyflow-mergers[{extra}]'", exc_type=ImportError)
    spec = spec_from_file_location("blends", Path(__file__).with_name("blends.py"))
    benchmark = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "blends", benchmark)  # dataclasses look their module up
    spec.loader.exec_module(benchmark)
    monkeypatch.setattr(benchmark, "DISTANCES_PIX", (25,))
    benchmark.main([str(PACKAGED_MODELS / "contamination" / "F814W" / "COSMOS"), "--galaxies", "8", "--draws", "20"])
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    alone, *pairs = [(float(row[2]), float(row[3])) for row in rows]
    assert [coverage for coverage, _ in pairs] == sorted(coverage for coverage, _ in pairs)
    assert pairs[0][0] > alone[0] == 0
    assert pairs[-1][1] > alone[1] + 0.2
