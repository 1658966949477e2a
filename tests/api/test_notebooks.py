"""What functions return is a table or a picture in a notebook, and nothing in it breaks out of the cell."""

import ast
import inspect
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import surveyflow
from surveyflow.reports.tables import Table, as_html
from surveyflow.values.images import CutoutStack
from surveyflow.values.notebooks import MOST_ROWS, TableDict, TableList, notebook_rows, notebook_table

HOSTILE = "<script>alert(1)</script>"
OF_OTHER_KINDS = {"Any", "DataFrame", "Dataset", "Float64Array", "Model", "NDArray", "None", "Path", "Series", "str"}
OF_OTHER_KINDS |= {"ds", "np", "object_", "pd"}
"""What pandas and pyarrow show, and what is a text, a path or something to call."""


def shown_classes():
    """Names of the package's classes that have a table for notebooks."""
    texts = (path.read_text(encoding="utf-8") for path in Path(surveyflow.__file__).parent.rglob("*.py"))
    nodes = (
        node for text in texts if "_repr_html_" in text for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef)
    )
    return {node.name for node in nodes if any(getattr(one, "name", "") == "_repr_html_" for one in node.body)}


def functions():
    public = {name: getattr(surveyflow, name) for name in surveyflow.__all__}
    return {name: function for name, function in public.items() if inspect.isfunction(function)}


def test_notebooks_show_what_every_function_returns():
    shown, silent = shown_classes(), {}
    for name, function in functions().items():
        returned = str(function.__annotations__["return"])
        words = set(re.findall(r"[A-Za-z_]\w*", returned)) - OF_OTHER_KINDS
        if returned.startswith(("list[", "dict[")):
            silent[name] = not re.search(r"Table(List|Dict)\(", inspect.getsource(function))
        elif words:
            silent[name] = not words - {"dict"} <= shown
    assert {name for name, is_silent in silent.items() if is_silent} == set()
    assert len(silent) > 20


@dataclass
class Item:
    name: str
    value: float


def test_texts_are_escaped_wherever_they_stand():
    nested = {
        HOSTILE: HOSTILE,
        "rows": [{HOSTILE: [HOSTILE], "more": {HOSTILE: HOSTILE}}],
        "list": [HOSTILE],
        "path": Path(HOSTILE),
    }
    pages = [notebook_table(nested), notebook_rows([nested]), TableList([Item(HOSTILE, 1)])._repr_html_()]
    pages += [TableDict({HOSTILE: 1}, lambda one: {HOSTILE: one})._repr_html_()]
    pages += [as_html(Table(HOSTILE, HOSTILE, (HOSTILE, "b"), ((HOSTILE, "1"),)))]
    for page in pages:
        assert "&lt;script&gt;" in page
        assert "<script" not in page


def test_numbers_are_short_and_what_is_missing_is_a_dash():
    page = notebook_table({"a": 0.123456789, "b": None, "c": float("nan"), "d": True, "e": [], "f": 1234567})
    assert re.findall("<td>(.*?)</td>", page) == ["0.123457", "\u2013", "\u2013", "True", "\u2013", "1234567"]


def test_long_tables_are_cut_and_say_so():
    page = TableList([Item(str(number), number) for number in range(MOST_ROWS + 1)])._repr_html_()
    assert page.count("<tr>") == MOST_ROWS + 1
    assert "and 1 more" in page
    assert TableList([])._repr_html_() == "<p>nothing</p>"


def test_lists_and_dictionaries_stay_what_they_are():
    assert TableList([1, 2]) == [1, 2]
    assert TableDict({"a": 1}, lambda one: {"one": one}) == {"a": 1}


def test_cutouts_are_pictures():
    pixels = np.random.default_rng(1).normal(size=(14, 16, 16)).astype(np.float32)
    some = np.zeros(14, bool)
    stack = CutoutStack(pixels, np.ones_like(pixels, bool), np.ones(14, np.float32), ~some, some)
    page = stack._repr_html_()
    assert page.count("data:image/png;base64,") == 12
    assert "14 cutouts of 16 x 16 pixels" in page
    empty = CutoutStack(pixels * 0, np.zeros_like(pixels, bool), np.ones(14, np.float32), some, some)
    assert empty._repr_html_().count("<img") == 12
