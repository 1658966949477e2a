"""Selections: what they choose, and everything that they refuse to be."""

from __future__ import annotations

import re
from contextlib import suppress

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog_rows import make_rows
from surveyflow.catalog.schema import CATALOG_SCHEMA
from surveyflow.catalog.selection import column_named, parse_selection
from surveyflow.errors import InputError
from surveyflow.values.codes import Flag

ROWS = pa.concat_tables([make_rows(60, "EGS"), make_rows(40, "COSMOS", seed=1)])
FRAME = ROWS.select([name for name in CATALOG_SCHEMA.names if name != "p_pm_hist"]).to_pandas()


def chosen(text):
    rows = ROWS.filter(parse_selection(text, CATALOG_SCHEMA))
    return set(zip(rows["field"].to_pylist(), rows["source_id"].to_pylist(), strict=True))


def keys(frame):
    return set(zip(frame["field"], frame["source_id"], strict=True))


@pytest.mark.parametrize(
    "text",
    [
        "redshift < 1",
        "0.6 <= redshift < 1.2",
        "field == 'EGS'",
        'field == "EGS" and p_pm_mean > 0.5',
        "field in ['EGS', 'UDS'] or source_id > 30",
        "source_id not in (1, 2, 3)",
        "p_pm_mean - p_sf_mean > 0.05",
        "(p_pm_q84 - p_pm_q16) / 2 < 0.3 and p_pm_mean * 2 > 0.9",
        "dec < 52.8 and not status == 'ok'",
        "flags > 99",
        "flags / 2 > 49.5 and source_id / 3 != 5",
        "ra + dec * -1 > 162",
    ],
)
def test_chooses_the_rows_that_pandas_chooses(text):
    expected = keys(FRAME.query(text, engine="python"))
    assert chosen(text) == expected
    assert 0 < len(expected) < len(FRAME)


@given(st.lists(st.sampled_from(list(Flag)), min_size=1, max_size=3, unique=True))
def test_flags_are_tested_by_name_or_by_number(flags):
    mask = sum(flags)
    expected = keys(FRAME[FRAME["flags"] & mask == 0])
    assert chosen(f"flags & ({' | '.join(flag.name for flag in flags)}) == 0") == expected
    assert chosen(f"flags & {mask} == 0") == expected


def test_a_null_is_never_selected_not_even_by_not():
    unknown = keys(FRAME[FRAME["redshift"].isna()])
    assert unknown
    for text in ("redshift < 1", "not redshift < 1", "redshift != 1", "redshift in [1.0]", "redshift not in [1.0]"):
        assert not chosen(text) & unknown


def test_the_ratio_of_integers_is_not_rounded():
    assert chosen("source_id / 2 == 1.5") == {("EGS", 3), ("COSMOS", 3)}
    assert chosen("source_id / (source_id - 3) > 1e9") == {("EGS", 3), ("COSMOS", 3)}, "a division by zero is infinite"


def test_z_stands_for_redshift_unless_a_column_is_called_so():
    assert column_named("z", CATALOG_SCHEMA) == "redshift"
    assert column_named("z", pa.schema({"z": pa.float64()})) == "z"
    assert chosen("z < 1") == chosen("redshift < 1")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("__import__('os').system('touch /tmp/owned')", "comparison"),
        ("field.upper() == 'EGS'", "only columns"),
        ("(lambda: 1)() == 1", "only columns"),
        ("[ra for ra in [1]] == 1", "only columns"),
        ("f'{ra}' == '1'", "only columns"),
        ("(ra := 3) > 2", "only columns"),
        ("9**9**9 > ra", "only columns"),
        ("ra if ra else dec", "comparison"),
        ("redshift", "comparison"),
        ("True", "comparison"),
        ("not flags", "comparison"),
        ("(ra > 1) & (dec < 2)", "comparison"),
        ("ra > 1 & flags < 3", "join comparisons with and"),
        ("ra & 1 == 0", "integer column"),
        ("flags & ra == 0", "only columns"),
        ("flags & 1.5 == 0", "bits are integers"),
        ("redshift is None", "with null are never true"),
        ("redshift == None", "only columns"),
        ("field in 'EGS'", "list of values"),
        ("field in []", "list of values"),
        ("ra" + " + ra" * 2000 + " > 1", "nested too deeply"),
        ("", "not an expression"),
        ("redshift >", "not an expression"),
        ("redshift = 1", "not an expression"),
        ("ra > 1; dec > 1", "not an expression"),
        ("'\0' == field", "not an expression"),
        ("(" * 300 + "ra" + ")" * 300 + " > 1", "not an expression"),
        ("class == 'post_merger'", "write p_pm_mean > p_sf_mean"),
        ("redshfit > 1", "Did you mean redshift?"),
        ("p_pm > 0.5", "Did you mean p_pm_mean?"),
        ("p_sf > 0.5", "Did you mean p_sf_mean?"),
        ("coverage > 20", "Did you mean coverage_pct_mean?"),
        ("RA > 20", "Did you mean ra?"),
        ("mass > 1", "no column 'mass'"),
        ("field == 3", "types do not match"),
        ("redshift > 'high'", "types do not match"),
        ("field in ['EGS', 3]", "types do not match"),
        ("p_pm_hist > 3", "types do not match"),
        ("source_id == 99999999999999999999", "types do not match"),
    ],
)
def test_text_that_is_not_a_selection_is_refused_with_an_explanation(text, word):
    with pytest.raises(InputError, match=re.escape(word)):
        parse_selection(text, CATALOG_SCHEMA)


@given(st.text(alphabet="ra flgsde()[]<>=!&|+-*/.'\"0123456789,:@\n", max_size=40))
def test_any_text_is_translated_or_refused(text):
    with suppress(InputError):
        ROWS.filter(parse_selection(text, CATALOG_SCHEMA))
