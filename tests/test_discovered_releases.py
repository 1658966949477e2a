"""A workflow whose paths hold the release, as a scheduler runs it: the newest complete set, one run at a time, and a hook."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import subprocess
import sys

import pytest
from astropy.io import fits

from stubs import TINY
from surveyflow import api
from surveyflow.api.runs import open_inputs
from surveyflow.commands import main as cli
from surveyflow.output.lock import RunLock
from surveyflow.releases.publish import list_revisions
from surveyflow.runs.run import run_survey
from surveyflow.sites.serial.profile import SerialProfile
from waiting import wait_until
from worlds import copied, edit_workflow, write_untrained_models

COMMAND = [sys.executable, "-c", "from surveyflow.commands.main import main; main()"]


@pytest.fixture(scope="module")
def released(shared_worlds, egs_folder):
    """The files of two releases, v1.9 and v1.10, that differ in name alone."""
    return shared_worlds.get("released", lambda folder: with_releases(copied(egs_folder, folder)))


def with_releases(survey):
    """Give a survey models, and two releases of its mosaics."""
    write_untrained_models(survey.folder / "models", survey.spec.fields, TINY)
    mosaics = {
        instrument: {
            "science": f"{{release}}/egs_{instrument.lower()}_s*.fits",
            "weight": f"{{release}}/egs_{instrument.lower()}_w*",
        }
        for instrument in ("F814W", "F125W_F160W")
    }
    settings = {"watch_s": 0, "quiet_s": 0}
    edit_workflow(survey.workflow, {"survey": {"release": "v0"}, "discovery": settings, "fields": {"EGS": mosaics}})
    for release in ("v1.9", "v1.10"):
        (survey.folder / release).mkdir()
        for path in survey.folder.glob("egs_f*.fits"):
            shutil.copy2(path, survey.folder / release)
    return survey


@pytest.fixture
def world(released, tmp_path):
    shutil.copytree(released.folder, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def surveyflow(monkeypatch, capsys):
    """Run the command line in this process: returns exit code, stdout and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["surveyflow", *map(str, arguments)])
        monkeypatch.setattr(signal, "signal", lambda *_: None)
        capsys.readouterr()
        try:
            cli.main()
        except SystemExit as end:
            return end.code or 0, *capsys.readouterr()
        return 0, *capsys.readouterr()

    return run


def run(world, release):
    with open_inputs(world / "workflow.toml", release) as (survey, _):
        return run_survey(survey, SerialProfile(), factory="stubs:StubWorker")


def test_a_named_release_is_used_in_every_path_and_names_the_revision(world):
    assert run(world, "v1.9").revision == "v1.9-r1"
    again = run(world, "v1.10")
    assert (again.revision, again.units["done"]) == ("v1.10-r1", 0)


def test_latest_is_the_newest_complete_release(world):
    (world / "v1.10").rename(world / "on its way")
    assert run(world, "latest").revision == "v1.9-r1"
    (world / "on its way").rename(world / "v1.10")
    assert run(world, "latest").revision == "v1.10-r1"


def test_latest_never_takes_readers_back_to_an_older_release(surveyflow, world):
    run(world, "latest")
    (world / "v1.10" / "egs_f814w_wht.fits").unlink()
    code, _, err = surveyflow("run", world / "workflow.toml", "--release", "latest")
    assert code == 2
    assert "v1.9, the newest complete release, is older than v1.10-r1, which is published" in err
    assert "release v1.10 was skipped: EGS F814W weight: no file matches" in err
    assert run(world, "v1.9").revision == "v1.9-r1"


