"""Pictures in terminals that can show them: the protocols of kitty and of iTerm2.

The terminal is known by what it sets in the environment. It is not asked, since a terminal that does not understand the question
would print it, and the answer would come among the reader's keys. Within tmux and screen, which do not pass pictures on unasked,
none is sent.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping

_CHUNK = 4096
"""Characters of a message of kitty's protocol."""
_KITTY_PROGRAMS = {"kitty", "ghostty"}
_ITERM_PROGRAMS = {"iTerm.app", "WezTerm"}


def picture_message(png: bytes, environment: Mapping[str, str]) -> str | None:
    """The text that makes a terminal show a picture; None if it is not known to show any.

    Parameters
    ----------
    png
        The picture.
    environment
        The environment's variables.
    """
    kind, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if "TMUX" in environment or kind.startswith(("screen", "tmux")):
        return None
    if kind in {"xterm-kitty", "xterm-ghostty"} or program in _KITTY_PROGRAMS:
        return _kitty(png)
    if program in _ITERM_PROGRAMS or environment.get("LC_TERMINAL") == "iTerm2":
        return _iterm(png)
    return None


def _kitty(png: bytes) -> str:
    """Messages that transmit and show a PNG (``f=100``) without an answer (``q=2``); all but the last say that more follows."""
    text = base64.b64encode(png).decode("ascii")
    parts = [text[start : start + _CHUNK] for start in range(0, len(text), _CHUNK)]
    heads = ["a=T,f=100,q=2,m=1", *["m=1"] * (len(parts) - 1)]
    heads[-1] = heads[-1].replace("m=1", "m=0")
    return "".join(f"\x1b_G{head};{part}\x1b\\" for head, part in zip(heads, parts, strict=True))


def _iterm(png: bytes) -> str:
    return f"\x1b]1337;File=inline=1;size={len(png)}:{base64.b64encode(png).decode('ascii')}\x07"
