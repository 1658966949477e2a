"""The page on the architecture is true: its floors are those of the import contracts, and what pages name exists."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import surveyflow

REPOSITORY = Path(__file__).parents[2]
PACKAGE = Path(surveyflow.__file__).parent
DOCS = REPOSITORY / "docs"
ARCHITECTURE = DOCS / "explanation" / "architecture.md"
PAGES = sorted(DOCS.rglob("*.md"))


def section(title: str) -> str:
    text = ARCHITECTURE.read_text()
    assert f"## {title}\n" in text
    return text.split(f"## {title}\n")[1].split("\n## ")[0]


def drawn_floors() -> list[set[str]]:
    rows = [line.split("|") for line in section("Floors").splitlines() if re.match(r"\| \d+ \|", line)]
    assert [int(row[1]) for row in rows] == list(reversed(range(len(rows))))
    return [set(re.findall(r"`(\w+)`", row[2])) for row in rows]


def contracted_floors() -> list[set[str]]:
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = [contract["layers"] for contract in settings["contracts"] if contract["type"] == "layers"]
    return [set(re.split(r" [|:] ", layer)) for layer in layers]


def test_the_drawn_floors_are_the_contracted_ones():
    assert drawn_floors() == contracted_floors()


def test_every_folder_of_the_package_stands_on_a_floor():
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    files = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert set().union(*drawn_floors()) == folders | files


def test_few_files_lie_loose_in_the_package():
    assert len([path for path in PACKAGE.glob("*.py") if path.name != "__init__.py"]) <= 3


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_files_that_a_page_names_exist(page):
    named = re.findall(r"`((?:[a-z_]+/)+[a-z_0-9]+\.py)`", page.read_text())
    assert not [path for path in named if not (REPOSITORY / path).exists() and not (PACKAGE / path).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_modules_that_a_page_names_exist(page):
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    named = re.findall(r"`(?:surveyflow\.)?((?:[a-z_]+\.)+[A-Za-z_]+)(?:\(\))?`", page.read_text())
    assert not [name for name in named if name.split(".")[0] in folders and not resolves(name)]


def resolves(name: str) -> bool:
    """Whether ``models.store`` is a module, and ``models.store.ModelStore`` is named in one."""
    module, _, member = name.rpartition(".")
    path = PACKAGE.joinpath(*name.split("."))
    file = PACKAGE.joinpath(*module.split(".")).with_suffix(".py")
    return (
        path.is_dir() or path.with_suffix(".py").is_file() or (file.is_file() and re.search(rf"\b{member}\b", file.read_text()))
    )
