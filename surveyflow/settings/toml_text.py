"""How values are written as TOML, and shown to a user who wrote TOML.

The standard library reads TOML and does not write it; this writes what workflows are made of: text, numbers, truth values, lists
and tables.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any


def toml_text(document: Mapping[str, Any]) -> str:
    """A whole document, each table under a heading of its own."""
    return "\n".join(_lines(document, ())) + "\n"


def _lines(table: Mapping[str, Any], name: tuple[str, ...]) -> Iterator[str]:
    """A table's lines: its own values first, as TOML wants, then the tables in it."""
    values = {key: value for key, value in table.items() if not isinstance(value, dict)}
    if name and values:
        yield f"\n[{'.'.join(map(toml_key, name))}]"
    for key, value in values.items():
        yield f"{toml_key(key)} = {toml_value(value)}"
    for key, value in table.items():
        if key not in values:
            yield from _lines(value, (*name, key))


def toml_key(key: str) -> str:
    """A key, in quotes where it needs them."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else toml_value(key)


def toml_value(value: Any) -> str:
    """A value on one line; tables inline."""
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
        case dict():
            return f"{{ {', '.join(f'{toml_key(key)} = {toml_value(item)}' for key, item in value.items())} }}"
    return f"[{', '.join(map(toml_value, value))}]"


_KINDS = ((str, "the text "), (dict, "the table "), (list, "the list "))


def shown(value: Any) -> str:
    """A value as a message shows it: what kind it is, and its beginning."""
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    kind = next((name for kind, name in _KINDS if isinstance(value, kind)), "")
    return f"{kind}{text if len(text) <= 60 else text[:57] + '...'}"
