"""Every block of code on every page: commands have these options, functions these arguments, and data can be read.

The pages in `RUN` are run by other tests, from a published folder; the notebooks are run whenever the site is built. Blocks of
all other pages name files that a reader has, so they are not run, but nothing that they ask of surveyflow may be out of date.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer
import yaml

import surveyflow
from pages import Block, blocks
from surveyflow.commands.main import app

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"
PAGES = sorted({*DOCS.rglob("*.md"), REPOSITORY / "README.md"} - {DOCS / "reference" / "commands.md"})
RUN = {
    *("how-to/merger-fractions.md", "how-to/read-with-pandas.md", "how-to/export.md", "how-to/show.md", "how-to/keep-draws.md"),
    *(f"how-to/queries/{name}.md" for name in ("pandas", "pyarrow", "duckdb", "polars", "dask", "lsdb", "astropy", "topcat")),
}
"""Pages whose Python is run, by ``test_examples.py`` and ``test_keep_draws.py``."""


COMMAND = typer.main.get_command(app)


def commands(block: Block) -> list[list[str]]:
    """The words of each command of surveyflow's in a block of a shell's."""
    if block.language not in {"", "sh", "console", "bash"}:
        return []
    joined = re.sub(r"\\\n\s*", " ", block.text)
    lines = [line.removeprefix("$ ").strip() for line in joined.splitlines()]
    return [words(line) for line in lines if re.match(r"(\w+=\S+ )*(surveyflow|python -m surveyflow) ", line)]


def words(line: str) -> list[str]:
    """What follows ``surveyflow``, up to a pipe, a redirection or a further command."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|>&;")
    lexer.whitespace_split, lexer.commenters = True, "#"
    found = list(lexer)
    start = found.index("surveyflow") + 1
    end = next((place for place, word in enumerate(found) if place >= start and set(word) <= set("|>&;") and word), len(found))
    return found[start:end]


def problem_of_command(given: list[str]) -> str | None:
    """Why the command line would not understand these words; None if it does."""
    command, rest = COMMAND, list(given)
    context = command.context_class(command, info_name="surveyflow")
    while hasattr(command, "commands"):
        if not rest or rest[0].startswith("-"):
            return (
                None
                if rest and rest[0] in {"--help", "--version", "--install-completion", "--show-completion"}
                else f"{given}: no command"
            )
        if rest[0] not in command.commands:
            return f"{given}: there is no command {rest[0]}"
        command = command.commands[rest.pop(0)]
        context = command.context_class(command, parent=context, info_name=command.name)
    try:
        _, left, _ = command.make_parser(context).parse_args(rest)
    except Exception as error:  # noqa: BLE001 - whatever the parser says is the finding
        return f"{given}: {error}"
    return f"{given}: too many arguments, {left}" if left else None


def problems_of_python(text: str) -> list[str]:
    """Functions of surveyflow that do not exist, and arguments that they do not take."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if (
            not isinstance(node, ast.Call)
            or not isinstance(node.func, ast.Attribute)
            or not isinstance(node.func.value, ast.Name)
        ):
            continue
        if node.func.value.id == "surveyflow":
            function = getattr(surveyflow, node.func.attr, None)
            known = inspect.signature(function).parameters if callable(function) else None
            if known is None:
                found.append(f"there is no surveyflow.{node.func.attr}")
            elif not any(one.kind is inspect.Parameter.VAR_KEYWORD for one in known.values()):
                found += [
                    f"surveyflow.{node.func.attr} takes no {word.arg}"
                    for word in node.keywords
                    if word.arg and word.arg not in known
                ]
    return found


READERS = {"toml": tomllib.loads, "json": json.loads, "yaml": lambda text: list(yaml.safe_load_all(text))}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_block_is_understood(page):
    problems = []
    for block in blocks(page):
        problems += [(block.line, told) for given in commands(block) if (told := problem_of_command(given))]
        if block.language in READERS:
            READERS[block.language](block.text)
        if block.language in {"python", "py", "{code-cell}"}:
            code = re.sub(r"\A(---\n.*?---\n|(:\w+:.*\n)+)", "", block.text, flags=re.DOTALL)
            problems += [(block.line, told) for told in problems_of_python(code)]
    assert problems == []


def test_the_blocks_that_are_run_are_there():
    assert all(any(block.language == "python" for block in blocks(DOCS / name)) for name in RUN)
    assert sum(len(commands(block)) for page in PAGES for block in blocks(page)) > 80


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("surveyflow fractions R --edges 0,1 --matrx m.toml", "--matrx"),
        ("surveyflow fraction R", "no command fraction"),
        ("surveyflow releases diff R a b c", "too many arguments"),
        ("surveyflow run w.toml --profile p.toml | tee log  # and wait", None),
    ],
)
def test_a_command_that_is_out_of_date_is_found(line, told):
    (given,) = commands(Block("", line, 1))
    problem = problem_of_command(given)
    assert problem is None if told is None else told in problem


def test_python_that_is_out_of_date_is_found():
    assert problems_of_python("import surveyflow\nsurveyflow.fractions('R', edges=[0], bin='z')\nsurveyflow.fraktions()") == [
        "surveyflow.fractions takes no bin",
        "there is no surveyflow.fraktions",
    ]
