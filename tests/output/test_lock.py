import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from catalog_rows import make_rows
from surveyflow.errors import CatalogError, LockHeld, OutputError
from surveyflow.output import lock
from surveyflow.output.batch_jobs import BatchJob
from surveyflow.output.holders import Holder
from surveyflow.output.lock import LEASE_S, LOCK_NAME, RunLock, find_lease, refuse_if_held
from surveyflow.releases.publish import latest, publish
from waiting import wait_until

HERE = Path(__file__).parent


def python(*arguments):
    environment = os.environ | {"PYTHONPATH": f"{HERE.parents[1]}:{HERE.parent}"}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment, check=False)


def some_holder(**change):
    return replace(Holder.this_process("run-1", token=1, lease_s=LEASE_S), **change)


def leave_lock(root, path=None, **change):
    """A lock that someone else left."""
    holder = some_holder(**change)
    (path or root / LOCK_NAME).write_bytes(TypeAdapter(Holder).dump_json(holder))
    return holder


def silent_for(root, seconds):
    then = time.time() - seconds
    os.utime(find_lease(root).path, (then, then))


def holder_of(root):
    return find_lease(root).holder


@contextmanager
def machine(host, *steps, clock_s=0.0, lease_s=LEASE_S):
    """A run on another machine; it is ended with the test."""
    environment = os.environ | {"PYTHONPATH": f"{HERE.parents[1]}:{HERE.parent}"}
    command = [sys.executable, HERE / "leaseholder.py", host, str(clock_s), str(lease_s), *steps]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def taken(root, run_id):
    """A lock on the folder, as soon as it can be had."""

    def attempt():
        with suppress(LockHeld):
            return RunLock(root, run_id).__enter__()

    return wait_until(attempt, "the lock is taken over")


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
        assert holder_of(tmp_path).run_id == "run-2"
    assert "run-1" in caplog.text
    assert "taken over" in caplog.text
    assert list(tmp_path.iterdir()) == []


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


def test_holders_that_died_one_after_another_are_replaced_in_turn(tmp_path, ended_pid):
    leave_lock(tmp_path, pid=ended_pid)
    for number in range(3):
        leave_lock(tmp_path, find_lease(tmp_path).successor, pid=ended_pid, token=number + 2)
    stray = tmp_path / f"{LOCK_NAME}.after-{'0' * 32}"
    stray.write_text("of a chain that was removed")
    with RunLock(tmp_path, "run-3"):
        assert holder_of(tmp_path).run_id == "run-3"
        assert holder_of(tmp_path).token > 4
    assert list(tmp_path.iterdir()) == []


def test_a_run_on_another_machine_is_respected_until_its_lease_expires(tmp_path, ended_pid):
    leave_lock(tmp_path, host="node17", pid=ended_pid)
    silent_for(tmp_path, LEASE_S - 60)
    with pytest.raises(LockHeld, match=r"on host node17 .*sign of life 0:04:00 ago; expires in 0:01:00.* Wait for it") as refused:
        RunLock(tmp_path, "run-2").__enter__()
    assert "rm " not in str(refused.value)
    silent_for(tmp_path, LEASE_S + 1)
    with RunLock(tmp_path, "run-2"):
        assert holder_of(tmp_path).run_id == "run-2"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", [{"pid_namespace": "pid:[1]"}, {"boot": "another"}], ids=["container", "machine of this name"])
def test_a_process_that_is_not_visible_from_here_is_not_judged_by_its_number(tmp_path, ended_pid, change):
    leave_lock(tmp_path, pid=ended_pid, **change)
    with pytest.raises(LockHeld), RunLock(tmp_path, "run-2"):
        pass


def test_a_touch_in_the_future_does_not_hold_the_folder_for_ever(tmp_path, ended_pid):
    leave_lock(tmp_path, host="node17", pid=ended_pid)
    silent_for(tmp_path, -86_400)
    with RunLock(tmp_path, "run-2"):
        pass


NO_HOLDER = {
    "empty": b"",
    "cut off": b"{",
    "list": b"[1]",
    "missing keys": b'{"pid": 1}',
    "binary": bytes(range(256)),
    "deep": b"[" * 10_000,
    "negative process": TypeAdapter(Holder).dump_json(some_holder(pid=-1)),
    "enormous process": TypeAdapter(Holder).dump_json(some_holder(pid=2**80)),
    "endless lease": TypeAdapter(Holder).dump_json(some_holder(lease_s=1e300)),
    "escape codes": TypeAdapter(Holder).dump_json(some_holder(host="\x1b[2J")),
    "of release 1.3": b'{"host": "a", "pid_namespace": "", "pid": 1, "process_start": "", "run_id": "", "token": "x"}',
}


