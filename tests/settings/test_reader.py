"""One reader: the same mistake is described by the same sentence in every kind of file, and any file ends quickly."""

from __future__ import annotations

import re
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from networks import card
from surveyflow.errors import InputError, ModelError, ProfileError, WorkflowError
from surveyflow.merger_fractions import matrices
from surveyflow.merger_fractions.matrices import read_matrices
from surveyflow.models import cards
from surveyflow.models.cards import card_from_file, card_to_toml
from surveyflow.settings import cosmic_variance, simulation, training, workflow
from surveyflow.settings.findings import Schema, shown
from surveyflow.settings.reader import MOST_BYTES, MOST_LEVELS, MOST_REPORTED, SettingsFile, SettingsTable
from surveyflow.settings.simulation import load_simulation
from surveyflow.settings.training import load_training
from surveyflow.settings.workflow import load_workflow
from surveyflow.sites import profiles
from surveyflow.sites.profiles import load_profile, settings_of
from training_sets import training_text


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Parameters
    ----------
    load
        Reads it.
    error
        What that raises.
    text
        A good file.
    table, key
        A key that must be there, in a table or at the file's top ("").
    example
        How messages recommend it.
    expected
        What its value is, in words.
    """

    load: Callable[[Path], Any]
    error: type[InputError]
    text: str
    table: str
    key: str
    example: str
    expected: str = "a whole number"

    @property
    def line(self) -> str:
        """The line of the key."""
        (line,) = re.findall(rf"^{self.key} = .*\n", self.text, re.MULTILINE)
        return line


WORKFLOW = """version = 1
[survey]
name = "candels"
release = "v1.0"
[output]
root = "catalog"
[models]
store = "."
[sampling]
seed = 5
[routing]
F814W = [0.5, 1.5]
[fields.EGS.sources]
path = "egs.cat"
columns = { id = "ID", ra = "RA", dec = "DEC" }
[fields.EGS.F814W]
science = "egs.fits"
"""
SIMULATION = """version = 1
[simulation]
output = "records"
field = "COSMOS"
instrument = "F814W"
n = 10
seed = 5
"""
MATRICES = """weights_origin = "simulated"
class_rule = "majority_vote"
source = "a test"
[matrices]
EGS = [[8, 2], [1, 9]]
"""
PROFILE = """kind = "slurm"
interface = "ib0"
[directories]
shared = "jobs"
[head]
memory = "4 GiB"
walltime = "1-00:00:00"
[pools.cpu]
jobs = 5
memory = "16 GiB"
walltime = "04:00:00"
lifetime = "03:30:00"
"""
KINDS = {
    "workflow": Kind(load_workflow, WorkflowError, WORKFLOW, "sampling", "seed", "20220523"),
    "simulation": Kind(load_simulation, WorkflowError, SIMULATION, "simulation", "seed", "20220523"),
    "training": Kind(load_training, WorkflowError, training_text(), "optimisation", "seed", "20220523"),
    "profile": Kind(load_profile, ProfileError, PROFILE, "pools.cpu", "jobs", "4"),
    "card": Kind(card_from_file, ModelError, card_to_toml(card()), "architecture", "input_size", "128"),
    "matrices": Kind(read_matrices, InputError, MATRICES, "", "source", '"4,000 simulated galaxies"', "text in quotes"),
}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


@pytest.fixture
def write(tmp_path, kind):
    for name in ("egs.cat", "egs.fits"):
        (tmp_path / name).touch()

    def written(content):
        path = tmp_path / "file.toml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return written


@pytest.fixture
def said(kind, write):
    """The lines that are reported of a content, with one name in the place of every kind's own."""

    names = {
        f"[{kind.table}] {kind.key}" if kind.table else f"FILE: {kind.key}": "[TABLE] KEY" if kind.table else "FILE: [TABLE] KEY",
        f"`{kind.key}": "`KEY",
        f"= {kind.example}`": "= 5`",
        f"expected {kind.expected}": "expected a value",
    }

    def read(content):
        with pytest.raises(kind.error) as caught:
            kind.load(write(content))
        text = re.sub(r"(?m)^\S*file\.toml: ", "FILE: ", str(caught.value))
        for name, instead in names.items():
            text = text.replace(name, instead)
        return text.splitlines()

    return read


