import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path


def test_every_page_of_a_small_stub_is_timed(capsys):
    spec = spec_from_file_location("browse", Path(__file__).with_name("browse.py"))
    benchmark = module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    benchmark.main(["--rows", "3000", "--rounds", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(benchmark.pages(3000))
    assert all(re.search(r"(\| \d+\.\d\d ){3}\|$", line) for line in lines[2:])