@pytest.mark.parametrize("content", NO_HOLDER.values(), ids=NO_HOLDER)
def test_a_lock_that_names_no_holder_expires_like_any_other(tmp_path, content):
    (tmp_path / LOCK_NAME).write_bytes(content)
    with pytest.raises(LockHeld, match=r"a holder that it does not name\. .* expires in 0:0") as refused:
        RunLock(tmp_path, "run-2").__enter__()
    assert str(refused.value).isprintable()
    silent_for(tmp_path, LEASE_S + 1)
    with RunLock(tmp_path, "run-2"):
        assert holder_of(tmp_path).run_id == "run-2"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [LOCK_NAME, "its successor"])
@pytest.mark.parametrize(
    "make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/zero"), lambda path: path.symlink_to("x")]
)
def test_what_is_not_a_file_is_refused_at_once_with_the_command_that_removes_it(tmp_path, make, name, ended_pid):
    path = tmp_path / LOCK_NAME
    if name != LOCK_NAME:
        leave_lock(tmp_path, pid=ended_pid)
        path = find_lease(tmp_path).successor
    make(path)
    with pytest.raises(CatalogError, match=r"is not a lock of surveyflow: .* remove it: `rm -r ") as refused:
        RunLock(tmp_path, "run-2").__enter__()
    subprocess.run(str(refused.value).split("`")[1], shell=True, check=True)
    with RunLock(tmp_path, "run-2"):
        pass


def test_a_lock_of_gigabytes_is_not_read(tmp_path):
    (tmp_path / LOCK_NAME).touch()
    os.truncate(tmp_path / LOCK_NAME, 2**40)
    with pytest.raises(CatalogError, match="is larger than"), RunLock(tmp_path, "run-2"):
        pass


def test_a_reader_without_write_access_learns_the_holder_but_not_the_time(tmp_path, monkeypatch):
    with RunLock(tmp_path, "run-1"):
        monkeypatch.setattr(lock, "_server_time", lambda path: None)
        found = find_lease(tmp_path)
        assert "run run-1 on host" in found.describe()
        assert "cannot be judged" in found.describe()
        assert not found.is_void
        assert found.as_json()["expires_in_s"] is None


def test_the_holder_sends_heartbeats(tmp_path):
    with RunLock(tmp_path, "run-1", heartbeat_s=0.01):
        silent_for(tmp_path, 200)
        wait_until(lambda: find_lease(tmp_path).silent_s < 100, "the lock is touched")


def test_a_holder_whose_lock_was_taken_away_says_so_and_leaves_the_new_one(tmp_path, caplog):
    with RunLock(tmp_path, "run-1", heartbeat_s=0.01):
        leave_lock(tmp_path, find_lease(tmp_path).successor, run_id="run-2")
        wait_until(lambda: "has lost its lease" in caplog.text, "the holder says so")
    assert holder_of(tmp_path).run_id == "run-2"


def test_an_error_after_the_lease_was_lost_is_reported_as_the_loss(tmp_path):
    def work():
        with RunLock(tmp_path, "run-1"):
            (tmp_path / LOCK_NAME).unlink()
            raise FileNotFoundError("what was prepared is gone")

    with pytest.raises(LockHeld, match=r"run-1 has lost its lease \(its file was removed\)") as lost:
        work()
    assert isinstance(lost.value.__context__, FileNotFoundError)


def test_a_folder_that_cannot_be_written_is_an_output_error_not_a_held_lock(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="could not be written"), RunLock(tmp_path / "file", "run-1"):
        pass


