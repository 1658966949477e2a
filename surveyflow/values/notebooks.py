"""Results as notebooks show them: tables and pictures in HTML, in which every text is escaped."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from html import escape
from typing import Any, TypeVar

import numpy as np

from surveyflow.values.arrays import BoolArray, Float32Array

MOST_ROWS = 50
"""Rows of a table that a notebook shows."""
MOST_CUTOUTS = 12
_NOTHING = "\u2013"
_LONGEST = 2000
_Key = TypeVar("_Key")
_Item = TypeVar("_Item")


def notebook_table(values: Mapping[str, Any]) -> str:
    """HTML of a table with a line for each value.

    Parameters
    ----------
    values
        Plain values, and lists and mappings of them, by name. A list of mappings becomes a table in its cell. Lists and tables
        are cut after `MOST_ROWS`, and say so.

    Examples
    --------
    >>> notebook_table({"rows": 3, "name": "<b>"})
    '<table><tr><th>rows</th><td>3</td></tr><tr><th>name</th><td>&lt;b&gt;</td></tr></table>'
    """
    lines = (f"<tr><th>{_text(name)}</th><td>{_cell(value)}</td></tr>" for name, value in values.items())
    return f"<table>{''.join(lines)}</table>"


def notebook_rows(rows: Sequence[Mapping[str, Any]]) -> str:
    """HTML of a table with a line for each mapping, and a column for each of their names."""
    names = list(dict.fromkeys(name for row in rows[:MOST_ROWS] for name in row))
    head = "".join(f"<th>{_text(name)}</th>" for name in names)
    lines = ("".join(f"<td>{_cell(row.get(name))}</td>" for name in names) for row in rows[:MOST_ROWS])
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{_more(len(rows))}"


class TableList(list[_Item]):
    """A list that notebooks show as a table.

    Parameters
    ----------
    items
        The items.
    row
        What a line says of an item; the fields of a dataclass if left out.
    """

    def __init__(self, items: Iterable[_Item], row: Callable[[_Item], Mapping[str, Any]] | None = None) -> None:
        super().__init__(items)
        self._row = row or _fields

    def _repr_html_(self) -> str:
        return notebook_rows([self._row(item) for item in self[: MOST_ROWS + 1]]) if self else "<p>nothing</p>"


class TableDict(dict[_Key, _Item]):
    """A mapping that notebooks show as a table.

    Parameters
    ----------
    items
        The items by key.
    row
        What a line says of an item.
    """

    def __init__(self, items: Mapping[_Key, _Item], row: Callable[[_Item], Mapping[str, Any]]) -> None:
        super().__init__(items)
        self._row = row

    def _repr_html_(self) -> str:
        return notebook_rows([{"": str(key)} | dict(self._row(item)) for key, item in self.items()])


def notebook_cutouts(pixels: Float32Array, valid: BoolArray) -> str:
    """HTML with the pictures of the first cutouts: an arcsinh of each, dark on light, row 0 at the bottom.

    Parameters
    ----------
    pixels
        (n, size, size) float32; 0 where there is no data.
    valid
        (n, size, size) bool; without data, a picture is transparent.
    """
    pictures = (_picture(one, seen) for one, seen in zip(pixels[:MOST_CUTOUTS], valid, strict=False))
    return f"<p>{len(pixels):,} cutouts of {pixels.shape[1]} x {pixels.shape[2]} pixels</p>{''.join(pictures)}"


def _picture(pixels: Float32Array, valid: BoolArray) -> str:
    from PIL import Image

    shown = np.zeros(pixels.shape)
    if valid.any():
        level, spread = np.median(pixels[valid]), np.subtract(*np.percentile(pixels[valid], [84, 50])) or 1.0
        stretched = np.arcsinh((pixels[valid].astype(np.float64) - level) / (3 * spread))
        low, high = np.percentile(stretched, [0.5, 99.7])
        shown[valid] = np.clip((stretched - low) / max(high - low, 1e-30), 0, 1)
    layers = np.stack([255 * (1 - shown), np.where(valid, 255, 0)], axis=-1).astype(np.uint8)[::-1]
    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(layers), "LA").save(content, "PNG")
    return f'<img alt="cutout" style="margin: 2px" src="data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}">'


def _fields(item: Any) -> dict[str, Any]:
    return {one.name: getattr(item, one.name) for one in fields(item)} if is_dataclass(item) else {"": item}


def _cell(value: Any) -> str:
    """HTML of a value in a cell."""
    if isinstance(value, Mapping):
        return "<br>".join(f"{_text(name)}: {_cell(one)}" for name, one in value.items()) or _NOTHING
    if isinstance(value, Sequence) and not isinstance(value, str):
        if value and all(isinstance(one, Mapping) for one in value):
            return notebook_rows(value)
        return "<br>".join(_cell(one) for one in value[:MOST_ROWS]) + _more(len(value)) if value else _NOTHING
    return _text(value)


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return _NOTHING
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return escape(text if len(text) <= _LONGEST else text[:_LONGEST] + "\u2026")


def _more(n: int) -> str:
    return f"<p>and {n - MOST_ROWS:,} more</p>" if n > MOST_ROWS else ""
