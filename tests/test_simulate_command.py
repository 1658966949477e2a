"""``surveyflow simulate`` as its user meets it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

FILE = """version = 1
[simulation]
output = "records"
field = "COSMOS"
instrument = "F125W_F160W"
n = 3
seed = 1
"""


def surveyflow(*arguments):
    return subprocess.run([sys.executable, "-m", "surveyflow", *map(str, arguments)], capture_output=True, text=True, check=False)


def test_a_simulation_ends_with_records_on_disk_and_one_object_on_stdout(tmp_path):
    (tmp_path / "simulate.toml").write_text(FILE)
    done = surveyflow("simulate", tmp_path / "simulate.toml", "--json", "--processes", 1)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["records"] == str(tmp_path / "records")
    assert (told["complete"], told["n"], told["band"]) == (True, 3, "F160W")
    assert [shard["name"] for shard in told["shards"]] == ["part-00000-of-00001.tfrecord"]
    assert (tmp_path / "records" / "part-00000-of-00001.tfrecord").stat().st_size == told["shards"][0]["bytes"]
    assert "simulating: 3/3" in done.stderr


def test_a_bad_file_ends_with_code_2_and_every_problem(tmp_path):
    (tmp_path / "simulate.toml").write_text(FILE.replace("n = 3", "n = 0\nsede = 1"))
    done = surveyflow("simulate", tmp_path / "simulate.toml")
    assert (done.returncode, done.stdout) == (2, "")
    assert "2 problems" in done.stderr
    assert "Did you mean `seed`?" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "records").exists()
