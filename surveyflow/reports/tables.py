"""Tables as they are read: words and rounded numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from surveyflow.values.notebooks import notebook_rows

QUANTITY_WORDS = {"magnitude_ab": "magnitude", "redshift": "redshift", "coverage_pct": "true coverage"}
NOTHING = "\u2013"
"""Stands where there is no number."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it is read.

    Parameters
    ----------
    title
        What it shows.
    note
        How it is to be read.
    columns
        Their headings.
    rows
        Texts, as many a row as there are columns.
    """

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def are_words(self) -> tuple[bool, ...]:
        """Whether each column holds words and no numbers."""
        return tuple(is_text(cells) for cells in zip(*self.rows, strict=True))


def as_text(table: Table) -> str:
    """Write a table for a terminal, its columns aligned."""
    columns = [_aligned(column) for column in zip(table.columns, *table.rows, strict=True)]
    return "\n".join([table.title, *("  " + "  ".join(line).rstrip() for line in zip(*columns, strict=True))])


def as_html(table: Table) -> str:
    """Write a table for a notebook, with every text escaped."""
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    return f"<h4>{escape(table.title)}</h4><p>{escape(table.note)}</p>{notebook_rows(rows)}"


def percent(value: float | None, decimals: int = 1) -> str:
    """A fraction in percent; a dash where there is none."""
    return NOTHING if value is None else f"{100 * value:.{decimals}f}"


def number(value: float | None, decimals: int = 3) -> str:
    """A number; a dash where there is none."""
    return NOTHING if value is None else f"{value:.{decimals}f}"


def is_text(cells: Sequence[str]) -> bool:
    """Whether a column, its heading left out, holds words, which are read from their left."""
    return any(character.isalpha() for cell in cells for character in cell)


def _aligned(column: Sequence[str]) -> list[str]:
    width = max(map(len, column))
    return [cell.ljust(width) if is_text(column[1:]) else cell.rjust(width) for cell in column]


def domain_limits(found: Mapping[str, Any]) -> Table:
    """The limits of the card's domain that follow from the nuisances, whatever the task."""
    rows = [(name, *(number(limit, 4) for limit in both)) for name, both in found["limits"].items()]
    counted = (
        "The flags above are those of these limits." if found["narrowed"] else "The flags above are those of the card's own."
    )
    note = (
        "What the card's domain would have to state so that each nuisance that costs more than 2 points lies outside. "
        f"{counted} An evaluation that updates the cards narrows them to these."
    )
    return Table("Limits that follow", note, ("[domain]", "lowest", "highest"), tuple(rows))
