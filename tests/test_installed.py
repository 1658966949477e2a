"""What surveyflow tells its users to run is run here, in an environment that holds only its wheel."""

from __future__ import annotations

import ast
import inspect
import json
import re
import shlex
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import typer.main

from installations import REPOSITORY, Installation, build_distributions, install_from_wheel, write_namesake
from revisions import RevisionMaker, field_rows
from surveyflow.commands.main import app
from surveyflow.values import remedies
from worlds import copied

PACKAGE = REPOSITORY / "surveyflow"

RUN = {
    "inspect_machine": {},
    "list_releases": {"root": "a catalog"},
    "new_profile": {"kind": "slurm"},
    "new_schedule": {"kind": "cron"},
    "make_certificates": {"folder": "certificates"},
    "report": {"root": "a catalog"},
    "compare_with_latest": {"root": "a catalog", "revision": "v1.0-r1"},
    "roll_back": {"root": "a catalog"},
    "verify_releases": {"root": "a catalog"},
    "show_details": {"arguments": ["releases", "list", "a catalog"]},
}
"""Arguments of the remedies that are run as they are, in a folder with a catalog of two revisions."""

READ = {
    "calibrate_models": {},
    "check_models": {"store": "models", "workflow": "WORKFLOW"},
    "accept": {"root": "catalog", "revision": "v1.0-r3"},
    "browse": {"root": "catalog", "find": "EGS 1"},
    "status": {"root": "catalog"},
    "demo": {"folder": "a folder"},
    "evaluate": {"training": "training.toml"},
    "export": {"root": "catalog", "where": "field == 'EGS' and z < 1"},
    "init": {"folder": "a folder", "output": "workflow.toml"},
    "inspect_workers": {"profile": "driver.toml"},
    "import_models": {"folder": "drawer", "store": "models", "stretch": "linear"},
    "render_for_kubernetes": {},
    "run_again": {"manifest": "manifest.json", "output": "FOLDER"},
    "run_with_profile": {},
    "show": {"root": "catalog", "field": "EGS", "source_id": 1},
    "roll_back_to": {"root": "catalog", "revision": "v1.0-r1"},
    "simulate": {"simulation": "simulation.toml"},
    "submit_to_slurm": {},
    "vet": {"root": "catalog"},
    "vetted": {"root": "catalog"},
    "validate": {"workflow": "workflow.toml"},
}
"""Arguments of the remedies that take minutes or need a cluster: the command line reads them to the end, and does nothing."""

ON_THEIR_OWN = {"build_native_core", "install", "point_latest_at", "remove_folder", "replace_namesake", "start_worker"}

RUNNER = """
import json, shlex, sys
from surveyflow.__main__ import main

for line in json.load(sys.stdin):
    sys.argv = shlex.split(line)
    try:
        main()
    except SystemExit as end:
        if end.code:
            sys.exit(f"{line}: {end.code}")
"""
READER = """
import json, shlex, sys
import typer.main
from surveyflow.commands.main import app

def idle(command):
    command.callback = lambda **_: None
    for inner in getattr(command, "commands", {}).values():
        idle(inner)

command = typer.main.get_command(app)
idle(command)
for line in json.load(sys.stdin):
    command.main(shlex.split(line)[1:], standalone_mode=False)
"""
LOOKER = """
import subprocess, sys
from urllib.request import HTTPCookieProcessor, ProxyHandler, build_opener

with subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True) as server:
    try:
        print(build_opener(ProxyHandler({}), HTTPCookieProcessor()).open(server.stdout.readline().strip()).read().decode())
    finally:
        server.terminate()
"""
"""Starts a server by its command, and prints the page whose address it prints."""


@pytest.fixture(scope="session")
def distributions(shared_worlds) -> Path:
    return shared_worlds.get("distributions", build_distributions)


