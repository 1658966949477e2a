"""The benchmark of idle runs still runs; its numbers are not tested here."""

import runpy
from pathlib import Path


def test_idle_run_benchmark_runs_on_a_small_survey(tmp_path):
    benchmark = runpy.run_path(str(Path(__file__).with_name("idle_run.py")))
    result = benchmark["measure"](tmp_path, 200, 2)
    assert result["rows"] == 200
    nothing_done = {"done": 0, "kept": result["units"], "dropped": 0, "failed": 0}
    assert result["idle_run"]["units"] == result["new_name"]["units"] == nothing_done
    assert (result["idle_run"]["published"], result["new_name"]["published"]) == (False, True)
    assert 0 < result["idle_run"]["peak_mb"] < 1_000
