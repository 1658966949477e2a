"""Results of tasks come back in order, and their errors as what they are; a unit that is done leaves little behind."""

import logging
import pickle
import tracemalloc
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

import pytest

from surveyflow.errors import CatalogError, ClusterError, OutputError, UnitDamaged
from surveyflow.measuring.orders import WorkerSettings
from surveyflow.planning.plan import decide, key_parts
from surveyflow.planning.units import WorkUnit
from surveyflow.runs.execute import LateExecutor, Reporter, carry_out, spreading
from surveyflow.sites.serial.profile import SerialExecutor
from surveyflow.values.jobs import EngineChoice, JobResult, Receipt

ERRORS = {
    "damaged": UnitDamaged("a.parquet is damaged.", "ab12"),
    "catalog": CatalogError("not sorted"),
    "disk": OutputError("full."),
}


@dataclass(frozen=True)
class Square:
    """A task that returns a square, or fails."""

    verb: ClassVar[str] = "square"

    number: int
    fault: str = ""

    def carry_out(self) -> int:
        if self.fault:
            raise ERRORS.get(self.fault, RuntimeError(self.fault))
        return self.number**2


class Backwards(SerialExecutor):
    """Does the last job first."""

    def run(self, jobs):
        return super().run(jobs[::-1])


@pytest.fixture
def executor(tmp_path):
    @contextmanager
    def opener():
        yield Backwards("stubs:StubWorker", WorkerSettings(str(tmp_path), EngineChoice(), 1))

    with ExitStack() as stack:
        yield LateExecutor(stack, opener)


def test_results_come_in_the_order_of_the_tasks_and_no_task_opens_no_worker(executor):
    assert executor.carry_out([]) == []
    assert not executor.is_open
    assert executor.carry_out([Square(number) for number in range(12)]) == [number**2 for number in range(12)]
    assert executor.is_open


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        ("damaged", UnitDamaged, "a.parquet is damaged"),
        ("catalog", CatalogError, "not sorted"),
        ("disk", OutputError, "full. Nothing was published"),
        ("odd", ClusterError, "square 1 failed: RuntimeError: odd .* Nothing was published; run again"),
    ],
)
def test_the_error_of_a_task_is_raised_as_what_it_is(executor, fault, kind, words):
    with pytest.raises(kind, match=words) as caught:
        executor.carry_out([Square(0), Square(1, fault)])
    assert type(caught.value) is kind
    assert getattr(caught.value, "key", "ab12") == "ab12"


@pytest.mark.parametrize("here", [True, False])
def test_many_parts_of_a_source_list_are_reported_one_by_one_wherever_they_are_read(tmp_path, here):
    @contextmanager
    def opener():
        yield Backwards("stubs:StubWorker", WorkerSettings(str(tmp_path), EngineChoice(), 1))

    heard = []
    with spreading(opener, in_this_process=here, listeners=[heard.append]) as do:
        assert do([Square(number) for number in range(2)]) == [0, 1]
        assert not heard
        assert do([Square(number) for number in range(6)]) == [number**2 for number in range(6)]
    assert [(each.phase, each.done, each.total) for each in heard] == [("lists", done, 6) for done in range(7)]
    assert heard[-1].describe().startswith("6/6 parts")


class Finishing:
    """Has every unit done at once: its receipt comes back pickled, as from a worker."""

    def run(self, jobs):
        for job in jobs:
            order = job.order
            receipt = Receipt(
                order.key,
                job.name,
                order.parts,
                job.n_sources,
                {"no_redshift": 900, "no_model": 100},
                order.key[::-1],
                1.5,
                "node:1",
            )
            yield JobResult(job, pickle.loads(pickle.dumps(receipt)))


def planned_units(n_units):
    for number in range(n_units):
        listed, positions = (f"{number:08x}{word}" * 4 for word in ("01234567", "89abcdef"))
        unit = WorkUnit(f"EGS/settled/{number:03d}", "EGS", 1000, listed, positions, worklist="units.arrow", number=number)
        yield unit, key_parts(unit, schema_version="1")


def test_a_unit_that_is_done_leaves_less_than_two_kilobytes_in_the_process_that_plans(tmp_path, caplog):
    """Of plan, job and receipt together; a job is made when it is submitted, and at most one is in memory here."""
    caplog.set_level(logging.WARNING, "surveyflow")  # a line for each unit would be kept otherwise, for pytest
    output = SimpleNamespace(root=tmp_path)
    survey = SimpleNamespace(workflow=SimpleNamespace(output=output), lists=SimpleNamespace(folder=tmp_path / "lists"), files=())
    held = []
    for n_units in (500, 2_500):
        tracemalloc.start()
        plan = decide(planned_units(n_units), set(), {})
        outcome = carry_out(survey, plan, Finishing(), Reporter([]))
        held.append(tracemalloc.get_traced_memory())
        tracemalloc.stop()
        assert outcome.counts == {"done": n_units, "kept": 0, "dropped": 0, "failed": 0}
    assert (held[1][0] - held[0][0]) / 2_000 < 2_000
    assert (held[1][1] - held[0][1]) / 2_000 < 2_500
