"""Tasks that workers carry out: their results come back in order, and their errors as what they are."""

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import ClassVar

import pytest

from surveyflow.errors import CatalogError, ClusterError, OutputError, UnitDamaged
from surveyflow.measuring.orders import WorkerSettings
from surveyflow.runs.execute import LateExecutor
from surveyflow.sites.serial.profile import SerialExecutor
from surveyflow.values.jobs import EngineChoice

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
