"""Every unit that users are given is what its scheduler can read, and its command line publishes a new release."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from stubs import TINY
from surveyflow import api
from surveyflow.api.runs import open_inputs
from surveyflow.errors import InputError
from surveyflow.releases.publish import latest
from surveyflow.runs.run import run_survey
from surveyflow.sites.serial.profile import SerialProfile
from surveyflow.values.codes import ScheduleKind
from worlds import copied, edit_workflow, write_untrained_models

SCHEDULES = Path(__file__).parents[1] / "surveyflow" / "sites" / "schedules"
SURVEY, PROGRAM = "/data/candels", "/opt/surveyflow/bin/surveyflow"
FIVE_FIELDS = r"(?:[\d*/,-]+ ){5}"


@pytest.fixture(scope="module")
def published(shared_worlds, egs_folder):
    """Folder of a survey whose release v1 is published; its workflow names releases by folder."""
    return shared_worlds.get("deployed", lambda folder: publish_v1(copied(egs_folder, folder)))


def publish_v1(survey):
    """Move a survey's mosaics into release v1, and publish its catalog."""
    write_untrained_models(survey.folder / "models", survey.spec.fields, TINY)
    (survey.folder / "v1").mkdir()
    mosaics = {}
    for instrument in ("F814W", "F125W_F160W"):
        paths = {"science": survey.science("EGS", instrument), "weight": survey.weight("EGS", instrument)}
        mosaics[instrument] = {kind: f"{{release}}/{path.name}" for kind, path in paths.items()}
        for path in paths.values():
            path.rename(survey.folder / "v1" / path.name)
    settings = {"watch_s": 0, "quiet_s": 0}
    edit_workflow(survey.workflow, {"discovery": settings, "fields": {"EGS": mosaics}})
    with open_inputs(survey.workflow, "v1") as (opened, _):
        run_survey(opened, SerialProfile(), factory="stubs:StubWorker")
    return survey.folder


@pytest.fixture
def world(published, tmp_path):
    """A copy of it, where v2 has arrived: the same pixels, so that nothing must be measured again to publish it."""
    folder = tmp_path / "a survey"
    shutil.copytree(published, folder, symlinks=True)
    shutil.copytree(folder / "v1", folder / "v2")
    program = tmp_path / "bin" / "surveyflow"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "from surveyflow.commands.main import main; main()" "$@"\n')
    program.chmod(0o755)
    return folder


def here(text, world):
    """The text of a unit, with this survey and this surveyflow in it."""
    return text.replace(SURVEY, str(world)).replace(PROGRAM, str(world.parent / "bin" / "surveyflow"))


def run(command, **options):
    ended = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert ended.returncode == 0, ended.stderr
    return ended


def published_now(world):
    revision = latest(world / "catalog")
    return None if revision is None else revision.name


def words_here(line, world):
    """A command line as words, each with this survey and this surveyflow in it."""
    return [here(word, world) for word in shlex.split(line)]


def test_every_unit_runs_the_same_command():
    texts = {kind: api.new_schedule(kind) for kind in ScheduleKind if kind is not ScheduleKind.SYSTEMD_TIMER}
    words = {kind: re.sub(r'[",\s]+', " ", text) for kind, text in texts.items()}
    assert [kind for kind, text in words.items() if "--release latest --if-changed" not in text] == []


def test_cron(world):
    lines = [line for line in (SCHEDULES / "cron").read_text().splitlines() if line and line[0] != "#"]
    settings = [re.fullmatch(r"([A-Z]+)=(\S+)", line) for line in lines[:-1]]
    assert all(settings), lines
    schedule = re.fullmatch(rf"({FIVE_FIELDS})(.+)", lines[-1])
    assert schedule, lines[-1]
    assert "%" not in schedule[2]  # which cron would take for the end of the line
    environment = {setting[1]: here(setting[2], world) for setting in settings if setting}
    assert Path(environment["WORKFLOW"]).is_file()
    run(["/bin/sh", "-c", schedule[2]], env={"PATH": "/usr/bin:/bin", **environment})
    assert published_now(world) == "v2-r1"
    assert "revision  v2-r1" in (world / "surveyflow.log").read_text()


def systemd_unit(name):
    unit = configparser.RawConfigParser()
    unit.optionxform = str
    unit.read_string((SCHEDULES / name).read_text())
    return unit


def test_systemd_service(world):
    service = systemd_unit("systemd-service")["Service"]
    assert (service["Type"], service["SuccessExitStatus"]) == ("oneshot", "4")
    assert service["ReadWritePaths"] == SURVEY
    run(words_here(service["ExecStart"], world))
    assert published_now(world) == "v2-r1"


