"""The story of a schedule whose inputs go wrong: readers keep the better catalog until somebody accepts the other one."""

from __future__ import annotations

import json
import shlex
import sys

import numpy as np
import pytest
from astropy.io import fits
from typer.testing import CliRunner

import surveyflow
from stubs import TINY
from surveyflow.commands.main import app
from surveyflow.errors import WorkflowError
from surveyflow.releases.publish import latest, list_revisions, read_catalog, read_manifest
from surveyflow.releases.verify import check_revision
from surveyflow.runs.preflight import open_survey
from surveyflow.runs.run import run_survey
from surveyflow.settings.workflow import load_workflow
from surveyflow.sites.serial.profile import SerialProfile
from surveyflow.values.images import Box
from worlds import copied, edit_workflow, perturb_mosaic, write_untrained_models


@pytest.fixture
def survey(egs_folder, tmp_path):
    """A survey whose runs tell a program of every revision: it notes what it hears."""
    survey = copied(egs_folder, tmp_path / "survey")
    write_untrained_models(survey.folder / "models", survey.spec.fields, TINY)
    names = ["EVENT", "REVISION", "EXIT", "HELD"]
    note = f"import os; print(*[os.environ['SURVEYFLOW_' + name] for name in {names}], file=open('heard', 'a'))"
    edit_workflow(survey.workflow, {"notify": {"command": shlex.join([sys.executable, "-c", note])}})
    return survey


@pytest.fixture
def root(survey, monkeypatch):
    monkeypatch.chdir(survey.folder)
    root = survey.folder / "catalog"
    root.mkdir()
    (root / "trouble").write_text("")
    return root


def run(survey):
    with open_survey(load_workflow(survey.workflow)) as opened:
        return run_survey(opened, SerialProfile(), factory="stubs:make_troubled_stub_worker")


def command(*words, code=0):
    done = CliRunner().invoke(app, [*map(str, words)])
    assert done.exit_code == code, done.output
    return done.stdout


def names(root):
    return latest(root).name, [revision.name for revision in list_revisions(root)]


def n_ok(root, release="latest"):
    return int((read_catalog(root, ["status"], release=release)["status"] == "ok").sum())


def test_readers_keep_the_better_catalog_until_somebody_accepts_the_other(survey, root):
    first = run(survey)
    measured = n_ok(root)
    assert (first.exit_code, first.as_json()["held"]) == (0, None)

    # Every unit that needs a model fails, night after night.
    (root / "trouble").write_text("F814W F125W_F160W")
    edit_workflow(survey.workflow, {"sampling": {"seed": 8}})
    failed = run(survey)
    assert (failed.revision, failed.published, failed.exit_code) == ("demo-r2", True, 3)
    assert failed.held == (f"None of the {failed.rows} sources has a result ({failed.held[0].split('(')[1]}",)
    again = run(survey)
    assert (again.revision, again.published, again.held, again.exit_code) == ("demo-r2", False, failed.held, 3)
    assert again.failed_units.keys() == failed.failed_units.keys()
    assert names(root) == ("demo-r1", ["demo-r1", "demo-r2"])
    assert (n_ok(root), n_ok(root, "demo-r2")) == (measured, 0)
    assert check_revision(failed.path) > 0

    # The cause is mended: what comes is compared with what readers have, and not with what is held.
    (root / "trouble").write_text("")
    assert (run(survey).held, names(root)[0]) == ((), "demo-r3")

    # A mosaic turns all NaN.
    science, shape = survey.science("EGS", "F814W"), survey.spec.shape_f814w
    perturb_mosaic(science, Box(0, shape[0], 0, shape[1]), np.nan)
    empty = run(survey)
    lost, of = (int(word) for word in empty.held[0].split()[2:5:2])
    assert empty.held[0].startswith("EGS F814W: ")
    assert "have lost their result (now" in empty.held[0]
    assert "100.0 %; the limit is 5 % (max_lost_fraction)." in empty.held[0]
    assert lost == of == measured - n_ok(root, empty.revision)
    for _ in range(2):
        assert (run(survey).published, run(survey).exit_code) == (False, 3)
    assert names(root) == ("demo-r3", ["demo-r1", "demo-r2", "demo-r3", "demo-r4"])

    # Everybody is told, with a command that gives it to readers.
    heard = (survey.folder / "heard").read_text().splitlines()
    reason = " ".join(empty.held)
    assert heard == [
        "published demo-r1 0 ",
        f"held demo-r2 3 {failed.held[0]}",
        f"failed demo-r2 3 {failed.held[0]}",
        "published demo-r3 0 ",
        f"held demo-r4 3 {reason}",
    ]
    assert json.loads(command("status", root, "--json"))["held"][0]["held"] == reason
    assert json.loads(command("releases", "list", root, "--json"))[-1]["held"] == reason
    assert reason.split(".")[0] in (empty.path / "report.html").read_text()
    told = [line.split("To ")[1] for line in command("status", root).splitlines() if " To " in line]
    steps = dict(line.split(": ", 1) for line in told)
    for step in ("compare it", "give it to readers"):
        command(*shlex.split(steps[step].strip("`"))[1:])
    assert names(root)[0] == "demo-r4"
    assert (run(survey).exit_code, run(survey).published) == (0, False)

    # The other mosaic points beside most of the sources; without any on it, the workflow would be refused.
    for path in {survey.science("EGS", "F125W_F160W"), survey.weight("EGS", "F125W_F160W")}:
        with fits.open(path, mode="update") as hdus:
            for header in (hdu.header for hdu in hdus if "CRVAL2" in hdu.header):
                header["CRVAL2"] -= 0.004
    elsewhere = run(survey)
    assert elsewhere.exit_code == 3
    assert any("off_mosaic" in reason for reason in elsewhere.held)
    assert (elsewhere.revision, names(root)[0]) == ("demo-r5", "demo-r4")


def test_what_was_rolled_back_stays_back_until_it_is_accepted_or_inputs_change(survey, root):
    run(survey)
    edit_workflow(survey.workflow, {"sampling": {"seed": 8}})
    run(survey)
    command("releases", "rollback", root)
    held = run(survey)
    assert (held.revision, held.published, held.exit_code) == ("demo-r2", False, 3)
    assert held.held[0].startswith("It was rolled back by ")
    assert names(root) == ("demo-r1", ["demo-r1", "demo-r2"])
    surveyflow.accept_releases(root, "demo-r2")
    assert (run(survey).exit_code, names(root)[0]) == (0, "demo-r2")
    command("releases", "rollback", root)
    edit_workflow(survey.workflow, {"sampling": {"seed": 9}})
    assert (run(survey).exit_code, names(root)[0]) == (0, "demo-r3")

    # Limits of one's own: no probability may change.
    guard = {"moved_by": 0.0, "max_moved_fraction": 0.0}
    edit_workflow(survey.workflow, {"sampling": {"seed": 10}, "publish": {"guard": guard}})
    held = run(survey)
    assert all("moved in p_pm_mean by more than 0, 100.0 %; the limit is 0 % (max_moved_fraction)" in one for one in held.held)
    assert read_manifest(held.path)["workflow"]["publish"]["guard"]["max_moved_fraction"] == 0.0


@pytest.mark.parametrize("name", ["latest", "releases"])
def test_what_is_in_the_place_of_latest_or_the_releases_is_reported_before_any_work(survey, root, name):
    {"latest": (root / name).mkdir, "releases": (root / name).touch}[name]()
    with pytest.raises(WorkflowError, match=rf"\[output\] root: .*/{name} is a f.*Move it away: mv"):
        run(survey)
    assert not (root / "runs").exists()
