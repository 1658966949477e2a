"""The SQL of a selection finds the rows that Arrow finds, which is the other, independent translation of the same text."""

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from surveyflow.catalog.selection import parse_selection
from surveyflow.catalog.selection_sql import selection_sql
from surveyflow.errors import InputError

SCHEMA = pa.schema(
    {
        "number": pa.int64(),
        "redshift": pa.float64(),
        "p_pm_mean": pa.float32(),
        "flags": pa.int32(),
        "field": pa.string(),
        "odd\"name'); DROP": pa.float32(),
        "small": pa.uint8(),
        "known": pa.bool_(),
    }
)
NAMES = {name: f"c{place}" for place, name in enumerate(SCHEMA.names)}


def rows():
    rng = np.random.default_rng(4)
    n = 400
    floats = [0.3, 0.5, np.inf, -np.inf, np.nan, 0.0, -0.0, 1.5]
    table = {
        "number": np.arange(n),
        "redshift": rng.choice(floats, n),
        "p_pm_mean": rng.choice(floats, n).astype(np.float32),
        "flags": rng.integers(0, 16, n).astype(np.int32),
        "field": rng.choice(["EGS", "COSMOS", "it's", "é", ""], n),
        "odd\"name'); DROP": rng.choice(floats, n).astype(np.float32),
        "small": rng.integers(0, 256, n).astype(np.uint8),
        "known": rng.random(n) < 0.5,
    }
    masks = {name: rng.random(n) < 0.2 if name != "number" else None for name in table}
    return pa.table([pa.array(table[name], SCHEMA.field(name).type, mask=masks[name]) for name in SCHEMA.names], schema=SCHEMA)


ROWS = rows()
CONNECTION = duckdb.connect(config={"enable_external_access": False, "threads": 1})
CONNECTION.register("rows", ROWS.rename_columns(list(NAMES.values())))


def found_by_sql(text):
    condition = selection_sql(text, SCHEMA, NAMES)
    found = CONNECTION.execute(f"SELECT c0 FROM rows WHERE {condition.text} ORDER BY c0", condition.values)
    return [row[0] for row in found.fetchall()]


floats, words, operators = (
    st.sampled_from(["redshift", "p_pm_mean", "redshift + p_pm_mean", "p_pm_mean * 2", "redshift / small", "redshift - 0.2"]),
    st.sampled_from(["'EGS'", "'it\\'s'", "'é'", "''"]),
    st.sampled_from(["==", "!=", "<", "<=", ">", ">="]),
)
numbers = st.sampled_from(["0.3", "0.5", "1.5", "0", "-1", "1e999", "1e39"])
comparisons = st.one_of(
    st.builds("{} {} {}".format, floats, operators, numbers),
    st.builds("{} {} {}".format, numbers, operators, floats),
    st.builds("{} {} {}".format, floats, operators, floats),
    st.builds("{} <= {} < {}".format, numbers, floats, numbers),
    st.builds("field {} {}".format, operators, words),
    st.builds("field {} [{}, {}]".format, st.sampled_from(["in", "not in"]), words, words),
    st.builds("p_pm_mean {} [{}, 0.3]".format, st.sampled_from(["in", "not in"]), st.sampled_from(["0.5", "1.5"])),
    st.builds("small {} {}".format, operators, st.sampled_from(["0", "7", "300", "-1"])),
    st.builds(
        "{} > 300".format, st.sampled_from(["small + small", "small * 7", "small - 1", "flags * small * small", "-2 - small"])
    ),
    st.builds("flags & {} {} 0".format, st.sampled_from(["EDGE", "(EDGE | OUT_OF_DOMAIN)", "8"]), st.sampled_from(["==", "!="])),
    st.builds("known {} {}".format, st.sampled_from(["==", "!="]), st.sampled_from(["True", "False"])),
)
selections = st.recursive(
    comparisons,
    lambda one: (
        st.one_of(st.builds("({}) and ({})".format, one, one), st.builds("({}) or ({})".format, one, one))
        | st.builds("not ({})".format, one)
    ),
    max_leaves=5,
)


@settings(max_examples=50)
@given(selections)
@example("z > 0.3")
@example("not (p_pm_mean <= redshift)")
@example("redshift == redshift")
@example("small * small > 300")
@example("small - 9 < 0")
def test_sql_finds_the_rows_that_arrow_finds(text):
    assert found_by_sql(text) == ROWS.filter(parse_selection(text, SCHEMA))["number"].to_pylist()


@pytest.mark.parametrize("text", ['field == "x\'; DROP TABLE rows; --"', "field in ['1) OR (1=1', \"'\"]"])
def test_words_of_the_text_are_parameters(text):
    condition = selection_sql(text, SCHEMA, NAMES)
    assert "DROP" not in condition.text
    assert "OR" not in condition.text
    assert found_by_sql(text) == []


@pytest.mark.parametrize("text", ["DROP TABLE rows", "field == 3", "nothing > 1", "read_csv('/etc/passwd') == 1", "c0 > 1"])
def test_what_is_no_selection_is_refused_as_by_arrow(text):
    with pytest.raises(InputError) as refused:
        selection_sql(text, SCHEMA, NAMES)
    with pytest.raises(InputError) as expected:
        parse_selection(text, SCHEMA)
    assert str(refused.value) == str(expected.value)
