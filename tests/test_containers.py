"""What containers are built from is there, and can be read; there is no container engine here to build them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
FOLDER = CHECKOUT / "deploy" / "container"


def instructions():
    """The Dockerfile's instructions, each with its arguments in one line."""
    text = re.sub(r"^\s*#.*\n", "", (FOLDER / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [line.split(maxsplit=1) for line in lines if line.strip()]


def sections():
    """The definition file's sections: their lines, by name."""
    found = {"": []}
    for line in (FOLDER / "surveyflow.def").read_text().splitlines():
        if line.startswith("%"):
            found[name := line[1:].strip()] = []
        elif line.strip() and not line.lstrip().startswith("#"):
            found[name if len(found) > 1 else ""].append(line.strip())
    return found


def copies():
    return [shlex.split(arguments) for name, arguments in instructions() if name == "COPY"]


def test_dockerfile_has_known_instructions_and_both_targets():
    names = {name for name, _ in instructions()}
    assert names <= {"FROM", "ENV", "RUN", "COPY", "WORKDIR", "USER", "CMD"}
    stages = [arguments.split(" AS ")[1] for name, arguments in instructions() if name == "FROM"]
    assert {"cpu", "gpu"} <= set(stages)
    assert len(stages) == len(set(stages))


def test_every_stage_builds_on_one_before_it_or_on_a_tagged_image():
    earlier = set()
    for name, arguments in instructions():
        if name == "FROM":
            image, stage = arguments.split(" AS ")
            assert image in earlier or re.fullmatch(r"[a-z/]+:[\w.-]+", image), image
            earlier.add(stage)
        if name == "COPY" and arguments.startswith("--from="):
            assert arguments.split()[0].removeprefix("--from=") in earlier


def test_everything_that_is_copied_exists_and_is_let_through():
    allowed = {line[1:] for line in (FOLDER / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")}
    sources = {source for words in copies() if not words[0].startswith("--from") for source in words[:-1]}
    assert sources == allowed
    assert all((CHECKOUT / source).exists() for source in sources)


def test_images_run_as_nobody_special():
    last = [arguments for name, arguments in instructions() if name == "USER"]
    assert last == ["1000"]


def test_apptainer_takes_what_docker_takes():
    parts = sections()
    assert parts[""] == ["Bootstrap: docker", "From: python:3.12-slim-bookworm"]
    assert ["FROM", "python:3.12-slim-bookworm AS base"] in instructions()
    sources = {line.split()[0] for line in parts["files"]}
    assert sources == {source for words in copies() if not words[0].startswith("--from") for source in words[:-1]}
    assert all(line.split()[1].startswith("/src/") for line in parts["files"])
    assert parts["arguments"] == ["extra=cpu"]


@pytest.mark.parametrize("section", ["post", "environment", "runscript", "test"])
def test_apptainers_scripts_can_be_read(section):
    script = "\n".join(sections()[section]).replace("{{ extra }}", "cpu")
    assert subprocess.run(["sh", "-n"], input=script, text=True, check=False).returncode == 0


def installed(tmp_path, extra):
    """What install.sh asks of pip, with a FAKE python that only writes it down: constraints by name, and the requirement."""
    fake = tmp_path / "python"
    fake.write_text(
        '#!/bin/sh\n# A fake, for tests.\nprintf "%s\\n" "$SURVEYFLOW_NATIVE" "$@" > "$0.asked"\n'
        'while [ "$1" != --constraint ]; do shift; done\ncp "$2" "$0.constraints"\n'
    )
    fake.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run([FOLDER / "install.sh", CHECKOUT, extra], env=environment, check=True)
    asked = (tmp_path / "python.asked").read_text().splitlines()
    lines = (tmp_path / "python.constraints").read_text().splitlines()
    assert all(re.fullmatch(r"[\w.-]+==[\w.+!-]+( ;.*)?", line) for line in lines), lines
    return asked, dict(line.split(" ;")[0].split("==") for line in lines)


@pytest.mark.parametrize(("extra", "framework"), [("cpu", "tensorflow-cpu"), ("gpu", "tensorflow")])
def test_containers_get_the_versions_of_the_lock_file(tmp_path, extra, framework):
    asked, constraints = installed(tmp_path, extra)
    assert asked[0] == "require"
    assert asked[-1] == f"{CHECKOUT}[{extra},metrics]"
    assert framework in constraints
    assert ("tensorflow" in constraints) == (extra == "gpu")
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    assert {re.split(r"[<>=]", name)[0] for name in project["dependencies"]} <= constraints.keys()
    assert extra in project["optional-dependencies"]


@pytest.mark.skipif(shutil.which("hadolint", path=Path(sys.executable).parent) is None, reason="hadolint is not installed")
def test_hadolint_finds_nothing():
    program = shutil.which("hadolint", path=Path(sys.executable).parent)
    checked = subprocess.run([program, FOLDER / "Dockerfile"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
