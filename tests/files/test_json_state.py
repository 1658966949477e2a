"""A JSON file that surveyflow wrote earlier is read as what it must be, or refused at once."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from surveyflow.errors import CatalogError
from surveyflow.files.json_state import Damaged, parse_state, read_ordinary_file, read_state, recall_state


@dataclass(frozen=True)
class Note:
    count: int
    seconds: float = 0.0


NOTE = TypeAdapter(Note)
LIMIT = 1000


def put_nothing_readable(path, how):
    {
        "folder": path.mkdir,
        "fifo": lambda: os.mkfifo(path),
        "device": lambda: path.symlink_to("/dev/zero"),
        "broken link": lambda: path.symlink_to("nowhere"),
        "link to itself": lambda: path.symlink_to(path),
        "huge": lambda: path.write_bytes(b" " * (LIMIT + 1)),
        "a terabyte": lambda: (path.touch(), os.truncate(path, 2**40)),
    }[how]()


CONTENTS = {
    "empty": b"",
    "cut off": b'{"count": 1',
    "binary": bytes(range(256)),
    "list": b"[1]",
    "text for a number": b'{"count": "1"}',
    "truth for a number": b'{"count": true}',
    "fraction for a whole number": b'{"count": 1.0}',
    "missing key": b"{}",
    "null": b"null",
    "deep": b'{"count":' + b"[" * 400 + b"]" * 400 + b"}",
    "lone surrogate": b'{"count": 1, "x": "\\ud800"}',
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_content_of_another_kind_is_refused_with_the_remedy(tmp_path, content):
    path = tmp_path / "note.json"
    path.write_bytes(content)
    with pytest.raises(CatalogError, match=r"note\.json is damaged: .+\. Run again\.") as refused:
        read_state(path, NOTE, "Run again.", LIMIT)
    assert len(str(refused.value)) < 500 + len(str(path))
    assert recall_state(path, NOTE, LIMIT) is None


@pytest.mark.parametrize("how", ["folder", "fifo", "device", "broken link", "link to itself", "huge", "a terabyte"])
def test_what_is_not_a_small_ordinary_file_is_refused_at_once(tmp_path, how, caplog):
    put_nothing_readable(tmp_path / "note.json", how)
    with pytest.raises(CatalogError, match=r"note\.json is damaged: .+\. Run again\."):
        read_state(tmp_path / "note.json", NOTE, "Run again.", LIMIT)
    assert recall_state(tmp_path / "note.json", NOTE, LIMIT) is None
    assert "note.json" in caplog.text


def test_a_folder_s_name_that_a_file_has_taken_is_damage_not_absence(tmp_path):
    (tmp_path / "ab").touch()
    with pytest.raises(Damaged, match="Not a directory"):
        read_ordinary_file(tmp_path / "ab" / "note.json", LIMIT)


def test_no_file_is_no_damage(tmp_path, caplog):
    assert read_state(tmp_path / "note.json", NOTE, "") is None
    assert recall_state(tmp_path / "note.json", NOTE) is None
    assert caplog.text == ""


def test_keys_of_later_versions_are_ignored_and_whole_numbers_may_be_floats():
    assert parse_state(b'{"count": 3, "seconds": 2, "mood": "fine"}', NOTE) == Note(3, 2.0)


def test_a_number_of_thousands_of_digits_is_refused():
    with pytest.raises(Damaged, match="out of range"):
        parse_state(b'{"count": ' + b"9" * 5000 + b"}", NOTE)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number_is_refused_wherever_it_stands(number):
    with pytest.raises(Damaged, match=r"at line 1 column \d+$"):
        parse_state(f'{{"count": 3, "mood": [{number}]}}'.encode(), NOTE)
    assert parse_state(f'{{"count": 3, "mood": "{number}"}}'.encode(), NOTE) == Note(3)


def test_a_file_of_exactly_the_limit_is_read(tmp_path: Path):
    path = tmp_path / "note.json"
    path.write_bytes(b'{"count": 1}'.ljust(LIMIT))
    assert read_state(path, NOTE, "", LIMIT) == Note(1)
