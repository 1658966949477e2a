"""One galaxy: its picture in a file, a notebook or a terminal."""

from __future__ import annotations

import base64
import io
import re
import sys

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import surveyflow
from revisions import RevisionMaker, field_rows
from surveyflow.commands import catalogs
from surveyflow.commands.main import app
from surveyflow.commands.terminal_pictures import picture_message
from surveyflow.errors import CatalogNotFound, OutputError
from surveyflow.values.listed import key_of_name

HOSTILE = "<script>alert(1)</script>\x1b[31m"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shown")
    maker = RevisionMaker(folder)
    maker.add_mosaic("EGS", "F814W")
    names = np.array([f"{number:03d}" for number in range(5)], object)
    ids = np.array([key_of_name(name) for name in names])
    named = field_rows("UDS", 5, seed=3, source_name=names, source_id=ids)
    maker(field_rows("EGS", 30, redshift=np.full(30, 1.0)), field_rows(HOSTILE, 20, seed=2), named)
    return folder / "catalog"


@pytest.fixture(scope="module")
def measured(root):
    return int(surveyflow.read_catalog(root, ["field", "source_id"], "status == 'ok' and field == 'EGS'")["source_id"].iloc[0])


def test_a_galaxy_has_a_picture_and_a_table_for_a_notebook(root, measured):
    shown = surveyflow.show(root, "EGS", measured)
    image = Image.open(io.BytesIO(shown._repr_png_()))
    assert image.size[0] > image.size[1] > 300
    assert image.convert("L").getextrema()[0] < 60
    html = shown._repr_html_()
    assert html.count("<img") == 1
    assert f"<td>{measured}</td>" in html
    assert "untrained random weights" in html
    assert repr(shown) == f"<EGS {measured} of v1.0-r1: ok>"
    assert shown.cutout.pixels.shape == (128, 128)


def test_hostile_names_cannot_break_out_of_a_notebook(root):
    source_id = int(surveyflow.read_catalog(root, ["field", "source_id"], "field != 'EGS'")["source_id"].iloc[0])
    assert "<script" not in surveyflow.show(root, HOSTILE, source_id)._repr_html_()


def test_a_galaxy_without_a_result_says_why(root):
    frame = surveyflow.read_catalog(root, ["field", "source_id"], "status == 'no_redshift' and field == 'EGS'")
    shown = surveyflow.show(root, "EGS", int(frame["source_id"].iloc[0]))
    assert shown.facts["status"] == "no_redshift"
    assert "p_pm_mean" not in shown.facts
    assert shown.cutout is None
    assert shown.small(10) is None


def test_a_galaxy_that_is_not_there_is_named_with_the_fields(root):
    with pytest.raises(CatalogNotFound, match=r"no galaxy 999 in a field EGS.*Its fields are: .*EGS"):
        surveyflow.show(root, "EGS", 999)
    for name in ("abc", "9" * 30, "-5", 10**30):
        with pytest.raises(CatalogNotFound, match=f"no galaxy {name}"):
            surveyflow.show(root, "EGS", name)


def test_a_name_of_digits_is_a_name(root):
    shown = surveyflow.show(root, "UDS", "003")
    assert shown.row["source_name"] == "003"
    assert surveyflow.show(root, "UDS", shown.row["source_id"]).row["source_name"] == "003"


def test_a_png_is_written_once(root, measured, tmp_path):
    done = CliRunner().invoke(app, ["show", str(root), "EGS", str(measured), "--output", str(tmp_path / "x.png")])
    assert done.exit_code == 0, done.output
    assert Image.open(io.BytesIO((tmp_path / "x.png").read_bytes())).format == "PNG"
    assert max(map(len, done.stdout.splitlines()[:-1])) <= 80
    with pytest.raises(OutputError, match="--overwrite"):
        surveyflow.show(root, "EGS", measured, output=tmp_path / "x.png")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("kind", "n_lines"), [("xterm-256color", 32), ("dumb", 0)])
def test_terminals_with_colours_get_a_picture(root, measured, monkeypatch, kind, n_lines):
    monkeypatch.setenv("TERM", kind)
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("NO_COLOR", "TERM_PROGRAM", "LC_TERMINAL"):
        monkeypatch.delenv(name, raising=False)
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    catalogs._draw(surveyflow.show(root, "EGS", measured))
    assert stream.getvalue().count("\n") == n_lines
    assert stream.getvalue().count("\u2580") == 64 * n_lines


PNG = bytes(range(256)) * 40


def test_kitty_gets_the_picture_in_parts():
    parts = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", message := picture_message(PNG, {"TERM": "xterm-kitty"}))
    assert "".join(f"\x1b_G{head};{part}\x1b\\" for head, part in parts) == message
    assert base64.b64decode("".join(part for _, part in parts)) == PNG
    assert [head for head, _ in parts] == ["a=T,f=100,q=2,m=1", "m=1", "m=1", "m=0"]
    assert max(len(part) for _, part in parts) == 4096
    assert picture_message(b"x", {"TERM_PROGRAM": "ghostty"}) == "\x1b_Ga=T,f=100,q=2,m=0;eA==\x1b\\"


@pytest.mark.parametrize("environment", [{"TERM_PROGRAM": "iTerm.app"}, {"LC_TERMINAL": "iTerm2"}, {"TERM_PROGRAM": "WezTerm"}])
def test_iterm_gets_the_picture_in_one_part(environment):
    head, _, text = picture_message(PNG, environment).partition(":")
    assert head == "\x1b]1337;File=inline=1;size=10240"
    assert (base64.b64decode(text[:-1]), text[-1]) == (PNG, "\x07")


@pytest.mark.parametrize(
    "environment",
    [{}, {"TERM": "xterm-256color"}, {"TERM": "xterm-kitty", "TMUX": "/tmp/x"}, {"TERM": "screen", "TERM_PROGRAM": "iTerm.app"}],
)
def test_other_terminals_get_no_message(environment):
    assert picture_message(PNG, environment) is None


def test_a_picture_is_all_that_such_a_terminal_gets(root, measured, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-kitty")
    monkeypatch.delenv("TMUX", raising=False)
    monkeypatch.setattr(sys, "stdout", stream := Terminal())
    shown = surveyflow.show(root, "EGS", measured)
    catalogs._draw(shown)
    assert stream.getvalue() == picture_message(shown.png, {"TERM": "xterm-kitty"}) + "\n"


def test_a_stream_that_is_no_terminal_gets_words_only(root, measured):
    done = CliRunner().invoke(app, ["show", str(root), "EGS", str(measured)])
    assert "\u2580" not in done.stdout
    assert f"source_id           {measured}\n" in done.stdout
