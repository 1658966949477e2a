from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import surveyflow
from surveyflow.values.remedies import DISTRIBUTION

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
LOCK = (REPOSITORY / "requirements.lock").read_text()
HEAVY = {"tensorflow", "keras", "dask", "distributed", "matplotlib"}
NOT_FOR_EVERY_RUN = HEAVY | {"scipy.stats", "scipy.optimize", "astropy.stats", "starlette"}


def heavy_modules_after(code, heavy=HEAVY):
    script = f"import json, sys\n{code}\nprint(json.dumps(sorted({heavy!r} & set(sys.modules))), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return json.loads(done.stderr.splitlines()[-1])


def normalised(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_importing_surveyflow_imports_nothing_heavy():
    assert heavy_modules_after("import surveyflow") == []


def test_the_command_lines_help_imports_nothing_heavy():
    invocation = "assert CliRunner().invoke(app, ['--help']).exit_code == 0"
    code = f"from surveyflow.commands.main import app\nfrom typer.testing import CliRunner\n{invocation}"

    assert heavy_modules_after(code) == []


def test_a_run_and_its_workers_import_nothing_that_only_other_work_needs():
    code = "from surveyflow import api; api.run; import surveyflow.measuring.worker"

    assert heavy_modules_after(code, NOT_FOR_EVERY_RUN) == []


def test_importing_surveyflow_is_quick():
    code = "import time; t = time.process_time(); import surveyflow; print(time.process_time() - t)"

    seconds = min(float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(3))

    assert seconds < 0.3


def test_every_public_name_is_there_and_no_package_takes_its_place():
    packages = {path.name for path in Path(surveyflow.__file__).parent.iterdir()}
    for name in surveyflow.__all__:
        assert getattr(surveyflow, name) is not None
        assert not {name, f"{name}.py"} & packages
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = surveyflow.nothing


def test_one_version_everywhere():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())

    assert {surveyflow.__version__, PROJECT["version"], citation["version"], metadata.version(DISTRIBUTION)} == {
        PROJECT["version"]
    }
    assert f"## {PROJECT['version']}" in (REPOSITORY / "CHANGELOG.md").read_text()


def test_one_name_everywhere():
    assert PROJECT["name"] == DISTRIBUTION
    assert list(PROJECT["scripts"]) == ["surveyflow"]


def test_the_citation_names_the_paper():
    (paper,) = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())["references"]

    assert (paper["year"], paper["volume"], paper["start"]) == (2022, 931, 34)
    assert paper["identifiers"][0]["value"] == "arXiv:2204.05786"


def test_the_licence_is_bsd_3():
    text = (REPOSITORY / "LICENSE").read_text()

    assert PROJECT["license"] == "BSD-3-Clause"
    assert text.startswith("BSD 3-Clause License")
    assert "The surveyflow developers" in text
    assert text.count("\n1. ") == text.count("\n2. ") == text.count("\n3. ") == 1


def test_the_lock_holds_no_addresses():
    assert "://" not in LOCK
    assert "index-url" not in LOCK


def test_every_locked_package_has_one_version_and_hashes():
    packages = [line for line in LOCK.replace("\\\n", "").splitlines() if line and not line.startswith("#")]

    assert len(packages) > 100
    assert [line for line in packages if not re.match(r"[\w.\[\],-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", line)] == []


def test_the_lock_holds_every_dependency_at_a_version_that_is_allowed():
    locked = {normalised(name): version for name, version in re.findall(r"^([\w.-]+)(?:\[[\w,-]+\])?==(\S+)", LOCK, re.MULTILINE)}
    extras = PROJECT["optional-dependencies"]
    wanted = [
        Requirement(text)
        for text in [*PROJECT["dependencies"], *extras["cpu"], *extras["simulate"], *extras["train"], *extras["dev"]]
    ]

    assert [str(each) for each in wanted if not each.specifier.contains(locked.get(normalised(each.name), "0"))] == []


@pytest.mark.parametrize("script", ["scripts/demo", "scripts/test", "scripts/check", "scripts/install-slurm", ".ci/run"])
def test_scripts_can_be_run_and_parsed(script):
    assert os.access(REPOSITORY / script, os.X_OK)
    subprocess.run(["bash", "-n", REPOSITORY / script], check=True)


@pytest.fixture(scope="module")
def workflows():
    return {path.stem: yaml.safe_load(path.read_text()) for path in (REPOSITORY / ".github" / "workflows").glob("*.yml")}


def test_github_tests_the_pythons_that_are_promised(workflows):
    promised = [name.split(" :: ")[2] for name in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", name)]

    assert workflows["checks"]["jobs"]["tests"]["strategy"]["matrix"]["python"] == promised
    assert workflows["release"]["jobs"]["installed"]["strategy"]["matrix"]["python"] == promised
    assert PROJECT["requires-python"] == f">={promised[0]}"


def test_only_the_job_that_publishes_may_do_more_than_read(workflows):
    jobs = {f"{file} {name}": job for file, workflow in workflows.items() for name, job in workflow["jobs"].items()}
    more = {name: job["permissions"] for name, job in jobs.items() if "permissions" in job}

    assert [workflow["permissions"] for workflow in workflows.values()] == [{"contents": "read"}] * 2
    assert more == {"release publish": {"id-token": "write"}}
    assert jobs["release publish"]["environment"] == "pypi"
    assert set(jobs["release publish"]["needs"]) == {"checks", "sdist", "wheels", "installed"}


def test_the_readme_names_the_scripts():
    readme = (REPOSITORY / "README.md").read_text()

    assert "scripts/demo" in readme
    assert "scripts/test" in readme


def test_links_between_documents_lead_somewhere():
    documents = [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")]
    broken = [
        f"{document.name}: {target}"
        for document in documents
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text())
        if not (document.parent / target).exists()
    ]

    assert broken == []