def test_of_many_runs_at_once_exactly_one_gets_the_lock_also_from_a_dead_holder(tmp_path):
    done = python(HERE / "racing_runs.py", tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [1] * 12


def test_a_holder_that_sleeps_while_its_lease_is_taken_over_publishes_nothing_when_it_wakes_up(tmp_path):
    folders = {step: tmp_path / step for step in ("late", "move", "swap")}
    with machine("node17", *chain.from_iterable(folders.items()), lease_s=1.0) as sleeper:
        for step, root in folders.items():
            assert [sleeper.stdout.readline() for _ in range(2)] == ["held\n", "ready\n"], step
            sleeper.send_signal(signal.SIGSTOP)
            successor = taken(root, "run-2")
            published = publish(root, "v1", [], make_rows(5), {}, guard=successor.check)
            successor.__exit__(None, None, None)
            sleeper.send_signal(signal.SIGCONT)
            sleeper.stdin.write("go on\n")
            sleeper.stdin.flush()
            said = sleeper.stdout.readline()
            assert said.startswith(f"LockHeld {LockHeld.exit_code}: "), step
            assert "run-node17 has lost its lease" in said
            assert latest(root).name == published.name
            assert latest(root).n_rows == 5
            assert list((root / "releases").glob(".building-*")) == []


def test_the_clocks_of_machines_do_not_matter(tmp_path):
    with machine("node17", "hold", tmp_path, clock_s=-1e5) as slow, machine("node18", "hold", tmp_path, clock_s=1e5) as fast:
        said = {one.stdout.readline().split()[0] for one in (slow, fast)}
        assert said == {"held", "LockHeld"}
        assert abs(find_lease(tmp_path).silent_s) < 60


SLURM = """#!/bin/sh
case "$*" in
"show config") echo "ClusterName             = hpc" ;;
*) {answer} ;;
esac
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A function that makes Slurm answer with a shell command when it is asked for a job."""

    def answer(command):
        script = tmp_path / "bin" / "scontrol"
        script.parent.mkdir(exist_ok=True)
        script.write_text(SLURM.format(answer=command))
        script.chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return answer


def shown(state, restarts=0):
    return f'echo "JobId=12 JobName=x JobState={state} Reason=None Restarts={restarts} BatchFlag=1"'


JOB = BatchJob("hpc", "12", 0)
NO_SUCH_JOB = "echo slurm_load_jobs error: Invalid job id specified >&2; exit 1"


@pytest.mark.parametrize("answer", [NO_SUCH_JOB, shown("COMPLETED"), shown("NODE_FAIL"), shown("PENDING"), shown("RUNNING", 1)])
def test_the_lock_of_a_job_that_is_gone_is_taken_over_at_once(tmp_path, slurm, answer, caplog):
    slurm(answer)
    root = tmp_path / "catalog"
    root.mkdir()
    leave_lock(root, host="node17", job=JOB)
    with RunLock(root, "run-2"):
        assert holder_of(root).run_id == "run-2"
    assert "Slurm's job 12 is gone" in caplog.text


@pytest.mark.parametrize(("restarts", "taken_over"), [("1", True), ("0", False)])
def test_a_job_that_slurm_started_again_takes_over_from_its_former_start_without_asking_slurm(
    tmp_path, slurm, monkeypatch, restarts, taken_over
):
    slurm("exit 1")
    for name, value in {"JOB_ID": "12", "CLUSTER_NAME": "hpc", "RESTART_COUNT": restarts}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    leave_lock(tmp_path, host="node17", job=JOB)
    if taken_over:
        refuse_if_held(tmp_path)
        with RunLock(tmp_path, "run-2"):
            assert holder_of(tmp_path).job == replace(JOB, restarts=1)
    else:
        for take in (RunLock(tmp_path, "run-2").__enter__, lambda: refuse_if_held(tmp_path)):
            with pytest.raises(LockHeld, match="expires in"):
                take()


@pytest.mark.parametrize("state", ["RUNNING", "SUSPENDED", "COMPLETING"])
def test_the_lock_of_a_job_that_runs_is_respected_although_it_is_silent(tmp_path, slurm, state):
    slurm(shown(state))
    leave_lock(tmp_path, host="node17", job=JOB)
    silent_for(tmp_path, 10 * LEASE_S)
    with pytest.raises(LockHeld, match=rf"of Slurm's job 12\).* Slurm says that its job is {state}\. Wait for it"):
        RunLock(tmp_path, "run-2").__enter__()


@pytest.mark.parametrize("change", [{"cluster": "elsewhere"}, {"answer": "exit 1"}, {"answer": "echo nonsense"}])
def test_where_slurm_cannot_say_the_lease_decides(tmp_path, slurm, change):
    slurm(change.get("answer", NO_SUCH_JOB))
    root = tmp_path / "catalog"
    root.mkdir()
    leave_lock(root, host="node17", job=replace(JOB, cluster=change.get("cluster", "hpc")))
    with pytest.raises(LockHeld, match="expires in"):
        RunLock(root, "run-2").__enter__()
    silent_for(root, LEASE_S + 1)
    with RunLock(root, "run-2"):
        pass


def test_a_holder_knows_the_job_that_it_is_part_of(monkeypatch):
    for name, value in {"JOB_ID": "12", "CLUSTER_NAME": "hpc", "RESTART_COUNT": "3"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert some_holder().job == BatchJob("hpc", "12", 3)
    monkeypatch.setenv("SLURM_JOB_ID", "$(rm)")
    assert some_holder().job is None
