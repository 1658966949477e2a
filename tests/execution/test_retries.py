from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import fake_job
from surveyflow.execution.retries import Attempt, Attempts
from surveyflow.values.made import Made


def everybody_free(group):
    return True


def somebody_runs(group):
    return False


def make_jobs(n):
    return [fake_job(f"job{number}", "square") for number in range(n)]


def test_jobs_go_out_in_the_order_given():
    jobs = make_jobs(3)
    attempts = Attempts(jobs, max_deaths=3)

    assert [attempts.next({""}, somebody_runs).job for _ in range(3)] == jobs
    assert attempts.next({""}, somebody_runs) is None


def test_a_job_is_made_again_when_it_is_its_turn_and_is_not_held_before():
    made = []

    def make(number):
        made.append(number)
        return fake_job(f"job{number}", "square")

    attempts = Attempts(Made(3, make), max_deaths=3)
    made.clear()

    assert attempts.next({""}, somebody_runs).job.name == "job0"
    assert made == [0]
    assert [job.name for job in attempts.waiting()] == ["job1", "job2"]


def test_a_job_whose_worker_died_goes_again_before_the_rest():
    attempts = Attempts(make_jobs(3), max_deaths=3)
    first = attempts.next({""}, somebody_runs)

    assert attempts.retry(first, 1)
    assert attempts.next({""}, somebody_runs) == Attempt(first.job, deaths=1)


def test_a_suspect_waits_until_nothing_else_runs():
    attempts = Attempts(make_jobs(2), max_deaths=3)
    suspect, other = (attempts.next({""}, somebody_runs) for _ in range(2))
    attempts.retry(suspect, 1)
    suspect = attempts.next({""}, somebody_runs)
    attempts.retry(suspect, 1)

    assert attempts.next({""}, somebody_runs) is None, other
    assert attempts.next({""}, everybody_free) == Attempt(suspect.job, deaths=2, alone=True)


def test_a_suspect_waits_for_room_as_any_job_does():
    attempts = Attempts(make_jobs(1), max_deaths=2)
    attempts.retry(attempts.next({""}, somebody_runs), 1)

    assert attempts.next(set(), everybody_free) is None
    assert attempts.next({""}, everybody_free).alone


def test_what_never_began_goes_again_with_the_deaths_that_it_had():
    attempts = Attempts(make_jobs(1), max_deaths=2)
    attempts.retry(attempts.next({""}, somebody_runs), 5)
    alone = attempts.next({""}, everybody_free)
    attempts.put_back(alone)

    assert attempts.next({""}, somebody_runs) is None
    assert attempts.next({""}, everybody_free) == alone


def test_deaths_in_company_condemn_nobody_however_many():
    attempts = Attempts(make_jobs(1), max_deaths=3)

    assert attempts.retry(attempts.next({""}, somebody_runs), 50)
    assert attempts.next({""}, everybody_free).alone


def test_a_single_death_cannot_be_enough():
    with pytest.raises(ValueError, match="at least 2"):
        Attempts(make_jobs(1), max_deaths=1)


def test_a_model_group_without_room_holds_nobody_else_up():
    jobs = [fake_job(name, "unit", group) for name, group in [("e1", "EGS"), ("e2", "EGS"), ("g1", "GDS"), ("s", "")]]
    attempts = Attempts(jobs, max_deaths=3)

    assert [attempts.next({"GDS", ""}, everybody_free) for _ in range(3)] == [Attempt(jobs[2]), Attempt(jobs[3]), None]
    assert attempts.model_groups == {"EGS"}
    assert [attempts.next({"EGS"}, everybody_free).job.name for _ in range(2)] == ["e1", "e2"]
    assert not attempts


def test_a_job_that_goes_again_waits_for_its_model_group_too():
    lost, other = fake_job("e1", "unit", "EGS"), fake_job("g1", "unit", "GDS")
    attempts = Attempts([lost, other], max_deaths=3)
    attempts.retry(attempts.next({"EGS"}, somebody_runs), 1)

    assert attempts.next({"GDS"}, somebody_runs).job == other
    assert attempts.next({"EGS"}, somebody_runs).job == lost


@given(data=st.data(), n_jobs=st.integers(1, 12), window=st.integers(1, 5), max_deaths=st.integers(2, 4))
def test_every_killer_is_given_up_and_every_innocent_job_ends_whoever_dies_with_whom(data, n_jobs, window, max_deaths):
    jobs = make_jobs(n_jobs)
    killers = data.draw(st.sets(st.sampled_from([job.name for job in jobs])))
    attempts = Attempts(jobs, max_deaths)
    in_flight, done, given_up = [], [], []

    def fill():
        while len(in_flight) < window and (attempt := attempts.next({""}, lambda _: not in_flight)):
            in_flight.append(attempt)
        return bool(in_flight)

    while fill():
        ended = in_flight.pop(data.draw(st.integers(0, len(in_flight) - 1)))
        if ended.job.name not in killers:
            done.append(ended.job)
            continue
        n_fellows = data.draw(st.integers(0, len(in_flight)))
        victims = [ended, *(in_flight.pop() for _ in range(n_fellows))]
        given_up.extend(victim.job for victim in victims if not attempts.retry(victim, 1))

    assert {job.name for job in given_up} == killers
    assert sorted(job.name for job in done + given_up) == sorted(job.name for job in jobs)
