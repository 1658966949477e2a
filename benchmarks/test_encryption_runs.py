"""The benchmark of encryption still runs; its numbers are not tested here."""

import runpy
from pathlib import Path


def test_encryption_benchmark_compares_a_closed_cluster_with_an_open_one():
    benchmark = runpy.run_path(str(Path(__file__).with_name("encryption.py")))
    result = benchmark["measure"](10, 1)
    assert result["protocols"] == {"tls": "tls", "plain": "tcp"}
    assert result["tls"]["wall_ms"] > 0
    assert result["plain"]["wall_ms"] > 0
