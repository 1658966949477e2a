import json
import logging
import os
import pickle
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from surveyflow.errors import LockHeld, OutputError
from surveyflow.output.lock import LOCK_NAME, STALE_AFTER_S, Holder, RunLock
from waiting import wait_until

HERE = Path(__file__).parent


def python(*arguments):
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[1])}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment, check=False)


def leave_lock(root, **change):
    """A lock that someone else left."""
    holder = replace(Holder.this_process("run-1"), **change)
    (root / LOCK_NAME).write_text(json.dumps(asdict(holder)))
    return holder


def silent_for(root, seconds):
    then = time.time() - seconds
    os.utime(root / LOCK_NAME, (then, then))


@pytest.fixture(scope="module")
def ended_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_lock_is_there_while_it_is_held_and_gone_after(tmp_path):
    root = tmp_path / "new" / "folder"
    with RunLock(root, "run-1"):
        assert json.loads((root / LOCK_NAME).read_text())["run_id"] == "run-1"
    assert list(root.iterdir()) == []
    with RunLock(root, "run-2"):
        pass


def test_the_lock_is_released_when_the_run_fails(tmp_path):
    with pytest.raises(ZeroDivisionError), RunLock(tmp_path, "run-1"):
        raise ZeroDivisionError
    assert not (tmp_path / LOCK_NAME).exists()


def test_a_second_run_is_refused_with_the_name_of_the_holder(tmp_path):
    with RunLock(tmp_path, "run-1"), pytest.raises(LockHeld) as refused, RunLock(tmp_path, "run-2"):
        pass
    message = str(refused.value)
    for word in (str(tmp_path), "run-1", f"process {os.getpid()}", os.uname().nodename, "started 20", "Wait for it to end"):
        assert word in message
    assert str(pickle.loads(pickle.dumps(refused.value))) == message
    assert refused.value.exit_code == 4


def test_a_refused_run_leaves_the_lock_alone(tmp_path):
    with RunLock(tmp_path, "run-1"):
        held = (tmp_path / LOCK_NAME).read_bytes()
        with pytest.raises(LockHeld), RunLock(tmp_path, "run-2"):
            pass
        assert (tmp_path / LOCK_NAME).read_bytes() == held
        assert [path.name for path in tmp_path.iterdir()] == [LOCK_NAME]


def test_the_lock_of_a_killed_run_is_taken_over_with_a_warning(tmp_path, ended_pid, caplog):
    leave_lock(tmp_path, pid=ended_pid)
    with caplog.at_level(logging.WARNING), RunLock(tmp_path, "run-2"):
        assert json.loads((tmp_path / LOCK_NAME).read_text())["run_id"] == "run-2"
        assert [path.name for path in tmp_path.iterdir()] == [LOCK_NAME]
    assert "run-1" in caplog.text
    assert "taken over" in caplog.text


def test_a_process_that_inherited_the_dead_holder_s_number_is_not_mistaken_for_it(tmp_path):
    leave_lock(tmp_path, process_start="1")
    with RunLock(tmp_path, "run-2"):
        pass


def test_a_process_that_ended_but_was_not_yet_reaped_is_dead(tmp_path):
    code = f"""
import os, sys
from pathlib import Path
from surveyflow.output.lock import RunLock
lock = RunLock(Path({str(tmp_path)!r}), "run-1")
if os.fork() == 0:
    lock.__enter__()
    os._exit(0)
os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
with RunLock(Path({str(tmp_path)!r}), "run-2"):
    print("taken over")
"""
    done = python("-c", code)
    assert done.stdout == "taken over\n", done.stderr


def test_a_run_that_died_while_it_took_over_a_lock_is_replaced_in_turn(tmp_path, ended_pid):
    dead = leave_lock(tmp_path, pid=ended_pid)
    successor = replace(dead, run_id="run-2", token="second")
    (tmp_path / f"{LOCK_NAME}.after-{dead.token}").write_text(json.dumps(asdict(successor)))
    with RunLock(tmp_path, "run-3"):
        assert json.loads((tmp_path / LOCK_NAME).read_text())["run_id"] == "run-3"
    assert list(tmp_path.iterdir()) == []


def test_a_run_on_another_machine_is_respected(tmp_path, ended_pid):
    leave_lock(tmp_path, host="node17", pid=ended_pid)
    silent_for(tmp_path, STALE_AFTER_S - 60)
    with pytest.raises(LockHeld, match=r"on host node17 .* Wait for it to end") as refused, RunLock(tmp_path, "run-2"):
        pass
    assert "rm " not in str(refused.value)


def test_a_silent_run_on_another_machine_is_explained_with_the_command_that_frees_the_folder(tmp_path, ended_pid):
    leave_lock(tmp_path, host="node17", pid=ended_pid)
    silent_for(tmp_path, 1320)
    with pytest.raises(LockHeld, match="no heartbeat for 22 minutes") as refused, RunLock(tmp_path, "run-2"):
        pass
    command = str(refused.value).split("remove its lock: ")[1].split(";")[0]
    subprocess.run(command, shell=True, check=True)
    with RunLock(tmp_path, "run-2"):
        pass


def test_a_process_of_another_container_is_not_judged_by_its_number(tmp_path, ended_pid):
    leave_lock(tmp_path, pid_namespace="pid:[1]", pid=ended_pid)
    with pytest.raises(LockHeld), RunLock(tmp_path, "run-2"):
        pass


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"pid": 1}'])
def test_a_lock_that_names_no_holder_is_explained(tmp_path, content):
    (tmp_path / LOCK_NAME).write_text(content)
    with pytest.raises(LockHeld, match=r"does not name its holder.* rm '"), RunLock(tmp_path, "run-2"):
        pass


def test_the_holder_sends_heartbeats(tmp_path):
    with RunLock(tmp_path, "run-1", heartbeat_s=0.01):
        silent_for(tmp_path, 1000)
        wait_until(lambda: time.time() - (tmp_path / LOCK_NAME).stat().st_mtime < 100, "the lock is touched")


def test_a_holder_whose_lock_was_taken_away_says_so_and_leaves_the_new_one(tmp_path, caplog):
    with RunLock(tmp_path, "run-1", heartbeat_s=0.01):
        leave_lock(tmp_path, run_id="run-2", token="other")
        wait_until(lambda: "removed by someone else" in caplog.text, "the holder says so")
    assert json.loads((tmp_path / LOCK_NAME).read_text())["run_id"] == "run-2"


def test_a_folder_that_cannot_be_written_is_an_output_error_not_a_held_lock(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="could not be written"), RunLock(tmp_path / "file", "run-1"):
        pass


def test_of_many_runs_at_once_exactly_one_gets_the_lock_also_from_a_dead_holder(tmp_path):
    done = python(HERE / "racing_runs.py", tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [1] * 12