@pytest.fixture(scope="session")
def installation(shared_worlds, distributions) -> Installation:
    """Only to be used, not to be changed."""
    return shared_worlds.get("installation", lambda folder: install_from_wheel(folder / "environment", distributions))


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """A catalog of two revisions."""
    make = RevisionMaker(tmp_path_factory.mktemp("published"))
    make(field_rows())
    return make(field_rows(seed=1)).parents[1]


@pytest.fixture
def folder(tmp_path, published) -> Path:
    """A user's folder."""
    shutil.copytree(published, tmp_path / "a catalog", symlinks=True)
    return tmp_path


def remedies_of(arguments: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [getattr(remedies, name)(**given) for name, given in arguments.items()]


def feed(installation: Installation, script: str, commands: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Give commands to a script, all in one process, since it takes a second to start."""
    return installation.run(f"echo {shlex.quote(json.dumps(commands))} | python -c {shlex.quote(script)}", folder)


def test_every_remedy_is_tried():
    public = {name for name, found in inspect.getmembers(remedies, inspect.isfunction) if not name.startswith("_")}

    assert public == RUN.keys() | READ.keys() | ON_THEIR_OWN


def test_remedies_do_their_work_where_only_the_wheel_is_installed(installation, folder):
    done = feed(installation, RUNNER, remedies_of(RUN), folder)
    broken = feed(installation, RUNNER, [remedies.roll_back("nothing")], folder)

    assert (done.returncode, done.stderr) == (0, "")
    assert (folder / "a catalog" / "latest").readlink().name == "v1.0-r1"
    assert "surveyflow releases rollback nothing: 2" in broken.stderr


def test_the_installed_command_line_reads_the_remedies_that_take_long(installation, tmp_path):
    done = feed(installation, READER, remedies_of(READ), tmp_path)
    broken = feed(installation, READER, ["surveyflow demo --nothing"], tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    assert "No such option" in broken.stderr


def test_the_wheel_has_the_extras_that_messages_ask_for(installation, tmp_path):
    """All in one call of pip. Their packages are in this environment already, except those for GPUs and Google's stores."""
    absent = pip(installation, [remedies.install("nothing"), remedies.install("cpu")], tmp_path)
    there = pip(installation, [remedies.install(extra) for extra in ("cpu", "simulate", "train", "export", "browse")], tmp_path)
    gpu = pip(installation, [remedies.install("gpu")], tmp_path)
    remote = pip(installation, [remedies.install("remote")], tmp_path)

    assert set(get_args(remedies.Extra)) == {"cpu", "gpu", "jax", "simulate", "train", "export", "browse", "remote"}
    assert (there.returncode, there.stderr) == (0, "")
    assert re.search(r'tensorflow\S*; extra == "gpu"', gpu.stderr)
    assert re.search(r'gcsfs\S*; extra == "remote"', remote.stderr)
    assert "does not provide the extra" in absent.stderr


def pip(installation: Installation, commands: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Let pip resolve what several commands install, and install nothing."""
    assert {tuple(shlex.split(command)[:2]) for command in commands} == {("pip", "install")}
    wanted = shlex.join(word for command in commands for word in shlex.split(command)[2:])
    return installation.run(f"pip install --dry-run {wanted}", folder)


def test_the_shell_does_what_messages_ask_of_it(folder):
    root, removed = folder / "a catalog", folder / "a catalog" / "releases" / "v1.0-r2"

    subprocess.run(remedies.point_latest_at("releases/v1.0-r1", root / "latest"), shell=True, check=True)
    subprocess.run(remedies.remove_folder(removed), shell=True, check=True)

    assert (root / "latest").readlink() == Path("releases/v1.0-r1")
    assert not removed.exists()


def test_dask_knows_the_options_of_a_worker_that_is_started_by_hand(installation, tmp_path):
    command = remedies.start_worker("scheduler:8786", "model:EGS/F814W=2")

    assert "--resources" in installation.run(f"{command} --help", tmp_path).stdout


def test_another_projects_package_is_recognised_and_its_remedy_repairs_the_installation(distributions, tmp_path):
    """Its installation overwrites files of this one. Afterwards the native core can be built in place, too."""
    own = install_from_wheel(tmp_path / "environment", distributions)
    assert own.run(f"pip install --no-deps {write_namesake(tmp_path)}", tmp_path).returncode == 0

    refused = own.run("surveyflow doctor", tmp_path)
    (remedy,) = re.findall("`(.*)`", refused.stderr)
    repaired = own.run(remedy, tmp_path)
    version = own.run("surveyflow --version", tmp_path)

    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert f"surveyflow 0.8.0, is installed in {own.package}" in refused.stderr
    assert remedy == remedies.replace_namesake()
    assert repaired.returncode == 0, repaired.stderr
    assert (version.returncode, version.stdout) == (0, "surveyflow 0.1.0\n")
    assert not (own.package / "pipeline.py").exists()
    assert native_core_is_built(own, tmp_path)


SLURM = """\
for name in sbatch squeue scontrol scancel; do printf '#!/bin/sh\\necho 1\\n' >bin/$name; chmod +x bin/$name; done
printf '#!/bin/sh\\n' >bin/squeue
export PATH="$PWD/bin:$PATH"
"""


def test_from_a_profile_to_a_look_at_the_report_nothing_is_needed_but_the_wheel(installation, finished_survey, tmp_path):
    """By the commands that files and commands print; a finished run stands in for jobs, and programs that succeed for Slurm's."""
    survey = copied(finished_survey, tmp_path / "survey")
    (tmp_path / "bin").mkdir()
    printed = installation.run("surveyflow profile new slurm", tmp_path).stdout
    written, *_ = re.findall(r"`(surveyflow profile new slurm > site.toml)`", printed)
    shown, *_ = re.findall(r"`(surveyflow slurm render WORKFLOW --profile site.toml)`", printed)
    steps = [
        written,
        shown.replace("WORKFLOW", str(survey.workflow)),
        shown.replace("WORKFLOW", str(survey.workflow)).replace("render", "submit"),
        f"surveyflow schedule new systemd-service --workflow {survey.workflow} --profile site.toml",
    ]

    done = installation.run(SLURM + " && ".join(steps), tmp_path)

    assert done.returncode == 0, done.stderr
    assert "head    1  scheduler and driver" in done.stdout
    program = installation.folder / "bin" / "surveyflow"
    assert f"ExecStart={program} slurm submit {survey.workflow} --profile {tmp_path}/site.toml" in done.stdout
    (status,) = re.findall(r"`(surveyflow status .*)`", done.stdout)
    told = installation.run(status, tmp_path).stdout
    page, look = re.search(r"^report    (.*)\nlook      `(surveyflow browse .*)`$", told, flags=re.MULTILINE).groups()
    assert "<h2>Galaxies</h2>" in Path(page).read_text()
    browsed = installation.run(f"python -c {shlex.quote(LOOKER)} {look} --no-open", tmp_path)
    assert "50 rows" in browsed.stdout, browsed.stderr


def native_core_is_built(own: Installation, folder: Path) -> bool:
    """Run the remedy with a compiler that is none: that the true one builds the core is tested elsewhere."""
    compiler = folder / "c++"
    compiler.write_text('#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\necho built > "$2"\n')
    compiler.chmod(0o755)
    native = own.package / "models" / "engines" / "native"
    done = own.run(remedies.build_native_core(native / "build.py"), folder, CXX=str(compiler))
    return done.returncode == 0 and (native / "libsurveyflow.so").read_text() == "built\n"


def test_the_source_distribution_holds_what_is_needed_to_build_and_test_and_no_more(distributions):
    [archive] = distributions.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {Path(*Path(name).parts[1:]).as_posix() for name in opened.getnames()}
    assert {"pyproject.toml", "hatch_build.py", "LICENSE", "surveyflow/__init__.py", "tests/installations.py"} <= names
    assert not {name for name in names if name.startswith((".ci", ".venv", ".git/"))}


def test_the_wheel_holds_the_package_and_nothing_else(installation):
    (metadata,) = installation.site_packages.glob("*.dist-info/RECORD")
    folders = {line.split("/")[0] for line in metadata.read_text().splitlines()}
    tracked = subprocess.check_output(["git", "ls-files", "surveyflow"], cwd=REPOSITORY, text=True).split()

    assert folders == {"surveyflow", metadata.parent.name, ".."}
    assert [name for name in tracked if not (installation.site_packages / name).is_file()] == []


@cache
def messages() -> list[tuple[str, str]]:
    return list(texts_of_the_package())


def texts_of_the_package() -> Iterator[tuple[str, str]]:
    """Every text in the package that a program can print, with its file; docstrings are left out."""
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text())
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                words = [str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values]
                yield str(path.relative_to(PACKAGE)), "".join(words)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings | parts:
                yield str(path.relative_to(PACKAGE)), node.value
    for path in PACKAGE.rglob("*.j2"):
        yield path.name, path.read_text()


def test_messages_take_their_commands_from_the_remedies():
    verbs = "|".join(typer.main.get_command(app).commands)
    words = rf"pip3? install|(?<!-m )surveyflow (--|({verbs})\b)|(?<!-m )dask worker [-\w]|ln -s|rm -r |python \S*\.py"
    command = re.compile(rf"\b({words})")
    own = {"values/remedies.py", "catalog/reference.py"}  # the page that the latter writes is for those who have a checkout

    assert [(where, text) for where, text in messages() if command.search(text) and where not in own] == []
    assert command.search("Install it: pip install nothing.")
    assert command.search("Name another: `surveyflow releases list {}`.")


def test_the_options_that_messages_name_are_options_of_the_command_line():
    scripts = re.compile(
        r"sites/\w+/(jobs|settings|submit)\.py|execution/gpus\.py|values/remedies\.py"
    )  # of Slurm, Dask and others
    named = {
        option
        for where, text in messages()
        if " " in text and where.endswith(".py") and not scripts.fullmatch(where)
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)
    }

    assert "--overwrite" in named
    assert sorted(named - set(options_of(typer.main.get_command(app)))) == []


def options_of(command) -> Iterator[str]:
    for parameter in command.params:
        yield from parameter.opts
    for inner in getattr(command, "commands", {}).values():
        yield from options_of(inner)


TEXTS = [
    path
    for folder in ("docs", "deploy", "workflows", "scripts", "benchmarks", "tests", "surveyflow", ".github")
    for path in REPOSITORY.joinpath(folder).rglob("*")
    if path.suffix in {"", ".md", ".py", ".sh", ".toml", ".yaml", ".yml", ".j2", ".def", ".cff"} and path.is_file()
]


def test_no_text_installs_the_other_projects_package():
    wrong = re.compile(r"(?<![\w-])surveyflow(\\*\[[a-z]|[=<>~]=)|pip3? install [^`\n]*(?<![-./\w])surveyflow(?![-/\w])")
    texts = [*TEXTS, *REPOSITORY.glob("*.md"), REPOSITORY / "CITATION.cff"]

    assert [str(path) for path in texts if wrong.search(path.read_text(errors="ignore")) and path != Path(__file__)] == []
    assert wrong.search("pip install 'surveyflow[gpu]'")
    assert wrong.search("pip install --upgrade surveyflow.")


def test_the_extras_that_texts_name_are_there():
    named = {
        extra
        for path in TEXTS
        for found in re.findall(rf"{remedies.DISTRIBUTION}\\*\[([a-z,]+)", path.read_text(errors="ignore"))
        for extra in found.split(",")
    }

    assert named >= {"cpu", "gpu", "train"}
    assert named <= set(project_extras())


def project_extras() -> set[str]:
    import tomllib

    return set(tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"])