def test_validate_and_plan_tell_what_was_skipped_in_words_and_in_json(surveyflow, world):
    (world / "v1.10" / "egs_f814w_wht.fits").unlink()
    workflow = world / "workflow.toml"
    code, out, err = surveyflow("validate", workflow, "--release", "latest")
    assert code == 0
    assert "release v1.9" in out
    reason = "EGS F814W weight: no file matches v1.10/egs_f814w_w*"
    assert f"release v1.10 was skipped: {reason}" in err
    for verb in (["validate"], ["plan", "--profile", "serial"]):
        code, out, _ = surveyflow(*verb, workflow, "--release", "latest", "--json")
        assert code == 0
        found = json.loads(out)["discovery"]
        assert found == {"release": "v1.9", "skipped": [{"release": "v1.10", "reasons": [reason], "broken": False}]}


def test_files_that_were_written_just_now_are_left_to_the_next_run(surveyflow, world):
    edit_workflow(world / "workflow.toml", {"discovery": None})
    for path in world.glob("v1.*/*.fits"):
        path.touch()
    (world / "egs_catalog.cat").touch()
    code, out, err = surveyflow("run", world / "workflow.toml", "--release", "latest")
    assert (code, out) == (2, "")
    assert "no release is complete" in err
    assert "EGS source list: egs_catalog.cat was written" in err
    assert not (world / "catalog").exists()


def test_a_release_that_is_not_there_ends_with_2_and_names_its_paths(surveyflow, world):
    code, _, err = surveyflow("run", world / "workflow.toml", "--release", "v3")
    assert code == 2
    assert "[fields.EGS.F814W] science: no file matches v3/egs_f814w_s*.fits" in err


def test_the_hook_hears_of_each_revision_and_of_nothing_else(world):
    heard = world / "heard.txt"
    script = world / "hook.py"
    facts = "os.environ[f'SURVEYFLOW_{name}'] for name in ('REVISION', 'ROOT', 'EXIT')"
    script.write_text(f"import os\nwith open({str(heard)!r}, 'a') as file:\n    print(*({facts}), file=file)\n")
    edit_workflow(world / "workflow.toml", {"notify": {"command": f"{sys.executable} {script}"}})
    for release in ("v1.9", "v1.9", "v1.10"):
        run(world, release)
    assert heard.read_text().splitlines() == [f"v1.9-r1 {world / 'catalog'} 0", f"v1.10-r1 {world / 'catalog'} 0"]


def test_a_hook_that_fails_undoes_nothing(world, caplog):
    edit_workflow(world / "workflow.toml", {"notify": {"command": "no-such-program"}})
    assert run(world, "latest").exit_code == 0
    assert [revision.name for revision in list_revisions(world / "catalog")] == ["v1.10-r1"]
    assert "could not be started" in caplog.text


@pytest.fixture
def heard(world):
    """What the workflow's command heard, a line each: event, revision, release, exit code and message."""
    names = ["EVENT", "REVISION", "RELEASE", "EXIT", "MESSAGE"]
    program = f"import os; print(*[os.environ['SURVEYFLOW_' + name] for name in {names}], sep='|', file=open('heard', 'a'))"
    command = shlex.join([sys.executable, "-c", f"import os; os.chdir({str(world)!r}); {program}"])
    edit_workflow(world / "workflow.toml", {"notify": {"command": command}})
    return lambda: (world / "heard").read_text().splitlines() if (world / "heard").exists() else []


def damage(path):
    """Change a pixel behind the back of a file's checksums."""
    with fits.open(path) as hdus:
        hdus.writeto(path, overwrite=True, checksum=True)
    content = bytearray(path.read_bytes())
    content[-2880] ^= 1
    path.write_bytes(content)