def test_a_good_file_is_read(kind, write):
    assert kind.load(write(kind.text)) is not None


def test_a_misspelt_key_is_described_alike(kind, said):
    lines = said(kind.text.replace(kind.line, kind.line.replace(kind.key, f"{kind.key}x")))
    assert sorted(lines) == [
        "FILE: [TABLE] KEY: is missing. Add `KEY = 5`.",
        "FILE: [TABLE] KEYx: is not a key that surveyflow knows. Did you mean `KEY`?",
    ]


def test_a_misspelt_kind_of_a_profile_is_described_as_any_other_key(tmp_path):
    (tmp_path / "file.toml").write_text('knd = "local"\nworkers = 3\n')

    with pytest.raises(ProfileError) as caught:
        load_profile(tmp_path / "file.toml")

    assert [line.partition("file.toml: ")[2] for line in str(caught.value).splitlines()] == [
        "knd: is not a key that surveyflow knows. Did you mean `kind`?",
        'kind: is missing. Add `kind = "serial"`.',
    ]


def test_a_missing_key_is_described_alike(kind, said):
    assert said(kind.text.replace(kind.line, "")) == ["FILE: [TABLE] KEY: is missing. Add `KEY = 5`."]


WRONG = {
    "5.5": "5.5",
    "true": "true",
    "[5]": "the list [5]",
    "{ a = 5 }": "a table",
    "2022-05-23": "the date 2022-05-23",
    "0x" + "f" * 9000: "a whole number of more than 64 bits",
}


@pytest.mark.parametrize(("value", "found"), WRONG.items(), ids=[value[:9] for value in WRONG])
def test_a_value_of_the_wrong_type_is_described_alike(kind, said, value, found):
    lines = said(kind.text.replace(kind.line, f"{kind.key} = {value}\n"))
    assert lines == [f"FILE: [TABLE] KEY: found {found}, expected a value. Write such as `KEY = 5`."]


def test_an_unknown_table_is_described_alike(kind, said):
    (line,) = said(f"{kind.text}\n[xyzzy.of]\nkey = 1\n")
    assert re.fullmatch(r"FILE: \[xyzzy\]: is not a table that surveyflow knows\. Remove it; known here: .*\.", line)


@pytest.mark.parametrize("content", ["[unclosed\n", "key = nothing\n", "a = 1\na = 2\n"])
def test_what_is_not_toml_is_described_alike(said, content):
    (line,) = said(content)
    assert re.fullmatch(
        r"FILE: is not TOML: .*line \d.*\. Correct that line; text stands in quotes, tables in \[brackets\]\.", line
    )


def test_what_is_not_utf8_is_described_alike(said):
    assert said(b"# \xff\n") == ["FILE: is not text in UTF-8 (byte 2). Save it as plain text in UTF-8."]


def test_a_file_that_is_too_large_is_described_alike(said):
    assert said("#" * MOST_BYTES + "\n") == [
        f"FILE: is larger than {MOST_BYTES} bytes. Name a file of settings, which is smaller."
    ]


DEEP = {
    "lists": "x = " + "[" * 100_000,
    "tables": "x = " + "{a = " * 100_000,
    "dots": "a." * 100_000 + "a = 1",
    "heading": "[a" + ".'b'" * 100_000 + "]\n",
    "one too many": f"x = {'[' * MOST_LEVELS}{']' * MOST_LEVELS}\n",
}


@pytest.mark.parametrize("content", DEEP.values(), ids=DEEP)
def test_a_file_that_is_too_deep_is_described_alike(said, content):
    assert said(content) == [f"FILE: has tables or lists nested more than {MOST_LEVELS} deep. Write it with fewer levels."]


def required(node, definitions, place=()):
    """The places of all required keys and tables below a node of a JSON schema."""
    while "$ref" in node or "anyOf" in node:
        node = definitions[node["$ref"].rpartition("/")[2]] if "$ref" in node else node["anyOf"][0]
    for key, value in node.get("properties", {}).items():
        yield from [(*place, key)] if key in node.get("required", ()) else []
        yield from required(value, definitions, (*place, key))
    for value in [node.get("additionalProperties"), *node.get("patternProperties", {}).values()]:
        yield from required(value, definitions, (*place, "NAME")) if isinstance(value, dict) else []


