from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from stubs import TINY
from surveyflow.commands.main import app
from surveyflow.errors import ClusterError, ProfileError
from worlds import write_untrained_models

PROFILE = """\
kind = "slurm"
interface = "lo"
[directories]
shared = "shared"
[head]
memory = "1 GiB"
walltime = "01:00:00"
[pools.cpu]
jobs = 2
memory = "1 GiB"
walltime = "01:00:00"
lifetime = "00:50:00"
"""


@pytest.fixture
def profile(tmp_path):
    path = tmp_path / "site.toml"
    path.write_text(PROFILE)
    return path


@pytest.fixture
def workflow(mini_survey):
    write_untrained_models(mini_survey.folder / "models", mini_survey.spec.fields, TINY)
    return mini_survey.workflow


def call(*arguments):
    done = CliRunner().invoke(app, ["slurm", *map(str, arguments)])
    if done.exception is not None:
        raise done.exception
    return done.stdout


def test_render_prints_every_script_and_changes_nothing(workflow, profile, tmp_path):
    profile.write_text('routing = "any"\n' + profile.read_text())
    before = sorted(tmp_path.rglob("*"))

    out = call("render", workflow, "--profile", profile, "--precision", "bf16")

    assert [line.rpartition("/")[2] for line in out.splitlines() if line.startswith("# ==>")] == [
        "head.sh",
        "pool-cpu.sh",
        "driver.toml",
    ]
    assert f"run {workflow} " in out
    assert "--precision bf16" in out
    assert sorted(tmp_path.rglob("*")) == before


def test_render_as_json_holds_the_same_text(workflow, profile):
    out = json.loads(call("render", workflow, "--profile", profile, "--json"))

    assert out["files"]["head.sh"] in call("render", workflow, "--profile", profile)
    assert out["folder"].startswith(str(profile.parent / "shared"))


def test_another_kind_of_profile_is_refused(workflow):
    with pytest.raises(ProfileError, match=r"is of kind 'local', expected 'slurm'.*`interface`, `directories`, `head`, `pools`"):
        call("render", workflow, "--profile", "local")


def test_submit_without_slurm_says_so_and_writes_nothing(workflow, profile, monkeypatch):
    monkeypatch.setenv("PATH", "")

    with pytest.raises(ClusterError, match="there is no squeue on this machine"):
        call("submit", workflow, "--profile", profile)

    assert not (profile.parent / "shared").exists()
