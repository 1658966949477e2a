"""The command line: what it prints, and with which exit code it ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from broken_inputs import BROKEN
from stubs import TINY
from surveyflow.commands import main as cli
from surveyflow.output.lock import RunLock
from surveyflow.output.run_folders import Progress, RunFolder
from worlds import write_untrained_models


@pytest.fixture
def surveyflow(monkeypatch, capsys):
    """Run the command line in this process: returns exit code, stdout and stderr."""

    def run(*arguments) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["surveyflow", *map(str, arguments)])
        before = signal.getsignal(signal.SIGTERM)
        capsys.readouterr()
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
        else:
            code = 0
        finally:
            signal.signal(signal.SIGTERM, before)
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def world(mini_survey):
    write_untrained_models(mini_survey.folder / "models", mini_survey.spec.fields, TINY)
    return mini_survey


def test_validate_lists_what_was_found(surveyflow, world):
    code, out, _ = surveyflow("validate", world.workflow)
    assert code == 0
    assert "is valid" in out
    assert "COSMOS/F814W: 800 x 900 pixels\n" in out
    assert "COSMOS/F814W: model merger/COSMOS/F814W@" in out
    assert " to_measure)" in out


def test_plan_run_and_status_as_json(surveyflow, world):
    code, out, _ = surveyflow("plan", world.workflow, "--profile", "serial", "--json")
    plan = json.loads(out)
    assert (code, plan["counts"]["keep"]) == (0, 0)
    assert {unit["reason"] for unit in plan["units"]} == {"no result yet"}
    assert not (world.folder / "catalog").exists()

    code, out, err = surveyflow("run", world.workflow, "--profile", "serial", "--json")
    result = json.loads(out)
    assert code == 0
    assert result["revision"] == "demo-r1"
    assert result["units"] == {"done": plan["counts"]["do"], "kept": 0, "dropped": 0, "failed": 0}
    assert result["rows"] == len(world.truth)
    assert "measuring: " in err

    code, out, _ = surveyflow("status", result["root"], "--json")
    assert json.loads(out)["last_run"]["progress"]["phase"] == "done"
    code, out, _ = surveyflow("run", world.workflow, "--profile", "serial", "--if-changed")
    assert (code, out) == (0, "")
    code, out, _ = surveyflow("plan", world.workflow, "--profile", "serial")
    assert out.splitlines()[-1] == f"0 to do, {plan['counts']['do']} to keep, 0 to drop"
    code, out, _ = surveyflow("report", result["root"])
    assert code == 0
    assert "demo-r1.html" in out


def test_run_that_finds_the_output_locked_ends_with_4(surveyflow, world):
    (world.folder / "catalog").mkdir()
    with RunLock(world.folder / "catalog", "the-first-one"):
        code, _, err = surveyflow("run", world.workflow, "--profile", "serial")
    assert code == 4
    assert "the-first-one" in err


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.name)
def test_broken_input_ends_with_2_names_file_and_remedy_and_writes_nothing(surveyflow, world, broken):
    workflow = broken.break_it(world.folder)
    before = sorted(str(path) for path in world.folder.rglob("*"))
    code, out, err = surveyflow("run", workflow, "--profile", "serial")
    assert code == 2, err
    assert out == ""
    assert "Traceback" not in err
    for word in broken.expected_words:
        assert word in err
    assert sorted(str(path) for path in world.folder.rglob("*")) == before


def test_all_problems_of_a_workflow_are_reported_at_once(surveyflow, world):
    world.source_list("EGS").unlink()
    world.weight("COSMOS", "F814W").write_bytes(b"not FITS")
    shutil.rmtree(world.folder / "models" / "merger" / "F814W")
    text = world.workflow.read_text().replace("draws = 50", "drawz = 50")
    world.workflow.write_text(text)
    code, _, err = surveyflow("run", world.workflow)
    assert code == 2
    assert "egs_catalog.cat" in err
    assert "drawz" in err


def test_full_disk_ends_with_2_and_publishes_nothing(surveyflow, world, monkeypatch):
    full = shutil.disk_usage(world.folder)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    code, _, err = surveyflow("run", world.workflow, "--profile", "serial")
    assert code == 2
    assert "MB free" in err
    assert not (world.folder / "catalog").exists()


def test_disk_that_fills_up_during_the_run_ends_with_2_and_publishes_nothing(surveyflow, world, monkeypatch):
    real_fsync = os.fsync
    calls = []

    def fsync(descriptor):
        calls.append(descriptor)
        if len(calls) > 6:
            raise OSError(28, "No space left on device")
        real_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    code, _, err = surveyflow("run", world.workflow, "--profile", "serial")
    assert code == 2, err
    assert "run again" in err
    assert not (world.folder / "catalog" / "latest").exists()


def test_unforeseen_error_ends_with_1_and_a_traceback_only_with_debug(surveyflow, world, monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError("nobody thought of this")

    monkeypatch.setattr("surveyflow.api.validate", fail)
    code, _, err = surveyflow("validate", world.workflow)
    assert code == 1
    assert "nobody thought of this" in err
    assert "Traceback" not in err
    with pytest.raises(ZeroDivisionError):
        surveyflow("--debug", "validate", world.workflow)


def test_doctor_names_engine_and_versions(surveyflow):
    code, out, _ = surveyflow("doctor", "--json")
    assert code == 0
    assert {check["name"] for check in json.loads(out)} >= {"engine", "packages", "memory", "scratch"}


START = {
    "import surveyflow": "import surveyflow",
    "surveyflow --help": (
        "import sys; sys.argv[1:] = ['--help']\nfrom surveyflow.commands.main import main\ntry: main()\nexcept SystemExit: pass"
    ),
}
HEAVY = {"tensorflow", "keras", "dask", "distributed", "matplotlib"}


@pytest.mark.parametrize("start", START)
def test_start_imports_no_framework(start):
    check = f"import sys; heavy = {HEAVY} & set(sys.modules); assert not heavy, heavy"
    subprocess.run([sys.executable, "-c", f"{START[start]}\n{check}"], check=True, stdout=subprocess.DEVNULL)


def test_import_takes_under_a_third_of_a_second():
    measure = "import time; start = time.process_time(); import surveyflow; print(time.process_time() - start)"
    seconds = [float(subprocess.check_output([sys.executable, "-c", measure])) for _ in range(3)]
    assert min(seconds) < 0.3


def test_status_distinguishes_a_killed_run_from_a_running_one(surveyflow, world):
    folder = RunFolder(world.folder / "catalog", "20260101T000000-abcdef")
    folder.create("")
    folder.record(Progress("units", 3, 10))
    assert "it was killed" in surveyflow("status", world.folder / "catalog")[1]
    with RunLock(world.folder / "catalog", folder.run_id):
        assert "state     running" in surveyflow("status", world.folder / "catalog")[1]


def test_version(surveyflow):
    code, out, _ = surveyflow("--version")
    assert code == 0
    assert out.startswith("surveyflow 0.")


def test_the_command_imports_nothing_from_the_working_folder(tmp_path):
    for name in ("token", "select", "dask", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('this is not the module that was meant')")
    command = [sys.executable, "-m", "surveyflow", "run", "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
