"""Records are only added to, survive crashes, and believe nothing that they read."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from surveyflow.errors import CatalogError, InputError, OutputError
from surveyflow.vetting.labels import Answer, Stratum, checked_name
from surveyflow.vetting.records import add_answer, answers_of, read_records

ANSWER = Answer(
    *("Ana", "2026-11-28T18:00:00+00:00", "v1.0-r1", "EGS", 7, 214.8, 52.8, "pair", "two cores; <script>", True, "s1", "z < 1"),
    stratum=Stratum(None, None, 100, 10),
)
WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_records import ANSWER
from surveyflow.vetting.records import add_answer
for number in range(10_000):
    add_answer(Path(sys.argv[1]), replace(ANSWER, source_id=number))
    print(number, flush=True)
"""


def test_answers_come_back_and_the_last_one_counts(tmp_path):
    for label in ("pair", "unsure"):
        add_answer(tmp_path, replace(ANSWER, label=label))
    add_answer(tmp_path, replace(ANSWER, person="Bo", note="é\n\u2028\x00"))
    add_answer(tmp_path, replace(ANSWER, sample="s2"))
    found = read_records(tmp_path)
    assert [(one.person, one.label, one.sample) for one in found.answers] == [
        ("Ana", "unsure", "s1"),
        ("Ana", "pair", "s2"),
        ("Bo", "pair", "s1"),
    ]
    assert found.people == ["Ana", "Bo"]
    assert found.notes == []
    assert found.answers[2].note == "é\n\u2028\x00"
    assert len((tmp_path / "vetting" / "Ana.jsonl").read_bytes().splitlines()) == 3
    assert answers_of(tmp_path, "Ana", "s1")["EGS", 7].label == "unsure"
    assert answers_of(tmp_path, "Cy", "s1") == {}


def test_a_line_that_was_cut_short_costs_only_itself(tmp_path):
    add_answer(tmp_path, ANSWER)
    path = tmp_path / "vetting" / "Ana.jsonl"
    path.write_bytes(path.read_bytes() + path.read_bytes()[:50])
    add_answer(tmp_path, replace(ANSWER, source_id=8))
    found = read_records(tmp_path)
    assert [one.source_id for one in found.answers] == [7, 8]
    assert found.damaged == {"Ana.jsonl": [2]}
    assert "line 2" in found.notes[0]


def test_no_answer_that_was_reported_is_lost_when_the_writer_is_killed(tmp_path):
    command = [sys.executable, "-c", WRITER, str(tmp_path), os.path.dirname(__file__)]  # noqa: PTH120
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        reported = [int(writer.stdout.readline()) for _ in range(20)]
        writer.send_signal(signal.SIGKILL)
        reported += [int(line) for line in writer.stdout.read().split("\n")[:-1] if line]
    assert set(reported) <= {one.source_id for one in read_records(tmp_path).answers}


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line.replace('"pair"', '"star"'),
        lambda line: line.replace('"label": "pair"', '"label": "unsure"'),  # the seal no longer fits
        lambda line: line.replace('"Ana"', '"Bo"'),
        lambda _: "[" * 5000,
        lambda _: "not JSON",
        lambda _: json.dumps({"person": "Ana"}),
    ],
)
def test_what_is_no_answer_is_left_out_and_reported(tmp_path, change):
    add_answer(tmp_path, ANSWER)
    path = tmp_path / "vetting" / "Ana.jsonl"
    path.write_text(change(path.read_text().rstrip("\n")) + "\n")
    found = read_records(tmp_path)
    assert found.answers == ()
    assert found.damaged == {"Ana.jsonl": [1]}


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "a\0b", ".hidden", "-x", "a b", "<b>", "x" * 65, "a\n", "C:\\x"])
def test_names_that_are_no_names_of_files_are_refused(name):
    with pytest.raises(InputError, match="cannot be that of a file"):
        checked_name(name)


@pytest.mark.parametrize("name", ["Ana", "ana.lópez", "李", "a-b_c.9"])
def test_names_of_people_are_names(name):
    assert checked_name(name) == name


def test_a_link_or_a_pipe_in_the_place_of_a_record_is_not_followed(tmp_path):
    folder = tmp_path / "vetting"
    folder.mkdir()
    (tmp_path / "victim").write_text("untouched")
    (folder / "Ana.jsonl").symlink_to(tmp_path / "victim")
    with pytest.raises(OutputError):
        add_answer(tmp_path, ANSWER)
    assert (tmp_path / "victim").read_text() == "untouched"
    (folder / "Ana.jsonl").unlink()
    os.mkfifo(folder / "Ana.jsonl")
    with pytest.raises(OutputError):
        add_answer(tmp_path, ANSWER)
    with pytest.raises(CatalogError, match="not an ordinary file"):
        read_records(tmp_path)


def test_people_without_a_record_are_named(tmp_path):
    add_answer(tmp_path, ANSWER)
    with pytest.raises(InputError, match="no record of Bo; it has those of Ana"):
        read_records(tmp_path, ["Bo"])