def test_systemd_timer():
    timer = systemd_unit("systemd-timer")
    assert timer["Timer"]["OnCalendar"] == "hourly"
    assert timer["Install"]["WantedBy"] == "timers.target"


def write_units(folder):
    for kind in ("service", "timer"):
        (folder / f"surveyflow.{kind}").write_text((SCHEDULES / f"systemd-{kind}").read_text().replace(PROGRAM, "/bin/true"))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path):
    write_units(tmp_path)
    verified = run(["systemd-analyze", "verify", "--man=no", *map(str, sorted(tmp_path.iterdir()))])
    assert not [line for line in verified.stderr.splitlines() if "surveyflow" in line]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_finds_the_service_well_protected(tmp_path):
    write_units(tmp_path)
    judged = run(["systemd-analyze", "security", "--offline=true", "--no-pager", str(tmp_path / "surveyflow.service")])
    (exposure,) = re.findall(r"Overall exposure level for surveyflow.service: (\S+)", judged.stdout)
    assert float(exposure) < 2.5


def test_scrontab(world):
    lines = (SCHEDULES / "scrontab").read_text().splitlines()
    entries = [line for line in lines if line and not line.startswith("#")]
    assert len(entries) == 1
    assert lines[-1] == entries[0]
    assert all(re.fullmatch(r"#SCRON --[a-z-]+=\S+", line) for line in lines if line.startswith("#SCRON"))
    schedule = re.fullmatch(rf"({FIVE_FIELDS})(.+)", entries[0])
    assert schedule
    run(words_here(schedule[2], world))
    assert published_now(world) == "v2-r1"


SBATCH = SCHEDULES / "sbatch"


def submit(world, fails=False):
    """Run the batch script as a job would be, with a FAKE sbatch that only writes down what it was given."""
    bin_folder = world.parent / "bin"
    fake = bin_folder / "sbatch"
    fake.write_text(f'#!/bin/sh\n# A fake, for tests.\nprintf "%s\\n" "$*" >> "{world.parent}/submitted"\nexit {int(fails)}\n')
    fake.chmod(0o755)
    script = world / "surveyflow.sbatch"
    script.write_text(SBATCH.read_text())
    values = {"SURVEYFLOW": PROGRAM, "WORKFLOW": f"{SURVEY}/workflow.toml", "STOP": f"{SURVEY}/surveyflow.stop"}
    settings = {name: here(value, world) for name, value in (values | {"SCRIPT": f"{SURVEY}/surveyflow.sbatch"}).items()}
    return run(["bash", str(script)], env={"PATH": f"{bin_folder}:{os.environ['PATH']}", **settings})


def submitted(world):
    path = world.parent / "submitted"
    return path.read_text().splitlines() if path.exists() else []


def test_sbatch_script_can_be_read_by_bash_and_by_slurm():
    run(["bash", "-n", str(SBATCH)])
    options = [line for line in SBATCH.read_text().splitlines() if line.startswith("#SBATCH")]
    assert all(re.fullmatch(r"#SBATCH --[a-z-]+=\S+", option) for option in options)
    assert "#SBATCH --dependency=singleton" in options


def test_sbatch_defaults_are_the_paths_that_its_comments_name():
    defaults = dict(re.findall(r'^([A-Z]+)="\$\{\1:-([^}]+)\}"$', SBATCH.read_text(), re.MULTILINE))
    assert defaults["SURVEYFLOW"] == PROGRAM
    assert defaults["WORKFLOW"] == f"{SURVEY}/workflow.toml"
    assert f"touch {defaults['STOP']}" in SBATCH.read_text()


def test_sbatch_job_queues_the_next_and_publishes(world):
    ended = submit(world)
    assert submitted(world) == [f"--begin=now+1hour {world}/surveyflow.sbatch"]
    assert published_now(world) == "v2-r1"
    assert "revision  v2-r1" in ended.stdout


def test_sbatch_chain_ends_at_the_stop_file(world):
    (world / "surveyflow.stop").touch()
    assert "the chain of jobs ends here" in submit(world).stderr
    assert submitted(world) == []
    assert published_now(world) == "v1-r1"


def test_sbatch_job_runs_also_when_no_next_can_be_queued(world):
    assert "after this run the chain ends" in submit(world, fails=True).stderr
    assert published_now(world) == "v2-r1"


