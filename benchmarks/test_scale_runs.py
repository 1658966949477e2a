"""The benchmark of large surveys still runs, and what must not depend on the number of units does not."""

import json
import runpy
from pathlib import Path

import pytest

BENCHMARK = runpy.run_path(str(Path(__file__).with_name("scale.py")), run_name="scale")


@pytest.mark.timeout(900)
def test_scale_benchmark_runs_on_a_small_survey(tmp_path):
    result = BENCHMARK["measure"](tmp_path, 900, per_unit=100, n_workers=1)
    told = result["run"]["result"]
    assert (result["units"], told["rows"]) == (9, 900)
    assert told["units"] == {"done": 9, "kept": 0, "dropped": 0, "failed": 0}
    assert told["tasks_of_the_scheduler"] <= 2 * 2
    assert result["messages"]["asked_bytes"] < 4_000
    assert result["messages"]["answered_bytes"] < 4_000
    for name in ("driver", "scheduler", "largest_worker"):
        assert max(result["run"]["peak_mb"][name].values()) > 20
        assert result["run"]["cpu_s"][name] > 0
    assert result["plan_with_nothing_to_do"]["result"]["decisions"]["keep"] == 9
    json.dumps(result)
    BENCHMARK["draw"](result["run"]["curve"], tmp_path / "curve.svg")
    assert (tmp_path / "curve.svg").stat().st_size < 30_000


def test_three_sizes_make_a_line_with_its_value_at_a_hundred_million_sources():
    def size(n_sources):
        mb = 100 + n_sources / 1e6
        run = {"peak_mb": {name: {"open": 50.0, "units": mb} for name in BENCHMARK["PROCESSES"]}}
        idle = {"seconds": {"start": 1.0, "open": 2 * n_sources / 1e6}, "peak_mb": {"driver": {"open": mb}}}
        return {"sources": n_sources, "run": run, "plan_with_nothing_to_do": idle}

    lines = BENCHMARK["fit"]([size(n_sources) for n_sources in (100_000, 300_000, 1_000_000)])
    assert lines["driver_peak_mb"] == pytest.approx({"per_million_sources": 1, "at_none": 100, "at_1e8": 200})
    assert lines["plan_with_nothing_to_do_s"] == pytest.approx({"per_million_sources": 2, "at_none": 1, "at_1e8": 201})


def test_a_size_that_does_not_fit_on_the_disk_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="1,000,000,000,000 sources take about 800,000 GB"):
        BENCHMARK["check_disk"](tmp_path, 10**12)
