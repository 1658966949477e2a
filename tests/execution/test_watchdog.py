"""Whether a job that has begun still gets on."""

from __future__ import annotations

import subprocess
import sys
import threading

from surveyflow.execution.heartbeat import EXIT_CODE, locked, report_progress, watched
from surveyflow.execution.worker_logs import REASON_PREFIX

PROLOGUE = "import threading, time\nfrom surveyflow.execution.heartbeat import locked, report_progress, watched\n"

CLOCK = """
from types import SimpleNamespace
from surveyflow.execution import heartbeat

now, looks = [0.0], threading.Semaphore(0)

def sleep(seconds):
    looks.release()
    time.sleep(0.001)

def pass_time(seconds):
    now[0] += seconds
    for _ in range(looks._value + 2):  # the last of them began after the clock was moved
        looks.acquire()

heartbeat.time = SimpleNamespace(monotonic=lambda: now[0], sleep=sleep)
"""
"""A clock that the job itself moves: the machine may be as slow as it likes, and the watchdog has looked after each move."""


def in_a_process(code):
    return subprocess.run([sys.executable, "-c", PROLOGUE + code], capture_output=True, text=True, check=False)


def test_a_silent_job_ends_its_process_which_says_where_it_hangs():
    ended = in_a_process("def stuck():\n    time.sleep(600)\nwith watched('EGS/F814W/y000x001', 0.2):\n    stuck()")

    assert ended.returncode == EXIT_CODE
    assert ended.stderr.splitlines()[-1] == (
        f"{REASON_PREFIX} EGS/F814W/y000x001 has shown no sign of life for 0.2 s, in stuck (<string>:4)"
    )
    assert "most recent call first" in ended.stderr


def test_a_job_that_hangs_while_its_worker_is_made_ends_its_process():
    ended = in_a_process(
        "from surveyflow.execution.jobs import WorkerSpec, do_job\n"
        "from surveyflow.training.trial_orders import TrainingFile, TrialSettings, TryTrial\n"
        "from surveyflow.values.jobs import Job\n"
        "def hang(settings):\n"
        "    time.sleep(600)\n"
        "order = TryTrial(0, TrialSettings((8,), (3,), (8,), 0.5, 1e-3))\n"
        "do_job(WorkerSpec('__main__:hang', TrainingFile('train.toml'), 0.2), Job('EGS/F814W/y000x001', order))"
    )
    assert ended.returncode == EXIT_CODE, ended.stderr
    assert "EGS/F814W/y000x001" in ended.stderr


def test_a_silent_job_is_seen_beside_one_that_gets_on():
    ended = in_a_process(
        "def get_on():\n"
        "    with watched('lively', 60):\n"
        "        while True:\n"
        "            time.sleep(0.05)\n"
        "            report_progress()\n"
        "threading.Thread(target=get_on, daemon=True).start()\n"
        "with watched('silent', 0.5):\n"
        "    time.sleep(600)"
    )

    assert ended.returncode == EXIT_CODE
    assert f"{REASON_PREFIX} silent has" in ended.stderr


def test_signs_of_life_keep_a_long_job_alive():
    ended = in_a_process(
        f"{CLOCK}with watched('long', 2):\n    for _ in range(12):\n        pass_time(1.9)\n        report_progress()"
    )

    assert (ended.returncode, ended.stderr) == (0, "")


def test_waiting_for_a_turn_is_no_silence_and_neither_is_what_comes_after_the_job():
    ended = in_a_process(
        f"{CLOCK}"
        "lock = threading.Lock()\n"
        "lock.acquire()\n"
        "def release():\n"
        "    while not any(job.progress_at is None for job in list(heartbeat._WATCHED.values())):\n"
        "        time.sleep(0.001)\n"
        "    pass_time(3)\n"
        "    lock.release()\n"
        "threading.Thread(target=release).start()\n"
        "with watched('patient', 1.5), locked(lock):\n"
        "    pass\n"
        "pass_time(3)"
    )

    assert (ended.returncode, ended.stderr) == (0, "")


def test_nobody_watches_where_no_limit_is_set():
    with watched("unwatched", None), locked(threading.Lock()):
        report_progress()
