"""What is written as TOML is read back as it was."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surveyflow.settings.toml_text import shown, toml_key, toml_text, toml_value

texts = st.text(st.characters(exclude_categories=["Cs"]))
scalars = texts | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.booleans()
values = scalars | st.lists(scalars, max_size=3)
tables = st.dictionaries(texts, values | st.dictionaries(texts, values, min_size=1, max_size=3), min_size=1, max_size=3)


@given(text=texts, key=texts)
def test_any_text_and_key_survive(text, key):
    assert tomllib.loads(f"{toml_key(key)} = {toml_value(text)}") == {key: text}


@given(document=st.dictionaries(texts, values | tables, max_size=3))
@settings(max_examples=40)
def test_any_document_survives(document):
    assert tomllib.loads(toml_text(document)) == document


@given(table=st.dictionaries(texts, values, max_size=3))
def test_any_inline_table_survives(table):
    assert tomllib.loads(f"table = {toml_value(table)}") == {"table": table}


@pytest.mark.parametrize(
    ("value", "words"),
    [(True, "true"), (3, "3"), ("3", "the text '3'"), ([3], "the list [3]"), ({"a": 1}, "the table {'a': 1}")],
)
def test_a_message_tells_what_kind_of_value_was_found(value, words):
    assert shown(value) == words


def test_a_long_value_is_shown_by_its_beginning():
    assert shown("x" * 100) == "the text '" + "x" * 56 + "..."
