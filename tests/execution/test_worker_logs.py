from __future__ import annotations

from surveyflow.execution.worker_logs import log_path, why_ended

ADDRESS = "tcp://127.0.0.1:38013"


def test_workers_on_one_host_have_logs_of_their_own(tmp_path):
    assert log_path(tmp_path, ADDRESS).name == "worker-tcp-127.0.0.1-38013.log"
    assert log_path(tmp_path, ADDRESS) != log_path(tmp_path, "tcp://127.0.0.1:38014")


def test_the_last_lines_are_quoted_in_one(tmp_path):
    log_path(tmp_path, ADDRESS).write_text("".join(f"line {n}\n\n" for n in range(9)))

    assert why_ended(tmp_path, ADDRESS) == "line 7 | line 8"


def test_a_crash_is_quoted_from_its_beginning_not_its_end(tmp_path):
    frames = "".join(f'  File "f{n}.py", line {n} in f{n}\n' for n in range(30))
    log_path(tmp_path, ADDRESS).write_text(f"busy\nFatal Python error: Aborted\n\nCurrent thread 0x1:\n{frames}")

    assert why_ended(tmp_path, ADDRESS).startswith('Fatal Python error: Aborted | Current thread 0x1: | File "f0.py", line 0')


def test_a_silent_worker_gives_no_reason(tmp_path):
    assert why_ended(tmp_path, ADDRESS) == ""


def test_bytes_that_are_no_text_are_no_trouble(tmp_path):
    log_path(tmp_path, ADDRESS).write_bytes(b"\xff\xfe broken\n")

    assert why_ended(tmp_path, ADDRESS).endswith("broken")
