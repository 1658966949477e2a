"""The benchmark of two workers still runs; its numbers are not tested here."""

import runpy
from pathlib import Path

import pytest

from surveyflow.tasks.card import Architecture

NARROW = Architecture(input_size=48, filters=(4, 6, 8), kernel_sizes=(5, 3, 3), dense=(16, 16))


@pytest.mark.timeout(900)
def test_two_workers_benchmark_runs_on_a_small_survey(tmp_path):
    benchmark = runpy.run_path(str(Path(__file__).with_name("two_workers.py")), run_name="two_workers")
    result = benchmark["measure"](tmp_path, 12, 1, "auto", NARROW, 800, 8)
    assert all(ratio > 0 for ratio in result["median"].values())
    assert [len(found) for found in result["seconds"].values()] == [1, 1, 1, 1]