FORMS = {
    name: value.form.json_schema()
    for module in (workflow, simulation, training, cards, matrices, cosmic_variance, profiles)
    for value in vars(module).values()
    if isinstance(value, SettingsFile)
    for name in [module.__name__]
} | {name: settings_of(name).model_json_schema() for name in profiles.KINDS}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_line_that_is_recommended_for_a_missing_key_is_toml(form):
    schema = Schema(form, {}, "reference.md")
    for place in required(form, form.get("$defs", {})):
        remedy = schema.missing(place).remedy
        if place == ("model", "weights_digest"):  # no digest may be recommended: it is computed from the weights
            assert remedy == "Add it; reference.md describes every key."
        elif not remedy.startswith("Add the table"):
            assert place[-1] in tomllib.loads(re.fullmatch(r"Add `(.*)`\.", remedy)[1])


def test_a_number_of_thousands_of_digits_is_described_alike(said):
    assert said(f"x = {'1' * 5000}\n") == ["FILE: holds a whole number of more digits than can be read. Write a smaller number."]


def test_a_file_that_is_not_there_is_described_with_similar_names(kind, write):
    path = write(kind.text)
    with pytest.raises(kind.error, match=r"does not exist; the nearest folder .*\. Did you mean file\.toml\?"):
        kind.load(path.with_name("fil.toml"))


class Table(SettingsTable):
    """A table of a kind of file of the test's own."""

    whole: int = 1


class File(SettingsTable):
    """A kind of file of the test's own."""

    first: Table = Table()
    second: Table = Table()
    names: tuple[str, ...] = ()


OWN = SettingsFile(TypeAdapter(File), InputError, "docs/own.md")


def problems(text: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        OWN.check(tomllib.loads(text), Path("/own.toml"), "own.toml")
    return str(caught.value).splitlines()


def test_of_very_many_problems_the_first_are_reported_and_the_others_counted(tmp_path):
    n = 10_000
    (tmp_path / "own.toml").write_text("".join(f"k{i}=1\n" for i in range(n)))
    with pytest.raises(InputError) as caught:
        OWN.load(tmp_path / "own.toml", "own.toml")
    *lines, last = str(caught.value).splitlines()
    assert len(lines) == MOST_REPORTED
    assert all(f"own.toml: k{i}: is not a key that surveyflow knows." in line for i, line in enumerate(lines))
    assert last == f"own.toml: has {n - MOST_REPORTED} more problems. Correct these first."


def test_a_file_of_very_many_keys_is_refused_within_seconds(tmp_path):
    (tmp_path / "own.toml").write_text("".join(f"k{i}=1\n" for i in range(100_000)))
    start = time.process_time()
    with pytest.raises(InputError, match=r"^own\.toml: has more than 50000 keys and values\."):
        OWN.load(tmp_path / "own.toml", "own.toml")
    assert time.process_time() - start < 10


def test_problems_stand_in_the_order_of_the_file_whatever_their_kind():
    text = "a = 1\nnames = [1, 2]\nb = 2\n[second]\nwhole = 2022-05-23\n[first]\nwholes = 1\nwhole = 'x'\n[c]\n"
    assert [line.split(": ")[1] for line in problems(text)] == [
        "a",
        "names",
        "names",
        "b",
        "[second] whole",
        "[first] wholes",
        "[first] whole",
        "[c]",
    ]


def test_a_key_is_shown_by_its_beginning_and_on_one_line():
    (long, broken) = problems(f'{"k" * 5000} = 1\n"a\\nb" = 1\n')
    assert long.startswith(f"own.toml: {'k' * 57}...: is not a key")
    assert broken.startswith(r"own.toml: 'a\nb': is not a key")


def test_what_a_table_holds_is_not_shown():
    assert problems("names = { token = 'secret' }\n") == [
        "own.toml: names: found a table, expected a list. Write such as `names = []`."
    ]


@pytest.mark.parametrize(
    ("value", "words"),
    [(True, "true"), (3, "3"), ("3", "the text '3'"), ([3], "the list [3]"), ({"a": 1}, "a table")],
)
def test_a_message_tells_what_kind_of_value_was_found(value, words):
    assert shown(value) == words


def test_a_long_value_is_shown_by_its_beginning():
    assert shown("x" * 100) == "the text '" + "x" * 56 + "..."
