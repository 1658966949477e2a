"""The benchmark of publishing still runs; its numbers are not tested here."""

import runpy
from pathlib import Path


def test_publishing_benchmark_runs_on_a_small_catalog(tmp_path):
    benchmark = runpy.run_path(str(Path(__file__).with_name("publishing.py")))
    result = benchmark["measure"](tmp_path, 1_800, tiles_a_side=2)
    assert result["rows"] == 1_800
    assert result["partitions"] >= 4
    assert 0 < result["ok_rows"] < 1_800
    assert {"count", "publish", "check", "twins", "seal"} <= set(result["tasks_cpu_us_per_row"])
