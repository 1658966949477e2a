"""The benchmark of large surveys still runs, and what must not depend on the number of units does not."""

import runpy
from pathlib import Path

import pytest


@pytest.mark.timeout(900)
def test_scale_benchmark_runs_on_a_small_survey(tmp_path):
    benchmark = runpy.run_path(str(Path(__file__).with_name("scale.py")), run_name="scale")
    result = benchmark["measure"](tmp_path, 900, 3, 2)
    assert result["rows"] == 900
    assert result["units"] == {"done": 9, "kept": 0, "dropped": 0, "failed": 0}
    assert result["curve"][-1]["units"] == 9
    assert max(point["tasks"] for point in result["curve"]) <= 2 * 3
    assert result["messages"]["asked_bytes"] < 4_000
    assert result["messages"]["answered_bytes"] < 4_000
    benchmark["draw"](result["curve"], tmp_path / "curve.svg")
    assert (tmp_path / "curve.svg").stat().st_size < 30_000
