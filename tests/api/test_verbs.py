"""Every verb of the command line is a function of the package, and the other way round."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import surveyflow
from surveyflow import api
from surveyflow.commands.main import app

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "python.md"
NOT_VERBS = {
    "Flag",
    "__version__",
    "at_prevalence",
    "cutouts",
    "find_release",
    "flags_text",
    "import_legacy",
    "load_model",
    "open_catalog",
    "open_alternatives",
    "open_draws",
    "read_catalog",
    "read_alternatives",
    "read_draws",
    "repeat_fractions",
    "simulate_records",
}
"""Names of the package that hand over objects, which a command line cannot print."""


def verbs() -> list[str]:
    command = typer.main.get_command(app)
    found = []
    for name, entry in command.commands.items():
        found += [f"{name} {verb}" for verb in entry.commands] if hasattr(entry, "commands") else [name]
    return found


def function_names(verb: str) -> set[str]:
    """``releases list`` is `list_releases`; ``kubernetes certificates`` is `kubernetes_certificates`."""
    words = verb.split()
    return {"_".join(words), "_".join(reversed(words))}


@pytest.mark.parametrize("verb", verbs())
def test_a_verb_has_a_function_of_its_name(verb):
    (name,) = function_names(verb) & set(surveyflow.__all__)
    assert callable(getattr(surveyflow, name))


def test_a_function_has_a_verb_or_hands_over_an_object():
    named = set().union(*map(function_names, verbs()))
    assert set(surveyflow.__all__) - named == NOT_VERBS


def test_functions_are_not_hidden_by_packages_of_their_name():
    code = (
        "import pkgutil, importlib, surveyflow\n"
        "for module in pkgutil.walk_packages(surveyflow.__path__, 'surveyflow.'):\n"
        "    if not module.name.endswith(('__main__', 'native.build')): importlib.import_module(module.name)\n"
        "print([name for name in surveyflow.__all__ if name != '__version__' and not callable(getattr(surveyflow, name))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.strip().endswith("[]")


def test_the_page_on_python_names_every_function_and_verb():
    page = PAGE.read_text()
    rows = dict(re.findall(r"^\| `surveyflow ([a-z ]+)` \| `(\w+)\(", page, flags=re.MULTILINE))
    assert rows == {verb: (function_names(verb) & set(surveyflow.__all__)).pop() for verb in verbs()}
    assert set(re.findall(r"^\| `(\w+)\(", page, flags=re.MULTILINE)) == NOT_VERBS - {"__version__"}


def test_the_api_and_the_package_have_the_same_names():
    assert set(surveyflow.__all__) == {*api.__all__, "__version__"}