def test_a_broken_release_is_announced_once_and_has_an_exit_code_of_its_own(surveyflow, world, heard):
    (world / "catalog").mkdir()
    damage(world / "v1.10" / "egs_f814w_wht.fits")
    latest = ["run", world / "workflow.toml", "--release", "latest", "--profile", "serial", "--if-changed"]
    why = "release v1.10 was skipped: EGS F814W weight: egs_f814w_wht.fits is damaged or incomplete: "

    code, out, err = surveyflow(*latest, "--json")
    assert (code, json.loads(out)["revision"]) == (5, "v1.9-r1")
    assert json.loads(out)["discovery"]["skipped"][0]["broken"]
    assert why in err
    skipped, published = heard()
    assert skipped.startswith(f"skipped||v1.10||{why}")
    assert published.startswith("published|v1.9-r1||5|v1.9-r1: ")

    assert surveyflow(*latest)[0] == 5
    assert len(heard()) == 2
    (world / "v1.10" / "egs_f125w_f160w_wht.fits").unlink()
    edit_workflow(world / "workflow.toml", {"discovery": {"arrival_s": 0}})
    assert surveyflow(*latest)[0] == 5
    assert "no file matches v1.10/egs_f125w_f160w_w*" in heard()[2]


def test_a_release_that_is_still_arriving_is_no_news(surveyflow, world, heard):
    (world / "v1.10" / "egs_f814w_wht.fits").unlink()
    run(world, "v1.9")
    assert len(heard()) == 1

    code, out, err = surveyflow("run", world / "workflow.toml", "--release", "latest", "--profile", "serial", "--if-changed")

    assert (code, out) == (0, "")
    assert "release v1.10 was skipped: EGS F814W weight: no file matches" in err
    assert len(heard()) == 1


def test_an_error_that_ends_the_run_is_announced_whatever_else_is_wrong_with_the_workflow(surveyflow, world, heard):
    edit_workflow(world / "workflow.toml", {"sampling": {"draws": -3}, "quality": {"min_valid": 1}})
    assert surveyflow("run", world / "workflow.toml", "--release", "v1.9")[0] == 2
    (announced,) = [line for line in heard() if "|" in line]
    assert announced.startswith("failed|||2|workflow.toml: [sampling] draws: found -3")


def test_that_another_run_is_at_work_is_not_announced(surveyflow, world, heard):
    (world / "catalog").mkdir()
    with RunLock(world / "catalog", "another"):
        assert surveyflow("run", world / "workflow.toml", "--release", "v1.9", "--profile", "serial")[0] == 4
    assert heard() == []


def test_a_hook_may_prune(world):
    run(world, "v1.10")
    prune = [*COMMAND, "releases", "prune", str(world / "catalog"), "--keep", "1", "--apply"]
    edit_workflow(world / "workflow.toml", {"notify": {"command": shlex.join(prune)}})
    run(world, "v1.9")  # perhaps in the same second: then the name, as a word, decides which is newer
    assert [revision.name for revision in list_revisions(world / "catalog")] == ["v1.9-r1"]


