from __future__ import annotations

from contextlib import closing

from fakes import FakeSettings, fake_job
from surveyflow.execution import jobs as worker_side
from surveyflow.sites.serial.profile import SerialExecutor


def open_serial():
    return closing(SerialExecutor("fakes:make_fake_worker", FakeSettings()))


def test_results_come_in_order_and_failures_among_them():
    jobs = [
        fake_job("a", "square", number=2),
        fake_job("b", "raise_value_error", message="no"),
        fake_job("c", "square", number=3),
    ]

    with open_serial() as executor:
        results = list(executor.run(jobs))

    assert [result.job for result in results] == jobs
    assert [result.value for result in results] == [4, None, 9]
    assert [result.error is None for result in results] == [True, False, True]


def test_nothing_runs_before_it_is_asked_for_or_after_the_iteration_is_left():
    census = [fake_job(str(number), "census") for number in range(9)]

    with open_serial() as executor:
        results = executor.run(census)
        first, second = next(results), next(results)
        results.close()
        (later,) = executor.run(census[:1])

    assert [result.value[2] for result in (first, second, later)] == [1, 2, 3]


def test_a_fatal_error_is_the_last_result():
    jobs = [fake_job("full", "fill_disk"), fake_job("never", "square", number=2)]

    with open_serial() as executor:
        (result,) = executor.run(jobs)

    assert result.fatal


def test_closing_lets_go_of_the_worker():
    census = [fake_job("census", "census")]
    with open_serial() as executor:
        list(executor.run(census))

    assert worker_side._WORKERS == {}
