"""The walk of one source, as the page on the architecture tells it, is the one that a traced run takes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from surveyflow.models.engines.native_library import absence
from surveyflow.runs.demo import make_demonstration
from surveyflow.simulation.survey import SurveySpec

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "architecture.md"
TRACER = Path(__file__).with_name("traced_run.py")


def told() -> list[str]:
    walk = PAGE.read_text().split("## The walk of one source\n")[1].split("\n## ")[0]
    return re.findall(r"^\d+\. `([a-z_.]+)`", walk, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def walked(tmp_path_factory) -> list[str]:
    if reason := absence():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("walk")
    workflow = make_demonstration(folder, SurveySpec(fields=("EGS",), n_sources=12, draws=20))
    done = subprocess.run([sys.executable, TRACER, workflow], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_the_walk_of_one_source_is_described_in_the_order_in_which_modules_are_entered(walked):
    """To accept a change: run tests/docs/traced_run.py on a workflow, and correct the page."""
    assert told() == walked