def test_kubernetes_cronjob(world):
    job = yaml.safe_load((SCHEDULES / "kubernetes").read_text())
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "CronJob")
    assert re.fullmatch(FIVE_FIELDS, f"{job['spec']['schedule']} ")
    assert job["spec"]["concurrencyPolicy"] == "Forbid"
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    (container,) = pod["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert SURVEY in {mount["mountPath"] for mount in container["volumeMounts"]}
    command = [here(word, world) for word in [*container["command"], *container["args"]]]
    run(command, env={"PATH": f"{world.parent / 'bin'}:/usr/bin:/bin"})
    assert published_now(world) == "v2-r1"


@pytest.fixture
def site(tmp_path):
    """A profile of each kind, as users are given it."""

    def write(kind):
        path = tmp_path / f"{kind}.toml"
        path.write_text(api.new_profile(kind))
        return path

    return write


UNITS = [kind for kind in ScheduleKind if kind is not ScheduleKind.SYSTEMD_TIMER]
OF_PODS = {ScheduleKind.KUBERNETES, ScheduleKind.KUBERNETES_POOLS}


def command_in(unit):
    """The words of a unit's command, without the variables and quotes of shells and YAML."""
    values = dict(re.findall(r'^([A-Z]+)="?(?:\$\{[A-Z]+:-)?([^"}\n]+)', unit, flags=re.MULTILINE))
    bare = re.sub(r"\$([A-Z]+)", lambda name: values.get(name[1], name[0]), unit)
    return re.sub(r'[",\[\]\s]+', " ", "\n".join(line for line in bare.splitlines() if not line.lstrip().startswith("#")))


@pytest.mark.parametrize("kind", UNITS)
def test_a_unit_names_this_installation_the_workflow_and_the_profile(kind, site):
    """The survey lies below the folder that units name: paths are replaced once."""
    profile = site("kubernetes" if kind is ScheduleKind.KUBERNETES_POOLS else "address")
    workflow = "/data/candels/x/survey.toml"
    unit = command_in(api.new_schedule(kind, workflow=workflow, profile=profile))

    verb = "kubernetes render" if kind is ScheduleKind.KUBERNETES_POOLS else "run"
    assert f"{verb} {workflow} --profile {profile} --release latest --if-changed" in unit
    assert "/data/candels/x/x" not in unit
    assert kind in OF_PODS or str(Path(sys.executable).with_name("surveyflow")) in unit


@pytest.mark.parametrize("kind", sorted(set(UNITS) - OF_PODS))
def test_a_unit_with_a_profile_of_slurm_submits_jobs(kind, site):
    unit = command_in(api.new_schedule(kind, workflow="/survey/w.toml", profile=site("slurm")))

    assert f"surveyflow slurm submit /survey/w.toml --profile {site('slurm')} --release latest --if-changed" in unit
    shared = Path("~/surveyflow-jobs").expanduser()
    assert kind is not ScheduleKind.SYSTEMD_SERVICE or f"ReadWritePaths=/survey {shared} " in unit


@pytest.mark.parametrize(
    ("kind", "profile", "other"),
    [("cron", "kubernetes", "kubernetes-pools"), ("kubernetes", "slurm", "cron"), ("kubernetes-pools", "slurm", "cron")],
)
def test_a_unit_that_cannot_use_a_profile_names_one_that_can(kind, profile, other, site):
    with pytest.raises(InputError, match=f"cannot use. Print another: `surveyflow schedule new {other}`"):
        api.new_schedule(kind, profile=site(profile))


@pytest.mark.parametrize("path", ["/data/my survey/w.toml", "/data/100%/w.toml", "/data/$HOME/w.toml"])
def test_a_path_that_a_scheduler_would_read_otherwise_is_refused(path):
    with pytest.raises(InputError, match="Name it by a link without them"):
        api.new_schedule("cron", workflow=path)


def test_built_in_profiles_are_named_as_they_are():
    assert "run /survey/w.toml --profile local-gpu " in command_in(
        api.new_schedule("cron", workflow="/survey/w.toml", profile="local-gpu")
    )


def test_a_kind_without_a_profile_is_refused_with_those_that_have_one():
    with pytest.raises(InputError, match=r"kind 'serial'. Choose one of local, local-gpu, address, slurm, kubernetes"):
        api.new_profile("serial")


@pytest.mark.parametrize("kind", sorted(OF_PODS))
def test_kubernetes_knows_every_key_of_the_units(kind):
    documents = list(yaml.safe_load_all(api.new_schedule(kind)))
    assert documents[-1]["kind"] == "CronJob"
    for document in documents:
        kubernetes_validate.validate(document, "1.30", strict=True)
