import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path


def test_the_memory_of_a_small_export_is_measured(capsys):
    spec = spec_from_file_location("exporting", Path(__file__).with_name("exporting.py"))
    benchmark = module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    benchmark.main(["--rows", "500", "--formats", "parquet"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    memory = int(re.match(r"\| parquet \| 500 \| (\d+) \|", lines[2])[1])
    assert 50 < memory < 2000
