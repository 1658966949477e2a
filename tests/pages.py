"""The blocks of code on the pages of the documentation."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

HOW_TO = Path(__file__).resolve().parents[1] / "docs" / "how-to"
QUERIES = HOW_TO / "queries"
TOOLS = ["pandas", "pyarrow", "duckdb", "polars", "dask", "lsdb", "astropy"]
"""The pages on queries that read a catalog without surveyflow."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, also those within lists."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"^( *)```([\w{}-]*)[^\n]*\n(.*?)^\1```$", text, flags=re.MULTILINE | re.DOTALL)
    return [
        Block(match[2], re.sub(f"^{match[1]}", "", match[3], flags=re.MULTILINE), text.count("\n", 0, match.start(3)))
        for match in found
    ]


def run_python(page: Path) -> dict:
    """Run a page's Python blocks, one after the other, in one namespace; its own lines must not raise warnings."""
    namespace = {"__name__": "example"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", module="example")
        for block in blocks(page):
            if block.language == "python":
                exec(compile("\n" * block.line + block.text, page, "exec"), namespace)
    return namespace


def counted(counts) -> dict[tuple[str, str], int]:
    """Any tool's counts by field and status."""
    if isinstance(counts, dict):
        return {(str(field), str(status)): n for (field, status), n in counts.items()}
    frame = counts.reset_index(name="n") if hasattr(counts, "reset_index") else pa.table(counts).to_pandas()
    return {(field, status): n for field, status, n in frame.itertuples(index=False)}
