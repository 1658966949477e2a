r"""The streams to which everything is printed and logged: what a file or a name holds cannot steer the terminal.

Names, headers and error messages may hold control characters, such as the escape sequences that colour text, move the cursor or
set the window's title, and characters that turn the direction of writing. They are printed as Python writes them in a string,
``\x1b``. So is what the stream's encoding lacks, for example in the C locale.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO, cast

_WIDTH = 80
_DIRECTIONS = (*range(0x200E, 0x2010), *range(0x2028, 0x202F), *range(0x2066, 0x206A))
_CONTROLS = {*range(0x20), *range(0x7F, 0xA0), *_DIRECTIONS} - {ord("\n"), ord("\t")}
_ESCAPES = {code: chr(code).encode("unicode_escape").decode() for code in _CONTROLS}


def plain(text: str) -> str:
    r"""Write a text's control characters as escapes; line breaks and tabs stay.

    Examples
    --------
    >>> plain("a name \x1b[31m in red")
    'a name \\x1b[31m in red'
    """
    return text.translate(_ESCAPES)


def wrapped(head: str, text: str, indent: int | None = None) -> str:
    """A text in lines of at most 80 characters, unless a single word is longer.

    Parameters
    ----------
    head
        What the first line begins with.
    text
        The text, of which blanks between words may become line breaks.
    indent
        Blanks before further lines; as many as the head has characters if None.
    """
    behind = " " * (len(head) if indent is None else indent)
    lines = textwrap.wrap(
        text, _WIDTH, initial_indent=head, subsequent_indent=behind, break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(lines) or head.rstrip()


def narrow_table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    r"""The lines of a table of at most 80 characters a line: columns that do not fit stand in further tables below.

    Parameters
    ----------
    rows
        The heading and the rows; the first column is repeated in each of the tables. Columns that hold only ``-`` are left out.

    Examples
    --------
    >>> print(*narrow_table([("bin", "n", "called"), ("[0, 1)", "12", "-"), ("[1, 2)", "9", "-")]), sep="\n")
    bin     n
    [0, 1)  12
    [1, 2)  9
    """
    first, *others = zip(*rows, strict=True)
    others = [column for column in others if set(column[1:]) != {"-"}]
    width = max(map(len, first))
    for number, block in enumerate(_blocks([first, *others], _WIDTH - width)):
        if number:
            yield ""
        widths = [max(map(len, column)) for column in block]
        for cells in zip(*block, strict=True):
            yield "  ".join(cell.ljust(wide) for cell, wide in zip(cells, widths, strict=True)).rstrip()


def _blocks(columns: Sequence[Sequence[str]], room: int) -> Iterator[list[Sequence[str]]]:
    """The first column with as many of the others as have room beside it, and again with the next ones."""
    first, *others = columns
    block, used = [first], 0
    for column in others:
        width = 2 + max(map(len, column))
        if len(block) > 1 and used + width > room:
            yield block
            block, used = [first], 0
        block, used = [*block, column], used + width
    yield block


@contextmanager
def plain_streams() -> Iterator[None]:
    """Print plain text alone to stdout and stderr while the block lasts."""
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast(TextIO, _PlainStream(stream)) for stream in streams)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams


def terminal(stream: Any) -> Any:
    """The stream below a plain one, for what draws on a terminal; the stream itself if it is none."""
    return getattr(stream, "below", stream)


class _PlainStream:
    """A stream of text that passes on everything but `write` to another stream.

    Parameters
    ----------
    below
        The stream that is written to.
    """

    encoding = "utf-8"
    """What it accepts: click would otherwise bypass a stream in ASCII."""

    def __init__(self, below: TextIO) -> None:
        self.below = below

    def write(self, text: str) -> int:
        """Write a text, with its control characters as escapes."""
        encoding = self.below.encoding or "utf-8"
        self.below.write(plain(text).encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.below, name)
