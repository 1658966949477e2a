"""Jobs whose workers were out of memory go to larger ones, as far as there are any, and others are not delayed by them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from distributed.scheduler import KilledWorker, NoValidWorkerError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes import fake_job
from simulated_dask import Change, SimulatedDask, SimulatedTask
from surveyflow.execution.cluster import Cluster
from surveyflow.execution.memory_kills import MemoryKill, memory_kill

LEAST_MIB, MOST_MIB = 8, 32


class GrowingDask(SimulatedDask):
    """Workers that are killed by jobs that need more memory than they have; larger ones take their places."""

    def __init__(self, logs, needs_mib, n_workers=2, told_after_s=0.0, comes_after_s=10.0):
        super().__init__([Change(0.0, joins=True, held=frozenset())] * n_workers, pinned=False)
        self.logs, self.needs_mib = logs, needs_mib
        self.told_after_s, self.comes_after_s = told_after_s, comes_after_s
        self.memory_mib, self.joining_mib, self.news, self.killed_with = {}, [], [], []

    @property
    def cluster(self):
        return Cluster(self, self.logs, memory_wait_s=90.0)

    def submit(self, function, spec, job, pinned, *, key, pure, resources):
        task = SimulatedTask(key, job, frozenset(), self)
        task.least_mib = (resources or {}).get("memory", 0)
        self._place(task)
        return task

    def _apply(self, change):
        super()._apply(change)
        if change.joins:
            self.memory_mib[self._workers[-1].address] = self.joining_mib.pop(0) if self.joining_mib else LEAST_MIB
            unplaced, self._unplaced = self._unplaced, []
            for task in unplaced:
                self._place(task)

    def identity(self, n_workers):
        answer = super().identity(n_workers)
        for address, worker in answer["workers"].items():
            worker["resources"] = {"memory": float(self.memory_mib[address])}
        return answer

    def _place(self, task):
        able = [each for each in self._workers if self.memory_mib.get(each.address, 0) >= task.least_mib]
        (min(able, key=lambda worker: len(worker.tasks)).tasks if able else self._unplaced).append(task)
        self._begin()

    def _kill(self, worker, memory):
        self._workers.remove(worker)
        self.killed_with += [(task.job.name, memory) for task in worker.begun]
        self.news.append((self.now + self.told_after_s, worker.address.replace("/", ""), memory))
        self.joining_mib.append(min(2 * memory, MOST_MIB))
        self._changes.append(Change(self.now + self.comes_after_s, joins=True, held=frozenset()))
        for task in worker.tasks:
            last = SimpleNamespace(address=worker.address, name=worker.address.replace("/", ""))
            task.end(KilledWorker(task.key, last, 0))

    def _advance(self, time):
        super()._advance(time)
        for worker in list(self._workers):
            memory = self.memory_mib[worker.address]
            if any(self.needs_mib[task.job.name] > memory for task in worker.begun):
                self._kill(worker, memory)
        while self.news and self.news[0][0] <= self.now:
            _, name, memory = self.news.pop(0)
            (self.logs / f"memory-{name}").write_text(f"pool-cpu.sh {memory} {MOST_MIB}\n")

    def _steal(self):
        """Tasks that need a large worker stay there."""

    def _watch(self):
        """Workers may be idle while it is not known why others died."""


def run(dask, **limits):
    return {result.job.name: result.error for result in dask.run(jobs(dask.needs_mib), max_deaths=3, **limits)}


def jobs(needs_mib):
    return [fake_job(name, "sleep", seconds=4.0) for name in needs_mib]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(needs=st.lists(st.sampled_from([1, 1, 1, 9, 20, 40]), min_size=1, max_size=12), late=st.sampled_from([0.0, 45.0]))
def test_every_job_that_fits_into_the_largest_worker_is_done_and_the_others_say_what_they_had(tmp_path, needs, late):
    for old in tmp_path.iterdir():
        old.unlink()
    dask = GrowingDask(tmp_path, {f"unit{number}": need for number, need in enumerate(needs)}, told_after_s=late)
    errors = run(dask)
    assert errors.keys() == dask.needs_mib.keys()
    hopeless = {name for name, need in dask.needs_mib.items() if need > MOST_MIB}
    assert {name for name, error in errors.items() if error} == hopeless
    assert all("alone in a worker with 32 MiB, the most that pool-cpu.sh asks for" in errors[name] for name in hopeless)
    assert all("Raise memory_max" in errors[name] for name in hopeless)


def test_a_job_goes_to_a_larger_worker_at_once_and_kills_none_of_its_size_again(tmp_path):
    dask = GrowingDask(tmp_path, {"large": 20, **{f"small{number}": 1 for number in range(40)}})
    errors = run(dask)
    assert set(errors.values()) == {None}
    assert [memory for name, memory in dask.killed_with if name == "large"] == [8, 16]
    assert list(errors)[-1] != "large", "it waits for the work of others"


def test_jobs_that_wait_for_a_larger_worker_leave_the_others_at_work(tmp_path):
    needs = {f"large{number}": 20 for number in range(3)} | {f"small{number}": 1 for number in range(30)}
    names = list(run(GrowingDask(tmp_path, needs, n_workers=5, comes_after_s=500.0)))
    assert all(name.startswith("small") for name in names[:25]), names


def test_a_job_for_which_no_larger_worker_comes_fails_alone_and_says_so(tmp_path):
    class WithoutLargeOnes(GrowingDask):
        def _place(self, task):
            if task.least_mib:
                self._ended.append(task.key)
                task.death, task.has_ended = NoValidWorkerError(task.key, set(), set(), {"memory": task.least_mib}, 300.0), True
            else:
                super()._place(task)

    errors = run(WithoutLargeOnes(tmp_path, {"large": 20, "small": 1}))
    assert errors["small"] is None
    assert "a worker with 8 MiB was killed with it" in errors["large"]
    assert "smaller core_size" in errors["large"]


@pytest.mark.parametrize("text", ["", "pool-cpu.sh", "pool-cpu.sh 8 x", "pool-cpu.sh 8 32 1", "$(id) 8 32", "\xff" * 2_000])
def test_only_a_file_of_the_right_form_is_believed(tmp_path, text):
    (tmp_path / "memory-run-cpu-17_2_").write_text(text)
    assert memory_kill(tmp_path, "run-cpu-17_2_0-0") is None
    (tmp_path / "memory-run-cpu-17_2_").write_text("pool-cpu.sh 8 32\n")
    assert memory_kill(tmp_path, "run-cpu-17_2_0-0") == MemoryKill("pool-cpu.sh", 8, 32)
    assert memory_kill(tmp_path, "run-cpu-17_21_0-0") is None
