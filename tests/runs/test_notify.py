"""The command of ``[notify]`` is told what happened, and cannot harm it."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import time
from contextlib import suppress

import psutil
import pytest

from surveyflow.runs.notify import notify
from waiting import wait_until, wait_until_gone

LONG_S = 600
"""How long children sleep that nobody may wait for."""

SOON_S = 60
"""Far from `LONG_S`, and enough for a busy machine to start and end a few processes."""


@pytest.fixture
def script(tmp_path):
    """Write a program; returns a command line that runs it."""

    def write(text):
        path = tmp_path / "a program.py"
        path.write_text(text)
        return f"{sys.executable} '{path}'"

    return write


def test_the_command_has_its_words_and_its_environment(script, tmp_path):
    command = script("import os, sys; open(sys.argv[2], 'w').write(sys.argv[1] + os.environ['SURVEYFLOW_REVISION'])")
    assert notify(f"{command} 'two words: ' {tmp_path}/said", {"SURVEYFLOW_REVISION": "v1.0-r1"}, SOON_S)
    assert (tmp_path / "said").read_text() == "two words: v1.0-r1"


def test_no_shell_reads_the_command(tmp_path):
    assert notify(f'{sys.executable} -c \'import sys; assert sys.argv[1:] == ["$HOME", ";", "*"]\' $HOME \';\' *', {}, SOON_S)


def test_a_command_that_fails_is_logged_with_what_it_wrote(script, caplog):
    command = script("import sys; print('no such list'); sys.exit(3)")
    assert not notify(command, {}, SOON_S)
    assert "ended with 3: no such list. Nothing else depends on it." in caplog.text


def test_a_command_that_does_not_exist_is_logged(caplog):
    assert not notify("no-such-program --now", {}, SOON_S)
    assert "could not be started" in caplog.text


def process_named_in(path):
    return psutil.Process(int(wait_until(lambda: path.exists() and path.read_text().strip(), f"{path.name} names a process")))


def test_a_command_that_does_not_end_is_ended_with_its_children(caplog, tmp_path):
    start = time.monotonic()
    assert not notify(f"sh -c 'sleep {LONG_S} & echo $! >\"{tmp_path}/child\"; wait'", {}, 2)
    assert time.monotonic() - start < SOON_S
    assert "was ended after 2 s" in caplog.text
    with suppress(psutil.NoSuchProcess):
        wait_until_gone([process_named_in(tmp_path / "child")])


def test_success_is_not_a_warning(script, caplog):
    caplog.set_level(logging.INFO)
    assert notify(script("print('sent')"), {}, SOON_S)
    assert [record.levelname for record in caplog.records] == ["INFO"]


@pytest.fixture
def sleeper(tmp_path):
    """Words for a shell that leave a process of a group of its own behind, which is ended after the test."""
    yield f'setsid sh -c "echo \\$\\$ >{tmp_path}/sleeper; exec sleep {LONG_S}" & '
    process_named_in(tmp_path / "sleeper").kill()


def test_processes_left_in_the_background_are_not_waited_for(sleeper, caplog):
    caplog.set_level(logging.INFO)
    start = time.monotonic()
    assert notify(f"sh -c '{sleeper} echo on its way'", {}, SOON_S)
    assert time.monotonic() - start < SOON_S
    assert "succeeded: on its way" in caplog.text


def test_a_process_that_left_the_group_cannot_delay_the_end(sleeper, caplog, tmp_path):
    start = time.monotonic()
    assert not notify(f"sh -c '{sleeper} sleep {LONG_S}'", {}, 2)
    assert time.monotonic() - start < SOON_S
    assert "was ended after 2 s" in caplog.text
    assert process_named_in(tmp_path / "sleeper").is_running()


def test_the_command_is_ended_when_the_run_is(monkeypatch):
    started, real = [], subprocess.Popen.wait

    def wait(process, timeout=None):
        if not started:
            started.append(process)
            raise KeyboardInterrupt
        return real(process, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", wait)
    with pytest.raises(KeyboardInterrupt):
        notify(f"sleep {LONG_S}", {}, SOON_S)
    assert real(started[0]) == -signal.SIGKILL


def test_of_much_output_the_end_is_logged(script, caplog):
    assert not notify(script("import sys; print('x' * 10**6); print('the reason'); sys.exit(1)"), {}, SOON_S)
    assert "x\nthe reason. Nothing else" in caplog.text
    assert len(caplog.text) < 2000