def start(world, *options):
    command = [
        *COMMAND,
        "run",
        str(world / "workflow.toml"),
        "--release",
        "latest",
        "--if-changed",
        "--profile",
        "serial",
        *options,
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_of_two_processes_at_once_one_works_and_the_other_ends_with_4(world):
    first = start(world)
    wait_until(lambda: first.poll() is not None or (world / "catalog" / "run.lock").exists(), "the first has the lock")
    first.send_signal(signal.SIGSTOP)  # so that it is not done before the second has looked
    second = start(world)
    _, refused = second.communicate()
    first.send_signal(signal.SIGCONT)
    out, err = first.communicate()
    assert (first.returncode, second.returncode) == (0, 4), err + refused
    assert f"process {first.pid}" in refused
    assert "revision  v1.10-r1" in out
    third = start(world)
    assert third.communicate()[0] == ""
    assert third.returncode == 0
    assert [revision.name for revision in list_revisions(world / "catalog")] == ["v1.10-r1"]


SITE = """\
kind = "slurm"
interface = "lo"
routing = "any"
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
def submit(surveyflow, world, tmp_path_factory, monkeypatch):
    """Submit the workflow's newest release as a schedule does, with stand-ins for Slurm's programs; ``jobs`` are in the queue."""
    programs = tmp_path_factory.mktemp("slurm")
    (world / "site.toml").write_text(SITE)
    monkeypatch.setenv("PATH", str(programs), prepend=":")

    def write(name, text):
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)

    write("sbatch", f"echo x >>{programs}/asked; wc -l <{programs}/asked")
    for name in ("scontrol", "scancel"):
        write(name, "")

    def submit(*options, jobs=""):
        write("squeue", f"echo {jobs}")
        ended = surveyflow("slurm", "submit", world / "workflow.toml", "--profile", world / "site.toml", *options)
        return *ended, sorted(path.parent.name.rpartition("-")[0] for path in (world / "shared").glob("*/head.sh"))

    return submit


LATEST = ("--release", "latest", "--if-changed")


def test_a_schedule_submits_the_newest_release_once_and_nothing_while_nothing_changes(submit, world):
    code, out, _, folders = submit(*LATEST)
    assert (code, folders) == (0, ["demo-v1.10"])
    assert "head    1 " in out
    (script,) = (world / "shared").glob("*/head.sh")
    assert "--json --release v1.10 >" in script.read_text()

    code, out, err, _ = submit(*LATEST, jobs="1")
    assert (code, out) == (4, "")
    assert "has jobs in the queue: 1" in err

    run(world, "v1.10")
    assert submit(*LATEST)[:2] == (0, "")
    assert json.loads(submit(*LATEST, "--json")[1]) == {
        "head": None,
        "revision": "v1.10-r1",
        "held_reasons": [],
        "discovery": {"release": "v1.10", "skipped": []},
    }
    assert submit("--release", "v1.9")[0] == 0, "without --if-changed, the user decides"

    shutil.copytree(world / "v1.10", world / "v1.11")
    assert submit(*LATEST)[3] == ["demo-v1.10", "demo-v1.11", "demo-v1.9"]


def test_a_schedule_submits_nothing_while_a_run_is_at_work(submit, world):
    (world / "catalog").mkdir()
    with RunLock(world / "catalog", "another"):
        code, out, err, folders = submit(*LATEST)
    assert (code, out, folders) == (4, "", [])
    assert "held by run another" in err


def test_a_schedule_announces_a_broken_release_and_a_failed_submission(submit, world, heard):
    run(world, "v1.10")
    assert len(heard()) == 1
    shutil.copytree(world / "v1.10", world / "v1.11")
    damage(world / "v1.11" / "egs_f814w_wht.fits")
    code, out, _, folders = submit(*LATEST)
    assert (code, folders) == (5, [])
    assert out == "Nothing has changed since v1.10-r1.\n"
    assert heard()[1].startswith("skipped||v1.11||")

    edit_workflow(world / "workflow.toml", {"sampling": {"draws": -3}})
    assert submit(*LATEST)[0] == 2
    assert heard()[2].startswith("failed|||2|")


def test_the_driver_is_given_every_option_of_a_run(submit, world):
    options = ["--output", world / "else where", "--engine", "fft", "--precision", "bf16", "--reread", "--release", "v1.9"]
    assert submit(*options)[0] == 0
    (script,) = (world / "shared").glob("*/head.sh")
    words = "--json --release v1.9 --engine fft --precision bf16 --reread --output"
    assert f"{words} '{world}/else where' >" in script.read_text()


def test_manifests_for_a_schedule_are_empty_if_nothing_has_changed(surveyflow, world):
    profile = api.new_profile("kubernetes").replace('path = "/data', f'here = "{world}"\npath = "/data')
    (world / "site.toml").write_text(profile)
    render = ["kubernetes", "render", world / "workflow.toml", "--profile", world / "site.toml", *LATEST]

    code, out, _ = surveyflow(*render, "--output", world / "other")
    assert code == 0
    assert "--json --release v1.10 --output /data/candels/other" in out
    run(world, "v1.10")

    assert surveyflow(*render) == (0, "", "")
