"""The benchmark of revisions still runs, and every step finds what it should; its numbers are not tested here."""

import runpy
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def test_every_step_runs_on_small_revisions(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    benchmark = runpy.run_path(str(FOLDER / "releases.py"))
    names = list(benchmark["steps"](tmp_path, 3_000, 100))
    found = {name: benchmark["measured"](tmp_path, 3_000, 100, name)["found"] for name in names}
    assert found["units"] == 30
    assert any("max_moved_fraction" in reason for reason in found["guard"])
    assert found["diff"]["changed"] + found["diff"]["unchanged"] == 3_000
    assert found["diff"]["changed"] > 0
    assert found["verify"] > 5
    assert found["rollback"] == "v1.0-r1"
    assert 0 < found["list"][1] < found["list"][0]
    assert found["prune"] == ["v1.0-r1"]
