"""The examples in docstrings run, and give what they show."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import surveyflow

PACKAGE = Path(surveyflow.__file__).parent
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if ">>> " in path.read_text()]


def name_of(path: Path) -> str:
    return ".".join(["surveyflow", *path.relative_to(PACKAGE).with_suffix("").parts])


@pytest.mark.parametrize("name", [name_of(path) for path in FILES])
def test_examples_give_what_they_show(name):
    found = doctest.testmod(import_module(name))
    assert found.attempted or "+SKIP" in PACKAGE.joinpath(*name.split(".")[1:]).with_suffix(".py").read_text()
    assert not found.failed
