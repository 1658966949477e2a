"""The record of what people said: ``ROOT/vetting/NAME.jsonl``, to which answers are only ever added.

Each line is an answer with a seal. It is on disk before the person sees the next galaxy. A line that a crash cut short is left
where it is and skipped by readers; the next answer begins a new line. A later answer about the same galaxy of the same sample
replaces an earlier one when records are read, and both stay in the file.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from surveyflow.errors import CatalogError, InputError
from surveyflow.files.durable import explained, make_folder, sync_folder
from surveyflow.files.json_state import MOST_BYTES_OF_LISTS, Damaged, parse_state, read_ordinary_file, sealed
from surveyflow.vetting.labels import Answer, checked_name

FOLDER = "vetting"
_SUFFIX = ".jsonl"
_FORM: TypeAdapter[Answer] = TypeAdapter(Answer)
_CREATE = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


@dataclass(frozen=True, slots=True)
class Records:
    """The answers of several people.

    Parameters
    ----------
    answers
        The last answer of each person about each galaxy of each sample, in the order of people, then of time.
    damaged
        Numbers of the lines that cannot be read, by file.
    """

    answers: tuple[Answer, ...]
    damaged: Mapping[str, Sequence[int]] = field(default_factory=dict)

    @property
    def people(self) -> list[str]:
        """Who answered."""
        return list(dict.fromkeys(answer.person for answer in self.answers))

    @property
    def notes(self) -> list[str]:
        """What a reader must know about the files."""
        return [
            f"{name}: {len(lines)} lines cannot be read and were left out, the first is line {lines[0]}."
            for name, lines in self.damaged.items()
        ]


def add_answer(root: Path, answer: Answer) -> None:
    """Add an answer to its person's record, durably.

    Parameters
    ----------
    root
        The output folder.
    answer
        The answer.

    Raises
    ------
    OutputError
        If the record cannot be written, or is not an ordinary file.
    """
    path = root / FOLDER / f"{checked_name(answer.person)}{_SUFFIX}"
    line = sealed(json.dumps(asdict(answer), ensure_ascii=False)) + b"\n"
    with explained(path):
        make_folder(path.parent)
        is_new = not path.exists()
        descriptor = os.open(path, _CREATE, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            _append(descriptor, path, line)
        finally:
            os.close(descriptor)
        if is_new:
            sync_folder(path.parent)


def read_records(root: Path, people: Iterable[str] | None = None) -> Records:
    """Read what people said.

    Parameters
    ----------
    root
        The output folder.
    people
        Whose answers; everybody's if left out.

    Raises
    ------
    InputError
        If one of the people has no record.
    CatalogError
        If a record is not an ordinary file of limited size.
    """
    paths = _paths(root, people)
    answers: list[Answer] = []
    damaged: dict[str, list[int]] = {}
    for path in paths:
        found, lines = _read(path)
        answers += found
        if lines:
            damaged[path.name] = lines
    return Records(tuple(answers), damaged)


def answers_of(root: Path, person: str, sample: str) -> dict[tuple[str, int], Answer]:
    """The last answer of a person about each galaxy of a sample; empty if there is no record."""
    path = root / FOLDER / f"{checked_name(person)}{_SUFFIX}"
    found = _read(path)[0] if os.path.lexists(path) else []
    return {answer.galaxy: answer for answer in found if answer.sample == sample}


def _append(descriptor: int, path: Path, line: bytes) -> None:
    """Write a line at the end of a file, on a line of its own even if the last one was cut short."""
    size = os.fstat(descriptor).st_size
    if size:
        with path.open("rb") as stream:
            stream.seek(size - 1)
            line = line if stream.read(1) == b"\n" else b"\n" + line
    rest = memoryview(line)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    os.fsync(descriptor)


def _paths(root: Path, people: Iterable[str] | None) -> list[Path]:
    folder = root / FOLDER
    there = sorted(folder.glob(f"*{_SUFFIX}"))
    if people is None:
        return there
    wanted = [folder / f"{checked_name(name)}{_SUFFIX}" for name in people]
    if absent := [path.stem for path in wanted if path not in there]:
        known = ", ".join(path.stem for path in there) or "nobody"
        raise InputError(f"{folder} has no record of {', '.join(absent)}; it has those of {known}. Name one of these.")
    return wanted


def _read(path: Path) -> tuple[list[Answer], list[int]]:
    """The last answer about each galaxy of each sample, and the numbers of the lines that are no answers of the file's person."""
    try:
        content = read_ordinary_file(path, MOST_BYTES_OF_LISTS)
    except Damaged as error:
        raise CatalogError(f"{path} cannot be read: {error}. Move it away, or restore it from a copy.") from error
    answers: dict[tuple[str, int, str], Answer] = {}
    damaged = []
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        answer = _answer(line)
        if answer is None or answer.person != path.stem:
            damaged.append(number)
            continue
        key = (*answer.galaxy, answer.sample)
        answers.pop(key, None)
        answers[key] = answer
    return list(answers.values()), damaged


def _answer(line: bytes) -> Answer | None:
    try:
        return parse_state(line, _FORM)
    except Damaged:
        return None
