"""Names and headers cannot steer the terminal, and every locale can print them."""

from __future__ import annotations

import io
import signal
import sys

import pytest
import typer

from surveyflow.commands import main as command_line
from surveyflow.commands.printing import plain, plain_streams, terminal, wrapped

HOSTILE = "\x1b[31mred\x1b]0;title\x07 \u202egnirts \x9b1m \r over"
PLAIN = r"\x1b[31mred\x1b]0;title\x07 \u202egnirts \x9b1m \r over"


@pytest.fixture(autouse=True)
def _same_signals():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_control_characters_are_written_as_escapes():
    assert plain(HOSTILE) == PLAIN
    assert plain("Zürich\t星系\n") == "Zürich\t星系\n"


class Terminal(io.TextIOWrapper):
    """A terminal, from which click does not strip what steers terminals."""

    def isatty(self):
        return True


@pytest.mark.parametrize(("encoding", "star"), [("utf-8", "星"), ("ascii", r"\u661f")])
def test_whatever_is_printed_is_plain_on_terminals_of_any_encoding(monkeypatch, encoding, star):
    below = Terminal(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", below)
    with plain_streams():
        typer.echo(f"{HOSTILE} 星")
        assert terminal(sys.stdout) is below
    assert sys.stdout is below
    below.flush()
    assert below.buffer.getvalue().decode(encoding) == f"{PLAIN} {star}\n"


def test_what_the_command_line_itself_says_is_plain(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["surveyflow", "status", HOSTILE])
    with pytest.raises(SystemExit):
        command_line.main()
    assert r"red\x1b]0;title\x07 \u202egnirts \x9b1m \r over holds no runs" in capsys.readouterr().err


def test_an_error_of_the_system_names_its_file_and_shows_no_traceback(monkeypatch, capsys):
    def fail(**_):
        raise PermissionError(13, "Permission denied", "catalog/x")

    monkeypatch.setattr(command_line, "app", fail)
    with pytest.raises(SystemExit) as end:
        command_line.main()
    assert end.value.code == 1
    assert capsys.readouterr().err.startswith("Error: catalog/x: Permission denied. Check that")


def test_long_lines_break_between_words_and_are_indented():
    text = wrapped("head  ", ", ".join(f"name-of-{number}" for number in range(30)))
    assert max(map(len, text.splitlines())) <= 80
    assert all(line.startswith("      name-of-") for line in text.splitlines()[1:])
    assert wrapped("  ", "x" * 200).split() == ["x" * 200]
    assert wrapped("head  ", "") == "head"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands(shell, monkeypatch, capsys):
    environment = {"bash": {"COMP_WORDS": "surveyflow rele", "COMP_CWORD": "1"}}
    words = environment.get(shell, {"_TYPER_COMPLETE_ARGS": "surveyflow rele", "_TYPER_COMPLETE_FISH_ACTION": "get-args"})
    for name, value in (words | {"_SURVEYFLOW_COMPLETE": f"complete_{shell}"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["surveyflow"])
    with pytest.raises(SystemExit):
        command_line.main()
    assert "releases" in capsys.readouterr().out
