"""Every kind of cluster offers the same methods, and says what to use instead of those that it does not have."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from fakes import FakeSettings
from surveyflow.errors import ClusterError, ProfileError
from surveyflow.sites.kind import RunCommand, RunToRender
from surveyflow.sites.profiles import BUILT_IN, KINDS, load_profile

REPOSITORY = Path(__file__).parents[2]
RUN = RunToRender(RunCommand(Path("/survey/workflow.toml"), "candels-v1.0"), Path("site.toml"), frozenset(), dict)


def name_of(kind):
    return kind if kind in BUILT_IN else str(REPOSITORY / f"surveyflow/sites/{kind.replace('-', '_')}/profile.toml")


def profile_of(kind):
    return load_profile(name_of(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_a_profile_knows_its_kind_and_its_limits(kind):
    assert profile_of(kind).kind == kind
    assert profile_of(kind).limits.max_deaths >= 2


@pytest.mark.parametrize("kind", KINDS)
def test_reading_one_kind_imports_neither_dask_nor_the_other_kinds(kind):
    code = (
        f"import sys; from surveyflow.sites.profiles import load_profile; load_profile({name_of(kind)!r}); "
        "print(*{name.split('.')[0] for name in sys.modules}, *(name for name in sys.modules if 'surveyflow.sites.' in name))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    folders = {name.rpartition(".")[0] for name in imported if name.endswith((".profile", ".settings", ".cluster", ".jobs"))}
    assert not imported & {"dask", "distributed", "yaml"}
    assert folders == {KINDS[kind].rpartition(".")[0]} | ({"surveyflow.sites.local"} if kind == "local-gpu" else set())


@pytest.mark.parametrize("kind", ["serial", "local", "local-gpu", "address"])
@pytest.mark.parametrize("method", ["render", "submit"])
def test_kinds_that_start_at_once_have_no_jobs(kind, method):
    with pytest.raises(ProfileError, match="surveyflow run WORKFLOW --profile PROFILE"):
        getattr(profile_of(kind), method)(RUN)


@pytest.mark.parametrize(
    ("kind", "command"), [("slurm", "surveyflow slurm submit"), ("kubernetes", "surveyflow kubernetes render")]
)
def test_kinds_that_run_as_jobs_cannot_be_opened(kind, command):
    with pytest.raises(ClusterError, match=command):
        profile_of(kind).open("fakes:make_fake_worker", FakeSettings(), print)


@pytest.mark.parametrize("kind", ["slurm", "kubernetes"])
def test_kinds_that_run_as_jobs_are_inspected_while_their_jobs_run(kind):
    with pytest.raises(ClusterError, match="surveyflow doctor --profile"):
        profile_of(kind).inspect(platform.node)


def test_manifests_are_submitted_by_kubectl():
    with pytest.raises(ClusterError, match="kubectl apply"):
        profile_of("kubernetes").submit(RUN)
