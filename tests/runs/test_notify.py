"""The command of ``[publish] notify`` is told what was published, and cannot harm it."""

from __future__ import annotations

import logging
import subprocess
import sys
import time

import pytest

from surveyflow.runs.notify import notify


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
    assert notify(f"{command} 'two words: ' {tmp_path}/said", {"SURVEYFLOW_REVISION": "v1.0-r1"}, 10)
    assert (tmp_path / "said").read_text() == "two words: v1.0-r1"


def test_no_shell_reads_the_command(tmp_path):
    assert notify(f'{sys.executable} -c \'import sys; assert sys.argv[1:] == ["$HOME", ";", "*"]\' $HOME \';\' *', {}, 10)


def test_a_command_that_fails_is_logged_with_what_it_wrote(script, caplog):
    command = script("import sys; print('no such list'); sys.exit(3)")
    assert not notify(command, {}, 10)
    assert "ended with 3: no such list. The revision is published all the same." in caplog.text


def test_a_command_that_does_not_exist_is_logged(caplog):
    assert not notify("no-such-program --now", {}, 10)
    assert "could not be started" in caplog.text


def test_a_command_that_does_not_end_is_ended_with_its_children(script, caplog, tmp_path):
    child = f"import time; time.sleep(2); open({str(tmp_path / 'late')!r}, 'w')"
    command = script(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])")
    start = time.monotonic()
    assert not notify(command, {}, 0.5)
    assert time.monotonic() - start < 2
    assert "was ended after 0.5 s" in caplog.text
    time.sleep(2)
    assert not (tmp_path / "late").exists()


def test_success_is_not_a_warning(script, caplog):
    caplog.set_level(logging.INFO)
    assert notify(script("print('sent')"), {}, 10)
    assert [record.levelname for record in caplog.records] == ["INFO"]


def test_processes_left_in_the_background_are_not_waited_for(caplog):
    caplog.set_level(logging.INFO)
    start = time.monotonic()
    assert notify("sh -c 'setsid sleep 4 & echo on its way'", {}, 10)
    assert time.monotonic() - start < 2
    assert "succeeded: on its way" in caplog.text


def test_a_process_that_left_the_group_cannot_delay_the_end(caplog):
    start = time.monotonic()
    assert not notify("sh -c 'setsid sleep 4 & sleep 30'", {}, 0.5)
    assert time.monotonic() - start < 2
    assert "was ended after 0.5 s" in caplog.text


def test_the_command_is_ended_when_the_run_is(script, tmp_path, monkeypatch):
    interruptions, real = [KeyboardInterrupt], subprocess.Popen.wait

    def wait(process, timeout=None):
        if interruptions:
            raise interruptions.pop()
        return real(process, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", wait)
    command = script(f"import time; time.sleep(1); open({str(tmp_path / 'late')!r}, 'w')")
    with pytest.raises(KeyboardInterrupt):
        notify(command, {}, 10)
    time.sleep(1.5)
    assert not (tmp_path / "late").exists()


def test_of_much_output_the_end_is_logged(script, caplog):
    assert not notify(script("import sys; print('x' * 10**6); print('the reason'); sys.exit(1)"), {}, 10)
    assert "x\nthe reason. The revision" in caplog.text
    assert len(caplog.text) < 2000
