"""Every worker of a profile can be asked a question."""

from __future__ import annotations

import os
import platform

from surveyflow.sites.serial.profile import SerialProfile


def fail():
    raise ValueError("nobody home")


def test_every_worker_answers_for_itself(client, with_certificates):
    answers = with_certificates(address=client.scheduler.address).inspect(os.getpid)
    assert sorted(answer.worker for answer in answers) == sorted(client.scheduler_info()["workers"])
    assert len({answer.value for answer in answers} - {os.getpid()}) == 2
    assert all(abs(answer.clock_ahead_s) <= answer.clock_error_s + 0.1 for answer in answers)  # it is the same clock
    assert all(answer.error is None for answer in answers)


def test_what_a_worker_cannot_answer_is_reported_in_words(client, with_certificates):
    answers = with_certificates(address=client.scheduler.address).inspect(fail)
    assert {answer.value for answer in answers} == {None}
    assert all((answer.error or "").startswith("ValueError: nobody home") for answer in answers)


def test_without_workers_this_process_answers():
    (answer,) = SerialProfile().inspect(platform.node)
    assert (answer.worker, answer.value) == ("this process", platform.node())
